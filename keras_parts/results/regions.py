"""Areas, centroids and boxes of labelled pixels."""

from dataclasses import dataclass

import numpy as np

_BAND = 2**15
"""Number of pixels that are counted at a time: eight bytes for each are in memory then."""


@dataclass(frozen=True, eq=False)
class Regions:
    """What `measure` finds of each label from 1 on. Points are x and y in pixels; (0, 0) is the
    centre of the top-left pixel.

    Attributes:
        areas: `(count,)` int64, numbers of pixels.
        centroids: `(count, 2)` float32, mean x and y; NaN without pixels.
        boxes: `(count, 4)` float32 x0, y0, x1, y1 along the edges of the pixels; NaN without them.
    """

    areas: np.ndarray
    centroids: np.ndarray
    boxes: np.ndarray


def window_of(labels: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the smallest rectangle with all pixels that are not 0; empty slices if
    all are.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.regions import window_of
        >>> window_of(np.eye(4, dtype="uint8")[:3, 1:])
        (slice(1, 3, None), slice(0, 2, None))
    """
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def box_window(box: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a box of `Regions`; empty slices if it is NaN."""
    left, top, right, bottom = (np.nan_to_num(box, nan=-0.5) + 0.5).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def measure(labels: np.ndarray, count: int, window: tuple[slice, slice]) -> Regions:
    """Areas, centroids and boxes of the labels 1 to `count`.

    Args:
        labels: `(height, width)` uint8.
        count: the largest label.
        window: rows and columns outside which all labels are 0, see `window_of`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.results.regions import measure, window_of
        >>> labels = np.array([[0, 2, 2], [0, 2, 2]], "uint8")
        >>> regions = measure(labels, 2, window_of(labels))
        >>> regions.areas.tolist(), regions.centroids[1].tolist(), regions.boxes[1].tolist()
        ([0, 4], [1.5, 0.5], [0.5, -0.5, 2.5, 1.5])
    """
    origin = window[1].start, window[0].start
    lines = _counts(labels[window], count)  # pixels at each x, and at each y
    areas = lines[0].sum(axis=1)
    sums = [line @ np.arange(line.shape[1]) for line in lines]
    with np.errstate(invalid="ignore"):
        centroids = (np.stack(sums, axis=-1) + areas[:, None] * origin) / areas[:, None]
    if not areas.any():
        return Regions(areas, centroids.astype(np.float32), np.full((count, 4), np.nan, np.float32))
    occupied = [line > 0 for line in lines]
    first = [line.argmax(axis=1) - 0.5 for line in occupied]
    last = [line.shape[1] - line[:, ::-1].argmax(axis=1) - 0.5 for line in occupied]
    boxes = np.stack(first + last, axis=-1) + (origin * 2)
    boxes = np.where(areas[:, None] > 0, boxes, np.nan)
    return Regions(areas, centroids.astype(np.float32), boxes.astype(np.float32))


def _counts(labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`(count, width)` and `(count, height)` int64: pixels of each label at every x and y."""
    height, width = labels.shape
    size = count + 1
    columns, rows = np.zeros(width * size, np.int64), np.zeros((height, size), np.int64)
    x = np.arange(width) * size
    step = max(1, _BAND // max(width, 1))
    for start in range(0, height, step):
        band = labels[start : start + step]
        y = np.arange(len(band))[:, None] * size
        columns += np.bincount((x + band).ravel(), minlength=columns.size)
        counts = np.bincount((y + band).ravel(), minlength=len(band) * size)
        rows[start : start + step] = counts.reshape(len(band), size)
    return columns.reshape(width, size).T[1:], rows.T[1:]
