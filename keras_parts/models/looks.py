"""The second look: the objects that the network finds in a whole picture, and the rectangles in
which it sees each of them again.

The first look is the network's map of the whole picture. Its positions where the parts together are
more probable than the background form regions, and each region is an object. The square around an
object, with a margin, is cut out of the picture's own pixels and segmented again, at the scale at
which the parts were learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np

from keras_parts.errors import ConfigError
from keras_parts.images.geometry import ResizeGeometry, resize_geometry
from keras_parts.images.labelling import foreground_logits
from keras_parts.images.regions import connected_regions, nearest_region
from keras_parts.images.upsampling import position_borders
from keras_parts.results.objects import MAX_OBJECTS

Looks = Literal["auto", 1, 2]
"""How often the network sees an object: 1 only in the whole picture; 2 again in a rectangle around
it; "auto" again where that makes it larger by `_MIN_GAIN`."""
LOOKS: tuple[str | int, ...] = get_args(Looks)
_MARGIN = 0.03
"""Margin of a rectangle on each side, as a share of the object's longer side. On held-out birds,
0.03 is the best of 0 to 0.2: NMI 55.4, and with 0.07 54.2; IoU 83.9, and with 0.1 83.4."""
_FADE = 0.5
"""Share of the margin over which the second look fades into the first."""
_MIN_GAIN = 1.15
"""Minimum enlargement of an object, relative to the first look, for a second look in "auto"."""
_MIN_SHARE = 0.2
"""Regions with a smaller share of the largest one's positions are no objects: twigs and shadows
rarely have more, and a bird of a flock may still be half as long as the nearest one."""

MAX_SEEN_AGAIN = 8
"""Default of the maximum number of objects that are seen again."""

Rectangle = tuple[int, int, int, int]
"""First row, first column, last row + 1 and last column + 1 of a rectangle of an image."""


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """The objects of a first look.

    Attributes:
        positions: `(h, w)` uint8, the number of the object at each position of the map: 1 is the
            largest, 0 is the background.
        specks: `(h, w)` bool, positions of regions that are too small for objects, or more than
            `keras_parts.results.objects.MAX_OBJECTS`.
        borders: where the rows and the columns of positions begin and end, in pixels of the image.
        boxes: the rectangle of each object with its margin.
        gains: how much larger each object is in a second look than in the first.
    """

    positions: np.ndarray
    specks: np.ndarray
    borders: Sequence[np.ndarray]
    boxes: Sequence[Rectangle]
    gains: Sequence[float]

    def __len__(self) -> int:
        return len(self.boxes)

    @cached_property
    def owners(self) -> np.ndarray:
        """`(h, w)` uint8, the number of the object that is nearest to each position."""
        return nearest_region(self.positions)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of the objects."""
        return tuple(range(1, 1 + len(self)))


def check_looks(looks: Looks, tile: int | None) -> None:
    """Check the number of looks.

    Raises:
        ConfigError: it is none of `LOOKS`, or 2 with tiles, which are seen once.
    """
    if isinstance(looks, bool) or looks not in LOOKS:
        raise ConfigError(f"looks is {looks!r}, expected one of {', '.join(map(repr, LOOKS))}")
    if looks == 2 and tile is not None:
        raise ConfigError(
            f"looks is 2 and tile is {tile}, but tiles are seen once: leave out one of the two"
        )


def find_objects(
    logits: np.ndarray,
    geometry: ResizeGeometry,
    image_size: int,
    resize_mode: str,
    *,
    aligned_corners: bool = True,
) -> FoundObjects:
    """The objects in the network's map of a whole picture, largest first.

    Args:
        logits: `(h, w, 1 + parts)` float32, channel 0 the background.
        geometry: of the picture in the network's input.
        image_size, resize_mode: of the network's input.
        aligned_corners: see `keras_parts.images.geometry`.
    """
    borders = _borders(logits, geometry, aligned_corners)
    inside = np.outer(*(np.diff(one) > 0 for one in borders))
    foreground = (foreground_logits(logits) > 0) & inside
    regions, sizes = connected_regions(foreground)
    largest = np.argsort(-sizes, kind="stable")
    kept = [region for region in largest if sizes[region] >= _MIN_SHARE * sizes.max(initial=0)]
    kept = kept[:MAX_OBJECTS]
    numbers = np.zeros(len(sizes) + 1, np.uint8)
    numbers[[1 + region for region in kept]] = np.arange(1, 1 + len(kept))
    positions = numbers[regions]
    boxes = [_box(positions == 1 + i, borders, geometry.original_size) for i in range(len(kept))]
    gains = [_gain(box, geometry, image_size, resize_mode) for box in boxes]
    return FoundObjects(positions, foreground & (positions == 0), borders, boxes, gains)


def gets_second_look(objects: FoundObjects, index: int, looks: Looks) -> bool:
    """Whether an object is seen again, which without any gain would repeat the first look."""
    return objects.gains[index] > 1 and (looks == 2 or objects.gains[index] >= _MIN_GAIN)


