"""Bilinear resampling with aligned corners, as two small matrix products per image.

Aligned corners: the centres of the corner pixels of both grids coincide, so output position `i`
lies at `i * (size_in - 1) / (size_out - 1)` in the input. The interpolation is linear and
separable, so its transpose and the squared norm of its result can be computed on the small grid:
features with many channels never have to be upsampled.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
from keras import ops


@lru_cache(maxsize=64)
def _cells(size_in, size_out):
    """Index of the left neighbour of each output position, and the offset from it in [0, 1]."""
    if size_in == 1 or size_out == 1:
        return np.zeros(size_out, int), np.zeros(size_out)
    positions = np.arange(size_out) * ((size_in - 1) / (size_out - 1))
    left = np.minimum(positions.astype(int), size_in - 2)
    return left, positions - left


def _scatter(size_out, size_in, columns, values):
    """Matrix `(size_out, size_in)`: row i has `values[i]` in column `columns[i]`, if it exists."""
    matrix = np.zeros((size_out, size_in), "float32")
    inside = columns < size_in
    np.add.at(matrix, (np.arange(size_out)[inside], columns[inside]), values[inside])
    return matrix


@lru_cache(maxsize=64)
def _interpolation(size_in, size_out):
    """Matrix `(size_out, size_in)` of the one-dimensional interpolation."""
    left, offset = _cells(size_in, size_out)
    return _scatter(size_out, size_in, left, 1 - offset) + _scatter(
        size_out, size_in, left + 1, offset
    )


@lru_cache(maxsize=64)
def _products(size_in, size_out):
    """Terms of the squared interpolation `(a f_i + b f_(i+1))^2` at each output position.

    Returns:
        The weights a^2 and b^2 of the squares `(size_out, size_in)`, and the weights 2 a b of the
        products of neighbours `(size_out, size_in - 1)`.
    """
    left, offset = _cells(size_in, size_out)
    cells = max(size_in - 1, 1)
    nodes = _scatter(size_out, size_in, left, (1 - offset) ** 2) + _scatter(
        size_out, size_in, left + 1, offset**2
    )
    return nodes, _scatter(size_out, cells, left, 2 * offset * (1 - offset))


def interpolation_matrix(positions: Any, count: Any) -> Any:
    """Weights of `count` values at fractional positions between them, as tensors.

    The same as `keras_parts.ops.interpolation.linear_weights`, which is in NumPy, for graphs that
    leave numbers open.

    Args:
        positions: `(n,)` float32 in 0 to `count - 1`, where value i lies at position i.
        count: number of values, an integer or a tensor.

    Returns:
        `(n, count)` float32; every row sums to 1.
    """
    distance = ops.abs(positions[:, None] - ops.cast(ops.arange(count), "float32"))
    return ops.maximum(0.0, 1.0 - distance)


def _open_interpolation(size_in, size_out):
    """`_interpolation` for sizes of which at least one is a tensor."""
    last_in, last_out = (ops.cast(size - 1, "float32") for size in (size_in, size_out))
    positions = ops.cast(ops.arange(size_out), "float32")
    return interpolation_matrix(positions * (last_in / ops.maximum(last_out, 1.0)), size_in)


def _separable(maps, vertical, horizontal):
    """Apply `(out, in)` matrices to the rows and columns of `(batch, height, width, channels)`."""
    maps = ops.einsum("Hh,bhwc->bHwc", ops.convert_to_tensor(vertical), maps)
    return ops.einsum("Ww,bhwc->bhWc", ops.convert_to_tensor(horizontal), maps)


def resize_aligned(maps: Any, size: tuple[int, int]) -> Any:
    """Bilinear resizing with aligned corners (no antialiasing: see `downsample_aligned`).

    Args:
        maps: `(batch, h, w, channels)`; a TensorFlow graph may leave h and w open.
        size: `(height, width)` of the result, integers or, in a graph, tensors.

    Returns:
        float32 `(batch, height, width, channels)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import resize_aligned
        >>> tuple(resize_aligned(np.ones((1, 9, 9, 4)), (33, 33)).shape)
        (1, 33, 33, 4)
    """
    maps = ops.cast(maps, "float32")
    sides = ops.shape(maps)[1:3]
    if any(map(ops.is_tensor, (*sides, *size))):
        return _separable(maps, *map(_open_interpolation, sides, size))
    if tuple(sides) == tuple(size):
        return maps
    return _separable(maps, *map(_interpolation, sides, size))


def finest_size(maps: Iterable[Any]) -> tuple[Any, Any]:
    """The maximum height and width of maps.

    TensorFlow leaves sides open after a few shapes, and in exports.

    Args:
        maps: maps `(batch, h, w, channels)`.

    Returns:
        `(height, width)`: integers, or tensors where a graph leaves a side open.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import finest_size
        >>> finest_size([np.ones((1, 9, 9, 4)), np.ones((1, 5, 5, 8))])
        (9, 9)
    """
    sides = [ops.shape(each)[1:3] for each in maps]
    height, width = (_maximum(list(along)) for along in zip(*sides, strict=True))
    return height, width


def _maximum(sides):
    is_known = all(isinstance(side, int) for side in sides)
    return max(sides) if is_known else ops.max(ops.stack(sides))


def resize_aligned_transpose(maps: Any, size: tuple[int, int]) -> Any:
    """Transpose of `resize_aligned`: `<resize(f), m> = <f, transpose(m)>` for every f and m.

    Args:
        maps: `(batch, height, width, channels)` on the large grid.
        size: `(h, w)` of the small grid.

    Returns:
        float32 `(batch, h, w, channels)`. The sum over positions stays the same.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import resize_aligned_transpose
        >>> small = resize_aligned_transpose(np.ones((1, 33, 33, 4)), (9, 9))
        >>> tuple(small.shape), round(float(np.sum(small)))
        ((1, 9, 9, 4), 4356)
    """
    maps = ops.cast(maps, "float32")
    height, width = maps.shape[1:3]
    if (height, width) == tuple(size):
        return maps
    vertical, horizontal = _interpolation(size[0], height), _interpolation(size[1], width)
    return _separable(maps, vertical.T, horizontal.T)


def downsample_aligned(maps: Any, size: tuple[int, int]) -> Any:
    """Antialiased downsampling with aligned corners.

    Each output position is a weighted mean of the input positions around it. The weights are those
    with which `resize_aligned` would compute these input positions from the output position.

    Args:
        maps: `(batch, height, width, channels)`.
        size: `(h, w)` of the result, not larger than the input.

    Returns:
        float32 `(batch, h, w, channels)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import downsample_aligned
        >>> tuple(downsample_aligned(np.ones((1, 33, 33, 4)), (9, 9)).shape)
        (1, 9, 9, 4)
    """
    height, width = maps.shape[1:3]
    weights = [_interpolation(*pair).sum(0) for pair in zip(size, (height, width), strict=True)]
    scale = 1 / (weights[0][:, None, None] * weights[1][None, :, None])
    return resize_aligned_transpose(maps, size) * ops.convert_to_tensor(scale)


def resized_squared_norm(features: Any, size: tuple[int, int]) -> Any:
    """Squared norm over the channels of `resize_aligned(features, size)`, without the resizing.

    |sum_i w_i f_i|^2 over the four neighbours i of a pixel is a quadratic form in the ten products
    <f_i, f_j> of neighbours. The products are computed on the small grid and then interpolated.

    Args:
        features: `(batch, h, w, channels)`.
        size: `(height, width)` of the large grid.

    Returns:
        float32 `(batch, height, width)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import resized_squared_norm
        >>> tuple(resized_squared_norm(np.ones((1, 9, 9, 4)), (33, 33)).shape)
        (1, 33, 33)
    """
    features = ops.cast(features, "float32")
    h, w = features.shape[1:3]
    if (h, w) == tuple(size):
        return ops.sum(ops.square(features), axis=-1)
    node_y, cell_y = _products(h, size[0])
    node_x, cell_x = _products(w, size[1])

    def interpolate(first, second, vertical, horizontal):
        products = ops.sum(first * second, axis=-1, keepdims=True)
        return _separable(products, vertical, horizontal)

    upper, lower = features[:, :-1], features[:, 1:]
    total = interpolate(features, features, node_y, node_x)
    if w > 1:
        total += interpolate(features[:, :, :-1], features[:, :, 1:], node_y, cell_x)
    if h > 1:
        total += interpolate(upper, lower, cell_y, node_x)
    if h > 1 and w > 1:
        # Each of the two diagonals has the weight 2 wy (1 - wy) wx (1 - wx).
        total += 0.5 * interpolate(upper[:, :, :-1], lower[:, :, 1:], cell_y, cell_x)
        total += 0.5 * interpolate(upper[:, :, 1:], lower[:, :, :-1], cell_y, cell_x)
    return ops.squeeze(total, axis=-1)
