"""Random warps: thin-plate splines and bilinear sampling, coordinates x, y in [-1, 1].

(-1, -1) is the centre of the top-left pixel and (1, 1) the centre of the bottom-right one (aligned
corners), so the same warp can be applied to an image and to feature maps or logits of any size.
"""

import math
from functools import lru_cache
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_parts.ops.replicas import uniform_rows

_POINTS_PER_SIDE = 5
_LINE = np.linspace(-1.0, 1.0, _POINTS_PER_SIDE)
CONTROL_POINTS = np.stack(np.meshgrid(_LINE, _LINE, indexing="ij"), axis=-1).reshape(-1, 2)
"""`(25, 2)`, x and y in [-1, 1]: a regular 5 x 5 grid of points in the warped image, column by
column."""


def _radial(points):
    """r^2 log r^2 of the distances r between points and the control points; 0 at r = 0."""
    squared = np.sum((points[:, None] - CONTROL_POINTS[None]) ** 2, axis=-1)
    return squared * np.log(np.where(squared > 0, squared, 1.0))


@lru_cache(maxsize=16)
def _spline_basis(height, width):
    """Matrix `(height * width, 25)` that maps source points to the sampling grid."""
    count = len(CONTROL_POINTS)
    affine = np.concatenate([np.ones((count, 1)), CONTROL_POINTS], axis=1)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _radial(CONTROL_POINTS)
    system[:count, count:], system[count:, :count] = affine, affine.T
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    values = np.concatenate([_radial(pixels), np.ones((len(pixels), 1)), pixels], axis=1)
    return (values @ np.linalg.inv(system)[:, :count]).astype("float32")


def thin_plate_grid(source_points: Any, height: int, width: int) -> Any:
    """Sampling grid of the thin-plate spline that maps `CONTROL_POINTS` to `source_points`.

    Args:
        source_points: `(batch, 25, 2)`, x and y in [-1, 1]: the points of the image that are moved
            to the control points.
        height, width: size of the warped image in pixels.

    Returns:
        float32 `(batch, height, width, 2)`, x and y in [-1, 1], for `grid_sample`.

    Example:
        >>> from keras_parts.ops import CONTROL_POINTS, thin_plate_grid
        >>> tuple(thin_plate_grid(CONTROL_POINTS[None], 33, 33).shape)
        (1, 33, 33, 2)
    """
    basis = ops.convert_to_tensor(_spline_basis(height, width))
    grid = ops.einsum("un,bnd->bud", basis, ops.cast(source_points, "float32"))
    return ops.reshape(grid, (-1, height, width, 2))


def grid_sample(image: Any, grid: Any) -> Any:
    """Sample an image bilinearly at the points of a grid. Outside the image all values are 0.

    Args:
        image: `(batch, height, width, channels)`.
        grid: `(batch, h, w, 2)`, x and y in [-1, 1], corners aligned.

    Returns:
        float32 `(batch, h, w, channels)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import CONTROL_POINTS, grid_sample, thin_plate_grid
        >>> image = np.random.default_rng(0).uniform(size=(1, 33, 33, 3))
        >>> tuple(grid_sample(image, thin_plate_grid(CONTROL_POINTS[None], 33, 33)).shape)
        (1, 33, 33, 3)
    """
    image, grid = ops.cast(image, "float32"), ops.cast(grid, "float32")
    # With a border of zeros, points outside the image need no special case.
    image = ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width, channels = image.shape[1:]

    def cells(positions, size):
        """Left neighbour in the padded image, and offset from it in [0, 1]."""
        positions = (positions + 1) * (0.5 * (size - 3)) + 1
        positions = ops.clip(positions, 0.0, float(size - 1))
        left = ops.minimum(ops.floor(positions), float(size - 2))
        return ops.cast(left, "int32"), (positions - left)[..., None]

    column, x = cells(grid[..., 0], width)
    row, y = cells(grid[..., 1], height)
    batch = ops.reshape(ops.arange(ops.shape(image)[0], dtype="int32"), (-1, 1, 1))
    index = (batch * height + row) * width + column
    pixels = ops.reshape(image, (-1, channels))

    def interpolate(first, second, offset):
        return first + offset * (second - first)

    def along_row(index):
        return interpolate(ops.take(pixels, index, axis=0), ops.take(pixels, index + 1, axis=0), x)

    return interpolate(along_row(index), along_row(index + width), y)


def random_source_points(
    batch: Any,
    seed: keras.random.SeedGenerator,
    *,
    jitter: float = 0.01,
    rotation: float = 60.0,
    scale: tuple[float, float] = (1 / 2.0, 1 / 0.7),
    shift: float = 0.1,
    mirror: float = 0.0,
) -> Any:
    """Source points of random warps, one warp per image. The defaults are the paper's.

    Args:
        batch: number of warps.
        seed: generator of the random draws.
        jitter: maximum displacement of a control point, in half image sides.
        rotation: maximum rotation in degrees, in either direction.
        scale: range of the factor by which the *source* coordinates are multiplied; a factor below
            1 magnifies the image.
        shift: maximum shift in half image sides.
        mirror: probability, 0 to 1, that left and right are swapped.

    Returns:
        float32 `(batch, 25, 2)`, x and y, for `thin_plate_grid`.

    Example:
        >>> import keras
        >>> from keras_parts.ops import random_source_points
        >>> tuple(random_source_points(2, keras.random.SeedGenerator(0)).shape)
        (2, 25, 2)
    """

    def uniform(shape, low, high):
        return uniform_rows(shape, low, high, seed)

    points = ops.convert_to_tensor(CONTROL_POINTS.astype("float32"))[None]
    points = points + uniform((batch, len(CONTROL_POINTS), 2), -jitter, jitter)
    sign = ops.where(uniform((batch, 1, 1), 0.0, 1.0) < mirror, -1.0, 1.0)
    points = ops.concatenate([points[..., :1] * sign, points[..., 1:]], axis=-1)
    angle = uniform((batch, 1), -math.radians(rotation), math.radians(rotation))
    cos, sin = ops.cos(angle), ops.sin(angle)
    x, y = points[..., 0], points[..., 1]
    points = ops.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
    points = points * uniform((batch, 1, 1), *scale)
    return points + uniform((batch, 1, 2), -shift, shift)
