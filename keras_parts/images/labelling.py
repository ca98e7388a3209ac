"""The rule by which a pixel belongs to a part, and where coarse logits already decide it.

A pixel belongs to the foreground if all parts together are more probable than the background, and
then to the most probable part.
"""

import functools

import numpy as np

UNDECIDED = 255
"""Label of pixels that depend on their own logits."""
_MARGIN, _RELATIVE_MARGIN = 1e-3, 1e-5
"""By how much a logit must exceed others, so that rounding cannot change the order: absolute, and
relative to the largest logit."""


def foreground_logits(logits: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """How much all parts together exceed the background.

    Args:
        logits: float32, with 1 + parts along `axis`, the background first.
        axis: of the parts.

    Returns:
        float32, without the axis; positive on the foreground.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.labelling import foreground_logits
        >>> foreground_logits(np.log(np.array([[4.0, 1, 1], [1, 2, 2]]))).round(2).tolist()
        [-0.69, 1.39]
    """
    background, *parts = np.moveaxis(logits, axis, 0)
    largest = functools.reduce(np.maximum, parts)
    # Not `logaddexp`, which takes ten times as long.
    odds = sum(np.exp(part - largest) for part in parts)
    return largest + np.log(odds) - background


def pixel_labels(logits: np.ndarray) -> np.ndarray:
    """The label of each pixel.

    Args:
        logits: `(1 + parts, ...)` float32, the background first.

    Returns:
        `(...)` uint8: 0 is the background, k is part k.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.labelling import pixel_labels
        >>> pixel_labels(np.float32([[2, 2, 2], [1, 3, 1.9], [1, 0, 1.8]])).tolist()
        [0, 1, 1]
    """
    background, best = logits[0], logits[1].copy()
    labels = np.ones(best.shape, np.uint8)
    for part, own in enumerate(logits[2:], start=2):
        # Labels ascend, so the maximum is the last part that exceeded all previous ones. This is
        # faster than an assignment with a mask.
        np.maximum(labels, (own > best) * np.uint8(part), out=labels)
        np.maximum(best, own, out=best)
    # The sum of the parts' odds is between 1 and `parts` times the odds of the best part. It is
    # computed only where the background's odds lie between these bounds.
    ahead = background - best
    unsure = np.flatnonzero((ahead >= 0) & (ahead < np.log(len(logits) - 1) + 1e-6))
    decided = labels.ravel() * (ahead.ravel() < 0)
    if unsure.size:
        odds = logits[1:].reshape(len(logits) - 1, -1)[:, unsure]
        together = np.log(np.exp(odds - odds.max(axis=0)).sum(axis=0))
        decided[unsure] = np.where(ahead.ravel()[unsure] < together, 1 + odds.argmax(axis=0), 0)
    return decided.reshape(labels.shape)


def cell_labels(maps: np.ndarray) -> np.ndarray:
    """The label of all pixels between four neighbouring positions, where these decide it.

    The logits of such a pixel are a weighted mean of those of the four positions. If one part
    exceeds the background and all other parts at each of them, it does so in the mean. If the
    background exceeds all parts together at each of them, it does so too, as the logarithm of a sum
    of exponentials is convex.

    Args:
        maps: `(1 + parts, h, w)` float32, the background first.

    Returns:
        `(h - 1, w - 1)` uint8, at least one a side: a label as of `pixel_labels`, or `UNDECIDED`.
        The 255th part has the same number, and is thus never decided.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.labelling import cell_labels
        >>> maps = np.zeros((2, 2, 4), np.float32)
        >>> maps[1] = [[-1, -1, 1, 1], [-2, -1, 1, 5]]
        >>> cell_labels(maps).tolist()
        [[0, 255, 1]]
    """
    best, second = maps[1], maps[0]
    labels = np.ones(best.shape, np.uint8)
    for part, own in enumerate(maps[2:], start=2):
        second = np.maximum(second, np.minimum(best, own))
        np.maximum(labels, (own > best) * np.uint8(part), out=labels)
        best = np.maximum(best, own)
    margin = max(_MARGIN, _RELATIVE_MARGIN * float(np.abs(maps).max()))
    labels[~(best - second > margin)] = UNDECIDED
    labels[foreground_logits(maps, axis=0) < -margin] = 0
    for _ in range(2):
        if len(labels) > 1:
            labels = agreed(labels[:-1], labels[1:])
        labels = labels.T
    return labels


def agreed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The labels where two maps have the same, and `UNDECIDED` elsewhere."""
    return np.where(one == other, one, np.uint8(UNDECIDED))
