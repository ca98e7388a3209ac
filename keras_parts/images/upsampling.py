"""A network's coarse logits at the pixels of an image, upsampled a few rows at a time.

Bilinear upsampling is a product with one sparse matrix per axis. The logits of all pixels of a
photograph may take gigabytes; labels and scores are much smaller and need only a few rows at a
time.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from keras_parts.images.geometry import ResizeGeometry
from keras_parts.ops.interpolation import linear_weights

_MARGIN = 1e-3
"""By how much the background's logit must exceed the parts', so that rounding cannot change the
order."""
_SMALL_PRODUCT = 2**18
"""Maximum of multiplications in a matrix product, for which OpenBLAS uses one thread: on a busy
machine, small products wait for its other threads longer than they compute."""
_BAND = 32
"""Number of rows that are upsampled at a time for a whole image: so few stay in the cache."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Logits of a rectangle of an image, with the weights that interpolate them at its pixels.

    Attributes:
        logits: `(1 + parts, h, w)` float32, the network's output.
        top, left: first row and column of the rectangle in the image.
        rows, columns: `(height, h)` and `(width, w)` float32, weights of the map's positions at
            each row and each column of the rectangle. The weights of a pixel sum to 1 over all
            patches of an image.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import Patch, resize_geometry
        >>> geometry = resize_geometry(40, 60, image_size=33)
        >>> patch = Patch.from_output(np.zeros((3, 3, 5), np.float32), geometry)
        >>> patch.rows.shape, patch.columns.shape
        ((40, 3), (60, 3))
    """

    logits: np.ndarray
    top: int
    left: int
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def from_output(
        cls,
        logits: np.ndarray,
        geometry: ResizeGeometry,
        *,
        aligned_corners: bool = True,
        top: int = 0,
        left: int = 0,
        fade: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> "Patch":
        """The patch for the network's output on the input `geometry.apply(rectangle)`.

        Args:
            logits: `(h, w, 1 + parts)` float32.
            geometry: of the rectangle in the network's input.
            aligned_corners: whether the map covers the input with aligned corners, see
                `keras_parts.images.geometry`.
            top, left: first row and column of the rectangle in the image.
            fade: weights `(height,)` of the rectangle's rows and `(width,)` of its columns, for
                patches that overlap; None for ones.
        """
        rows, columns = (
            _weights(geometry, axis, logits.shape[axis], aligned_corners) for axis in (0, 1)
        )
        if fade:
            rows, columns = rows * fade[0][:, None], columns * fade[1][:, None]
        logits = np.ascontiguousarray(np.moveaxis(logits, -1, 0), np.float32)
        return cls(logits, top, left, rows, columns)

    def values(self, rows: slice, columns: slice) -> np.ndarray:
        """The logits `(1 + parts, rows, columns)` at the pixels of a window of the rectangle."""
        return _interpolated(self.logits, self.rows[rows], self.columns[columns])

    @cached_property
    def _object_spans(self):
        """`(h, 2)` int: for each row of the map, the rectangle's columns (first, last + 1) that
        depend on positions where the background does not exceed all parts together; (width, 0)
        for a row without such positions."""
        on_object = ~(foreground_logits(self.logits, axis=0) < -_MARGIN)
        width, depends = len(self.columns), self.columns > 0
        first = np.where(depends.any(axis=0), depends.argmax(axis=0), width)
        last = np.where(depends.any(axis=0), width - depends[::-1].argmax(axis=0), 0)
        left = np.where(on_object, first, width).min(axis=1)
        return np.stack([left, np.where(on_object, last, 0).max(axis=1)], axis=1)

    def object_columns(self, first: int, last: int) -> tuple[int, int]:
        """Columns (left, right) of the rectangle outside of which its rows `first` to `last - 1`
        are background; left is at least right if all columns are."""
        # The rows of the map that the first and the last row depend on enclose those of the others.
        top, bottom = self.rows[first].argmax(), self.rows[last - 1].argmax()
        spans = self._object_spans[max(0, top - 1) : bottom + 2]
        return int(spans[:, 0].min()), int(spans[:, 1].max())


class UpsampledLogits:
    """Logits at the pixels of an image, computed a few rows at a time.

    `numpy.asarray` computes all of them: `(height, width, 1 + parts)` float32.

    Args:
        size: (height, width) of the image in pixels.
        patches: the `Patch` objects that together cover the image.

    Attributes:
        shape: `(height, width, 1 + parts)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import Patch, UpsampledLogits, resize_geometry
        >>> geometry = resize_geometry(40, 60, image_size=33)
        >>> patch = Patch.from_output(np.ones((3, 3, 5), np.float32), geometry)
        >>> logits = UpsampledLogits((40, 60), [patch])
        >>> logits.shape, logits.rows(10, 12).shape
        ((40, 60, 5), (5, 2, 60))
    """

    def __init__(self, size: tuple[int, int], patches: Sequence[Patch]):
        self.shape = (*size, patches[0].logits.shape[0])
        self._patches = patches

    @property
    def ndim(self) -> int:
        """Number of axes, 3."""
        return len(self.shape)

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """Logits of rows `start` to `stop - 1` and columns `left` to `right - 1`.

        Returns:
            `(1 + parts, rows, columns)` float32, up to the last column if `right` is None.
        """
        _, width, channels = self.shape
        total: np.ndarray | None = None
        shape = (channels, stop - start, (width if right is None else right) - left)
        for patch, first, last in self._patches_in(start, stop):
            begin = max(left - patch.left, 0)
            end = min(left + shape[2] - patch.left, len(patch.columns))
            if begin >= end:
                continue
            part = patch.values(slice(first, last), slice(begin, end))
            if part.shape == shape:
                total = part if total is None else total + part
                continue
            if total is None:
                total = np.zeros(shape, np.float32)
            top, side = first + patch.top - start, begin + patch.left - left
            total[:, top : top + part.shape[1], side : side + part.shape[2]] += part
        return np.zeros(shape, np.float32) if total is None else total

    def object_columns(self, start: int, stop: int) -> tuple[int, int]:
        """Columns (left, right) outside of which rows `start` to `stop - 1` are background.

        The logits of a pixel are a weighted mean of the logits at some positions. If the background
        exceeds all parts together at each of these positions, it also does in the mean, as the
        logarithm of a sum of exponentials is convex.
        """
        found = [
            (patch.left + left, patch.left + right)
            for patch, first, last in self._patches_in(start, stop)
            for left, right in [patch.object_columns(first, last)]
            if left < right
        ] or [(0, 0)]
        return min(left for left, _ in found), max(right for _, right in found)

    def _patches_in(self, start: int, stop: int) -> Iterator[tuple[Patch, int, int]]:
        """The patches that overlap rows `start` to `stop - 1`: (patch, first, last + 1 of its own
        rows)."""
        for patch in self._patches:
            first, last = max(start - patch.top, 0), min(stop - patch.top, len(patch.rows))
            if first < last:
                yield patch, first, last

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        result = np.empty(self.shape, dtype or np.float32)
        for start in range(0, self.shape[0], _BAND):
            stop = min(start + _BAND, self.shape[0])
            result[start:stop] = np.moveaxis(self.rows(start, stop), 0, -1)
        return result


def foreground_logits(logits: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """How much all parts together exceed the background.

    Args:
        logits: float32, with 1 + parts along `axis`, the background first.
        axis: of the parts.

    Returns:
        float32, without the axis; positive on the foreground.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.upsampling import foreground_logits
        >>> foreground_logits(np.log(np.array([[4.0, 1, 1], [1, 2, 2]]))).round(2).tolist()
        [-0.69, 1.39]
    """
    background, *parts = np.moveaxis(logits, axis, 0)
    largest = functools.reduce(np.maximum, parts)
    # Not `logaddexp`, which takes ten times as long.
    odds = sum(np.exp(part - largest) for part in parts)
    return largest + np.log(odds) - background


def _interpolated(logits: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Logits `(channels, h, w)`, interpolated with weights `(rows, h)` and `(columns, w)`:
    `(channels, rows, columns)`."""
    tall = rows @ logits
    step = max(1, _SMALL_PRODUCT // columns.size)
    if len(rows) <= step:
        return tall @ columns.T
    result = np.empty((len(logits), len(rows), len(columns)), np.float32)
    for start in range(0, len(rows), step):
        band = slice(start, start + step)
        np.matmul(tall[:, band], columns.T, out=result[:, band])
    return result


@lru_cache(maxsize=16)  # many images have the same size
def _weights(geometry, axis, count, aligned_corners):
    """`(pixels, count)` float32: along an axis, weights of the `count` positions of a map at the
    pixels of an image, by linear interpolation. Cropped pixels take the nearest position."""
    pixels = np.arange(geometry.original_size[axis])
    points = np.stack([pixels, pixels], axis=-1)
    positions, length = geometry.to_input(points)[:, 1 - axis], geometry.input_size[axis]
    if aligned_corners:
        positions = positions * (count - 1) / max(length - 1, 1)
    else:
        positions = (positions + 0.5) * count / length - 0.5
    weights = linear_weights(positions, count)
    weights.flags.writeable = False
    return weights


def position_borders(
    geometry: ResizeGeometry, axis: int, count: int, aligned_corners: bool = True
) -> np.ndarray:
    """Where the positions of a map begin and end in the image, along an axis.

    Args:
        geometry: of the image in the network's input.
        axis: 0 for rows or 1 for columns.
        count: number of positions of the map along the axis.
        aligned_corners: see `keras_parts.images.geometry`.

    Returns:
        `(count + 1,)` float64, in pixels from the image's first edge: position i lies between the
        values i and i + 1. Positions outside the image have no length.

    Example:
        >>> from keras_parts.images import resize_geometry
        >>> from keras_parts.images.upsampling import position_borders
        >>> position_borders(resize_geometry(66, 66, image_size=33), 0, 3).tolist()
        [0.0, 17.0, 49.0, 66.0]
    """
    borders, length = np.arange(count + 1) - 0.5, geometry.input_size[axis]
    if aligned_corners:
        borders = borders * (length - 1) / max(count - 1, 1)
    else:
        borders = (borders + 0.5) * length / count - 0.5
    points = geometry.to_image(np.stack([borders, borders], axis=-1))
    return np.clip(points[:, 1 - axis] + 0.5, 0, geometry.original_size[axis])
