"""Part logits and a foreground logit, joined in one tensor with the background as channel 0.

With part logits z (channels 1..K) and a foreground logit g, the background's logit is
logsumexp(z) - g, so that exactly

    softmax over channels 1..K  = softmax(z)             (the parts as in the paper)
    softmax over channels 0..K  = [1 - sigmoid(g), sigmoid(g) softmax(z)]

Learning g therefore does not change how the foreground is divided into parts.
"""

from typing import Any

from keras import ops


def join_background(part_logits: Any, foreground_logits: Any) -> Any:
    """Logits of background and parts: `[logsumexp(z) - g, z]`.

    Args:
        part_logits: `(..., parts)`.
        foreground_logits: `(..., 1)`.

    Returns:
        float32 `(..., 1 + parts)`, channel 0 the background.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import join_background
        >>> tuple(join_background(np.zeros((32, 32, 4)), np.zeros((32, 32, 1))).shape)
        (32, 32, 5)
    """
    parts = ops.cast(part_logits, "float32")
    total = ops.logsumexp(parts, axis=-1, keepdims=True)
    background = total - ops.cast(foreground_logits, "float32")
    return ops.concatenate([background, parts], axis=-1)


def split_background(logits: Any) -> tuple[Any, Any]:
    """The inverse of `join_background`.

    Args:
        logits: `(..., 1 + parts)`, channel 0 the background.

    Returns:
        float32 part logits `(..., parts)` and foreground logits `(..., 1)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import split_background
        >>> parts, foreground = split_background(np.zeros((32, 32, 5)))
        >>> tuple(parts.shape), tuple(foreground.shape)
        ((32, 32, 4), (32, 32, 1))
    """
    logits = ops.cast(logits, "float32")
    parts = logits[..., 1:]
    return parts, ops.logsumexp(parts, axis=-1, keepdims=True) - logits[..., :1]
