"""The losses of part discovery, a pure function each.

Notation: image n of N, part k of K, pixel u of U; p = softmax over the K part logits; F the
foreground; m_k(u) = p_k(u) F(u); mu_k the mean of part k, weighted by m_k; x the image; phi the
teacher features. Tensors are channels last.
All sums are float32, whatever the precision policy, because the consistency losses subtract large
numbers.
If replicas share a batch, a loss is the mean over the replicas; the contrastive loss, the balance
and the presence use the images of all replicas.
Source: Choudhury et al., NeurIPS 2021; where its public code differs, the code.
"""

from typing import Any

from keras import ops

from keras_parts.errors import ConfigError
from keras_parts.ops.pooling import l2_normalise, part_masks, part_sums
from keras_parts.ops.replicas import gather_rows, own_rows, sum_over_replicas, uniform_rows
from keras_parts.ops.resampling import downsample_aligned, resize_aligned, resized_squared_norm

__all__ = [
    "balance",
    "cluster_cross_entropy",
    "contrastive",
    "equivariance",
    "feature_consistency",
    "foreground_cross_entropy",
    "foreground_dice",
    "limit_outliers",
    "presence",
    "visual_consistency",
]
Tensor = Any
"""A tensor of the running backend, or a NumPy array."""

_REDUCTIONS = {"sum": ops.sum, "mean": ops.mean, "none": lambda values: values}
"""Name -> function from the loss of each image, `(batch,)`, to the loss of the batch."""


def visual_consistency(
    logits: Tensor, foreground: Tensor, image: Tensor, reduction: str = "mean"
) -> Tensor:
    """Pixel reconstruction: pixels of a part should have the part's mean colour.

    L_v = 1/N sum_n [ sum_k sum_u m_k(u) |x(u) - mu_k|^2 / (sum_u F(u) + 1e-5) ]

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        image: `(batch, height, width, channels)`; the paper takes CIE Lab, L from 0 to 100.
        reduction: "mean" over the batch (the paper), "sum" or "none".

    Returns:
        float32 scalar, in squared units of the image; `(batch,)` for "none".

    Raises:
        ConfigError: there is no such reduction.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import visual_consistency
        >>> image = np.tile(np.array([0.0, 10.0], "float32")[:, None], (1, 2, 1, 3))
        >>> logits = np.array([[50.0, 0.0], [0.0, 50.0]], "float32")[None, :, None]
        >>> foreground = np.ones((1, 2, 1, 1), "float32")
        >>> float(visual_consistency(logits, foreground, image[:, :, :1])) < 1e-3
        True
    """
    return _reduce(_within_part_variance(logits, foreground, image), reduction)


def feature_consistency(
    logits: Tensor, foreground: Tensor, features: Tensor, reduction: str = "sum"
) -> Tensor:
    """Feature reconstruction: features of a part should equal the part's mean feature.

    L_f = sum_n [ sum_k sum_u m_k(u) |phi(u) - mu_k|^2 / (sum_u F(u) + 1e-5) ]

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        features: `(batch, h, w, channels)`, of lower resolution. phi is their bilinear upsampling
            with aligned corners; the sums are computed without it, to save memory.
        reduction: "sum" over the batch (the paper), "mean" or "none".

    Returns:
        float32 scalar, in squared units of the features; `(batch,)` for "none".

    Raises:
        ConfigError: there is no such reduction.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import feature_consistency
        >>> logits, foreground = np.zeros((2, 9, 9, 4), "float32"), np.ones((2, 9, 9, 1), "float32")
        >>> float(feature_consistency(logits, foreground, np.ones((2, 3, 3, 8), "float32")))
        0.0
    """
    return _reduce(_within_part_variance(logits, foreground, features), reduction)


