"""A network's coarse logits at the pixels of an image, enlarged a few rows at a time.

Bilinear enlarging is a product with one sparse matrix an axis. The logits of a photograph at its
full resolution may fill gigabytes; what is made of them is much smaller and needs a few rows only.
"""

from dataclasses import dataclass

import numpy as np

from keras_parts.geometry import Fit


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
            aligned_corners: how the map covers the input, see `keras_parts.geometry`.
            fade: (weights of the rectangle's rows, of its columns), or None for ones.
        """
        rows, columns = (
            _weights(fit, axis, logits.shape[axis], aligned_corners) for axis in (0, 1)
        )
        if fade:
            rows, columns = rows * fade[0][:, None], columns * fade[1][:, None]
        logits = np.ascontiguousarray(np.moveaxis(logits, -1, 0), np.float32)
        return cls(logits, top, left, rows, columns)


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

    def rows(self, start, stop):
        """Rows `start` to `stop` of the image: `(channels, rows, width)` float32."""
        (_, width, channels), total = self.shape, None
        for patch in self._patches:
            first, last = max(start - patch.top, 0), min(stop - patch.top, len(patch.rows))
            if first >= last:
                continue
            part = (patch.rows[first:last] @ patch.logits) @ patch.columns.T
            if part.shape == (channels, stop - start, width):
                total = part if total is None else total + part
                continue
            if total is None:
                total = np.zeros((channels, stop - start, width), np.float32)
            top, left = first + patch.top - start, patch.left
            total[:, top : top + part.shape[1], left : left + part.shape[2]] += part
        return total

    def __array__(self, dtype=None, copy=None):
        return np.moveaxis(self.rows(0, self.shape[0]), 0, -1).astype(dtype or np.float32)


def _weights(fit, axis, cells, aligned_corners):
    """`(pixels, cells)` float32: linear interpolation between a map's cells at an image's pixels,
    the nearest cell where the network did not look."""
    pixels = np.arange(fit.image_size[axis])
    points = np.stack([pixels, pixels], axis=-1)
    places, length = fit.to_input(points)[:, 1 - axis], fit.input_size[axis]
    if aligned_corners:
        places = places * (cells - 1) / max(length - 1, 1)
    else:
        places = (places + 0.5) * cells / length - 0.5
    places = np.clip(places, 0, cells - 1)
    return np.maximum(0, 1 - abs(places[:, None] - np.arange(cells))).astype(np.float32)
