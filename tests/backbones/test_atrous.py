import keras
import numpy as np
import pytest

from keras_parts.backbones.atrous import DilatedPooling2D, atrous
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError
from tests.backbones.contract import evaluate, randomise, tolerance

pytestmark = pytest.mark.backend
one_backend = pytest.mark.backend("tensorflow")

applications = keras.applications
PLAIN = Preprocessing()


def application(name, side, **options):
    model = getattr(applications, name)(
        input_shape=(side, side, 3), include_top=False, weights=None, **options
    )
    if name.startswith("Efficient"):
        # Squeeze-and-excitation takes a mean over the finer map. Here it is made constant.
        for layer in model.layers:
            if layer.name.endswith("se_expand"):
                kernel, bias = layer.get_weights()
                layer.set_weights([np.zeros_like(kernel), bias])
    return randomise(model)


@pytest.mark.parametrize(
    ("name", "side", "layer", "first", "step", "options"),
    [
        # 32 n + 1 for the networks with odd kernels, 32 n for those with even ones
        ("MobileNetV2", 65, "block_13_project_BN", 0, 4, {"alpha": 0.35}),
        ("VGG16", 64, "block5_pool", 1, 4, {}),
        # Layers that the two above have, too: the copies differ, but no backend's computation.
        pytest.param("ResNet50", 65, "conv4_block1_out", 0, 2, {}, marks=one_backend),
        pytest.param("EfficientNetB0", 65, "block6a_project_bn", 0, 4, {}, marks=one_backend),
        pytest.param("DenseNet121", 64, "conv4_block2_concat", 0, 2, {}, marks=one_backend),
    ],
)
@pytest.mark.slow
def test_dilated_networks_agree_at_shared_positions(name, side, layer, first, step, options):
    model = application(name, side, **options)
    dilated = atrous(model, 8, outputs=(layer,))

    cut = keras.Model(model.input, {layer: model.get_layer(layer).output})
    assert [w.path for w in dilated.weights] == [w.path for w in cut.weights]
    for one, other in zip(dilated.get_weights(), cut.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    image = np.random.default_rng(0).uniform(0, 2, (1, side, side, 3)).astype("float32")
    expected, found = evaluate(cut, image)[layer], evaluate(dilated, image)[layer]
    assert dilated.output_stride == dilated.strides[layer] == 8
    assert found.shape[1] == (side - 1) // 8 + 1
    shared = found[:, first::step, first::step]
    np.testing.assert_allclose(shared, expected, **tolerance(expected, 1e-4))


@pytest.mark.slow
def test_nested_models_are_copied():
    model = applications.ConvNeXtTiny(input_shape=(64, 64, 3), include_top=False, weights=None)
    dilated = atrous(model, 16)
    assert dilated.preprocessing.multiplier == 255
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    expected = model.predict_on_batch(image)
    found = evaluate(dilated, image)["features"]
    assert expected.shape == (1, 2, 2, 768) and found.shape == (1, 4, 4, 768)
    np.testing.assert_allclose(found[:, ::2, ::2], expected, **tolerance(expected, 1e-4))


@pytest.mark.slow
@one_backend  # shapes, and a file of Keras
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


def test_padding_is_symmetric_for_any_size_for_which_the_network_was_built():
    model = applications.MobileNetV2(alpha=0.35, include_top=False, weights=None)
    dilated = atrous(model, 8, {"features": "block_6_project_BN"})
    image = np.random.default_rng(0).normal(size=(1, 65, 65, 3)).astype("float32")
    expected = evaluate(dilated, image)["features"]
    for weight in dilated.weights:
        if len(weight.shape) == 4:
            weight.assign(keras.ops.convert_to_numpy(weight)[:, ::-1])
    mirrored = evaluate(dilated, image[:, :, ::-1])["features"]
    np.testing.assert_allclose(mirrored[:, :, ::-1], expected, **tolerance(expected, 1e-4))


@one_backend  # nothing is computed
def test_the_model_is_not_changed():
    model = application("VGG16", 64)
    before = model.get_config()
    atrous(model, 8)
    assert model.get_config() == before


@one_backend  # nothing is computed
@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small"])
def test_classifiers_are_copied_up_to_their_last_map(name):
    classifier = getattr(applications, name)(weights=None)
    found = atrous(classifier, 32).output["features"].shape
    assert found[3] == application(name, 64).output.shape[3]


def toy_network(*layers):
    image = x = keras.Input((None, None, 3))
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="toy")


CONV = keras.layers.Conv2D