def contrastive(
    descriptors: Tensor, temperature: float = 0.19, positives: str = "all", seed: Any = None
) -> Tensor:
    """Descriptors of one part should agree across images, and differ from those of other parts.

    For anchor (n, k) and positive (j, k), j != n, with s = cosine / temperature:
    L = -s+ + log(exp s+ + sum over all parts q != k in all images i of exp s(i, q)),
    averaged over positives, then over the N K anchors. Gradients flow into anchors and positives.

    Args:
        descriptors: `(batch, parts, channels)`, not normalised.
        temperature: divisor of the cosine.
        positives: "all" averages over all positives of an anchor; "one" draws one at random.
        seed: a `keras.random.SeedGenerator`, for "one".

    Returns:
        float32 scalar; 0 for a batch of one image, which has no positives.

    Raises:
        ConfigError: `positives` is neither "all" nor "one".

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import contrastive
        >>> float(contrastive(np.ones((1, 4, 8), "float32")))
        0.0
    """
    batch, parts = ops.shape(descriptors)[0], descriptors.shape[1]
    z = l2_normalise(ops.cast(descriptors, "float32"))
    all_rows = gather_rows(z)
    similarity = ops.einsum("nkc,jqc->nkjq", z, all_rows) / temperature

    other_part = 1.0 - ops.eye(parts)
    negatives = similarity - 1e9 * (1.0 - other_part[None, :, None, :])
    negatives = ops.logsumexp(negatives, axis=(2, 3))[..., None]
    positive = ops.einsum("nkjk->nkj", similarity)
    cross_entropy = ops.logaddexp(positive, negatives) - positive

    images = ops.arange(ops.shape(all_rows)[0])
    weights = ops.cast(own_rows(images)[:, None] != images[None, :], "float32")[:, None, :]
    if positives == "one":
        draw = weights * uniform_rows((batch, parts, ops.shape(images)[0]), 0.0, 1.0, seed)
        weights = weights * ops.cast(draw == ops.max(draw, axis=-1, keepdims=True), "float32")
    elif positives != "all":
        raise ConfigError(f"positives is {positives!r}, expected 'all' or 'one'")
    # The constant keeps a batch of one image, which has no positives, from dividing 0 by 0.
    weights = weights / (ops.sum(weights, axis=-1, keepdims=True) + 1e-12)
    return ops.mean(ops.sum(weights * cross_entropy, axis=-1))


def equivariance(
    target_logits: Tensor, logits: Tensor, foreground: Tensor, symmetric: bool = False
) -> Tensor:
    """Parts should move with the image: KL(softmax(T logits(x1)), softmax(logits(T x2))).

    T is the warp; x1 and x2 are the image, with separate colour jitter. Averaged over the warped
    foreground of each image, then over the batch.

    Args:
        target_logits: `(batch, height, width, parts)`, the warped logits of the image; no gradient
            flows into them.
        logits: `(batch, height, width, parts)`, the logits of the warped image.
        foreground: `(batch, height, width, 1)`, warped, 0 or 1.
        symmetric: the mean of both directions of the divergence (the paper's text) instead of the
            one above (its public code).

    Returns:
        float32 scalar, 0 or more.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import equivariance
        >>> logits, foreground = np.ones((2, 9, 9, 4), "float32"), np.ones((2, 9, 9, 1), "float32")
        >>> float(equivariance(logits, logits, foreground))
        0.0
    """
    target = ops.log_softmax(ops.stop_gradient(ops.cast(target_logits, "float32")), axis=-1)
    prediction = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    divergence = ops.sum(ops.exp(target) * (target - prediction), axis=-1)
    if symmetric:
        reverse = ops.sum(ops.exp(prediction) * (prediction - target), axis=-1)
        divergence = 0.5 * (divergence + reverse)
    return _foreground_mean(divergence, foreground)


def balance(logits: Tensor, foreground: Tensor) -> Tensor:
    """Parts should cover equal areas: log K + sum_k a_k log a_k, a_k the share of part k.

    It is 0 if all parts cover the same area over the batch, and log K if one part covers the whole
    foreground. It is not in the paper; it keeps parts from becoming empty.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 scalar in [0, log K].

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import balance
        >>> logits, foreground = np.zeros((2, 9, 9, 4), "float32"), np.ones((2, 9, 9, 1), "float32")
        >>> abs(float(balance(logits, foreground))) < 1e-5
        True
    """
    areas = sum_over_replicas(ops.sum(part_masks(logits, foreground), axis=(0, 1, 2)))
    total = ops.sum(areas)
    shares = areas / (total + 1e-7)
    entropy = -ops.sum(shares * ops.log(shares + 1e-7))
    # A batch without foreground has no shares; its loss is 0.
    return ops.where(total > 0, ops.log(float(logits.shape[-1])) - entropy, 0.0)


