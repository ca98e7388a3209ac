"""Part logits and a foreground logit, joined in one tensor with the background as channel 0.

With part logits z (channels 1..K) and a foreground logit g, the background's logit is
logsumexp(z) - g, so that exactly

    softmax over channels 1..K  = softmax(z)             (the parts as in the paper)
    softmax over channels 0..K  = [1 - sigmoid(g), sigmoid(g) softmax(z)]

Learning g therefore does not change how the foreground is divided into parts.
"""

from collections.abc import Sequence
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


def join_parts(part_logits: Any, groups: Sequence[Sequence[int]]) -> Any:
    """Logits of parts that are joined: the probability of each is the sum of its members'.

    The logit of a group is the logsumexp of its members. `join_background` of the result therefore
    has the same background.

    Args:
        part_logits: `(..., parts)`.
        groups: for each joined part its members, from 1.

    Returns:
        float32 `(..., groups)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import join_parts
        >>> logits = np.log([0.125, 0.25, 0.5, 0.125])
        >>> np.exp(join_parts(logits, [(1, 4), (2,), (3,)])).round(3).tolist()
        [0.25, 0.25, 0.5]
    """
    parts = ops.cast(part_logits, "float32")
    return ops.concatenate([_group_logits(parts, group) for group in groups], axis=-1)


def _group_logits(parts, group):
    # Slices, whose gradients are cheaper on TensorFlow than those of `take` along the last axis.
    members = [parts[..., part - 1 : part] for part in group]
    if len(members) == 1:
        return members[0]
    return ops.logsumexp(ops.concatenate(members, axis=-1), axis=-1, keepdims=True)
