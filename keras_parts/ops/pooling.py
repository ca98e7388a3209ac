"""Pooling of features over soft part masks."""

from typing import Any

from keras import ops

from keras_parts.ops.resampling import downsample_aligned, resize_aligned, resize_aligned_transpose

_PROMINENCE_RANGE = (0.1, 4.0)


def part_masks(logits: Any, foreground: Any) -> Any:
    """Soft masks of the parts: m_k(u) = softmax_k(logits(u)) F(u).

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: F, `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 `(batch, height, width, parts)` in [0, 1].
    """
    logits, foreground = ops.cast(logits, "float32"), ops.cast(foreground, "float32")
    return ops.softmax(logits, axis=-1) * foreground


def part_sums(masks: Any, features: Any) -> tuple[Any, Any]:
    """Sums of features over part masks: s_k = sum_u m_k(u) phi(u), phi the upsampled features.

    The masks are downsampled by the transpose of the upsampling: the sums are the same, and the
    features are never upsampled.

    Args:
        masks: `(batch, height, width, parts)`, non-negative.
        features: `(batch, h, w, channels)` at the same or a lower resolution, aligned corners.

    Returns:
        float32 sums `(batch, parts, channels)`, and areas `sum_u m_k(u)` `(batch, parts)` in pixels
        of the masks.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import part_sums
        >>> sums, areas = part_sums(np.ones((2, 33, 33, 4)), np.ones((2, 9, 9, 16)))
        >>> tuple(sums.shape), tuple(areas.shape), float(areas[0, 0])
        ((2, 4, 16), (2, 4), 1089.0)
    """
    masks, features = ops.cast(masks, "float32"), ops.cast(features, "float32")
    downsampled = resize_aligned_transpose(masks, features.shape[1:3])
    return ops.einsum("bhwk,bhwc->bkc", downsampled, features), ops.sum(masks, axis=(1, 2))


def part_descriptors(logits: Any, foreground: Any, features: Any) -> Any:
    """Mean feature of each part: z_k = sum_u m_k(u) phi(u) / (sum_u m_k(u) + 1e-7).

    The masks m_k are those of `part_masks`.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)` in [0, 1].
        features: `(batch, h, w, channels)`, upsampled implicitly with aligned corners.

    Returns:
        float32 `(batch, parts, channels)`; zeros for a part that is absent.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import part_descriptors
        >>> logits, foreground = np.zeros((2, 33, 33, 4)), np.ones((2, 33, 33, 1))
        >>> tuple(part_descriptors(logits, foreground, np.ones((2, 9, 9, 16))).shape)
        (2, 4, 16)
    """
    return part_means(part_masks(logits, foreground), features)


def part_means(masks: Any, features: Any) -> Any:
    """Mean feature of each mask: the sums of `part_sums` divided by the areas + 1e-7.

    Args:
        masks: `(batch, height, width, parts)`, non-negative.
        features: `(batch, h, w, channels)`, upsampled implicitly with aligned corners.

    Returns:
        float32 `(batch, parts, channels)`; zeros for an empty mask.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import part_means
        >>> means = part_means(np.ones((1, 33, 33, 1)), np.full((1, 9, 9, 2), 3.0))
        >>> np.asarray(means).round(3).tolist()
        [[[3.0, 3.0]]]
    """
    sums, areas = part_sums(masks, features)
    return sums / (areas[..., None] + 1e-7)


def prominence(features: Any, foreground: Any) -> Any:
    """How much each position's feature differs from the mean feature of its image's foreground.

    e(u) = |phi(u) - mu|^2, averaged over 3 x 3 positions inside the foreground, divided by its mean
    over the foreground and clipped to 0.1..4. Used as a weight, it makes distinctive regions,
    such as a head, count for more than uniform ones of the same area.

    Args:
        features: `(batch, h, w, channels)` at the same or a lower resolution, aligned corners.
        foreground: `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 `(batch, height, width, 1)`; its mean over the foreground is 1 before clipping.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import prominence
        >>> features = np.random.default_rng(0).normal(size=(2, 9, 9, 16))
        >>> tuple(prominence(features, np.ones((2, 33, 33, 1))).shape)
        (2, 33, 33, 1)
    """
    features, foreground = ops.cast(features, "float32"), ops.cast(foreground, "float32")
    mean = part_means(foreground, features)[:, None]
    energy = ops.sum(ops.square(features - mean), axis=-1, keepdims=True)
    inside = downsample_aligned(foreground, features.shape[1:3])
    energy = _average(energy * inside) / (_average(inside) + 1e-7)
    total = ops.sum(inside, axis=(1, 2), keepdims=True)
    energy = energy * total / (ops.sum(energy * inside, axis=(1, 2), keepdims=True) + 1e-7)
    return resize_aligned(ops.clip(energy, *_PROMINENCE_RANGE), foreground.shape[1:3])


def _average(maps):
    """Means over 3 x 3 positions; at the border, over the positions inside the map."""
    return ops.average_pool(maps, 3, strides=1, padding="same")


def l2_normalise(x: Any, epsilon: float = 1e-12) -> Any:
    """Unit vectors along the last axis: x / sqrt(|x|^2 + epsilon).

    Args:
        x: `(..., channels)`.
        epsilon: keeps the result 0, and the gradient finite, where x is 0.

    Returns:
        The same shape and dtype.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import l2_normalise
        >>> np.asarray(l2_normalise(np.array([[3.0, 4.0]], "float32"))).round(4).tolist()
        [[0.6000..., 0.8000...]]
    """
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + epsilon)
