"""Images of imaginary animals in landscapes.

Every shape is a *tube*, a chain of circles of changing radius, painted by its signed distance. The
tube gives exact masks, smooth edges without supersampling, normals for shading, and coordinates
along and across it for patterns.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from keras_parts.data.toy.animals import COLOURS, LANDMARKS, PARTS, Coat, Species, shade_or_tint
from keras_parts.data.toy.poses import Figure, pose

# What a pixel shows: the scenery (in front of the animal or behind it) or a limb of the animal.
_ELEMENTS = (
    "scenery", "tail", "far front leg", "far hind leg", "body", "near front leg", "near hind leg",
    "head", "near eye", "far eye",
)  # fmt: skip
_ELEMENT = {name: index for index, name in enumerate(_ELEMENTS)}
# The part label of each element: 0 for the background, otherwise 1 + the index in PARTS.
_LABELS = np.array([0, 5, 3, 4, 2, 3, 4, 1, 1, 1], np.uint8)


@dataclass
class Tube:
    """Fields of a tube over its window of the image, each `(height, width)` float32.

    Attributes:
        window: rows and columns of the image.
        distance: signed distance to the outline in pixels, negative inside.
        along: coordinate along the tube in pixels.
        across: coordinate across the tube in pixels.
        normal: x and y of the unit normal's projection.
    """

    window: tuple[slice, slice]
    distance: np.ndarray
    along: np.ndarray
    across: np.ndarray
    normal: tuple[np.ndarray, np.ndarray]


def tube(
    points: ArrayLike, radii: ArrayLike, shape: tuple[int, int], blend: float = 0.0
) -> Tube | None:
    """The union of the round cones between consecutive circles; None outside the image.

    Args:
        points: `(count, 2)`, x and y of the centres in pixels.
        radii: `(count,)` in pixels.
        shape: `(height, width)` of the image.
        blend: width in pixels of the smooth transition between consecutive cones.
    """
    points = np.asarray(points, np.float32)
    radii = np.asarray(radii, np.float32)
    if len(points) == 1:
        points, radii = np.repeat(points, 2, axis=0), np.repeat(radii, 2)
    margin = radii[:, None] + 1.5
    x0, y0 = np.maximum(np.floor((points - margin).min(0)), 0).astype(int)
    x1, y1 = np.ceil((points + margin).max(0)).astype(int) + 1
    x1, y1 = min(x1, shape[1]), min(y1, shape[0])
    if x1 <= x0 or y1 <= y0:
        return None
    x = np.arange(x0, x1, dtype=np.float32)[None, :]
    y = np.arange(y0, y1, dtype=np.float32)[:, None]
    fields: Any = None
    start = np.float32(0)  # of the cone along the tube
    for a, b, r, s in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        fields = _join(fields, _cone(x, y, a, b, r, s, start), np.float32(blend))
        start += np.float32(np.hypot(*(b - a)))
    distance, along, across, nx, ny = fields
    return Tube((slice(y0, y1), slice(x0, x1)), distance, along, across, (nx, ny))


def _cone(x, y, a, b, r, s, start):
    """Fields of the round cone from a circle (a, r) to another (b, s)."""
    ax, ay = b - a
    length = max(np.float32(np.hypot(ax, ay)), np.float32(1e-3))
    ax, ay = ax / length, ay / length
    px, py = x - a[0], y - a[1]
    t = np.clip(px * ax + py * ay, 0, length)
    radius = r + t * ((s - r) / length)
    px, py = px - t * ax, py - t * ay
    inverse = 1 / np.maximum(radius, 0.1)
    distance = np.sqrt(px * px + py * py) - radius
    return distance, start + t, ax * py - ay * px, px * inverse, py * inverse


def _join(first, second, blend):
    """Fields of the union of two tubes."""
    if first is None:
        return second
    gap = first[0] - second[0]
    if not blend:
        closer = gap > 0
        return tuple(np.where(closer, b, a) for a, b in zip(first, second, strict=True))
    weight = np.clip(0.5 + 0.5 / blend * gap, 0, 1)
    joined = [a + (b - a) * weight for a, b in zip(first, second, strict=True)]
    joined[0] -= blend * weight * (1 - weight)
    return tuple(joined)


def smooth_step(x: Any, low: float, high: float) -> Any:
    """0 below `low`, 1 above `high`, a smooth cubic between them."""
    t = np.clip((x - low) * (1 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def noise(rng: np.random.Generator, rows: int, columns: int, shape: tuple[int, int]) -> np.ndarray:
    """Smooth noise of about unit variance, float32 `(height, width)`, from a grid of random values
    with `rows` and `columns`."""
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    height, width = shape
    image = Image.fromarray(grid)
    return 1.4 * np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def pattern_weight(pattern: str, u: np.ndarray, v: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """The weight of a coat's accent colour, in [0, 1].

    Args:
        pattern: name of the pattern.
        u: coordinate along the tube, float32; the unit is about the size of a spot or stripe.
        v: coordinate across the tube, in the same unit.
        cloud: smooth noise of the same shape, which distorts the pattern.
    """
    return _PATTERNS[pattern](u, v, cloud)


def _wave(x):
    return np.sin(np.float32(2 * np.pi) * x)


def _ring(u, v, inner, outer):
    """Dots in staggered rows, hollow if `inner` is above 0; both are squared radii."""
    row = np.floor(v)
    du = (u + 0.5 * (row % 2)) % 1 - 0.5
    dv = v - row - 0.5
    square = du * du + dv * dv
    dot = 1 - smooth_step(square, outer, outer + 0.06)
    return dot * smooth_step(square, inner - 0.04, inner) if inner else dot


_PATTERNS = {
    "plain": lambda u, v, cloud: np.float32(0),
    "mask": lambda u, v, cloud: smooth_step(u + 0.1 * cloud, 0.9, 1.1),
    "blaze": lambda u, v, cloud: 1 - smooth_step(abs(v + 0.1 * cloud), 0.5, 0.7),
    "cap": lambda u, v, cloud: 1 - smooth_step(u + 0.1 * cloud, 0.3, 0.45),
    "spots": lambda u, v, cloud: _ring(u, v, 0, 0.08),
    "rosettes": lambda u, v, cloud: _ring(0.8 * u, 0.8 * v, 0.08, 0.15),
    "patches": lambda u, v, cloud: smooth_step(
        np.sin(2.8 * u + cloud) + np.sin(3.1 * v + 1.3 * cloud), 0.3, 0.5
    ),
    "bands": lambda u, v, cloud: smooth_step(_wave(0.8 * u + 0.05 * cloud), 0.0, 0.4),
    "rings": lambda u, v, cloud: smooth_step(_wave(1.2 * u + 0.05 * cloud), 0.4, 0.8),
    "stockings": lambda u, v, cloud: np.maximum(
        smooth_step(u + 0.1 * cloud, 2.6, 2.7), smooth_step(_wave(0.6 * u), 0.6, 0.8)
    ),
    "checks": lambda u, v, cloud: smooth_step(_wave(0.7 * u) * _wave(0.7 * v + 0.25), -0.1, 0.1),
    "diamonds": lambda u, v, cloud: smooth_step(
        _wave(0.7 * (u + v)) * _wave(0.7 * (u - v)), -0.1, 0.1
    ),
    "net": lambda u, v, cloud: smooth_step(
        np.maximum(_wave(0.6 * (u + v)), _wave(0.6 * (u - v))), 0.6, 0.9
    ),
    "barbs": lambda u, v, cloud: smooth_step(_wave(1.5 * v + 0.06 * cloud), -0.2, 0.4),
    "chevrons": lambda u, v, cloud: smooth_step(_wave(0.9 * u + 1.2 * abs(v)), 0.0, 0.4),
    "streaks": lambda u, v, cloud: smooth_step(
        _wave(1.4 * v + 0.1 * cloud) + 0.8 * _wave(0.35 * u + np.floor(1.4 * v) * 0.37), 0.3, 0.7
    ),
    "stripes": lambda u, v, cloud: smooth_step(_wave(1.4 * v + 0.08 * cloud), 0.1, 0.6),
    "speckles": lambda u, v, cloud: smooth_step(
        np.sin(9.7 * u + 2.1 * v + cloud) * np.sin(10.3 * v - 2.7 * u + 2 * cloud), 0.25, 0.6
    ),
}
_SCENERY = ("plain", "bands", "stripes", "spots", "patches", "speckles")


class Canvas:
    """An image being painted.

    Attributes:
        colour: `(height, width, 3)` float32 in [0, 1].
        element: `(height, width)` uint8, indices into `_ELEMENTS`.
        line: width of outlines in pixels.
        light: direction towards the light.
    """

    def __init__(self, size: int, rng: np.random.Generator):
        self.shape = (size, size)
        self.colour = np.zeros((size, size, 3), np.float32)
        self.element = np.zeros((size, size), np.uint8)
        self.line = size / 80
        angle = rng.uniform(0.15, 0.85) * np.pi
        self.light = (np.float32(np.cos(angle)), np.float32(-np.sin(angle)))
        self.relief = np.float32(rng.uniform(0.16, 0.34))
        self.clouds = noise(rng, 12, 12, self.shape)
        # Larger images take more random numbers for the grain; a separate generator keeps the
        # scene the same at every size.
        grain = np.random.default_rng(rng.integers(2**32))
        self.grain = noise(grain, size // 3, size // 3, self.shape)

    def paint(
        self,
        shape: Tube | None,
        colour: Any,
        element: int | None = None,
        *,
        opacity: float = 1.0,
        outline: float = 0.45,
    ) -> None:
        """Paint a `Tube`, shaded by the light, over the canvas.

        Args:
            shape: the tube; None paints nothing.
            colour: RGB, `(3,)` or `(height, width, 3)` over the tube's window; a number is a grey.
            element: index in `_ELEMENTS` that its pixels get; None to keep theirs, as for shadows.
            opacity: in [0, 1].
            outline: darkness of the outline in [0, 1].
        """
        if shape is None:
            return
        window, distance = shape.window, shape.distance
        nx, ny = shape.normal
        shade = 1 + self.relief * (nx * self.light[0] + ny * self.light[1])
        shade += 0.035 * self.grain[window]
        if outline:
            shade *= 1 - np.float32(outline) * smooth_step(distance, -self.line, 0)
        cover = np.clip(0.5 - distance, 0, 1)[..., None] * np.float32(opacity)
        target = self.colour[window]
        target += cover * (colour * shade[..., None] - target)
        if element is not None:
            self.element[window][distance < 0] = element

    def coat(self, shape: Tube, coat: Coat, unit: float, shift: float = 0.0) -> np.ndarray:
        """Colours `(height, width, 3)` of a coat over the window of a tube.

        Args:
            shape: the tube.
            coat: the coat.
            unit: size of a spot or stripe of the pattern in pixels.
            shift: shift of the pattern along the tube, in units of `unit`.
        """
        scale = np.float32(1 / (unit * coat.scale))
        u, v = shape.along * scale + np.float32(shift), shape.across * scale
        weight = pattern_weight(coat.pattern, u, v, self.clouds[shape.window])
        return coat.base + np.asarray(weight)[..., None] * (coat.accent - coat.base)


_COAT_UNITS = {"head": 0.28, "body": 0.36, "forelegs": 0.25, "hind legs": 0.26, "tail": 0.25}
_FEET = [index for index, name in enumerate(LANDMARKS) if name.endswith("foot")]
_HORN = np.array([0.93, 0.88, 0.76], np.float32)
_DARK = np.array([0.13, 0.11, 0.13], np.float32)
_WHITE = np.array([0.98, 0.97, 0.95], np.float32)


def draw_animal(
    canvas: Canvas, figure: Figure, coats: dict[str, Coat], rng: np.random.Generator
) -> None:
    """Paint a figure in pixel coordinates, limb by limb from the far to the near side."""
    shifts = {part: 0.0 if part == "head" else rng.uniform(0, 1) for part in PARTS}
    forward = -1 if figure.faces_left else 1
    for name, points, radii in figure.limbs:
        element = _ELEMENT.get(name, _ELEMENT["head"])
        part = PARTS[_LABELS[element] - 1]
        if name.endswith("eye"):
            _draw_eye(canvas, points[0], radii[0], element, forward)
            continue
        blend = 0.0 if name.endswith(("leg", "ear")) else 0.5 * radii.min()
        shape = tube(points, radii, canvas.shape, blend)
        if shape is None:
            continue
        if name in ("nose", "horn", "beak"):
            canvas.paint(shape, _DARK if name == "nose" else _HORN, element)
            continue
        coat = replace(coats[part], pattern="plain") if name.endswith("ear") else coats[part]
        colour = canvas.coat(shape, coat, _COAT_UNITS[part] * figure.unit, shifts[part])
        if name.startswith("far"):
            colour = colour * np.float32(0.74)
        canvas.paint(shape, colour, element)
        if name.endswith("front leg"):
            _draw_claws(canvas, points, radii, element)
        elif name.endswith("leg"):
            hoof = tube(points[-2:], 1.04 * radii[-2:], canvas.shape)
            shadow = np.float32(0.7 if name.startswith("far") else 0.9)
            canvas.paint(hoof, shadow * coats[part].accent, element)


def _draw_claws(canvas, points, radii, element):
    foot, radius = points[-1], radii[-1]
    ahead = (points[-1] - points[-2]) / (np.hypot(*(points[-1] - points[-2])) + 1e-6)
    down = np.array([-ahead[1], ahead[0]]) * np.sign(ahead[0] or 1)
    for spread in (-0.5, 0.0, 0.5):
        root = foot + 0.7 * radius * (0.6 * ahead + spread * 1.3 * down)
        tip = root + radius * (1.0 * ahead + 0.25 * down)
        horn = tube([root, tip], radius * np.array([0.34, 0.1]), canvas.shape)
        canvas.paint(horn, _HORN, element)


def _draw_eye(canvas, centre, radius, element, forward):
    ball = tube([centre], [radius], canvas.shape)
    canvas.paint(ball, _WHITE, element)
    pupil = centre + radius * np.array([0.18 * forward, 0.05])
    canvas.paint(tube([pupil], [0.68 * radius], canvas.shape), _DARK, element, outline=0)
    glint = centre + radius * np.array([0.3 * forward - 0.15, -0.3])
    canvas.paint(tube([glint], [0.24 * radius], canvas.shape), _WHITE, element, outline=0)


def draw_shadow(canvas: Canvas, figure: Figure) -> None:
    """Paint a soft shadow on the ground under the feet."""
    feet = figure.landmarks[_FEET]
    left, right = feet[feet[:, 0].argmin()], feet[feet[:, 0].argmax()]
    radius = 0.16 * figure.unit
    shape = tube([left + [0, 0.4 * radius], right + [0, 0.4 * radius]], [radius] * 2, canvas.shape)
    if shape is not None:
        shape.distance = np.maximum(shape.distance, -0.8 * radius) * np.float32(0.6 / radius) + 0.2
        canvas.paint(shape, _DARK, opacity=0.4, outline=0)


# -- scenery -------------------------------------------------------------------------------------


def _scenery_coats(rng, count):
    """Coats of hills and trees: colours and patterns of the animals, mixed with one haze colour."""
    haze = np.array(rng.uniform(0.55, 1.0, 3) * [1, 0.98, 0.95], np.float32)
    strength = np.float32(rng.uniform(0.05, 0.5))
    coats = []
    for colour in rng.permutation(len(COLOURS))[:count]:
        base = COLOURS[colour] + strength * (haze - COLOURS[colour])
        accent = base + np.float32(rng.uniform(0.25, 0.7)) * (shade_or_tint(base, rng) - base)
        coats.append(Coat(base, accent, _SCENERY[rng.integers(len(_SCENERY))], 1.0))
    return coats


def draw_scenery(canvas: Canvas, horizon: float, rng: np.random.Generator) -> None:
    """Paint sky, hills and trees, or a patterned wall; the ground starts at row `horizon`."""
    size = canvas.shape[0]
    coats = _scenery_coats(rng, 8)
    rows = np.arange(size, dtype=np.float32)[:, None]
    columns = np.arange(size, dtype=np.float32)[None, :]
    if rng.random() < 0.25:
        _draw_wall(canvas, coats[0], rows, columns, rng)
    else:
        _draw_sky(canvas, coats[0], coats[1], rows, rng)
        ridges = np.sort(rng.uniform(0.12, 0.95, rng.integers(1, 4)))
        for number, height in enumerate(ridges):
            coat = coats[2 + number]
            _draw_ground(canvas, coat, height * horizon, 0.1 * size, 0.07 * size, columns, rng)
            for _ in range(rng.integers(0, 4)):
                _draw_tree(canvas, coats[5 + number % 2], height * horizon, rng)
    _draw_ground(canvas, coats[7], horizon, 0.02 * size, 0.1 * size, columns, rng)


def _draw_sky(canvas, low, high, rows, rng):
    size = canvas.shape[0]
    blend = np.clip(rows / size * 1.3, 0, 1)[..., None]
    top, bottom = high.base, low.base + np.float32(0.5) * (1 - low.base)
    canvas.colour[:] = top + blend * (bottom - top)
    if rng.random() < 0.5:
        sun, radius = rng.uniform(0.05, 0.95, 2) * [1, 0.5], rng.uniform(0.05, 0.12)
        canvas.paint(tube([size * sun], [size * radius], canvas.shape), low.accent, outline=0)
    if rng.random() < 0.7:
        weight = 0.6 * smooth_step(noise(rng, 16, 6, canvas.shape), 0.3, 1.2)[..., None]
        canvas.colour += weight * (_WHITE - canvas.colour)


def _draw_wall(canvas, coat, rows, columns, rng):
    unit = np.float32(canvas.shape[0] * rng.uniform(0.05, 0.13))
    angle = rng.uniform(0, np.pi)
    c, s = np.float32(np.cos(angle) / unit), np.float32(np.sin(angle) / unit)
    u, v = c * columns + s * rows, c * rows - s * columns
    weight = pattern_weight(coat.pattern, u, v, canvas.clouds)
    shade = 1 + 0.08 * canvas.clouds + 0.03 * canvas.grain
    canvas.colour[:] = coat.base + np.asarray(weight)[..., None] * (coat.accent - coat.base)
    canvas.colour *= shade[..., None]


def _draw_ground(canvas, coat, level, bumps, unit, columns, rng):
    """Paint everything below a wavy line; the pattern follows the line."""
    size = canvas.shape[0]
    x = columns[0] / size
    line = np.full(size, level, np.float32)
    for waves in (1, 2, 4):
        line += bumps / waves * np.sin(waves * rng.uniform(3, 7) * x + rng.uniform(0, 6.3))
    start = max(0, int(line.min()))
    if start >= size:
        return
    depth = np.arange(start, size, dtype=np.float32)[:, None] - line[None]
    target, clouds = canvas.colour[start:], canvas.clouds[start:]
    weight = pattern_weight(coat.pattern, columns / unit, depth / unit, clouds)
    shade = 1 + 0.07 * clouds + 0.06 * canvas.grain[start:] - 0.12 * np.clip(depth / size, 0, 1)
    colour = coat.base + np.asarray(weight)[..., None] * (coat.accent - coat.base)
    target += np.clip(depth + 0.5, 0, 1)[..., None] * (colour * shade[..., None] - target)


def _draw_tree(canvas, coat, level, rng):
    size = canvas.shape[0]
    foot = np.array([rng.uniform(0, size), level + 0.06 * size])
    height, width = size * rng.uniform(0.12, 0.35), size * rng.uniform(0.04, 0.1)
    top = foot - [0, height]
    canvas.paint(tube([foot, top], [0.25 * width] * 2, canvas.shape), 0.6 * coat.accent)
    if rng.random() < 0.5:
        crown = tube([top - [0, width], foot - [0, 0.3 * height]], [1, width], canvas.shape)
    else:
        points = top + rng.uniform(-0.6, 0.6, (3, 2)) * width
        crown = tube(points, width * rng.uniform(0.7, 1.2, 3), canvas.shape)
    if crown is not None:
        canvas.paint(crown, canvas.coat(crown, coat, 0.05 * size), 0, outline=0.25)


def draw_occluder(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Paint a bush, a rock, a trunk or grass in front of some of the animal."""
    size = canvas.shape[0]
    coat = _scenery_coats(rng, 1)[0]
    low, high = figure.bounds()
    x = rng.uniform(low[0], high[0])
    kind = rng.choice(["bush", "rock", "trunk", "grass"], p=[0.25, 0.2, 0.15, 0.4])
    if kind == "trunk":
        width = size * rng.uniform(0.025, 0.05)
        lean = rng.uniform(-0.1, 0.1) * size
        _paint_coat(canvas, coat, [[x - lean, size + width], [x + lean, -width]], [width] * 2)
    elif kind == "bush":
        spread = size * rng.uniform(0.05, 0.1)
        middle = np.array([x, high[1] - rng.uniform(-0.2, 0.6) * spread])
        points = middle + rng.uniform(-1, 1, (5, 2)) * spread * [1.1, 0.6]
        _paint_coat(canvas, coat, points, spread * rng.uniform(0.5, 0.8, 5))
    elif kind == "rock":
        width = size * rng.uniform(0.05, 0.11)
        y = high[1] + rng.uniform(-0.2, 0.4) * width
        _paint_coat(canvas, coat, [[x - width, y], [x + 0.6 * width, y]], [width, 0.8 * width])
    else:
        for side in rng.uniform(-1, 1, rng.integers(5, 11)):
            foot = np.array([x + 0.05 * side * size, high[1] + 0.02 * size])
            bend, height = 0.1 * side * size, size * rng.uniform(0.08, 0.22) * (1.3 - abs(side))
            blade = [foot, foot + [0.3 * bend, -0.6 * height], foot + [bend, -height]]
            _paint_coat(canvas, coat, blade, size * np.array([0.014, 0.011, 0.002]))


