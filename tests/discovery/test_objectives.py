"""Properties of the losses that the reference values do not test."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.discovery import objectives
from keras_parts.errors import ConfigError
from keras_parts.ops import join_background, part_descriptors, resize_aligned, split_background

pytestmark = pytest.mark.backend


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def value(loss):
    return float(ops.convert_to_numpy(loss))


def test_feature_consistency_equals_its_formula_on_upsampled_features():
    logits, features = random(2, 17, 17, 4), random(2, 5, 5, 8, seed=1) + 3
    foreground = np.ones((2, 17, 17, 1), "float32")
    foreground[:, :4] = 0
    masks = ops.convert_to_numpy(ops.softmax(logits)).astype("float64") * foreground
    upsampled = ops.convert_to_numpy(resize_aligned(features, (17, 17))).astype("float64")
    sums = np.einsum("bhwk,bhwc->bkc", masks, upsampled)
    means = sums / (masks.sum((1, 2))[..., None] + 1e-5)
    distances = (upsampled[:, :, :, None] - means[:, None, None]) ** 2
    expected = (masks[..., None] * distances).sum((1, 2, 3, 4)) / foreground.sum((1, 2, 3))
    loss = objectives.feature_consistency(logits, foreground, features, reduction="none")
    np.testing.assert_allclose(ops.convert_to_numpy(loss), expected, rtol=1e-4)


def test_wrong_options():
    logits, foreground = random(1, 9, 9, 3), np.ones((1, 9, 9, 1), "float32")
    with pytest.raises(ConfigError, match="reduction is 'max', expected one of 'sum', 'mean'"):
        objectives.visual_consistency(logits, foreground, random(1, 9, 9, 3), reduction="max")
    with pytest.raises(ConfigError, match="positives is 'two', expected 'all' or 'one'"):
        objectives.contrastive(random(2, 3, 5), positives="two")


EDGE_CASES = {
    "empty mask": dict(foreground=np.zeros((2, 9, 9, 1), "float32")),
    "empty part": dict(logits=np.broadcast_to(np.array([60, -60, -60], "float32"), (2, 9, 9, 3))),
    "constant image": dict(image=np.full((2, 9, 9, 3), 77.0, "float32")),
    "constant features": dict(features=np.full((2, 3, 3, 5), 9.0, "float32")),
    "zero features": dict(features=np.zeros((2, 3, 3, 5), "float32")),
    "one image": {},
}


@pytest.mark.parametrize("case", EDGE_CASES)
def test_values_and_gradients_are_finite_in_edge_cases(case):
    inputs = dict(
        logits=random(2, 9, 9, 3),
        foreground=np.ones((2, 9, 9, 1), "float32"),
        image=random(2, 9, 9, 3, seed=1) * 50,
        features=random(2, 3, 3, 5, seed=2),
    )
    inputs.update(EDGE_CASES[case])
    if case == "one image":
        inputs = {name: array[:1] for name, array in inputs.items()}
    arrays = (inputs[name] for name in ("logits", "foreground", "image", "features"))
    loss, gradient = value_and_gradient(total, *map(np.ascontiguousarray, arrays))
    assert np.isfinite(loss) and np.isfinite(gradient).all()


def total(logits, foreground, image, features):
    return (
        objectives.visual_consistency(logits, foreground, image)
        + objectives.feature_consistency(logits, foreground, features)
        + objectives.contrastive(part_descriptors(logits, foreground, features))
        + objectives.equivariance(ops.flip(logits, 1), logits, foreground)
        + objectives.balance(logits, foreground)
        + objectives.presence(logits, foreground, features)
        + objectives.foreground_cross_entropy(logits[..., :1], foreground, outline=2.0)
        + objectives.foreground_dice(logits[..., :1], foreground)
        + objectives.cluster_cross_entropy(logits, foreground, features, np.eye(3, 5))
    )


@functools.cache
def compiled_gradient(function):
    """One program of JAX for all arrays of the same shapes."""
    import jax

    return jax.jit(jax.value_and_grad(function))


def value_and_gradient(function, array, *others):
    """The value of a function of arrays, and its gradient with respect to the first."""
    backend = keras.backend.backend()
    if backend == "jax":
        loss, gradient = compiled_gradient(function)(array, *others)
        return float(loss), np.asarray(gradient)
    x = ops.convert_to_tensor(array)
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x, *others)
        return float(loss), tape.gradient(loss, x).numpy()
    x = x.detach().requires_grad_()
    loss = function(x, *others)
    loss.backward()
    return float(loss.detach()), x.grad.numpy()


def test_the_foreground_losses_are_those_of_their_formulas():
    logits = random(2, 7, 7, 1) * 2
    foreground = np.zeros((2, 7, 7, 1), "float32")
    foreground[0, 2:5, :4] = 1  # the other image has no object
    probability = 1 / (1 + np.exp(-logits))
    entropy = -np.log(np.where(foreground == 1, probability, 1 - probability))[..., 0]
    padded = np.pad(foreground[..., 0], ((0, 0), (2, 2), (2, 2)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    share = windows.mean(axis=(3, 4))
    weights = 1 + 3 * 4 * share * (1 - share)
    for outline, expected in (
        (0.0, entropy.mean(axis=(1, 2))),
        (3.0, (weights * entropy).sum(axis=(1, 2)) / weights.sum(axis=(1, 2))),
    ):
        found = objectives.foreground_cross_entropy(logits, foreground, outline, reduction="none")
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)
    overlap, total = (
        (values).sum(axis=(1, 2, 3))
        for values in (probability * foreground, probability + foreground)
    )
    found = objectives.foreground_dice(logits, foreground, reduction="none")
    expected = 1 - (2 * overlap + 1) / (total + 1)
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-5)


def test_outliers_are_limited_with_their_gradient():
    losses = np.array([1.0, 2.0, 3.0, 90.0, 1.5], "float32")
    loss, gradient = value_and_gradient(
        lambda x: ops.sum(objectives.limit_outliers(x, 2.0)), losses
    )
    assert loss == pytest.approx(1 + 2 + 3 + 4 + 1.5, rel=1e-5)
    np.testing.assert_allclose(gradient, [1, 1, 1, 4 / 90, 1], rtol=1e-5)


def test_equivariance_has_no_gradient_into_its_target_and_is_zero_for_equal_logits():
    foreground = np.ones((1, 5, 5, 1), "float32")
    fixed = random(1, 5, 5, 3)
    _, gradient = value_and_gradient(
        lambda x: objectives.equivariance(x, fixed, foreground) + 0 * ops.sum(x),
        random(1, 5, 5, 3, seed=1),
    )
    assert np.all(gradient == 0)
    assert value(objectives.equivariance(fixed, fixed, foreground)) == pytest.approx(0, abs=1e-6)
    other = random(1, 5, 5, 3, seed=2)
    forward = value(objectives.equivariance(fixed, other, foreground))
    backward = value(objectives.equivariance(other, fixed, foreground))
    symmetric = value(objectives.equivariance(fixed, other, foreground, symmetric=True))
    assert symmetric == pytest.approx((forward + backward) / 2, rel=1e-5)


def test_an_empty_part_moves_to_what_the_others_explain_worst():
    """Three bands of rows; the second part covers two of them, and the third part is dead."""
    bands = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2])
    features = np.broadcast_to(np.eye(3, 4, dtype="float32")[bands][None, :, None], (2, 9, 9, 4))
    foreground = np.ones((2, 9, 9, 1), "float32")
    logits = np.zeros((2, 9, 9, 3), "float32")
    logits[:, :3, :, 0] = logits[:, 3:, :, 1] = 6
    logits[..., 2] = -20

    def presence(logits):
        return objectives.presence(logits, foreground, np.ascontiguousarray(features), minimum=0.5)

    balance = value_and_gradient(lambda x: objectives.balance(x, foreground), logits)[1]
    assert np.abs(balance[..., 2]).max() < 1e-7  # the balance cannot revive it
    for _ in range(5):
        logits = logits - 300 * value_and_gradient(presence, logits)[1]
    np.testing.assert_array_equal(logits.argmax(-1)[0, :, 0], bands)
    assert value(presence(logits)) == 0


def test_balance_is_zero_for_equal_shares_and_log_k_for_one_part():
    foreground = np.ones((2, 4, 4, 1), "float32")
    equal = np.zeros((2, 4, 4, 4), "float32")
    assert value(objectives.balance(equal, foreground)) == pytest.approx(0, abs=1e-5)
    one = equal + np.array([50, 0, 0, 0], "float32")
    assert value(objectives.balance(one, foreground)) == pytest.approx(np.log(4), abs=1e-4)


def test_background_joins_and_splits_exactly():
    parts, foreground = random(2, 3, 3, 5), random(2, 3, 3, 1, seed=1)
    logits = join_background(parts, foreground)
    split_parts, split_foreground = map(ops.convert_to_numpy, split_background(logits))
    np.testing.assert_allclose(split_parts, parts, atol=1e-6)
    np.testing.assert_allclose(split_foreground, foreground, atol=1e-5)
    probabilities = ops.convert_to_numpy(ops.softmax(logits, axis=-1))
    inside = 1 / (1 + np.exp(-foreground))
    np.testing.assert_allclose(probabilities[..., :1], 1 - inside, atol=1e-6)
    expected = inside * ops.convert_to_numpy(ops.softmax(parts, axis=-1))
    np.testing.assert_allclose(probabilities[..., 1:], expected, atol=1e-6)


def test_the_cluster_loss_is_the_cross_entropy_with_the_nearest_cluster():
    logits, features = random(2, 9, 9, 3), random(2, 5, 5, 4, seed=1)
    foreground = np.zeros((2, 9, 9, 1), "float32")
    foreground[0, 2:8, 1:7] = foreground[1, :, 4:] = 1
    centres = np.linalg.qr(random(4, 4, seed=2))[0][:3]
    upsampled = ops.convert_to_numpy(resize_aligned(features, (9, 9)))
    nearest = (upsampled @ centres.T).argmax(-1)[..., None]
    probabilities = ops.convert_to_numpy(ops.softmax(logits)).astype("float64")
    entropies = -np.log(np.take_along_axis(probabilities, nearest, -1)) * foreground
    expected = np.mean(entropies.sum((1, 2, 3)) / foreground.sum((1, 2, 3)))
    loss = objectives.cluster_cross_entropy(logits, foreground, features, centres)
    assert value(loss) == pytest.approx(expected, rel=1e-5)
