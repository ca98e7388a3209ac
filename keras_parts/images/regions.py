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
    numbers = np.where(mask, np.arange(1, 1 + mask.size).reshape(mask.shape), 0)
    # Every position takes the largest number among its neighbours, and then that which the position
    # with this number has: regions of any shape are done after few rounds.
    while True:
        found = np.where(mask, largest_neighbour(numbers), 0)
        found = np.concatenate([[0], found.ravel()])[found]
        if (found == numbers).all():
            break
        numbers = found
    _, first, regions, sizes = np.unique(
        numbers[mask], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    result = np.zeros(mask.shape, int)
    result[mask] = 1 + np.argsort(order)[regions]
    return result, sizes[order]


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
