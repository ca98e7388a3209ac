"""Connected regions of small maps.

A few lines of NumPy: the maps are those of a network, at most a few hundred positions a side, so
that no further library is needed to segment an image.
"""

import numpy as np


def connected_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The regions of a mask; positions that touch at a side or a corner are in one region.

    Args:
        mask: `(h, w)` bool.

    Returns:
        `(h, w)` int, 0 outside the mask and 1 to n in the regions, from the top; `(n,)` int, the
        number of positions in each region.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.regions import connected_regions
        >>> regions, sizes = connected_regions(np.array([[1, 0, 0, 1], [0, 1, 0, 1]], bool))
        >>> regions.tolist(), sizes.tolist()
        ([[1, 0, 0, 2], [0, 1, 0, 2]], [2, 2])
    """
    height, width = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges > 0)
    stops = np.nonzero(edges < 0)[1]
    # The runs of the row above that touch a run follow each other: from the first that ends at its
    # start or later, to the last that starts at its end or earlier.
    above = (rows - 1) * (width + 1)
    first = np.searchsorted(rows * (width + 1) + stops, above + starts)
    last = np.searchsorted(rows * (width + 1) + starts, above + stops, side="right")
    region = list(range(len(rows)))  # of each run: that of an earlier one, or its own

    def root(run: int) -> int:
        while region[run] != run:
            region[run] = run = region[region[run]]
        return run

    for run, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        for other in range(begin, end):
            one, two = root(run), root(other)
            region[max(one, two)] = min(one, two)
    roots = np.array([root(run) for run in range(len(rows))], int)
    found, numbers = np.unique(roots, return_inverse=True)
    lengths, result = stops - starts, np.zeros(mask.shape, int)
    result[mask] = 1 + np.repeat(numbers, lengths)
    return result, np.bincount(numbers, lengths, len(found)).astype(int)


def nearest_region(regions: np.ndarray) -> np.ndarray:
    """The regions, grown over the rest of the map: each position has the number of the nearest.

    Distances are numbers of steps to any of the eight neighbours; between regions of equal distance
    the larger number wins.

    Args:
        regions: `(h, w)` int, 0 outside of the regions.

    Returns:
        `(h, w)`; all 0 if there is no region.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.regions import nearest_region
        >>> nearest_region(np.array([[1, 0, 0, 0, 2]])).tolist()
        [[1, 1, 2, 2, 2]]
    """
    while regions.any() and not regions.all():
        regions = np.where(regions > 0, regions, largest_neighbour(regions))
    return regions


def largest_neighbour(numbers: np.ndarray) -> np.ndarray:
    """The maximum of each position of `(h, w)` and its eight neighbours."""
    for _ in range(2):
        found = numbers.copy()
        np.maximum(found[1:], numbers[:-1], out=found[1:])
        np.maximum(found[:-1], numbers[1:], out=found[:-1])
        numbers = found.T
    return numbers
