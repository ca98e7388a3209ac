import colorsys

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.ops import colour_jitter, rgb_to_lab
from keras_parts.ops.colour import _rotate_hue

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # CIE Lab of sRGB primaries under D65
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_lab_of_known_colours(rgb, lab):
    actual = ops.convert_to_numpy(rgb_to_lab(np.array([[rgb]], "float32")))[0, 0]
    np.testing.assert_allclose(actual, lab, atol=0.05)


def test_hue_turns_like_colorsys():
    pixels = np.random.default_rng(0).uniform(size=(1, 1, 50, 3)).astype("float32")
    planes = [ops.convert_to_tensor(pixels[..., i]) for i in range(3)]
    turned = ops.stack(_rotate_hue(planes, np.full((1, 1, 1), 0.3, "float32")), axis=-1)
    turned = ops.convert_to_numpy(turned)[0, 0]
    for before, after in zip(pixels[0, 0], turned, strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*map(float, before))
        np.testing.assert_allclose(
            after, colorsys.hsv_to_rgb((hue + 0.3) % 1, saturation, value), atol=1e-5
        )


def test_jitter_stays_in_range_and_differs_by_image():
    images = np.full((64, 3, 3, 3), [0.2, 0.5, 0.7], "float32")
    jittered = ops.convert_to_numpy(colour_jitter(images, keras.random.SeedGenerator(0)))
    assert jittered.min() >= 0 and jittered.max() <= 1
    unchanged = np.isclose(jittered, images, atol=1e-6).all(axis=(1, 2, 3)).mean()
    grey = np.isclose(jittered, jittered[..., :1], atol=1e-6).all(axis=(1, 2, 3)).mean()
    assert 0.02 < unchanged < 0.4 and 0.05 < grey < 0.45
    assert len(np.unique(jittered[:, 0, 0, 0])) > 30
