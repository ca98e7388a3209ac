"""Bringing an image to a network and a map back lands on the same pixels, exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_parts.errors import ConfigError
from keras_parts.images.geometry import FITS, fit_geometry, fit_image

sizes = st.integers(1, 300)


def _ramp(height, width):
    """A map whose two channels are the x and y of its own pixels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y], axis=-1).astype(np.float32)


@given(sizes, sizes, st.integers(2, 300), st.sampled_from(FITS))
@settings(deadline=None, max_examples=200)
def test_image_lies_centred_and_no_less_than_the_fit_says(height, width, size, fit):
    geometry = fit_geometry(height, width, size, fit)
    for axis in (0, 1):
        free = geometry.input_size[axis] - geometry.resized[axis]
        assert free == 2 * geometry.offset[axis]
        if fit == "short":
            assert geometry.input_size[axis] >= size
            assert (geometry.input_size[axis] - size) % 16 == 0
            assert -16 < free <= 0
        else:
            assert geometry.input_size == (size, size)
            assert free >= 0
    if fit == "pad":
        assert abs(max(geometry.resized) - size) == 0
    if fit != "stretch":
        scale = np.array(geometry.resized) / (height, width)
        wanted = size / (max if fit == "pad" else min)(height, width)
        assert (abs(scale * (height, width) - wanted * np.array([height, width])) < 2).all()


@given(sizes, sizes, st.integers(2, 300), st.sampled_from(FITS))
@settings(deadline=None, max_examples=100)
def test_points_come_back(height, width, size, fit):
    geometry = fit_geometry(height, width, size, fit)
    points = np.array([[-0.5, -0.5], [0, 0], [width - 0.5, height - 0.5], [width / 3, height / 7]])
    np.testing.assert_allclose(geometry.to_image(geometry.to_input(points)), points, atol=1e-9)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("aligned", [True, False])
def test_restored_coordinates_are_those_of_the_input(fit, aligned):
    """A map that holds its own coordinates in the input comes back as `to_input` of each pixel."""
    geometry = fit_geometry(60, 90, 65, fit)
    rows, columns = geometry.input_size
    h, w = (rows + 3) // 4, (columns + 3) // 4
    maps = _ramp(h, w)
    if aligned:
        maps *= ((columns - 1) / (w - 1), (rows - 1) / (h - 1))
    else:
        maps = (maps + 0.5) * (columns / w, rows / h) - 0.5
    restored = geometry.restore(maps, aligned_corners=aligned)
    wanted = geometry.to_input(_ramp(60, 90))
    edge = 4  # beyond the map's outermost centres there is nothing to interpolate
    seen = ((wanted >= edge) & (wanted <= np.array([columns, rows]) - 1 - edge)).all(axis=-1)
    assert restored.shape == (60, 90, 2) and restored.dtype == np.float32
    assert seen.mean() > 0.5
    np.testing.assert_allclose(restored[seen], wanted[seen], atol=1e-3)


def test_restoring_at_the_inputs_own_resolution_undoes_an_identity():
    maps = np.random.default_rng(0).normal(size=(33, 33, 5)).astype(np.float32)
    geometry = fit_geometry(33, 33, 33)
    np.testing.assert_array_equal(geometry.restore(maps), maps)
    np.testing.assert_array_equal(geometry.restore(maps, aligned_corners=False), maps)


def test_values_outside_the_map_are_the_nearest():
    geometry = fit_geometry(20, 100, 17, "short", multiple=16)
    assert geometry.input_size == (17, 81) and geometry.offset == (0, -2)
    restored = geometry.restore(_ramp(17, 81))
    np.testing.assert_allclose(restored[:, 0, 0], 0)
    np.testing.assert_allclose(restored[:, -1, 0], 80)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("shape", [(40, 71), (71, 40), (64, 64), (3, 100)])
def test_mirrored_image_has_the_mirrored_input(fit, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    straight, _ = fit_image(image, 49, fit)
    flipped, _ = fit_image(np.ascontiguousarray(image[:, ::-1]), 49, fit)
    assert abs(straight[:, ::-1].astype(int) - flipped).max() <= 1


@pytest.mark.parametrize("fit", FITS)
def test_a_drawn_dot_lands_where_to_input_says(fit):
    image = np.zeros((90, 150, 3), np.uint8)
    y, x = np.mgrid[:90, :150]
    centre = np.array([61.3, 40.8])
    image[:] = 255 * np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 50)[..., None]
    small, geometry = fit_image(image, 65, fit)
    weight = small[..., 0] * (small[..., 0] < 255.0)  # without the white border
    grid = _ramp(*weight.shape)
    found = (grid * weight[..., None]).sum(axis=(0, 1)) / weight.sum()
    np.testing.assert_allclose(found, geometry.to_input(centre), atol=0.05)


def test_padding_is_white_and_grey_masks_fit_too():
    image = np.zeros((10, 20, 3), np.uint8)
    padded, geometry = fit_image(image, 40)
    assert (padded[:10] == 255).all() and (padded[30:] == 255).all() and (padded[10:30] == 0).all()
    mask = geometry.apply(np.full((10, 20), 200, np.uint8), outside=0)
    assert mask.shape == (40, 40) and (mask[10:30] == 200).all() and mask[:10].max() == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 5, 10), "at least 1"),
        ((5, 5, 10, "zoom"), "pad, stretch, short"),
        ((5, 5, 10, "short", 5), "even"),
    ],
)
def test_bad_settings_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        fit_geometry(*arguments)


def test_a_fit_refuses_another_image():
    with pytest.raises(ConfigError, match="another|this fit"):
        fit_geometry(5, 6, 10).apply(np.zeros((6, 5, 3), np.uint8))