def presence(logits: Tensor, foreground: Tensor, features: Tensor, minimum: float = 0.1) -> Tensor:
    """No part should be empty: the emptiest one moves to what the others explain worst.

    The loss is 0 as long as every part covers `minimum` / K of the foreground of the batch. If one
    does not, it gets a new prototype: the feature that is least similar to the mean features of all
    other parts. The loss is its cross-entropy at the positions that are nearest to this prototype.
    Unlike the balance, its gradient does not vanish with the part. It is not in the paper; the
    relocation of empty clusters is that of k-means.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)` in [0, 1].
        features: `(batch, h, w, channels)` of lower resolution, aligned corners.
        minimum: share of the foreground, relative to an equal share, below which a part is empty.

    Returns:
        float32 scalar, 0 or more.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import presence
        >>> logits, foreground = np.zeros((2, 9, 9, 4), "float32"), np.ones((2, 9, 9, 1), "float32")
        >>> features = np.random.default_rng(0).normal(size=(2, 3, 3, 8)).astype("float32")
        >>> float(presence(logits, foreground, features))
        0.0
        >>> logits[..., 3] = -20  # part 3 is empty
        >>> float(presence(logits, foreground, features)) > 10
        True
    """
    parts, size = logits.shape[-1], features.shape[1:3]
    foreground = ops.cast(foreground, "float32")
    masks = ops.stop_gradient(part_masks(logits, foreground))
    areas = sum_over_replicas(ops.sum(masks, axis=(0, 1, 2)))
    is_emptiest = ops.one_hot(ops.argmin(areas), parts, dtype="float32")
    is_empty = ops.min(areas) < minimum / parts * ops.sum(areas)

    vectors = l2_normalise(ops.stop_gradient(ops.cast(features, "float32")))
    sums, _ = part_sums(masks, vectors)
    prototypes = l2_normalise(sum_over_replicas(ops.sum(sums, axis=0)))
    similarities = ops.einsum("bhwc,kc->bhwk", vectors, prototypes) - 3.0 * is_emptiest
    explained = ops.max(similarities, axis=-1)
    inside = downsample_aligned(foreground, size)[..., 0]
    error = ops.reshape((1.0 - explained) * inside, (-1,))
    worst = ops.argmax(error)
    rows = ops.reshape(vectors, (-1, vectors.shape[-1]))
    found = ops.concatenate([ops.take(error, worst)[None], ops.take(rows, worst, axis=0)])
    found = gather_rows(found[None])  # of all replicas
    prototype = ops.take(found, ops.argmax(found[:, 0]), axis=0)[1:]

    is_nearer = ops.cast(ops.einsum("bhwc,c->bhw", vectors, prototype) > explained, "float32")
    moved = resize_aligned(is_nearer[..., None], logits.shape[1:3])[..., 0] * foreground[..., 0]
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    cross_entropy = -ops.sum(log_probabilities * is_emptiest, axis=-1)
    total = sum_over_replicas(ops.sum(moved * cross_entropy))
    loss = total / (sum_over_replicas(ops.sum(moved)) + 1e-7)
    return ops.where(is_empty, loss, 0.0)


def cluster_cross_entropy(
    logits: Tensor, foreground: Tensor, features: Tensor, centres: Tensor
) -> Tensor:
    """Parts should be clusters of the features: cross-entropy with the nearest cluster.

    Averaged over the foreground of each image, then over the batch. It is not in the paper; it
    initialises the parts, which are random otherwise.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        features: `(batch, h, w, channels)`; their inner products with the centres are upsampled
            with aligned corners. They must be centred as they were for `find_clusters`.
        centres: `(parts, channels)`, vectors of length 1; the nearest centre has the largest inner
            product.

    Returns:
        float32 scalar, 0 or more.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import cluster_cross_entropy
        >>> logits, foreground = np.zeros((2, 9, 9, 4), "float32"), np.ones((2, 9, 9, 1), "float32")
        >>> features, centres = np.ones((2, 3, 3, 8), "float32"), np.eye(4, 8)
        >>> round(float(cluster_cross_entropy(logits, foreground, features, centres)), 3)
        1.386
    """
    features, centres = ops.cast(features, "float32"), ops.cast(centres, "float32")
    scores = ops.einsum("bhwc,kc->bhwk", features, centres)
    scores = resize_aligned(scores, logits.shape[1:3])
    nearest = ops.one_hot(ops.argmax(scores, axis=-1), logits.shape[-1], dtype="float32")
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return _foreground_mean(-ops.sum(nearest * log_probabilities, axis=-1), foreground)


