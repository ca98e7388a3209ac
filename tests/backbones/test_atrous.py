import keras
import numpy as np
import pytest

from keras_parts.backbones.atrous import DilatedPooling2D, atrous
from keras_parts.backbones.preprocessing import CAFFE, IMAGENET, Preprocessing
from keras_parts.errors import ConfigError
from tests.backbones.contract import evaluate, randomise, tolerance

pytestmark = pytest.mark.backend

applications = keras.applications
PLAIN = Preprocessing()


def application(name, side, **options):
    model = getattr(applications, name)(
        input_shape=(side, side, 3), include_top=False, weights=None, **options
    )
    if name.startswith("Efficient"):
        # gates that see the whole image take a mean over the finer map; here they are constant
        for layer in model.layers:
            if layer.name.endswith("se_expand"):
                kernel, bias = layer.get_weights()
                layer.set_weights([np.zeros_like(kernel), bias])
    return randomise(model)


@pytest.mark.parametrize(
    ("name", "side", "layer", "options"),
    [
        # 32 n + 1 for the networks with odd kernels, 32 n for those with even ones
        ("MobileNetV2", 65, "block_13_project_BN", {"alpha": 0.35}),
        ("ResNet50", 65, "conv4_block1_out", {}),
        ("EfficientNetB0", 65, "block6a_project_bn", {}),
        ("DenseNet121", 64, "conv4_block2_concat", {}),
        ("VGG16", 64, "block5_pool", {}),
    ],
)
def test_dilated_networks_agree_at_shared_positions(name, side, layer, options):
    model = application(name, side, **options)
    dilated = atrous(model, 8, outputs=(layer,))

    cut = keras.Model(model.input, {layer: model.get_layer(layer).output})
    assert [w.path for w in dilated.weights] == [w.path for w in cut.weights]
    for one, other in zip(dilated.get_weights(), cut.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    image = np.random.default_rng(0).uniform(0, 2, (1, side, side, 3)).astype("float32")
    expected, found = evaluate(cut, image)[layer], evaluate(dilated, image)[layer]
    step = (found.shape[1] - 1) // max(expected.shape[1] - 1, 1)
    assert dilated.output_stride == dilated.strides[layer] == 8
    assert found.shape[1] >= side // 8 - 3 and step in (2, 4)
    np.testing.assert_allclose(found[:, ::step, ::step], expected, **tolerance(expected, 1e-4))


def test_nested_models_are_followed():
    model = applications.ConvNeXtTiny(input_shape=(64, 64, 3), include_top=False, weights=None)
    dilated = atrous(model, 16)
    assert dilated.preprocessing.multiplier == 255
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(image))
    found = evaluate(dilated, image)["features"]
    assert expected.shape == (1, 2, 2, 768) and found.shape == (1, 3, 3, 768)
    np.testing.assert_allclose(found[:, ::2, ::2], expected, **tolerance(expected, 1e-4))


def test_every_output_stride_and_a_saved_copy(tmp_path):
    model = application("MobileNetV2", 65, alpha=0.35)
    image = np.zeros((1, 65, 65, 3), "float32")
    sides = {}
    for output_stride in (8, 16, 32):
        outputs = {"fine": "block_2_add", "coarse": "block_14_add"}
        dilated = atrous(model, output_stride, outputs)
        assert dict(dilated.strides) == {"fine": 4, "coarse": output_stride}
        features = evaluate(dilated, image)
        sides[output_stride] = (features["fine"].shape[1], features["coarse"].shape[1])
    assert sides == {8: (17, 9), 16: (17, 5), 32: (17, 3)}

    dilated.save_weights(tmp_path / "atrous.weights.h5")
    again = atrous(application("MobileNetV2", 65, alpha=0.35), 32, outputs)
    again.load_weights(tmp_path / "atrous.weights.h5")
    np.testing.assert_array_equal(evaluate(again, image)["coarse"], features["coarse"])


def test_padding_is_symmetric_whatever_size_the_network_was_built_for():
    model = applications.MobileNetV2(alpha=0.35, include_top=False, weights=None)
    dilated = atrous(model, 8, {"features": "block_6_project_BN"})
    image = np.random.default_rng(0).normal(size=(1, 65, 65, 3)).astype("float32")
    expected = evaluate(dilated, image)["features"]
    for weight in dilated.weights:
        if len(weight.shape) == 4:
            weight.assign(keras.ops.flip(weight, axis=1))
    mirrored = evaluate(dilated, image[:, :, ::-1])["features"]
    np.testing.assert_allclose(mirrored[:, :, ::-1], expected, **tolerance(expected, 1e-4))


def test_the_model_is_left_as_it_was():
    model = application("VGG16", 64)
    before = model.get_config()
    atrous(model, 8)
    assert model.get_config() == before


@pytest.mark.parametrize(
    ("name", "include_top", "preprocessing"),
    [
        ("VGG16", False, CAFFE),
        ("DenseNet121", True, IMAGENET),
        ("MobileNet", True, Preprocessing("RGB", 1.0, (0.5,) * 3, (0.5,) * 3)),
        ("MobileNetV3Small", True, Preprocessing("RGB", 255.0)),
    ],
)
def test_preprocessing_is_that_of_keras_applications(name, include_top, preprocessing):
    model = getattr(applications, name)(weights=None, include_top=include_top)
    assert atrous(model, 16).preprocessing == preprocessing


def toy_network(*layers):
    image = x = keras.Input((None, None, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="toy")


CONV = keras.layers.Conv2D


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda: toy_network(CONV(4, 3)), {"output_stride": 4}, "output_stride is 4"),
        (lambda: toy_network(CONV(4, 3)), {"preprocessing": None}, "preprocessing of 'toy'"),
        (lambda: toy_network(CONV(4, 3)), {"outputs": ("nowhere",)}, "no plain layer 'nowhere'"),
        (lambda: toy_network(CONV(4, 3)), {"outputs": ()}, "no outputs"),
        (
            lambda: toy_network(CONV(4, 3), keras.layers.UpSampling2D(name="up")),
            {},
            r"up \(UpSampling2D\) cannot be dilated",
        ),
        (
            lambda: toy_network(CONV(4, 3, strides=4), CONV(4, 3, strides=4, name="leap")),
            {"output_stride": 8},
            "leap goes from stride 4 to 16",
        ),
        (
            lambda: toy_network(CONV(4, 3), keras.layers.Conv2D(4, 3, strides=(2, 1), name="odd")),
            {},
            "odd .* cannot be dilated",
        ),
        (
            lambda: toy_network(keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")),
            {"outputs": ("mean",)},
            "'mean' is no map",
        ),
        (lambda: keras.Sequential([CONV(4, 3)]), {}, "functional"),
    ],
)
def test_what_cannot_be_done_is_named(build, arguments, message):
    with pytest.raises(ConfigError, match=message):
        atrous(build(), **{"preprocessing": PLAIN, **arguments})


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_dilated_pooling_is_pooling_of_every_other_position(mode, padding):
    kind = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[mode]
    x = np.random.default_rng(0).normal(size=(2, 11, 13, 3)).astype("float32") - 5
    layer = DilatedPooling2D((3, 3), 2, padding, mode)
    found = keras.ops.convert_to_numpy(layer(x))
    assert found.shape == layer.compute_output_shape(x.shape)
    expected = keras.ops.convert_to_numpy(kind(3, 1, padding=padding)(x[:, ::2, ::2]))
    np.testing.assert_allclose(found[:, ::2, ::2], expected, atol=1e-5)
    again = DilatedPooling2D.from_config(layer.get_config())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(x)), found)
