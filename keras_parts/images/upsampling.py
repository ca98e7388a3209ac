"""A network's coarse logits at the pixels of an image, upsampled where they are needed.

The logits of all pixels of a photograph may take gigabytes; labels and scores are much smaller and
need only a few rows at a time. Labels do not even need these: between positions that agree, all
pixels have the same label, and only the others are upsampled.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from keras_parts.images.geometry import ResizeGeometry
from keras_parts.images.labelling import UNDECIDED, agreed, cell_labels, pixel_labels
from keras_parts.ops.interpolation import Neighbours, linear_neighbours

_BAND = 32
"""Number of rows that are upsampled at a time for a whole image: so few stay in the cache."""
PIXELS_AT_A_TIME = 2**12
"""Number of single pixels that are upsampled at a time: so few stay in the cache."""

Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True, eq=False)
class Patch:
    """Logits of a rectangle of an image, and how they are interpolated at its pixels.

    Attributes:
        logits: `(1 + parts, h, w)` float32, the network's output.
        top, left: first row and column of the rectangle in the image.
        rows, columns: the positions of the map next to each row and each column of the rectangle,
            with their weights. The weights of a pixel sum to 1 over all patches of an image.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import Patch, resize_geometry
        >>> geometry = resize_geometry(40, 60, image_size=33)
        >>> patch = Patch.from_output(np.zeros((3, 3, 5), np.float32), geometry)
        >>> patch.shape, patch.values(slice(0, 9), slice(0, 60)).shape
        ((40, 60), (5, 9, 60))
    """

    logits: np.ndarray
    top: int
    left: int
    rows: Neighbours
    columns: Neighbours

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
            _neighbours(geometry, axis, logits.shape[axis], aligned_corners) for axis in (0, 1)
        )
        if fade:
            rows, columns = rows.scaled(fade[0]), columns.scaled(fade[1])
        logits = np.ascontiguousarray(np.moveaxis(logits, -1, 0), np.float32)
        return cls(logits, top, left, rows, columns)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the rectangle in pixels."""
        return len(self.rows), len(self.columns)

    def overlap(self, window: Window) -> tuple[Window, Window] | None:
        """What a window of the image shares with the rectangle: as a window of the rectangle, and
        relative to the window itself; None if nothing."""
        own, target = [], []
        for offset, length, given in zip((self.top, self.left), self.shape, window, strict=True):
            start, stop = max(given.start, offset), min(given.stop, offset + length)
            if start >= stop:
                return None
            own.append(slice(start - offset, stop - offset))
            target.append(slice(start - given.start, stop - given.start))
        return (own[0], own[1]), (target[0], target[1])

    def inside(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """`(n,)` bool: whether pixels of the image lie in the rectangle."""
        height, width = self.shape
        rows, columns = rows - self.top, columns - self.left
        return (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)

    def values(self, rows: slice, columns: slice) -> np.ndarray:
        """The logits `(1 + parts, rows, columns)` at the pixels of a window of the rectangle."""
        down, across = self.rows[rows], self.columns[columns]
        first = int(down.before[0])
        maps = self.logits[:, first : int(down.after[-1]) + 1]
        wide = _mean(maps.take(across.before, 2), maps.take(across.after, 2), across.weights)
        return _mean(
            wide.take(down.before - first, 1),
            wide.take(down.after - first, 1),
            down.weights[..., None],
        )

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The logits `(1 + parts, n)` at pixels of the image, as `values` gives them.

        Args:
            rows, columns: `(n,)` int, pixels of the image inside the rectangle.
        """
        down, across = self.rows.take(rows - self.top), self.columns.take(columns - self.left)
        flat, width = self.logits.reshape(len(self.logits), -1), self.logits.shape[2]
        above, below = (
            _mean(
                flat.take(line * width + across.before, 1),
                flat.take(line * width + across.after, 1),
                across.weights,
            )
            for line in (down.before, down.after)
        )
        return _mean(above, below, down.weights)

    @cached_property
    def _cell_labels(self):
        return cell_labels(self.logits)

    def certain_labels(self, rows: slice, columns: slice) -> np.ndarray:
        """`(rows, columns)` uint8: the labels of a window of the rectangle that the positions
        around the pixels decide, and `UNDECIDED` elsewhere."""
        wide = self._cell_labels.take(self.columns.before[columns], 1)
        return wide.take(self.rows.before[rows], 0)


class UpsampledLogits:
    """Logits at the pixels of an image, computed a few rows at a time.

    `numpy.asarray` computes all of them: `(height, width, 1 + parts)` float32. The logits of a
    pixel are the same, bit for bit, whatever is computed with them.

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
        >>> logits.shape, logits.rows(10, 12).shape, logits.labels(10, 12).shape
        ((40, 60, 5), (5, 2, 60), (2, 60))
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
        window = self._window(start, stop, left, right)
        shape = (self.shape[2], *_size(window))
        total: np.ndarray | None = None
        for patch, own, target in self._patches_in(window):
            part = patch.values(*own)
            if part.shape == shape:
                total = part if total is None else total + part
                continue
            if total is None:
                total = np.zeros(shape, np.float32)
            total[:, *target] += part
        return np.zeros(shape, np.float32) if total is None else total

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Logits `(1 + parts, n)` float32 at pixels.

        Args:
            rows, columns: `(n,)` int, of the pixels.
        """
        if len(self._patches) == 1:
            return self._patches[0].at(rows, columns)
        total = np.zeros((self.shape[2], len(rows)), np.float32)
        for patch in self._patches:
            inside = np.flatnonzero(patch.inside(rows, columns))
            total[:, inside] += patch.at(rows[inside], columns[inside])
        return total

    def labels(self, start: int, stop: int) -> np.ndarray:
        """`(rows, width)` uint8, the labels of rows `start` to `stop - 1`: see
        `keras_parts.images.labelling.pixel_labels`."""
        window = self._window(start, stop)
        labels = np.ascontiguousarray(self._certain_labels(window))
        flat = labels.reshape(-1)
        undecided = np.flatnonzero(flat == UNDECIDED)
        for first in range(0, len(undecided), PIXELS_AT_A_TIME):
            chosen = undecided[first : first + PIXELS_AT_A_TIME]
            rows, columns = np.divmod(chosen, self.shape[1])
            flat[chosen] = pixel_labels(self.at(rows + start, columns))
        return labels

    def _certain_labels(self, window: Window) -> np.ndarray:
        """The labels in a window that the positions around the pixels decide, and `UNDECIDED`
        elsewhere. Where patches overlap, all have to agree: the logits are a mean of theirs."""
        labels, covered = np.zeros(_size(window), np.uint8), np.zeros(_size(window), bool)
        for patch, own, target in self._patches_in(window):
            found = patch.certain_labels(*own)
            if found.shape == labels.shape and len(self._patches) == 1:
                return found
            labels[target] = np.where(covered[target], agreed(labels[target], found), found)
            covered[target] = True
        return labels

    def _window(self, start: int, stop: int, left: int = 0, right: int | None = None) -> Window:
        return slice(start, stop), slice(left, self.shape[1] if right is None else right)

    def _patches_in(self, window: Window) -> Iterator[tuple[Patch, Window, Window]]:
        """The patches that overlap a window: (patch, window of its own, the same in `window`)."""
        for patch in self._patches:
            if shared := patch.overlap(window):
                yield patch, *shared

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        result = np.empty(self.shape, dtype or np.float32)
        for start in range(0, self.shape[0], _BAND):
            stop = min(start + _BAND, self.shape[0])
            result[start:stop] = np.moveaxis(self.rows(start, stop), 0, -1)
        return result


def _mean(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted mean of two arrays, which are overwritten. Each number is rounded in the same
    way in arrays of any shape, unlike in a product of matrices."""
    one *= weights[0]
    other *= weights[1]
    one += other
    return one


def _size(window: Window) -> tuple[int, int]:
    rows, columns = window
    return rows.stop - rows.start, columns.stop - columns.start


@lru_cache(maxsize=64)  # many images have the same size
def _neighbours(geometry, axis, count, aligned_corners):
    """The positions of a map next to each pixel of an image along an axis; cropped pixels take the
    nearest position."""
    pixels = np.arange(geometry.original_size[axis])
    points = np.stack([pixels, pixels], axis=-1)
    positions, length = geometry.to_input(points)[:, 1 - axis], geometry.input_size[axis]
    if aligned_corners:
        positions = positions * (count - 1) / max(length - 1, 1)
    else:
        positions = (positions + 0.5) * count / length - 0.5
    found = linear_neighbours(positions, count)
    for array in (found.before, found.after, found.weights):
        array.flags.writeable = False
    return found


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
