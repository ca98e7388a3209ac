"""A network's coarse logits at the pixels of an image, enlarged a few rows at a time.

Bilinear enlarging is a product with one sparse matrix an axis. The logits of a photograph at its
full resolution may fill gigabytes; what is made of them is much smaller and needs a few rows only.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from keras_parts.images.geometry import Fit

_CERTAIN = 1e-3
"""By how much the background exceeds the parts where no rounding can turn that round."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Logits of a rectangle of an image, and how they are spread over its pixels.

    Attributes:
        logits: `(channels, h, w)` float32, the network's answer.
        top, left: the rectangle's first row and column in the image.
        rows: `(height, h)` float32, columns: `(width, w)` float32: weights of the network's cells
            at each row and column of the rectangle. Over all patches, the weights of a pixel sum
            to 1.
    """

    logits: np.ndarray
    top: int
    left: int
    rows: np.ndarray
    columns: np.ndarray

    @classmethod
    def of(cls, logits, fit: Fit, aligned_corners=True, top=0, left=0, fade=None):
        """The network's answer to `fit.apply(rectangle)`.

        Args:
            logits: `(h, w, channels)` float32.
            fit: how the rectangle came to the network.
            aligned_corners: how the map covers the input, see `keras_parts.images.geometry`.
            fade: (weights of the rectangle's rows, of its columns), or None for ones.
        """
        rows, columns = (
            _weights(fit, axis, logits.shape[axis], aligned_corners) for axis in (0, 1)
        )
        if fade:
            rows, columns = rows * fade[0][:, None], columns * fade[1][:, None]
        logits = np.ascontiguousarray(np.moveaxis(logits, -1, 0), np.float32)
        return cls(logits, top, left, rows, columns)

    @cached_property
    def _object_spans(self):
        """`(h, 2)` int: the columns of the rectangle that cells of each row of the map reach
        where the background does not exceed the parts together; from `width` to 0 for none."""
        parts = np.logaddexp.reduce(self.logits[1:], axis=0)
        cells = ~(self.logits[0] > parts + _CERTAIN)
        width, reached = len(self.columns), self.columns > 0
        first = np.where(reached.any(axis=0), reached.argmax(axis=0), width)
        last = np.where(reached.any(axis=0), width - reached[::-1].argmax(axis=0), 0)
        left = np.where(cells, first, width).min(axis=1)
        return np.stack([left, np.where(cells, last, 0).max(axis=1)], axis=1)

    def object_columns(self, first, last):
        """(left, right) in the rectangle: outside, its rows `first` to `last` are background;
        right is not above left if all of them are."""
        # Rows and cells follow each other: in between, nothing is left out.
        top, bottom = self.rows[first].argmax(), self.rows[last - 1].argmax()
        spans = self._object_spans[max(0, top - 1) : bottom + 2]
        return int(spans[:, 0].min()), int(spans[:, 1].max())


class EnlargedLogits:
    """Logits at the pixels of an image, as an array that is never there as a whole.

    Args:
        size: (height, width) of the image.
        patches: list of `Patch` that cover it.

    Attributes:
        shape: `(height, width, channels)`.
    """

    def __init__(self, size, patches):
        self.shape = (*size, patches[0].logits.shape[0])
        self._patches = patches

    @property
    def ndim(self):
        return len(self.shape)

    def rows(self, start, stop, left=0, right=None):
        """Rows `start` to `stop` of the image, columns `left` to `right`:
        `(channels, rows, columns)` float32."""
        (_, width, channels), total = self.shape, None
        shape = (channels, stop - start, (width if right is None else right) - left)
        for patch, first, last in self._patches_in(start, stop):
            begin = max(left - patch.left, 0)
            end = min(left + shape[2] - patch.left, len(patch.columns))
            if begin >= end:
                continue
            part = (patch.rows[first:last] @ patch.logits) @ patch.columns[begin:end].T
            if part.shape == shape:
                total = part if total is None else total + part
                continue
            if total is None:
                total = np.zeros(shape, np.float32)
            top, side = first + patch.top - start, begin + patch.left - left
            total[:, top : top + part.shape[1], side : side + part.shape[2]] += part
        return total

    def object_columns(self, start, stop):
        """(left, right): outside these columns, rows `start` to `stop` are background for certain.

        A pixel's logits are a mean of some cells' logits. Where the background exceeds the parts
        together in each of these cells it does so in their mean, as the logarithm of a sum of
        exponentials is convex.
        """
        found = [
            (patch.left + left, patch.left + right)
            for patch, first, last in self._patches_in(start, stop)
            for left, right in [patch.object_columns(first, last)]
            if left < right
        ] or [(0, 0)]
        return min(left for left, _ in found), max(right for _, right in found)

    def _patches_in(self, start, stop):
        """(patch, first, last of its rows) of the patches that rows `start` to `stop` meet."""
        for patch in self._patches:
            first, last = max(start - patch.top, 0), min(stop - patch.top, len(patch.rows))
            if first < last:
                yield patch, first, last

    def __array__(self, dtype=None, copy=None):
        return np.moveaxis(self.rows(0, self.shape[0]), 0, -1).astype(dtype or np.float32)


@lru_cache(maxsize=16)
def _weights(fit, axis, cells, aligned_corners):
    """`(pixels, cells)` float32: linear interpolation between a map's cells at an image's pixels,
    the nearest cell where the network did not look. Many pictures have the same size."""
    pixels = np.arange(fit.image_size[axis])
    points = np.stack([pixels, pixels], axis=-1)
    places, length = fit.to_input(points)[:, 1 - axis], fit.input_size[axis]
    if aligned_corners:
        places = places * (cells - 1) / max(length - 1, 1)
    else:
        places = (places + 0.5) * cells / length - 0.5
    places = np.clip(places, 0, cells - 1)
    weights = np.maximum(0, 1 - abs(places[:, None] - np.arange(cells))).astype(np.float32)
    weights.flags.writeable = False
    return weights
