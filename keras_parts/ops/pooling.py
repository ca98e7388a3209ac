"""Pooling of features over soft parts."""

from keras import ops

from keras_parts.ops.resampling import reduce_aligned, resize_aligned, resize_aligned_transpose

_PROMINENCE = (0.1, 4.0)


def part_masks(logits, foreground):
    """m_k(u) = softmax_k(logits(u)) F(u), float32 `(batch, height, width, parts)`."""
    logits, foreground = ops.cast(logits, "float32"), ops.cast(foreground, "float32")
    return ops.softmax(logits, axis=-1) * foreground


def part_sums(masks, features):
    """Sums of features over parts: s_k = sum_u m_k(u) phi(u), with phi upsampled implicitly.

    The masks are brought down by the transpose of the upsampling, the features stay small.

    Args:
        masks: `(batch, height, width, parts)`, non-negative.
        features: `(batch, h, w, channels)`, of lower or the same resolution, corners aligned.

    Returns:
        float32 sums `(batch, parts, channels)` and areas `(batch, parts)` in pixels.
    """
    features = ops.cast(features, "float32")
    small = resize_aligned_transpose(masks, features.shape[1:3])
    return ops.einsum("bhwk,bhwc->bkc", small, features), ops.sum(masks, axis=(1, 2))


def part_descriptors(logits, foreground, features):
    """Mean feature of every part, z_k = sum_u m_k phi / (sum_u m_k + 1e-7).

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)` in [0, 1].
        features: `(batch, h, w, channels)`, upsampled implicitly with aligned corners.

    Returns:
        float32 `(batch, parts, channels)`; zeros for a part that is absent.
    """
    return part_means(part_masks(logits, foreground), features)


def part_means(masks, features):
    """Sums over areas of `part_sums`, `(batch, parts, channels)`; zeros for an empty mask."""
    sums, areas = part_sums(masks, features)
    return sums / (areas[..., None] + 1e-7)


def prominence(features, foreground):
    """How much a place differs from the mean of its image, compared with the other places.

    |phi(u) - mu|^2, the average of 3 x 3 cells, relative to its mean over the foreground, and
    clipped to 0.1..4: a head counts for more than as much of a flank.

    Args:
        features: `(batch, h, w, channels)`, of lower or the same resolution, corners aligned.
        foreground: `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 `(batch, height, width, 1)`, 1 on average over the foreground but for the clipping.
    """
    features, foreground = ops.cast(features, "float32"), ops.cast(foreground, "float32")
    mean = part_means(foreground, features)[:, None]
    energy = ops.sum(ops.square(features - mean), axis=-1, keepdims=True)
    inside = reduce_aligned(foreground, features.shape[1:3])
    energy = _average(energy * inside) / (_average(inside) + 1e-7)
    total = ops.sum(inside, axis=(1, 2), keepdims=True)
    energy = energy * total / (ops.sum(energy * inside, axis=(1, 2), keepdims=True) + 1e-7)
    return resize_aligned(ops.clip(energy, *_PROMINENCE), foreground.shape[1:3])


def _average(maps):
    """Of 3 x 3 cells, or of what there is of them at the border."""
    return ops.average_pool(maps, 3, strides=1, padding="same")


def l2_normalise(x, epsilon=1e-12):
    """Unit vectors along the last axis; zero stays zero, with a finite gradient."""
    return x * ops.rsqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + epsilon)
