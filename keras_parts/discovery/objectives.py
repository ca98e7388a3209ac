"""The losses of part discovery, one pure function each.

Notation: image n of N, part k of K, pixel u of U; p = softmax over the K part logits, F the
foreground, m_k(u) = p_k(u) F(u); phi the teacher's features. Tensors are channels last; all sums
are float32, whatever the precision policy: the consistency losses subtract large numbers.
Where a batch is shared among replicas, a loss is the mean of what the replicas get; the contrastive
loss and the balance look at the rows of all of them.
Source: Choudhury et al., NeurIPS 2021, in the form of its public code where the two differ.
"""

from keras import ops

from keras_parts.ops.pooling import l2_normalise, part_masks, part_sums
from keras_parts.ops.replicas import gather_rows, own_rows, sum_over_replicas, uniform_rows
from keras_parts.ops.resampling import resize_aligned, resized_squared_norm

_REDUCTIONS = {"sum": ops.sum, "mean": ops.mean, "none": lambda values: values}


def _within_part_variance(logits, foreground, features):
    """Per image: sum_k sum_u m_k(u) |phi(u) - mu_k|^2 / (sum_u F(u) + 1e-5).

    Expanded as sum_u F |phi|^2 - sum_k (2 mu_k . s_k - |mu_k|^2 S_k), so that nothing with both a
    part and a channel axis exists at pixel resolution. The features are centred first (the value
    does not change, upsampling keeps constants): less is lost in the subtraction.
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


def visual_consistency(logits, foreground, image, reduction="mean"):
    """Pixel reconstruction: pixels of a part should look like the part's mean colour.

    L_v = 1/N sum_n [ sum_k sum_u m_k(u) |x(u) - mu_k|^2 / (sum_u F(u) + 1e-5) ]

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        image: `(batch, height, width, channels)`; the paper takes CIE Lab, L in 0..100.
        reduction: "mean" over the batch (the paper's), "sum" or "none".

    Returns:
        float32 scalar, in squared units of the image; `(batch,)` for "none".
    """
    return _REDUCTIONS[reduction](_within_part_variance(logits, foreground, image))


def feature_consistency(logits, foreground, features, reduction="sum"):
    """Feature reconstruction: a part's features should equal their mean.

    L_f = sum_n [ sum_k sum_u m_k(u) |phi(u) - mu_k|^2 / (sum_u F(u) + 1e-5) ]

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        features: `(batch, h, w, channels)`, of lower resolution: phi is their bilinear upsampling
            with aligned corners, which is never made.
        reduction: "sum" over the batch (the paper's), "mean" or "none".

    Returns:
        float32 scalar; `(batch,)` for "none".
    """
    return _REDUCTIONS[reduction](_within_part_variance(logits, foreground, features))


def contrastive(descriptors, temperature=0.19, positives="all", seed=None):
    """Descriptors of one part should agree across images, and differ from those of other parts.

    For anchor (n, k) and positive (j, k), j != n, with s = cosine / temperature:
    L = -s+ + log(exp s+ + sum over all parts q != k in all images i of exp s(i, q)),
    averaged over positives, then over the N K anchors. The gradient flows to both sides.

    Args:
        descriptors: `(batch, parts, channels)`, not normalised.
        temperature: divides the cosine.
        positives: "all" averages over every positive; "one" draws one an anchor, with `seed`.
        seed: a `keras.random.SeedGenerator`, for "one".

    Returns:
        float32 scalar; 0 for a batch of one image, which has no positives.
    """
    batch, parts = ops.shape(descriptors)[0], descriptors.shape[1]
    z = l2_normalise(ops.cast(descriptors, "float32"))
    everyone = gather_rows(z)
    similarity = ops.einsum("nkc,jqc->nkjq", z, everyone) / temperature

    other_part = 1.0 - ops.eye(parts)
    negatives = similarity - 1e9 * (1.0 - other_part[None, :, None, :])
    negatives = ops.logsumexp(negatives, axis=(2, 3))[..., None]
    positive = ops.einsum("nkjk->nkj", similarity)
    cross_entropy = ops.logaddexp(positive, negatives) - positive

    others = ops.arange(ops.shape(everyone)[0])
    weights = ops.cast(own_rows(others)[:, None] != others[None, :], "float32")[:, None, :]
    if positives == "one":
        draw = weights * uniform_rows((batch, parts, ops.shape(others)[0]), 0.0, 1.0, seed)
        weights = weights * ops.cast(draw == ops.max(draw, axis=-1, keepdims=True), "float32")
    elif positives != "all":
        raise ValueError(f'positives={positives!r} is neither "all" nor "one"')
    # The constant is for a batch of one image, which has no positives and no loss.
    weights = weights / (ops.sum(weights, axis=-1, keepdims=True) + 1e-12)
    return ops.mean(ops.sum(weights * cross_entropy, axis=-1))


def _masked_mean(values, foreground):
    """Mean of `(batch, height, width)` over the foreground of each image, then over the batch."""
    foreground = ops.cast(foreground, "float32")[..., 0]
    total = ops.sum(values * foreground, axis=(1, 2))
    return ops.mean(total / (ops.sum(foreground, axis=(1, 2)) + 1e-7))


def equivariance(target_logits, logits, foreground, symmetric=False):
    """Parts move with the image: KL(softmax(T logits(x1)), softmax(logits(T x2))).

    Averaged over the warped foreground of each image, then over the batch.

    Args:
        target_logits: `(batch, height, width, parts)`, warped already; their gradient is stopped
            here.
        logits: `(batch, height, width, parts)` of the warped image.
        foreground: `(batch, height, width, 1)`, warped.
        symmetric: the mean of both directions (the paper's text) instead of the one above (its
            public code).

    Returns:
        float32 scalar.
    """
    target = ops.log_softmax(ops.stop_gradient(ops.cast(target_logits, "float32")), axis=-1)
    prediction = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    divergence = ops.sum(ops.exp(target) * (target - prediction), axis=-1)
    if symmetric:
        reverse = ops.sum(ops.exp(prediction) * (prediction - target), axis=-1)
        divergence = 0.5 * (divergence + reverse)
    return _masked_mean(divergence, foreground)


def balance(logits, foreground):
    """Every part should get its share: log K + sum_k u_k log u_k, u the batch's part shares.

    Zero when all parts cover the same area over the batch, log K when one part covers everything.
    Not in the paper; it keeps parts from dying.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 scalar in [0, log K].
    """
    areas = sum_over_replicas(ops.sum(part_masks(logits, foreground), axis=(0, 1, 2)))
    total = ops.sum(areas)
    shares = areas / (total + 1e-7)
    entropy = -ops.sum(shares * ops.log(shares + 1e-7))
    # An empty batch has no shares, and nothing to say.
    return ops.where(total > 0, ops.log(float(logits.shape[-1])) - entropy, 0.0)


def cluster_cross_entropy(logits, foreground, features, centres):
    """Parts should be the clusters of the features: cross-entropy with the nearest one.

    Averaged over the foreground of each image, then over the batch. Not in the paper; parts start
    from it, instead of from chance.

    Args:
        logits: `(batch, height, width, parts)`.
        foreground: `(batch, height, width, 1)`, 0 or 1.
        features: `(batch, h, w, channels)`, upsampled implicitly with aligned corners; relative to
            their image's mean where the centres are.
        centres: `(parts, channels)` of length 1; the nearest has the largest inner product.

    Returns:
        float32 scalar.
    """
    features, centres = ops.cast(features, "float32"), ops.cast(centres, "float32")
    scores = ops.einsum("bhwc,kc->bhwk", features, centres)
    scores = resize_aligned(scores, logits.shape[1:3])
    nearest = ops.one_hot(ops.argmax(scores, axis=-1), logits.shape[-1], dtype="float32")
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    return _masked_mean(-ops.sum(nearest * log_probabilities, axis=-1), foreground)


def foreground_cross_entropy(foreground_logits, foreground):
    """Binary cross-entropy of the model's own foreground, mean over pixels.

    Args:
        foreground_logits: `(batch, height, width, 1)`.
        foreground: `(batch, height, width, 1)` in [0, 1].

    Returns:
        float32 scalar.
    """
    logits, target = ops.cast(foreground_logits, "float32"), ops.cast(foreground, "float32")
    return ops.mean(ops.softplus(logits) - target * logits)
