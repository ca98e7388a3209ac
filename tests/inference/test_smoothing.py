"""Logits of a video's frames, averaged over time."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.inference.smoothing import Smoother, _motion

RNG = np.random.default_rng(0)
PICTURE = np.asarray(
    Image.fromarray(RNG.integers(0, 256, (15, 20, 3), np.uint8)).resize((160, 120), 3)
)


def noisy():
    """Logits of two parts, left and right, that are uncertain."""
    logits = RNG.normal(0, 0.4, (120, 160, 3)).astype(np.float32)
    logits[:, :80, 1] += 1
    logits[:, 80:, 2] += 1
    return logits


def changes(momentum):
    """The share of pixels whose label changes from a frame to the next, in a still picture."""
    smoother, labels = Smoother(momentum), []
    for _ in range(8):
        labels.append(np.asarray(smoother.smooth(PICTURE, noisy())).argmax(axis=-1))
    return np.mean([(a != b).mean() for a, b in zip(labels[3:], labels[4:], strict=False)])


def test_labels_flicker_less_where_nothing_moves():
    assert changes(0.8) < 0.2 * changes(0)


def test_after_a_cut_the_new_frame_counts_alone():
    smoother = Smoother()
    smoother.smooth(PICTURE, noisy())
    now = noisy()
    after = np.asarray(smoother.smooth(255 - PICTURE, now))
    assert np.median(np.abs(after - now)) < 0.01


@pytest.mark.parametrize(("scale", "x", "y"), [(1, 3, -2), (1, 0.5, 0), (1.03, -2, 1)])
def test_the_motion_of_the_camera_is_found(scale, x, y):
    grey = Image.fromarray(PICTURE).convert("L")
    after = grey.transform(grey.size, Image.Transform.AFFINE, (scale, 0, x, 0, scale, y), 2)
    motion = _motion(np.asarray(grey, np.float32), np.asarray(after, np.float32))
    for point in ((40, 30), (120, 90)):
        expected = (scale * point[0] + x, scale * point[1] + y)
        np.testing.assert_allclose(motion @ (*point, 1), expected, atol=0.6)


def test_logits_follow_the_camera():
    """A region of certain labels moves with the picture, although the new logits are empty."""
    logits = np.zeros((120, 160, 2), np.float32)
    logits[40:80, 60:100, 1] = 8
    smoother = Smoother()
    smoother.smooth(PICTURE, logits)
    moved = np.roll(PICTURE, (4, 6), axis=(0, 1))
    after = np.asarray(smoother.smooth(moved, np.zeros_like(logits)))[..., 1]
    assert after[46:82, 68:104].mean() > 4 and after[10:35, 20:50].max() < 0.1


def test_settings():
    with pytest.raises(ConfigError, match="momentum is 1, expected from 0 to below 1"):
        Smoother(1)
    logits = noisy()
    assert Smoother(0).smooth(PICTURE, logits) is logits
