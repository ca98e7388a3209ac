"""Pooling over parts, compared with plain NumPy."""

import numpy as np
import pytest
from keras import ops
from scipy.ndimage import uniform_filter

from keras_parts.ops import prominence

pytestmark = pytest.mark.backend


def scene():
    """Features that differ in one corner of the foreground more than elsewhere."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 9, 9, 5)).astype("float32")
    features[:, 1:4, 1:4] += 3
    foreground = np.zeros((2, 9, 9, 1), "float32")
    foreground[:, 1:8, 1:7] = 1
    return features, foreground


def test_prominence_is_the_smoothed_distance_from_the_mean():
    features, foreground = scene()
    found = ops.convert_to_numpy(prominence(features, foreground))
    for maps, mask, each in zip(features, foreground[..., 0], found[..., 0], strict=True):
        mean = maps[mask > 0].mean(0)
        energy = np.square(maps - mean).sum(-1)
        around = uniform_filter(energy * mask, 3, mode="constant")
        around = around / (uniform_filter(mask, 3, mode="constant") + 1e-7)
        expected = np.clip(around / around[mask > 0].mean(), 0.1, 4)
        np.testing.assert_allclose(each[mask > 0], expected[mask > 0], rtol=1e-4)
    assert found[0, 2, 2] > 2 * found[0, 6, 5]


def test_prominence_does_not_depend_on_scale_or_offset():
    features, foreground = scene()
    first, second = (
        ops.convert_to_numpy(prominence(maps, foreground)) for maps in (features, 3 * features + 7)
    )
    np.testing.assert_allclose(first, second, rtol=1e-3)


@pytest.mark.parametrize("empty", ("foreground", "features"))
def test_prominence_of_zeros_is_finite(empty):
    features, foreground = scene()
    arrays = {"features": features, "foreground": foreground}
    arrays[empty] = np.zeros_like(arrays[empty])
    found = ops.convert_to_numpy(prominence(**arrays))
    assert np.isfinite(found).all() and found.min() > 0


def test_prominence_has_the_resolution_of_the_foreground():
    features, foreground = scene()
    large = np.repeat(np.repeat(foreground, 2, 1), 2, 2)[:, :17, :17]
    found = ops.convert_to_numpy(prominence(features, large))
    assert found.shape == large.shape
    np.testing.assert_allclose(np.sum(found * large) / np.sum(large), 1, atol=0.15)
