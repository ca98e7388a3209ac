"""Masks: which pixels are inside, whatever range the mask has."""

from typing import Any

from keras import ops


def binary_mask(mask: Any) -> Any:
    """A mask of 0 and 1 from one that is bool, or in 0 to 1, or in 0 to 255.

    Args:
        mask: any shape and dtype; in 0 to 255 if a value is above 1.

    Returns:
        float32 of the same shape: 1 above half of the range, else 0.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import binary_mask
        >>> binary_mask(np.array([0, 255], np.uint8)).dtype == binary_mask(np.array([True])).dtype
        True
    """
    mask = ops.cast(mask, "float32")
    # Not the mask divided by its range: the result would depend on the backend's rounding.
    return ops.cast(mask > ops.where(ops.max(mask) > 1, 127.5, 0.5), "float32")
