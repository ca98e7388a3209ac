from functools import partial

import keras
import numpy as np
import pytest

from keras_parts.backbones.resnet50 import (
    DeepLabHead,
    deeplab_head,
    freeze_affine,
    load_keras_applications,
    load_torch_state,
    resnet50,
)
from keras_parts.errors import ConfigError, DataError
from tests.backbones.contract import check_backbone, evaluate, randomise, tolerance
from tests.backbones.reference import reference_state

pytestmark = pytest.mark.backend


@pytest.mark.slow
def test_contract(tmp_path):
    channels = {"stem": 64, "stage_2": 512}
    check_backbone(partial(resnet50, outputs=tuple(channels)), channels, tmp_path)


def test_sizes_and_dilations_of_the_paper():
    model = resnet50(outputs=("stem", "stage_2", "stage_4"))
    maps = model(keras.KerasTensor((1, 256, 256, 3)))
    assert maps["stem"].shape == (1, 65, 65, 64)
    assert maps["stage_2"].shape == (1, 33, 33, 512)
    assert maps["stage_4"].shape == (1, 33, 33, 2048)
    dilations = [
        layer.dilation_rate[0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (3, 3)
    ]
    assert dilations == 7 * [1] + 6 * [2] + 3 * [4]


def test_equals_the_papers_network(reference):
    state = reference_state(reference)
    backbone, head = resnet50(), deeplab_head(5)
    head.build((None, None, None, 2048))
    load_torch_state(backbone, state, head)
    assert len(backbone.weights) + len(head.weights) == len(state)

    image = reference["network_input"].transpose(0, 2, 3, 1)
    logits = keras.ops.convert_to_numpy(head(backbone(image)["stage_4"]))
    expected = reference["network_logits"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(logits, expected, **tolerance(expected, 1e-4))


def test_an_incomplete_checkpoint_is_refused():
    with pytest.raises(DataError, match="mine.pth: no array named 'conv1.weight'"):
        load_torch_state(resnet50(outputs=("stem",)), {}, source="mine.pth")


def test_head_uses_the_last_channels():
    head = deeplab_head(3, used_channels=4)
    features = np.random.default_rng(0).normal(size=(1, 9, 9, 6)).astype("float32")
    logits = keras.ops.convert_to_numpy(head(features))
    assert logits.shape == (1, 9, 9, 3)
    changed = features.copy()
    changed[..., :2] += 1
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(head(changed)), logits)
    assert [conv.dilation_rate[0] for conv in head.convolutions] == [6, 12, 18, 24]


@pytest.mark.parametrize("size", [(5, 9), (20, 33)])
def test_head_is_the_sum_of_its_convolutions(size):
    head = deeplab_head(3, used_channels=4)
    head.build((None, None, None, 6))
    randomise(head)
    features = np.random.default_rng(0).normal(size=(2, *size, 6)).astype("float32")
    expected = sum(
        keras.ops.convert_to_numpy(convolution(features[..., -4:]))
        for convolution in head.convolutions
    )
    logits = keras.ops.convert_to_numpy(head(features))
    np.testing.assert_allclose(logits, expected, **tolerance(expected, 1e-5))


def test_initial_weights_of_the_head_are_small():
    head = deeplab_head(8)
    head.build((None, None, None, 2048))
    assert len(head.trainable_weights) == 8
    for conv in head.convolutions:
        kernel, bias = conv.get_weights()
        assert kernel.std() == pytest.approx(0.01, rel=0.05) and not bias.any()


def test_head_round_trip_and_errors():
    head = DeepLabHead.from_config(deeplab_head(3, used_channels=4).get_config())
    assert (head.num_parts, head.used_channels) == (3, 4)
    with pytest.raises(ConfigError, match="fewer than"):
        head.build((None, None, None, 3))
    with pytest.raises(ConfigError, match="num_parts is 0"):
        deeplab_head(0)


@pytest.mark.slow
def test_weights_of_keras_applications():
    original = randomise(keras.applications.ResNet50(weights=None, include_top=False))
    plain, dilated = resnet50(32, ("stage_3",)), resnet50(8, ("stage_3",))
    load_keras_applications(plain, original)
    load_keras_applications(dilated, original)
    # 61 pixels become 31 before the pooling: for an odd number, rounding up and down are the same.
    image = np.random.default_rng(0).normal(size=(1, 61, 61, 3)).astype("float32")
    cut = keras.Model(original.input, {"stage_3": original.get_layer("conv4_block6_out").output})
    expected = evaluate(cut, image)["stage_3"]
    assert expected.shape == (1, 4, 4, 1024)
    for model, step in ((plain, 1), (dilated, 2)):
        found = evaluate(model, image)["stage_3"][:, ::step, ::step]
        np.testing.assert_allclose(found, expected, **tolerance(expected, 1e-4))


def test_another_network_of_keras_applications_is_refused():
    other = keras.applications.ResNet50V2(weights=None, include_top=False)
    with pytest.raises(DataError, match="keras.applications.ResNet50"):
        load_keras_applications(resnet50(outputs=("stage_1",)), other)


def test_freeze_affine_still_updates_running_statistics():
    model = resnet50(outputs=("stage_1",))
    freeze_affine(model)
    assert not any(w.path.endswith(("gamma", "beta")) for w in model.trainable_weights)
    assert len(model.trainable_weights) == 1 + 3 * 3 + 1

    bn = model.get_layer("stage_1_block_0_bn_1")
    gamma, beta, mean, variance = bn.get_weights()
    images = np.random.default_rng(0).normal(size=(2, 33, 33, 3)).astype("float32")
    # One program on JAX, which would compile each operation of an eager step.
    model.compile("sgd", loss="mse", run_eagerly=keras.config.backend() != "jax")
    model.train_on_batch(images, {"stage_1": np.ones((2, 9, 9, 256), "float32")})
    after = bn.get_weights()
    np.testing.assert_array_equal(after[0], gamma)
    np.testing.assert_array_equal(after[1], beta)
    assert np.abs(after[2] - mean).max() > 0 and np.abs(after[3] - variance).max() > 0


def test_freeze_affine_freezes_nested_models_too():
    inner = resnet50(outputs=("stem",))
    image = keras.Input((33, 33, 3))
    freeze_affine(keras.Model(image, inner(image)))
    assert not inner.get_layer("stem_bn").gamma.trainable
