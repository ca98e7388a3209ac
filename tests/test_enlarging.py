import numpy as np
import pytest

from keras_parts.enlarging import EnlargedLogits, Patch
from keras_parts.geometry import fit_geometry
from keras_parts.parts import Parts


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
