"""A decoder begins as its coarse head, and corrects it with finer maps."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.models import DecoderHead, FusionHead
from keras_parts.ops import resize_aligned

pytestmark = pytest.mark.backend
LEVELS = (("deep_a", "deep_b"), ("middle",), ("fine",))


def features():
    rng = np.random.default_rng(0)
    sizes = {"deep_a": (3, 8), "deep_b": (3, 6), "middle": (5, 4), "fine": (9, 4)}
    return {
        name: rng.normal(size=(2, side, side, channels)).astype("float32")
        for name, (side, channels) in sizes.items()
    }


def decoder(**options):
    head = DecoderHead(3, LEVELS, width=8, level_widths=(6, 4), **options)
    head(features())
    return head


def test_before_training_its_logits_are_those_of_the_coarse_head():
    head, coarse = decoder(), FusionHead(3, width=8)
    maps = features()
    deep = {name: maps[name] for name in LEVELS[0]}
    coarse(deep)
    values = {variable.path.split("/", 1)[1]: variable for variable in head.variables}
    for variable in coarse.variables:
        variable.assign(values[variable.path.split("/", 1)[1]])
    expected = ops.convert_to_numpy(resize_aligned(coarse(deep), (9, 9)))
    np.testing.assert_allclose(ops.convert_to_numpy(head(maps)), expected, rtol=1e-5, atol=1e-6)


def test_finer_maps_correct_the_logits_where_they_are():
    head, maps = decoder(corrected=None), features()
    kernel = head.corrections.kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape))
    before = ops.convert_to_numpy(head(maps))
    maps["fine"] = maps["fine"].copy()
    maps["fine"][:, 8, 8] += [3, -3, 1, 0]
    change = np.abs(ops.convert_to_numpy(head(maps)) - before).max(axis=(0, 3))
    # Two units of 5 x 5 see four positions around.
    assert change[8, 8] > 0 and change[:4].max() == 0 and change[:, :4].max() == 0


def test_the_first_logits_are_corrected():
    head, maps = decoder(), features()
    before = ops.convert_to_numpy(head(maps))
    head.corrections.bias.assign(head.corrections.bias + 2)
    change = ops.convert_to_numpy(head(maps)) - before
    np.testing.assert_allclose(change, np.broadcast_to([2, 0, 0], change.shape), atol=1e-5)


def test_the_scale_of_the_maps_has_no_effect_if_they_are_normalised():
    maps = features()
    larger = {name: 50 * values for name, values in maps.items()}
    normalised, plain = (FusionHead(3, width=8, normalise=each) for each in (True, False))
    for head in (normalised, plain):
        head(maps)
    np.testing.assert_allclose(
        ops.convert_to_numpy(normalised(larger)), ops.convert_to_numpy(normalised(maps)), atol=0.1
    )
    assert np.abs(ops.convert_to_numpy(plain(larger) - plain(maps))).max() > 1


def test_its_configuration_makes_the_same_head():
    head = decoder(corrected=None)
    again = DecoderHead.from_config(head.get_config())
    again(features())
    assert [v.shape for v in again.variables] == [v.shape for v in head.variables]
    assert again.levels == LEVELS and again.corrected is None
    assert keras.saving.serialize_keras_object(again)["class_name"] == "DecoderHead"