def _paint_coat(canvas, coat, points, radii):
    shape = tube(points, radii, canvas.shape)
    if shape is not None:
        canvas.paint(shape, canvas.coat(shape, coat, 0.06 * canvas.shape[0]), 0, outline=0.3)


# -- the whole image ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """A finished image with its annotations.

    Attributes:
        image: `(size, size, 3)` uint8 RGB.
        labels: `(size, size)` uint8: 0 the scenery, 1 + i part i of `PARTS`.
        landmarks: `(11, 2)` float32, x and y in pixels.
        visible: `(11,)` bool.
    """

    image: np.ndarray
    labels: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray


def draw(animal: Species, size: int, rng: np.random.Generator) -> Drawing:
    """Draw a random image of one animal of a species, with sides of `size` pixels.

    Example:
        >>> import numpy as np
        >>> from keras_parts.data.toy.animals import species
        >>> from keras_parts.data.toy.painting import draw
        >>> draw(species(0), 65, np.random.default_rng(0)).image.shape
        (65, 65, 3)
    """
    figure = _move_into_image(pose(animal, rng), size, rng)
    canvas = Canvas(size, rng)
    feet = figure.landmarks[_FEET, 1].max()
    horizon = min(feet - rng.uniform(0.02, 0.25) * size, 0.9 * size)
    draw_scenery(canvas, max(horizon, 0.15 * size), rng)
    draw_shadow(canvas, figure)
    draw_animal(canvas, figure, _individual(animal.coats, rng), rng)
    for _ in range(rng.choice([0, 1, 2], p=[0.4, 0.4, 0.2])):
        draw_occluder(canvas, figure, rng)
    image = _light(canvas, rng)
    landmarks = figure.landmarks.astype(np.float32)
    return Drawing(image, _LABELS[canvas.element], landmarks, _visible(canvas, figure, landmarks))


def _move_into_image(figure, size, rng):
    """Mirror, tilt, scale and shift a figure into the image; a small part of it may lie outside."""
    tilt = np.radians(np.clip(rng.normal(0, 9), -25, 25))
    c, s = np.cos(tilt), np.sin(tilt)
    matrix = np.array([[c, -s], [s, c]]) @ np.diag([-1.0 if figure.faces_left else 1.0, 1.0])
    low, high = figure.transformed(matrix, 0.0, 1.0).bounds()
    scale = size * rng.uniform(0.7, 1.04) / max(high - low)
    low, high = scale * low, scale * high
    spare = size - (high - low)
    shift = rng.uniform(0.1, 0.9, 2) * spare - low
    return figure.transformed(matrix * scale, shift, scale)


def _individual(coats, rng):
    """The coats of one animal: those of its species with small changes of colour and scale."""
    change = (1 + rng.uniform(-0.08, 0.08) + rng.uniform(-0.05, 0.05, 3)).astype(np.float32)
    return {
        part: replace(
            coat,
            base=coat.base * change,
            accent=coat.accent * change,
            scale=coat.scale * rng.uniform(0.9, 1.1),
        )
        for part, coat in coats.items()
    }


def _light(canvas, rng):
    """Apply exposure, the colour and fall-off of the light, and sensor noise; float to uint8."""
    size = canvas.shape[0]
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    slope = np.float32(rng.uniform(0, 0.35))
    field = slope * (canvas.light[0] * ramp[None] + canvas.light[1] * ramp[:, None])
    tint = (rng.uniform(0.78, 1.14) * (1 + rng.uniform(-0.08, 0.08, 3))).astype(np.float32)
    image = canvas.colour * (tint * (1 + field[..., None]))
    image += (rng.random(image.shape, np.float32) - 0.5) * np.float32(rng.uniform(0.01, 0.05))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _visible(canvas, figure, landmarks):
    """Whether the pixel of each landmark shows the limb that the landmark belongs to."""
    near, far = ("left", "right") if figure.faces_left else ("right", "left")
    size = canvas.shape[0]
    visible = np.zeros(len(LANDMARKS), bool)
    for index, (name, (x, y)) in enumerate(zip(LANDMARKS, landmarks, strict=True)):
        column, row = int(np.floor(x + 0.5)), int(np.floor(y + 0.5))
        if not (0 <= column < size and 0 <= row < size):
            continue
        name = name.replace(near, "near").replace(far, "far").replace("foot", "leg")
        name = {"nose": "head", "back": "body", "belly": "body"}.get(name, name)
        name = "tail" if name.startswith("tail") else name
        visible[index] = canvas.element[row, column] == _ELEMENT[name]
    return visible
