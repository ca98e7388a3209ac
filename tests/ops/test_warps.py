import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.ops import CONTROL_POINTS, grid_sample, random_source_points, thin_plate_grid

pytestmark = pytest.mark.backend


def image(height=17, width=25, channels=3):
    return np.random.default_rng(0).uniform(size=(2, height, width, channels)).astype("float32")


def warp(picture, points):
    grid = thin_plate_grid(np.broadcast_to(points, (2, 25, 2)), *picture.shape[1:3])
    return ops.convert_to_numpy(grid_sample(picture, grid))


def test_no_displacement_changes_nothing():
    np.testing.assert_allclose(warp(image(), CONTROL_POINTS), image(), atol=2e-5)


def test_mirror_and_quarter_turn():
    picture = image(17, 17)
    mirrored = warp(picture, CONTROL_POINTS * [-1, 1])
    np.testing.assert_allclose(mirrored, picture[:, :, ::-1], atol=2e-5)
    turned = warp(picture, CONTROL_POINTS[:, ::-1] * [-1, 1])
    np.testing.assert_allclose(turned, np.rot90(picture, axes=(1, 2)), atol=2e-5)


def test_zeros_outside():
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
    handed = ops.convert_to_numpy(
        random_source_points(200, seed, jitter=0.0, rotation=90.0, mirror=0.5)
    )
    along, down = handed[:, 14] - handed[:, 12], handed[:, 22] - handed[:, 12]
    mirrored = along[:, 0] * down[:, 1] - along[:, 1] * down[:, 0] > 0
    assert 60 < mirrored.sum() < 140
    assert not np.allclose(points, ops.convert_to_numpy(again))
