"""Weights of linear interpolation, in NumPy."""

import numpy as np


def linear_weights(positions: np.ndarray, count: int) -> np.ndarray:
    """Weights of `count` values at fractional positions between them.

    Args:
        positions: `(n,)`; value i lies at position i. Positions outside 0 to `count - 1` get the
            first or the last value.
        count: number of values.

    Returns:
        `(n, count)` float32; every row sums to 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.interpolation import linear_weights
        >>> linear_weights(np.array([-1.0, 0.25]), 2).tolist()
        [[1.0, 0.0], [0.75, 0.25]]
    """
    positions = np.clip(positions, 0, count - 1)
    return np.maximum(0, 1 - abs(positions[:, None] - np.arange(count))).astype(np.float32)
