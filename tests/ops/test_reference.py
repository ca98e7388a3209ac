"""Losses and warps equal the values and gradients of the paper's public implementation."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.discovery import objectives
from keras_parts.ops import CONTROL_POINTS, grid_sample, part_descriptors, thin_plate_grid

pytestmark = pytest.mark.backend
MODES = ["eager"] + (["xla"] if keras.backend.backend() in ("tensorflow", "jax") else [])


def channels_last(array):
    """NCHW to NHWC."""
    return np.moveaxis(array, 1, -1).astype("float32")


def run(mode, function, *arrays):
    """Value of `function` on tensors, compiled by XLA where the mode says so."""
    if mode == "xla" and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        function = tf.function(function, jit_compile=True)
    elif mode == "xla":
        import jax

        function = jax.jit(function)
    result = function(*[ops.convert_to_tensor(a) for a in arrays])
    return ops.convert_to_numpy(result)


def gradient(mode, function, array):
    """Gradient of a scalar function with respect to its argument."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def tape_gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                value = function(x)
            return tape.gradient(value, x)

        return run(mode, tape_gradient, array)
    if backend == "jax":
        import jax

        return run(mode, jax.grad(function), array)
    x = ops.convert_to_tensor(array).detach().requires_grad_()
    function(x).backward()
    return x.grad.cpu().numpy()


def assert_close(actual, expected):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("mode", MODES)
def test_visual_consistency(reference, mode):
    logits, foreground, image = (
        channels_last(reference[f"consistency_{name}"]) for name in ("logits", "fg", "image")
    )

    def loss(x):
        return objectives.visual_consistency(x, foreground, image)

    assert_close(run(mode, loss, logits), reference["consistency_batch_mean"])
    assert_close(
        gradient(mode, loss, logits), channels_last(reference["consistency_batch_mean_dlogits"])
    )
    each = objectives.visual_consistency(logits, foreground, image, reduction="none")
    assert_close(ops.convert_to_numpy(each), reference["consistency_per_image"])


@pytest.mark.parametrize("mode", MODES)
def test_feature_consistency_and_descriptors(reference, mode):
    logits, foreground = (
        channels_last(reference["consistency_logits"]),
        channels_last(reference["consistency_fg"]),
    )
    features = channels_last(reference["feature_map"])

    def loss(x):
        return objectives.feature_consistency(x, foreground, features)

    assert_close(run(mode, loss, logits), reference["feature_consistency_batch_sum"])
    assert_close(
        gradient(mode, loss, logits),
        channels_last(reference["feature_consistency_batch_sum_dlogits"]),
    )
    descriptors = run(mode, lambda x: part_descriptors(x, foreground, features), logits)
    assert_close(descriptors, reference["feature_descriptors"])


@pytest.mark.parametrize("mode", MODES)
def test_contrastive(reference, mode):
    descriptors = reference["contrastive_features"]
    temperature = float(reference["contrastive_temperature"])

    def loss(x):
        return objectives.contrastive(x, temperature)

    assert_close(run(mode, loss, descriptors), reference["contrastive_mean_over_positives"])

    # The reference holds no gradient: compare with central differences in a random direction.
    direction = np.random.default_rng(0).normal(size=descriptors.shape).astype("float32")
    step = 1e-2
    plus, minus = (run(mode, loss, descriptors + s * step * direction) for s in (1, -1))
    slope = np.sum(gradient(mode, loss, descriptors) * direction)
    np.testing.assert_allclose(slope, (plus - minus) / (2 * step), rtol=1e-2)


def test_contrastive_draws_one_of_the_positives(reference):
    descriptors = reference["contrastive_features"]
    table = reference["contrastive_cross_entropy_by_positive"]
    seed = keras.random.SeedGenerator(0)
    draws = [
        float(objectives.contrastive(descriptors, 0.19, positives="one", seed=seed))
        for _ in range(200)
    ]
    low = np.nanmin(table, axis=2).mean()
    high = np.nanmax(table, axis=2).mean()
    assert low - 1e-4 <= min(draws) < max(draws) <= high + 1e-4
    spread = np.std(draws) / np.sqrt(len(draws))
    assert abs(np.mean(draws) - reference["contrastive_mean_over_positives"]) < 5 * spread


@pytest.mark.parametrize("mode", MODES)
def test_warp_and_equivariance(reference, mode):
    assert_close(CONTROL_POINTS, reference["tps_control_points"])
    image, foreground = (
        channels_last(reference["consistency_image"]),
        channels_last(reference["consistency_fg"]),
    )
    height, width = image.shape[1:3]
    grid = run(mode, lambda p: thin_plate_grid(p, height, width), reference["tps_source_points"])
    # The public code solves for the spline in float32, which moves its grid by up to 9e-6.
    np.testing.assert_allclose(grid, reference["tps_grid"], atol=1e-5)
    expected = channels_last(reference["tps_warped_image"])
    warped = run(mode, lambda x: grid_sample(x, grid), image)
    assert np.linalg.norm(warped - expected) < 1e-4 * np.linalg.norm(expected)
    grid = reference["tps_grid"]
    assert_close(run(mode, lambda x: grid_sample(x, grid), image), expected)

    target = run(
        mode, lambda x: grid_sample(x, grid), channels_last(reference["consistency_logits"])
    )
    warped_foreground = run(mode, lambda x: grid_sample(x, grid), foreground)

    def loss(x):
        return objectives.equivariance(target, x, warped_foreground)

    logits = channels_last(reference["equivariance_logits_of_warped"])
    assert_close(run(mode, loss, logits), reference["equivariance_loss"])
    assert_close(
        gradient(mode, loss, logits), channels_last(reference["equivariance_dlogits_of_warped"])
    )
