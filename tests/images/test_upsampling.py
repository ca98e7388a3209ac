import numpy as np
import pytest

from keras_parts.images.geometry import resize_geometry
from keras_parts.images.upsampling import Patch, UpsampledLogits
from keras_parts.results.parts import Parts


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("mode", ["pad", "stretch", "short"])
@pytest.mark.parametrize("size", [(40, 60), (200, 30), (1, 1), (33, 33), (300, 900)])
def test_rows_are_interpolated_linearly(size, mode, aligned):
    geometry = resize_geometry(*size, 33, mode)
    counts = [side // 16 + 1 for side in geometry.input_size]
    logits = np.random.default_rng(0).normal(size=(*counts, 4)).astype(np.float32)
    wanted = interpolated(logits, geometry, aligned)
    patch = Patch.from_output(logits, geometry, aligned_corners=aligned)
    upsampled = UpsampledLogits(size, [patch])
    assert upsampled.shape == (*size, 4)
    np.testing.assert_allclose(np.asarray(upsampled), wanted, atol=1e-5)
    middle = size[0] // 2
    rows = upsampled.rows(middle, size[0])
    np.testing.assert_allclose(np.moveaxis(rows, 0, -1), wanted[middle:], atol=1e-5)
    np.testing.assert_array_equal(Parts(upsampled).labels, Parts(np.asarray(upsampled)).labels)


def interpolated(maps, geometry, aligned):
    """A map at the pixels of the image, axis by axis with `numpy.interp`."""
    for axis in (0, 1):
        pixels = np.arange(geometry.original_size[axis])
        positions = geometry.to_input(np.stack([pixels, pixels], -1))[:, 1 - axis]
        length, count = geometry.input_size[axis], maps.shape[axis]
        centres = np.arange(count) * (length - 1) / max(count - 1, 1)
        if not aligned:
            centres = (np.arange(count) + 0.5) * length / count - 0.5
        maps = np.apply_along_axis(lambda line: np.interp(positions, centres, line), axis, maps)  # noqa: B023
    return maps


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("positions", [[], [(2, 3)], [(0, 0), (5, 6)], [(6, 0), (6, 6)]])
def test_columns_that_are_not_upsampled_are_background(positions, aligned, monkeypatch):
    """An object at a few positions, in an image of one patch and of two overlapping patches."""
    monkeypatch.setattr("keras_parts.results.parts._BAND", 10 * 190)
    size, rng = (140, 190), np.random.default_rng(0)
    logits = rng.normal(size=(7, 7, 4)).astype(np.float32) + np.float32([6, 0, 0, 0])
    for row, column in positions:
        logits[row, column] = (-1, *rng.permutation(3))
    halves = [resize_geometry(140, 110, 97), resize_geometry(140, 110, 97, "stretch")]
    ramp = np.minimum(1, (np.arange(110) + 0.5) / 30).astype(np.float32)
    tiles = [
        Patch.from_output(
            logits,
            geometry,
            aligned_corners=aligned,
            left=left,
            fade=(np.ones(140, np.float32), fade),
        )
        for geometry, left, fade in zip(halves, (0, 80), (ramp[::-1], ramp), strict=True)
    ]
    whole_image = Patch.from_output(logits, resize_geometry(*size, 97), aligned_corners=aligned)
    for patches in ([whole_image], tiles):
        upsampled = UpsampledLogits(size, patches)
        whole = np.asarray(upsampled)
        np.testing.assert_allclose(
            upsampled.rows(30, 80, 60, 130), np.moveaxis(whole[30:80, 60:130], -1, 0), atol=1e-5
        )
        wanted, parts = Parts(whole), Parts(upsampled)
        left_out = np.ones(size, bool)
        for window, _ in parts._bands():
            left_out[window] = False
        assert left_out.mean() > 0.2 and (left_out.all() or positions)
        np.testing.assert_array_equal(parts.labels, wanted.labels)
        np.testing.assert_allclose(parts.scores, wanted.scores, rtol=1e-5)
        np.testing.assert_allclose(parts.probabilities, wanted.probabilities, atol=1e-6)
