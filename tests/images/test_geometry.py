"""Resizing an image to a network's input and upsampling its map agree on coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_parts.errors import ConfigError
from keras_parts.images.geometry import (
    MAX_ASPECT,
    RESIZE_MODES,
    resize_geometry,
    resize_image,
)
from keras_parts.images.upsampling import Patch, UpsampledLogits

sizes = st.integers(1, 300)


def upsampled(maps, geometry, aligned_corners=True):
    """A network's map at the pixels of the image, `(height, width, channels)`."""
    patch = Patch.from_output(maps, geometry, aligned_corners=aligned_corners)
    return np.asarray(UpsampledLogits(geometry.original_size, [patch]))


def _ramp(height, width):
    """A map `(height, width, 2)` of the x and y of its own positions."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y], axis=-1).astype(np.float32)


@given(sizes, sizes, st.integers(2, 300), st.sampled_from(RESIZE_MODES))
@settings(deadline=None, max_examples=200)
def test_images_are_centred_and_have_the_size_of_their_mode(height, width, size, mode):
    geometry = resize_geometry(height, width, size, mode)
    if mode == "short" and max(height, width) > MAX_ASPECT * min(height, width):
        mode = "pad"
        assert geometry == resize_geometry(height, width, size, mode)
    for axis in (0, 1):
        free = geometry.input_size[axis] - geometry.resized_size[axis]
        assert free == 2 * geometry.offset[axis]
        if mode == "short":
            assert geometry.input_size[axis] >= size
            assert (geometry.input_size[axis] - size) % 16 == 0
            assert -16 < free <= 0
        else:
            assert geometry.input_size == (size, size)
            assert free >= 0
    if mode == "pad":
        assert abs(max(geometry.resized_size) - size) == 0
    if mode != "stretch":
        scale = np.array(geometry.resized_size) / (height, width)
        wanted = size / (max if mode == "pad" else min)(height, width)
        assert (abs(scale * (height, width) - wanted * np.array([height, width])) < 2).all()


@given(sizes, sizes, st.integers(2, 300), st.sampled_from(RESIZE_MODES))
@settings(deadline=None, max_examples=100)
def test_to_image_inverts_to_input(height, width, size, mode):
    geometry = resize_geometry(height, width, size, mode)
    points = np.array([[-0.5, -0.5], [0, 0], [width - 0.5, height - 0.5], [width / 3, height / 7]])
    np.testing.assert_allclose(geometry.to_image(geometry.to_input(points)), points, atol=1e-9)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("aligned", [True, False])
def test_upsampled_coordinates_are_those_of_the_input(mode, aligned):
    """A map of coordinates in the input is upsampled to `to_input` of each pixel."""
    geometry = resize_geometry(60, 90, 65, mode)
    rows, columns = geometry.input_size
    h, w = (rows + 3) // 4, (columns + 3) // 4
    maps = _ramp(h, w)
    if aligned:
        maps *= ((columns - 1) / (w - 1), (rows - 1) / (h - 1))
    else:
        maps = (maps + 0.5) * (columns / w, rows / h) - 0.5
    restored = upsampled(maps, geometry, aligned)
    wanted = geometry.to_input(_ramp(60, 90))
    edge = 4  # outside the centres of the corner positions nothing is interpolated
    seen = ((wanted >= edge) & (wanted <= np.array([columns, rows]) - 1 - edge)).all(axis=-1)
    assert restored.shape == (60, 90, 2) and restored.dtype == np.float32
    assert seen.mean() > 0.5
    np.testing.assert_allclose(restored[seen], wanted[seen], atol=1e-3)


def test_upsampling_a_map_of_the_images_size_changes_nothing():
    maps = np.random.default_rng(0).normal(size=(33, 33, 5)).astype(np.float32)
    geometry = resize_geometry(33, 33, 33)
    np.testing.assert_array_equal(upsampled(maps, geometry), maps)
    np.testing.assert_array_equal(upsampled(maps, geometry, False), maps)


def test_pixels_outside_the_map_take_the_nearest_value():
    geometry = resize_geometry(25, 100, 17, "short")
    assert geometry.input_size == (17, 65) and geometry.offset == (0, -2)
    restored = upsampled(_ramp(17, 65), geometry)
    np.testing.assert_allclose(restored[:, 0, 0], 0)
    np.testing.assert_allclose(restored[:, -1, 0], 64)


@pytest.mark.parametrize("mode", RESIZE_MODES)
@pytest.mark.parametrize("shape", [(40, 71), (71, 40), (64, 64), (3, 100)])
def test_a_mirrored_image_has_the_mirrored_input(mode, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    straight, _ = resize_image(image, 49, mode)
    flipped, _ = resize_image(np.ascontiguousarray(image[:, ::-1]), 49, mode)
    assert abs(straight[:, ::-1].astype(int) - flipped).max() <= 1


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_a_drawn_dot_is_resized_to_its_to_input_point(mode):
    image = np.zeros((90, 150, 3), np.uint8)
    y, x = np.mgrid[:90, :150]
    centre = np.array([61.3, 40.8])
    image[:] = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 50)[..., None]
    small, geometry = resize_image(image, 65, mode)
    weight = small[..., 0] * (small[..., 0] < 255.0)  # without the white border
    grid = _ramp(*weight.shape)
    found = (grid * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    np.testing.assert_allclose(found, geometry.to_input(centre), atol=0.05)


def test_padding_is_white_and_grey_masks_are_resized_too():
    image = np.zeros((10, 20, 3), np.uint8)
    padded, geometry = resize_image(image, 40)
    assert (padded[:10] == 255).all() and (padded[30:] == 255).all() and (padded[10:30] == 0).all()
    mask = geometry.apply(np.full((10, 20), 200, np.uint8), outside=0)
    assert mask.shape == (40, 40) and (mask[10:30] == 200).all() and mask[:10].max() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 5, 10), "0 x 5 pixels and image_size=10: each must be at least 1"),
        ((5, 5, 10, "zoom"), "resize_mode is 'zoom', expected one of pad, stretch, short"),
    ],
)
def test_errors_about_settings(arguments, words):
    with pytest.raises(ConfigError, match=words):
        resize_geometry(*arguments)


def test_a_geometry_refuses_an_image_of_another_size():
    with pytest.raises(ConfigError, match="is for \\(5, 6\\)"):
        resize_geometry(5, 6, 10).apply(np.zeros((6, 5, 3), np.uint8))