def foreground_cross_entropy(
    foreground_logits: Tensor,
    foreground: Tensor,
    outline: float = 0.0,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Binary cross-entropy of the predicted foreground, averaged over the pixels of each image.

    Args:
        foreground_logits: `(batch, height, width, 1)`.
        foreground: `(batch, height, width, 1)` in [0, 1].
        outline: additional weight of the pixels at the object's outline, relative to the others.
            A pixel has all of it if the object covers half of the 5 x 5 pixels around it, and none
            if it covers all or nothing.
        reduction: over the batch, "mean", "sum" or "none".

    Returns:
        float32 scalar, or `(batch,)` for the reduction "none".

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import foreground_cross_entropy
        >>> foreground = np.ones((2, 9, 9, 1), "float32")
        >>> float(foreground_cross_entropy(100 * foreground, foreground))
        0.0
    """
    logits, target = ops.cast(foreground_logits, "float32"), ops.cast(foreground, "float32")
    cross_entropy = ops.softplus(logits) - target * logits
    if not outline:
        return _reduce(ops.mean(cross_entropy, axis=(1, 2, 3)), reduction)
    around = ops.pad(target, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    share = ops.average_pool(around, 5, strides=1, data_format="channels_last")
    weights = 1 + 4 * outline * share * (1 - share)
    mean = ops.sum(weights * cross_entropy, axis=(1, 2, 3)) / ops.sum(weights, axis=(1, 2, 3))
    return _reduce(mean, reduction)


def foreground_dice(
    foreground_logits: Tensor, foreground: Tensor, *, reduction: str = "mean"
) -> Tensor:
    """Soft Dice loss of the predicted foreground: 1 - 2 sum(p F) / (sum(p) + sum(F)), per image.

    It depends on the overlap relative to the object's area, so that small objects count as much as
    large ones (Milletari, Navab, Ahmadi, "V-Net", 3DV 2016, without squares). One pixel is added to
    both sums: without an object, the loss is the smaller, the less is predicted.

    Args:
        foreground_logits: `(batch, height, width, 1)`.
        foreground: `(batch, height, width, 1)` in [0, 1].
        reduction: over the batch, "mean", "sum" or "none".

    Returns:
        float32 scalar in [0, 1], or `(batch,)` for the reduction "none".

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import foreground_dice
        >>> foreground = np.ones((2, 9, 9, 1), "float32")
        >>> float(foreground_dice(100 * foreground, foreground))
        0.0
    """
    probability = ops.sigmoid(ops.cast(foreground_logits, "float32"))
    target = ops.cast(foreground, "float32")
    overlap = 2 * ops.sum(probability * target, axis=(1, 2, 3)) + 1
    total = ops.sum(probability + target, axis=(1, 2, 3)) + 1
    return _reduce(1 - overlap / total, reduction)


def limit_outliers(losses: Tensor, limit: float) -> Tensor:
    """Scale down the losses that exceed a multiple of the median: a wrong mask has a large loss.

    Args:
        losses: `(batch,)`, 0 or more.
        limit: maximum of a loss, in medians of the batch.

    Returns:
        float32 `(batch,)`. A loss above the limit becomes the limit, and its gradient is scaled by
        the same factor.

    Example:
        >>> import numpy as np
        >>> from keras_parts.objectives import limit_outliers
        >>> np.asarray(limit_outliers(np.array([1.0, 1.0, 8.0]), 2.0)).tolist()
        [1.0, 1.0, 2.0]
    """
    losses = ops.cast(losses, "float32")
    largest = ops.stop_gradient(limit * ops.median(losses))
    return losses * ops.stop_gradient(ops.minimum(1.0, largest / (losses + 1e-7)))


def _reduce(values: Tensor, reduction: str) -> Tensor:
    if reduction not in _REDUCTIONS:
        raise ConfigError(
            f"reduction is {reduction!r}, expected one of {', '.join(map(repr, _REDUCTIONS))}"
        )
    return _REDUCTIONS[reduction](values)


def _within_part_variance(logits: Tensor, foreground: Tensor, features: Tensor) -> Tensor:
    """Per image: sum_k sum_u m_k(u) |phi(u) - mu_k|^2 / (sum_u F(u) + 1e-5).

    Expanded as sum_u F |phi|^2 - sum_k (2 mu_k . s_k - |mu_k|^2 S_k), with s_k = sum_u m_k phi and
    S_k = sum_u m_k, so that no tensor has a part and a channel axis at pixel resolution. The
    features are centred first, so that the subtraction loses less precision; the value is the
    same, because upsampling keeps constants.
    """
    masks = part_masks(logits, foreground)
    foreground = ops.cast(foreground, "float32")[..., 0]
    area = ops.sum(foreground, axis=(1, 2)) + 1e-5
    features = ops.cast(features, "float32")
    sums, areas = part_sums(ops.stop_gradient(masks), features)
    centre = ops.sum(sums, axis=1) / area[:, None]
    features = features - centre[:, None, None, :]

    energy = resized_squared_norm(features, masks.shape[1:3])
    energy = ops.sum(foreground * energy, axis=(1, 2))
    sums, areas = part_sums(masks, features)
    means = sums / (areas[..., None] + 1e-5)
    explained = 2 * ops.sum(means * sums, axis=-1) - ops.sum(ops.square(means), axis=-1) * areas
    return (energy - ops.sum(explained, axis=1)) / area


def _foreground_mean(values: Tensor, foreground: Tensor) -> Tensor:
    """Mean of `(batch, height, width)` over the foreground of each image, then over the batch."""
    foreground = ops.cast(foreground, "float32")[..., 0]
    total = ops.sum(values * foreground, axis=(1, 2))
    return ops.mean(total / (ops.sum(foreground, axis=(1, 2)) + 1e-7))
