"""The layers compute what Keras' own layers compute."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_parts.backbones.tensorflow_layers import BatchNormalization, Conv2D

pytestmark = pytest.mark.backend

needs_tensorflow = pytest.mark.backend("tensorflow")  # on other backends they are Keras' own
CHANNELS = 5


def convolutions(dilation):
    options = {"padding": "same", "dilation_rate": dilation, "use_bias": False}
    return [kind(3, 3, **options) for kind in (layers.Conv2D, Conv2D)]


def normalisations(**options):
    options = {"momentum": 0.9, "epsilon": 1e-5, **options}
    return [kind(**options) for kind in (layers.BatchNormalization, BatchNormalization)]


def random_maps(*shape):
    return np.random.default_rng(0).normal(1.5, 2.0, shape).astype("float32")


def with_random_weights(pair):
    plain, ours = pair
    rng = np.random.default_rng(1)
    for layer in pair:
        layer.build((None, None, None, CHANNELS))
    plain.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in plain.weights])
    ours.set_weights(plain.get_weights())
    return pair


def step(layer, maps, jit_compile, sizes_known=True):
    """Outputs, gradients with respect to maps and weights, and the weights afterwards."""
    import tensorflow as tf

    shape = maps.shape if sizes_known else (None, None, None, CHANNELS)

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec(shape)])
    def run(maps):
        weights = [variable.value for variable in layer.trainable_variables]
        with tf.GradientTape() as tape:
            tape.watch(maps)
            outputs = layer(maps, training=True)
            loss = tf.reduce_mean(tf.sin(tf.cast(outputs, "float32")))
        return outputs, *tape.gradient(loss, [maps, *weights])

    return [array.numpy() for array in run(tf.constant(maps))] + layer.get_weights()


def assert_close(pair, maps, jit_compile=False, **options):
    expected, found = (step(layer, maps, jit_compile, **options) for layer in pair)
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * np.abs(a).max())


@needs_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dilation, size", [(2, (7, 6)), ((4, 2), (9, 8)), (4, (3, 5))])
def test_dilated_convolution(dilation, size, jit_compile):
    maps = random_maps(2, *size, CHANNELS)
    assert_close(with_random_weights(convolutions(dilation)), maps, jit_compile)


@needs_tensorflow
def test_dilated_convolution_of_maps_of_any_size():
    pair = with_random_weights(convolutions(4))
    assert_close(pair, random_maps(2, 3, 7, CHANNELS), sizes_known=False)


@needs_tensorflow
def test_dilated_convolution_makes_no_padded_copies():
    """The graph has none of the operations with which Keras' own layer copies the maps."""
    import tensorflow as tf

    _, ours = with_random_weights(convolutions(2))
    traced = tf.function(ours).get_concrete_function(tf.TensorSpec((2, 7, 7, CHANNELS)))
    assert "SpaceToBatchND" not in {node.type for node in traced.graph.get_operations()}


@needs_tensorflow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_normalisation(jit_compile):
    assert_close(with_random_weights(normalisations()), random_maps(2, 4, 3, CHANNELS), jit_compile)


@needs_tensorflow
@pytest.mark.parametrize(
    "options", [{"synchronized": True}, {"trainable": False}, {"scale": False}]
)
def test_normalisation_that_is_left_to_keras(options):
    maps = random_maps(2, CHANNELS, CHANNELS, CHANNELS)
    expected, found = (
        step(layer, maps, jit_compile=False)
        for layer in with_random_weights(normalisations(**options))
    )
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_array_equal(a, b)


@needs_tensorflow
@pytest.mark.parametrize("create", [lambda **o: convolutions(2), normalisations])
def test_in_mixed_precision(create):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        pair = with_random_weights(create())
    finally:
        keras.config.set_dtype_policy(before)
    maps = random_maps(2, 7, 7, CHANNELS)
    (expected, *_), (found, *gradients) = (step(layer, maps, jit_compile=False) for layer in pair)
    assert found.dtype == expected.dtype == "bfloat16"
    expected, found = expected.astype("float32"), found.astype("float32")
    np.testing.assert_allclose(found, expected, atol=0.02 * np.abs(expected).max())
    assert all(np.isfinite(array).all() for array in gradients)


def test_same_outputs_and_files_as_keras(tmp_path):
    def network(convolution, normalisation):
        inputs = keras.Input((None, None, CHANNELS))
        maps = convolution(4, 3, padding="same", dilation_rate=2, name="conv")(inputs)
        return keras.Model(inputs, normalisation(name="bn")(maps))

    plain = network(layers.Conv2D, layers.BatchNormalization)
    ours = network(Conv2D, BatchNormalization)
    assert [w.path for w in ours.weights] == [w.path for w in plain.weights]
    plain.save_weights(tmp_path / "plain.weights.h5")
    ours.load_weights(tmp_path / "plain.weights.h5")
    maps = random_maps(2, 7, 7, CHANNELS)
    for training in (False, True):
        expected, found = (
            keras.ops.convert_to_numpy(model(maps, training=training)) for model in (plain, ours)
        )
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    ours.save(tmp_path / "ours.keras")
    again = keras.saving.load_model(tmp_path / "ours.keras")
    assert isinstance(again.get_layer("bn"), BatchNormalization)