def without_specks(logits: np.ndarray, objects: FoundObjects) -> np.ndarray:
    """Logits `(h, w, 1 + parts)` in which regions that are no objects are background."""
    return _without(logits, objects.specks)


def without_objects(
    logits: np.ndarray, objects: FoundObjects, numbers: Sequence[int]
) -> np.ndarray:
    """Logits `(h, w, 1 + parts)` of the first look in which some objects are background."""
    return _without(logits, np.isin(objects.positions, numbers))


def own_logits(
    logits: np.ndarray,
    objects: FoundObjects,
    number: int,
    top: int,
    left: int,
    geometry: ResizeGeometry,
    *,
    aligned_corners: bool = True,
) -> np.ndarray:
    """The logits of a second look, in which other objects than its own are background.

    A region of its foreground belongs to the object that it has positions of, by the first look. If
    these are several, as where objects touch, each position of the region belongs to the nearest
    object; and so do regions that the first look has not seen.

    Args:
        logits: `(h, w, 1 + parts)` float32, of the second look.
        objects: of the first look.
        number: of the object that the second look is about.
        top, left: first row and column of its rectangle in the image.
        geometry: of the rectangle in the network's input.
        aligned_corners: see `keras_parts.images.geometry`.
    """
    nearest = []
    for axis, borders in enumerate(_borders(logits, geometry, aligned_corners)):
        centres = (top, left)[axis] + (borders[:-1] + borders[1:]) / 2
        index = np.searchsorted(objects.borders[axis], centres, side="right") - 1
        nearest.append(np.clip(index, 0, len(objects.borders[axis]) - 2))
    below, owners = objects.positions[np.ix_(*nearest)], objects.owners[np.ix_(*nearest)]
    foreground = foreground_logits(logits) > 0
    regions, sizes = connected_regions(foreground)
    shows_own, shows_others = np.zeros((2, 1 + len(sizes)), bool)
    shows_own[regions[below == number]] = True
    shows_others[regions[(below != number) & (below > 0)]] = True
    is_own = (shows_own & ~shows_others)[regions]
    is_own |= (shows_own | ~shows_others)[regions] & (owners == number)
    return _without(logits, foreground & ~is_own)


def _borders(
    logits: np.ndarray, geometry: ResizeGeometry, aligned_corners: bool
) -> list[np.ndarray]:
    """Where the rows and the columns of positions begin and end, in pixels of the image."""
    return [
        position_borders(geometry, axis, logits.shape[axis], aligned_corners) for axis in (0, 1)
    ]


def _without(logits: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Logits `(h, w, 1 + parts)` that are background at some positions, as much as they were
    foreground: the outline then lies midway between these positions and the others."""
    if not removed.any():
        return logits
    excess = np.where(removed, 2 * np.maximum(foreground_logits(logits), 0), 0)
    return np.concatenate([logits[..., :1] + excess[..., None], logits[..., 1:]], axis=-1)


def fade_of(box: Rectangle, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Weights `(height,)` and `(width,)` of a second look in its rectangle: they rise from 0 to 1
    at the borders that lie inside the picture."""
    top, left, bottom, right = box
    ramp = max(1.0, _FADE * _MARGIN / (1 + 2 * _MARGIN) * max(bottom - top, right - left))
    return _ramps(top, bottom, size[0], ramp), _ramps(left, right, size[1], ramp)


def _ramps(start: int, stop: int, side: int, ramp: float) -> np.ndarray:
    inside = np.arange(stop - start) + 0.5
    weights = np.ones(stop - start)
    if start > 0:
        weights = np.minimum(weights, inside / ramp)
    if stop < side:
        weights = np.minimum(weights, inside[::-1] / ramp)
    return weights.astype(np.float32)


def _box(
    object_positions: np.ndarray, borders: Sequence[np.ndarray], size: tuple[int, int]
) -> Rectangle:
    """The square around the positions of an object, with its margin, as far as it lies inside the
    picture."""
    limits = []
    for axis in (0, 1):
        occupied = np.flatnonzero(object_positions.any(axis=1 - axis))
        limits.append((borders[axis][occupied[0]], borders[axis][occupied[-1] + 1]))
    # The outline may lie beyond the border of a position, up to the centre of the next one.
    beyond = max(np.diff(each).max() for each in borders) / 2
    # A square, as the crops of objects that segmenters are trained on.
    half = (0.5 + _MARGIN) * max(last - first for first, last in limits) + beyond
    (top, bottom), (left, right) = (
        (
            max(0, int(np.floor((first + last) / 2 - half))),
            min(side, int(np.ceil((first + last) / 2 + half))),
        )
        for (first, last), side in zip(limits, size, strict=True)
    )
    return top, left, bottom, right


def _gain(box: Rectangle, geometry: ResizeGeometry, image_size: int, resize_mode: str) -> float:
    """How much larger a rectangle is in an input of its own than in that of the whole picture."""
    top, left, bottom, right = box
    again = resize_geometry(bottom - top, right - left, image_size, resize_mode)
    return max(
        again.resized_size[axis] * geometry.original_size[axis]
        / (again.original_size[axis] * geometry.resized_size[axis])
        for axis in (0, 1)
    )  # fmt: skip
