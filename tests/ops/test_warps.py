import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.ops import CONTROL_POINTS, grid_sample, random_source_points, thin_plate_grid

pytestmark = pytest.mark.backend


def random_images(height=17, width=25, channels=3):
    return np.random.default_rng(0).uniform(size=(2, height, width, channels)).astype("float32")


def warp(images, points):
    grid = thin_plate_grid(np.broadcast_to(points, (2, 25, 2)), *images.shape[1:3])
    return ops.convert_to_numpy(grid_sample(images, grid))


def test_no_displacement_changes_nothing():
    np.testing.assert_allclose(warp(random_images(), CONTROL_POINTS), random_images(), atol=2e-5)


def test_mirror_and_quarter_turn():
    images = random_images(17, 17)
    mirrored = warp(images, CONTROL_POINTS * [-1, 1])
    np.testing.assert_allclose(mirrored, images[:, :, ::-1], atol=2e-5)
    turned = warp(images, CONTROL_POINTS[:, ::-1] * [-1, 1])
    np.testing.assert_allclose(turned, np.rot90(images, axes=(1, 2)), atol=2e-5)


def test_outside_the_image_everything_is_zero():
    shifted = warp(np.ones((2, 9, 9, 1), "float32"), CONTROL_POINTS + [1.0, 0.0])
    np.testing.assert_allclose(shifted[:, :, :5], 1, atol=1e-5)
    np.testing.assert_allclose(shifted[:, :, 5:], 0, atol=1e-5)


def test_random_warps_are_drawn_by_image_and_within_range():
    seed = keras.random.SeedGenerator(0)
    points = ops.convert_to_numpy(
        random_source_points(200, seed, jitter=0.0, rotation=90.0, scale=(0.5, 2.0), shift=0.1)
    )
    centre = points[:, 12]
    assert np.abs(centre).max() <= 0.1 and np.unique(centre[:, 0]).size == 200
    scale = np.linalg.norm(points[:, 24] - points[:, 0], axis=1) / np.sqrt(8)
    assert 0.5 <= scale.min() < 0.7 and 1.8 < scale.max() <= 2.0
    again = random_source_points(200, seed, jitter=0.0, rotation=90.0, scale=(0.5, 2.0), shift=0.1)
    half_mirrored = ops.convert_to_numpy(
        random_source_points(200, seed, jitter=0.0, rotation=90.0, mirror=0.5)
    )
    # The vectors from the centre to two neighbours keep their orientation unless mirrored.
    first, second = (half_mirrored[:, k] - half_mirrored[:, 12] for k in (14, 22))
    mirrored = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] > 0
    assert 60 < mirrored.sum() < 140
    assert not np.allclose(points, ops.convert_to_numpy(again))
