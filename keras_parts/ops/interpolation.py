"""Weights of linear interpolation, in NumPy."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The two values on both sides of each of some positions, and their weights.

    Attributes:
        before, after: `(n,)` int, indices of the values before and after each position; the same
            if there is only one value.
        weights: `(2, n)` float32, of the value before and of the value after.
    """

    before: np.ndarray
    after: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.before)

    def __getitem__(self, section: slice) -> "Neighbours":
        """Those of a section of the positions."""
        return Neighbours(self.before[section], self.after[section], self.weights[:, section])

    def take(self, indices: np.ndarray) -> "Neighbours":
        """Those of single positions."""
        return Neighbours(
            self.before.take(indices), self.after.take(indices), self.weights.take(indices, 1)
        )

    @property
    def nearest(self) -> np.ndarray:
        """`(n,)` int, the index of the value that is nearest to each position."""
        return np.where(self.weights[1] > self.weights[0], self.after, self.before)

    def scaled(self, factors: np.ndarray) -> "Neighbours":
        """With weights times `factors` `(n,)`."""
        return Neighbours(self.before, self.after, self.weights * factors.astype(np.float32))


def linear_neighbours(positions: np.ndarray, count: int) -> Neighbours:
    """The neighbours of fractional positions between values.

    Args:
        positions: `(n,)`; value i lies at position i. Positions outside 0 to `count - 1` get the
            first or the last value.
        count: number of values.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.interpolation import linear_neighbours
        >>> found = linear_neighbours(np.array([-1.0, 1.25]), 3)
        >>> found.before.tolist(), found.after.tolist(), found.weights.tolist()
        ([0, 1], [1, 2], [[1.0, 0.75], [0.0, 0.25]])
    """
    positions = np.clip(positions, 0, count - 1)
    before = np.clip(np.floor(positions).astype(np.intp), 0, max(count - 2, 0))
    weights = np.stack([1 - (positions - before), 1 - (before + 1 - positions)])
    return Neighbours(before, np.minimum(before + 1, count - 1), weights.astype(np.float32))


def linear_weights(positions: np.ndarray, count: int) -> np.ndarray:
    """`linear_neighbours` as a matrix: weights of all values at each position.

    Args:
        positions, count: see `linear_neighbours`.

    Returns:
        `(n, count)` float32; every row sums to 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.interpolation import linear_weights
        >>> linear_weights(np.array([-1.0, 0.25]), 2).tolist()
        [[1.0, 0.0], [0.75, 0.25]]
    """
    found, numbers = linear_neighbours(positions, count), np.arange(count)
    sides = zip((found.before, found.after), found.weights, strict=True)
    matrices = ((index[:, None] == numbers) * weights[:, None] for index, weights in sides)
    return sum(matrices, np.zeros((len(found), count), np.float32))
