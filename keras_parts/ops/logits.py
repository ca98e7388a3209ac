"""One tensor of logits that holds the parts, and the background too.

Channel 0 is the background, channels 1..K the parts. With part logits z and a foreground logit g,
the background's logit is logsumexp(z) - g, so that

    softmax over channels 1..K  = softmax(z)             (the paper's parts inside the foreground)
    softmax over channels 0..K  = [1 - sigmoid(g), sigmoid(g) softmax(z)]

exactly: learning g leaves the division into parts alone.
"""

from keras import ops


def join_background(part_logits, foreground_logits):
    """Logits of background and parts.

    Args:
        part_logits: `(..., parts)`.
        foreground_logits: `(..., 1)`.

    Returns:
        float32 `(..., 1 + parts)`, channel 0 the background.
    """
    parts = ops.cast(part_logits, "float32")
    total = ops.logsumexp(parts, axis=-1, keepdims=True)
    background = total - ops.cast(foreground_logits, "float32")
    return ops.concatenate([background, parts], axis=-1)


def split_background(logits):
    """The inverse of `join_background`: part logits `(..., parts)`, foreground `(..., 1)`."""
    logits = ops.cast(logits, "float32")
    parts = logits[..., 1:]
    return parts, ops.logsumexp(parts, axis=-1, keepdims=True) - logits[..., :1]
