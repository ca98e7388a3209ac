import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.ops import (
    downsample_aligned,
    part_descriptors,
    resize_aligned,
    resize_aligned_transpose,
    resized_squared_norm,
)

pytestmark = pytest.mark.backend
SIZES = [
    ((9, 11), (33, 41)),
    ((5, 5), (17, 17)),
    ((1, 4), (6, 4)),
    ((3, 1), (3, 7)),
    ((4, 4), (4, 4)),
]


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_transpose_is_the_adjoint(small, large):
    features, masks = random(2, *small, 3), random(2, *large, 3, seed=1)
    up = ops.convert_to_numpy(resize_aligned(features, large))
    down = ops.convert_to_numpy(resize_aligned_transpose(masks, small))
    np.testing.assert_allclose(np.sum(up * masks), np.sum(features * down), rtol=1e-4)


@pytest.mark.parametrize(("small", "large"), SIZES)
def test_squared_norm_equals_that_of_the_upsampled_features(small, large):
    features = random(2, *small, 6)
    upsampled = ops.convert_to_numpy(resize_aligned(features, large))
    norm = ops.convert_to_numpy(resized_squared_norm(features, large))
    np.testing.assert_allclose(norm, np.sum(upsampled**2, axis=-1), rtol=1e-4, atol=1e-4)


def test_corners_are_aligned():
    ramp = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    upsampled = ops.convert_to_numpy(resize_aligned(ramp, (1, 17)))[0, 0, :, 0]
    np.testing.assert_allclose(upsampled, np.linspace(0, 4, 17), atol=1e-6)


def test_downsampling_keeps_constants_and_commutes_with_mirroring():
    maps = random(1, 33, 33, 2)
    ones = ops.convert_to_numpy(downsample_aligned(np.ones((1, 33, 33, 1)), (9, 9)))
    np.testing.assert_allclose(ones, 1, atol=1e-6)
    downsampled = ops.convert_to_numpy(downsample_aligned(maps, (9, 9)))
    mirrored = ops.convert_to_numpy(downsample_aligned(maps[:, :, ::-1].copy(), (9, 9)))
    np.testing.assert_allclose(mirrored[:, :, ::-1], downsampled, atol=1e-5)


def test_descriptors_are_means_of_upsampled_features():
    logits, features = random(2, 17, 17, 3), random(2, 5, 5, 4, seed=1)
    foreground = (random(2, 17, 17, 1, seed=2) > 0).astype("float32")
    masks = ops.convert_to_numpy(ops.softmax(logits)) * foreground
    upsampled = ops.convert_to_numpy(resize_aligned(features, (17, 17)))
    expected = np.einsum("bhwk,bhwc->bkc", masks, upsampled) / masks.sum((1, 2))[..., None]
    actual = ops.convert_to_numpy(part_descriptors(logits, foreground, features))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        maps = ops.cast(random(1, 5, 5, 2), "bfloat16")
        for result in (resize_aligned(maps, (9, 9)), resized_squared_norm(maps, (9, 9))):
            assert keras.backend.standardize_dtype(result.dtype) == "float32"
    finally:
        keras.config.set_dtype_policy(policy)
