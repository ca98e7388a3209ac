import numpy as np
import pytest

from keras_parts.images.geometry import fit_geometry
from keras_parts.images.upsampling import EnlargedLogits, Patch
from keras_parts.results.parts import Parts


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("fit", ["pad", "stretch", "short"])
@pytest.mark.parametrize("size", [(40, 60), (200, 30), (1, 1), (33, 33)])
def test_rows_are_those_of_the_fit(size, fit, aligned):
    geometry = fit_geometry(*size, 33, fit)
    cells = [side // 16 + 1 for side in geometry.input_size]
    logits = np.random.default_rng(0).normal(size=(*cells, 4)).astype(np.float32)
    wanted = geometry.restore(logits, aligned)
    enlarged = EnlargedLogits(size, [Patch.of(logits, geometry, aligned)])
    assert enlarged.shape == (*size, 4)
    np.testing.assert_allclose(np.asarray(enlarged), wanted, atol=1e-5)
    middle = size[0] // 2
    rows = enlarged.rows(middle, size[0])
    np.testing.assert_allclose(np.moveaxis(rows, 0, -1), wanted[middle:], atol=1e-5)
    np.testing.assert_array_equal(Parts(enlarged).labels, Parts(np.asarray(enlarged)).labels)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("cells", [[], [(2, 3)], [(0, 0), (5, 6)], [(6, 0), (6, 6)]])
def test_columns_that_are_left_out_are_background(cells, aligned, monkeypatch):
    """An object in a few cells, in an image shown whole and in two patches that overlap."""
    monkeypatch.setattr("keras_parts.results.parts._BAND", 10 * 190)
    size, rng = (140, 190), np.random.default_rng(0)
    logits = rng.normal(size=(7, 7, 4)).astype(np.float32) + np.float32([6, 0, 0, 0])
    for row, column in cells:
        logits[row, column] = (-1, *rng.permutation(3))
    halves = [fit_geometry(140, 110, 97), fit_geometry(140, 110, 97, "stretch")]
    ramp = np.minimum(1, (np.arange(110) + 0.5) / 30).astype(np.float32)
    tiles = [
        Patch.of(logits, fit, aligned, 0, left, (np.ones(140, np.float32), fade))
        for fit, left, fade in zip(halves, (0, 80), (ramp[::-1], ramp), strict=True)
    ]
    for patches in ([Patch.of(logits, fit_geometry(*size, 97), aligned)], tiles):
        enlarged = EnlargedLogits(size, patches)
        whole = np.asarray(enlarged)
        np.testing.assert_allclose(
            enlarged.rows(30, 80, 60, 130), np.moveaxis(whole[30:80, 60:130], -1, 0), atol=1e-5
        )
        wanted, parts = Parts(whole), Parts(enlarged)
        left_out = np.ones(size, bool)
        for window, _ in parts._bands():
            left_out[window] = False
        assert left_out.mean() > 0.2 and (left_out.all() or cells)
        np.testing.assert_array_equal(parts.labels, wanted.labels)
        np.testing.assert_allclose(parts.scores, wanted.scores, rtol=1e-5)
        np.testing.assert_allclose(parts.probabilities, wanted.probabilities, atol=1e-6)