def stem(*more):
    """A stem like InceptionV3's: overlapping windows without padding."""
    return toy_network(
        CONV(4, 3, strides=2), CONV(4, 3, activation="relu"), keras.layers.MaxPooling2D(3, 2), *more
    )


def test_windows_without_padding_span_the_image():
    model = randomise(stem(CONV(4, 3, strides=2), keras.layers.AveragePooling2D(3, 2)))
    plain, dilated = (atrous(model, stride, preprocessing=PLAIN) for stride in (16, 8))
    image = np.random.default_rng(0).normal(size=(1, 129, 129, 3)).astype("float32")
    expected, found = (evaluate(one, image)["features"] for one in (plain, dilated))
    assert expected.shape == (1, 9, 9, 4) and found.shape == (1, 17, 17, 4)
    np.testing.assert_allclose(found[:, ::2, ::2], expected, **tolerance(expected, 1e-5))


def test_away_from_the_border_only_the_sampling_is_shifted():
    model = randomise(stem())
    dilated = atrous(model, 8, preprocessing=PLAIN)
    image = np.random.default_rng(0).normal(size=(1, 65, 65, 3)).astype("float32")
    found = evaluate(dilated, image)["features"]
    # Without padding the map begins 5 pixels inside: 1 for each window, times the stride before it.
    expected = keras.ops.convert_to_numpy(model(image[:, 3:, 3:]))
    inside = expected.shape[1]
    assert found.shape == (1, 17, 17, 4) and inside == 13
    np.testing.assert_allclose(
        found[:, 2 : 2 + inside, 2 : 2 + inside], expected, **tolerance(expected, 1e-5)
    )


def factorised_reduction():
    """NASNet's reduction: the even and the odd positions, joined as channels."""
    image = keras.Input((None, None, 3))
    x = CONV(4, 3, strides=8, padding="same")(image)
    for index in range(2):
        halves = [
            x,
            keras.layers.Cropping2D(((1, 0), (1, 0)))(
                keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
            ),
        ]
        halves = [keras.layers.AveragePooling2D(1, 2)(half) for half in halves]
        halves = [CONV(4, 3, padding="same")(half) for half in halves]
        x = keras.layers.Concatenate(name=f"reduction_{index}")(halves)
    return keras.Model(image, x, name="nasnet_toy")


def test_padding_that_is_cropped_again_is_kept():
    model = randomise(factorised_reduction())
    image = np.random.default_rng(0).normal(size=(1, 129, 129, 3)).astype("float32")
    expected = keras.ops.convert_to_numpy(model(image))
    dilated = atrous(model, 8)
    found = evaluate(dilated, image)["features"]
    assert expected.shape == (1, 5, 5, 8) and found.shape == (1, 17, 17, 8)
    np.testing.assert_allclose(found[:, ::4, ::4], expected, **tolerance(expected, 1e-5))


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda: toy_network(CONV(4, 3)), {"output_stride": 4}, "output_stride is 4"),
        (lambda: toy_network(CONV(4, 3)), {"preprocessing": None}, "preprocessing of 'toy'"),
        (lambda: toy_network(CONV(4, 3)), {"outputs": ("nowhere",)}, "no layer 'nowhere'"),
        (lambda: toy_network(CONV(4, 3)), {"outputs": ()}, "outputs is empty"),
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
            "'mean' is not a map",
        ),
        (
            lambda: toy_network(keras.layers.Cropping2D(8), CONV(4, 3, strides=2)),
            {},
            r"'features' of toy has 121 x 121 positions of stride 2 .* expected 129 x 129",
        ),
        (lambda: keras.Sequential([CONV(4, 3)]), {}, "functional"),
    ],
)
def test_errors_name_the_layer_or_argument(build, arguments, message):
    with pytest.raises(ConfigError, match=message):
        atrous(build(), **{"preprocessing": PLAIN, **arguments})


@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_dilated_pooling_is_pooling_of_every_other_position(mode, padding):
    kind = {"max": keras.layers.MaxPooling2D, "average": keras.layers.AveragePooling2D}[mode]
    x = np.random.default_rng(0).normal(size=(2, 11, 13, 3)).astype("float32") - 5
    layer = DilatedPooling2D((3, 3), 2, padding=padding, mode=mode)
    found = keras.ops.convert_to_numpy(layer(x))
    assert found.shape == layer.compute_output_shape(x.shape)
    expected = keras.ops.convert_to_numpy(kind(3, 1, padding=padding)(x[:, ::2, ::2]))
    np.testing.assert_allclose(found[:, ::2, ::2], expected, atol=1e-5)
    again = DilatedPooling2D.from_config(layer.get_config())
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again(x)), found)
