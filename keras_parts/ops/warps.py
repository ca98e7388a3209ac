"""Random warps: thin-plate splines and bilinear sampling, coordinates x, y in [-1, 1].

(-1, -1) is the centre of the top-left pixel and (1, 1) that of the bottom-right one (aligned
corners), so one warp applies to an image and to feature maps or logits of any size.
"""

import math
from functools import lru_cache

import numpy as np
from keras import ops

from keras_parts.ops.replicas import uniform_rows

_SIDE = 5
_LINE = np.linspace(-1.0, 1.0, _SIDE)
# (25, 2), x and y, y fastest: where a warp is pinned in its result.
CONTROL_POINTS = np.stack(np.meshgrid(_LINE, _LINE, indexing="ij"), axis=-1).reshape(-1, 2)


def _radial(points):
    """r^2 log r^2 between points and the control points, 0 at r = 0."""
    squared = np.sum((points[:, None] - CONTROL_POINTS[None]) ** 2, axis=-1)
    return squared * np.log(np.where(squared > 0, squared, 1.0))


@lru_cache(maxsize=16)
def _spline_basis(height, width):
    """Matrix (height * width, 25): the spline is linear in the source points."""
    count = len(CONTROL_POINTS)
    affine = np.concatenate([np.ones((count, 1)), CONTROL_POINTS], axis=1)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(CONTROL_POINTS)
    system[:count, count:], system[count:, :count] = affine, affine.T
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    values = np.concatenate([_radial(pixels), np.ones((len(pixels), 1)), pixels], axis=1)
    return (values @ np.linalg.inv(system)[:, :count]).astype("float32")


def thin_plate_grid(source_points, height, width):
    """Sampling grid of the thin-plate spline that takes `CONTROL_POINTS` to `source_points`.

    Args:
        source_points: `(batch, 25, 2)`, x and y in [-1, 1]: where the result's control points, a
            regular 5 x 5 grid with y fastest, are taken from.
        height, width: size of the result in pixels.

    Returns:
        float32 `(batch, height, width, 2)`, x and y in [-1, 1], for `grid_sample`.
    """
    basis = ops.convert_to_tensor(_spline_basis(height, width))
    grid = ops.einsum("un,bnd->bud", basis, ops.cast(source_points, "float32"))
    return ops.reshape(grid, (-1, height, width, 2))


def grid_sample(image, grid):
    """Sample an image bilinearly; zeros outside.

    Args:
        image: `(batch, height, width, channels)`.
        grid: `(batch, h, w, 2)`, x and y in [-1, 1], corners aligned.

    Returns:
        float32 `(batch, h, w, channels)`.
    """
    image, grid = ops.cast(image, "float32"), ops.cast(grid, "float32")
    # With a rim of zeros, what lies outside is sampled like everything else.
    image = ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width, channels = image.shape[1:]

    def cells(positions, size):
        """Left neighbour in the rimmed image, and offset from it in [0, 1]."""
        positions = (positions + 1) * (0.5 * (size - 3)) + 1
        positions = ops.clip(positions, 0.0, float(size - 1))
        left = ops.minimum(ops.floor(positions), float(size - 2))
        return ops.cast(left, "int32"), (positions - left)[..., None]

    column, x = cells(grid[..., 0], width)
    row, y = cells(grid[..., 1], height)
    first = ops.reshape(ops.arange(ops.shape(image)[0], dtype="int32"), (-1, 1, 1))
    place = (first * height + row) * width + column
    pixels = ops.reshape(image, (-1, channels))

    def between(first, second, share):
        return first + share * (second - first)

    def neighbours(place):
        return between(ops.take(pixels, place, axis=0), ops.take(pixels, place + 1, axis=0), x)

    return between(neighbours(place), neighbours(place + width), y)


def random_source_points(
    batch, seed, jitter=0.01, rotation=60.0, scale=(1 / 2.0, 1 / 0.7), shift=0.1, mirror=0.0
):
    """Source points of random warps, one an image; the defaults are the paper's.

    Args:
        batch: number of warps.
        seed: a `keras.random.SeedGenerator`.
        jitter: largest displacement of a control point, in half image sides.
        rotation: largest rotation in degrees, to either side.
        scale: range of the factor on the *source* coordinates: below 1 enlarges.
        shift: largest shift in half image sides.
        mirror: probability that left and right are swapped.

    Returns:
        float32 `(batch, 25, 2)`.
    """

    def uniform(shape, low, high):
        return uniform_rows(shape, low, high, seed)

    points = ops.convert_to_tensor(CONTROL_POINTS.astype("float32"))[None]
    points = points + uniform((batch, len(CONTROL_POINTS), 2), -jitter, jitter)
    side = ops.where(uniform((batch, 1, 1), 0.0, 1.0) < mirror, -1.0, 1.0)
    points = ops.concatenate([points[..., :1] * side, points[..., 1:]], axis=-1)
    angle = uniform((batch, 1), -math.radians(rotation), math.radians(rotation))
    cos, sin = ops.cos(angle), ops.sin(angle)
    x, y = points[..., 0], points[..., 1]
    points = ops.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    points = points * uniform((batch, 1, 1), *scale)
    return points + uniform((batch, 1, 2), -shift, shift)
