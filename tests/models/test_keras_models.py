"""A segmenter as a Keras model: saving, cloning, nesting, precision, images of any size."""

import copy
import pickle

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts import zoo
from keras_parts.backbones.backbone import Backbone
from keras_parts.errors import ConfigError, DataError
from keras_parts.keras_private import set_random_seed
from keras_parts.models.preprocessor import ImagePreprocessor
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from tests.small import random_images, register_tiny

pytestmark = pytest.mark.backend
ON_JAX = keras.config.backend() == "jax"


@pytest.fixture(scope="module")
def segmenter():
    set_random_seed(0)
    model = PartSegmenter(SegmenterConfig(3, register_tiny(), 8))
    # Compiling takes longer than predicting a few images; JAX compiles in any case.
    model.run_eagerly = not ON_JAX
    return model


@pytest.fixture(scope="module")
def images():
    return np.stack(random_images((65, 65), (65, 65)))


def logits(model, images):
    # One program on JAX, which would compile each operation of an eager call.
    return ops.convert_to_numpy((model.predict_on_batch if ON_JAX else model)(images))


def saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras")


def cloned(model, tmp_path):
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    return clone


@pytest.mark.parametrize(
    "copied",
    [
        saved_and_loaded,
        cloned,
        lambda model, tmp_path: copy.deepcopy(model),
        lambda model, tmp_path: pickle.loads(pickle.dumps(model)),
    ],
    ids=["keras file", "clone_model", "deepcopy", "pickle"],
)
def test_a_copy_computes_the_same(segmenter, images, tmp_path, copied):
    again = copied(segmenter, tmp_path)
    assert type(again) is PartSegmenter and again.config == segmenter.config
    np.testing.assert_array_equal(logits(again, images), logits(segmenter, images))
    assert [w.path for w in again.weights] == [w.path for w in segmenter.weights]


def test_settings_outside_of_the_configuration_are_saved(segmenter, tmp_path):
    model = PartSegmenter(segmenter.config, name="mine", dtype="mixed_bfloat16")
    model.preprocessor, model.updates_statistics, model.trainable = None, True, False
    again = saved_and_loaded(model, tmp_path)
    assert again.name == "mine" and again.preprocessor is None and again.updates_statistics
    assert again.dtype_policy.name == again.head.dtype_policy.name == "mixed_bfloat16"
    assert not again.trainable_weights


def test_a_compiled_segmenter_is_saved_while_it_is_trained(segmenter, images, tmp_path):
    model = cloned(segmenter, tmp_path)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, run_eagerly=not ON_JAX)
    targets = np.zeros((2, 9, 9))
    path = tmp_path / "best.keras"
    model.fit(images, targets, verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(path)])
    again = keras.saving.load_model(path)
    np.testing.assert_array_equal(logits(again, images), logits(model, images))
    assert again.optimizer.iterations == 1


def test_segmenters_in_a_functional_model(segmenter, images, tmp_path):
    """Raw images go through the preprocessor; the names of two segmenters do not clash."""
    other = PartSegmenter.from_config(segmenter.get_config() | {"name": None})
    image = keras.Input((40, 60, 3))
    inputs = segmenter.preprocessor(image)
    model = keras.Model(image, {"one": segmenter(inputs), "other": other(inputs)})
    raw = np.stack(random_images((40, 60)))
    again = saved_and_loaded(model, tmp_path)
    found = again(raw)
    expected = segmenter.predict(raw, verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(found["one"]), expected, atol=1e-5)
    assert not np.allclose(ops.convert_to_numpy(found["other"]), expected)


@pytest.mark.backend("tensorflow", "jax")
def test_raw_images_under_xla(segmenter):
    image = keras.Input((40, 60, 3))
    model = keras.Model(image, segmenter(segmenter.preprocessor(image)))
    model.compile(jit_compile=True)
    raw = np.stack(random_images((40, 60)))
    np.testing.assert_allclose(
        model.predict(raw, verbose=0), segmenter.predict(raw, verbose=0), atol=1e-4
    )


def test_exports_of_keras_know_the_input(segmenter):
    assert segmenter._build_shapes_dict == {"input_shape": (None, 65, 65, 3)}


def test_it_tells_its_shape_and_runs_over_time(segmenter):
    assert segmenter.compute_output_shape((None, 65, 65, 3)) == (None, 9, 9, 4)
    video = keras.Input((2, 65, 65, 3))
    assert keras.layers.TimeDistributed(segmenter)(video).shape == (None, 2, 9, 9, 4)
    assert segmenter(keras.Input((65, 65, 3))).dtype == "float32"


@pytest.mark.backend("jax")  # others keep sides open
def test_inputs_without_sides_are_refused_on_jax(segmenter):
    with pytest.raises(ConfigError, match=r"needs a fixed height and width: .*\(\(65, 65, 3\)\)"):
        segmenter(keras.Input((None, None, 3)))


def test_a_backbone_is_saved(segmenter, tmp_path):
    again = saved_and_loaded(segmenter.backbone, tmp_path)
    assert type(again) is Backbone and again.strides == segmenter.backbone.strides
    assert again.preprocessing == segmenter.backbone.preprocessing
    for one, other in zip(again.weights, segmenter.backbone.weights, strict=True):
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (one, other)))


def test_presets_of_the_zoo_and_options_of_loading():
    one = PartSegmenter.from_preset("toy", name="one", dtype="mixed_bfloat16")
    other = zoo.load("toy", name="other")
    assert (one.name, other.name) == ("one", "other")
    assert one.dtype_policy.name == one.backbone.layers[1].dtype_policy.name == "mixed_bfloat16"
    assert [w.path for w in one.weights] == [w.path for w in other.weights]


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_precision(segmenter, images, policy):
    model = PartSegmenter(segmenter.config, dtype=policy)
    model.set_weights(segmenter.get_weights())
    expected = logits(segmenter, images)
    assert keras.backend.standardize_dtype(logits(model, images).dtype) == "float32"
    np.testing.assert_allclose(logits(model, images), expected, atol=0.05 * abs(expected).max())
    labels, wanted = (each.segment(images[0]).labels for each in (model, segmenter))
    assert (labels == wanted).mean() > 0.9
    assert {keras.backend.standardize_dtype(w.dtype) for w in model.weights} == {
        model.dtype_policy.variable_dtype
    }


def test_what_keras_cannot_do_here_is_refused(segmenter):
    with pytest.raises(ConfigError, match="cannot be quantised in Keras"):
        segmenter.quantize("int8")
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ConfigError, match="'channels_first'.*set_image_data_format"):
            PartSegmenter(segmenter.config)
    finally:
        keras.config.set_image_data_format("channels_last")


# Images of any size and range


@pytest.mark.parametrize("mode", ["pad", "short"])
@pytest.mark.parametrize("size", [(40, 60), (300, 90), (31, 35), (33, 33), (10, 90)])
def test_the_preprocessor_equals_pillow(mode, size):
    preprocessor = ImagePreprocessor(33, mode)
    batch = np.stack(random_images(size, size))
    found = ops.convert_to_numpy(preprocessor(batch))
    np.testing.assert_array_equal(found, preprocessor.prepare(batch))


def test_predict_takes_images_of_any_size(segmenter, images, tmp_path):
    whole = logits(segmenter, images)
    np.testing.assert_allclose(segmenter.predict(images, verbose=0), whole, atol=1e-5)
    np.testing.assert_allclose(
        segmenter.predict(images.astype("float64"), verbose=0), whole, atol=1e-5
    )
    several = [images[0], images[1, :40]]
    found = segmenter.predict(several, verbose=0)
    np.testing.assert_allclose(found[0], whole[0], atol=1e-5)
    wide = images[:, :40]
    np.testing.assert_allclose(segmenter.predict_on_batch(wide)[1], found[1], atol=1e-5)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return wide, np.zeros(2)

    for batches in (Batches(), ((wide, 0) for _ in range(2))):
        again = segmenter.predict(batches, steps=2, verbose=0)
        np.testing.assert_allclose(again[[1, 3]], [found[1]] * 2, atol=1e-5)


def test_predictions_are_the_logits_of_segment(segmenter, images):
    """The pixel under each position has the logits of this position: corners are aligned."""
    parts = segmenter.segment(images[0], looks=1)
    np.testing.assert_allclose(
        np.asarray(parts.logits)[::8, ::8], segmenter.predict(images[:1], verbose=0)[0], atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.backend("tensorflow")
def test_every_way_to_predict_agrees(segmenter, images, tmp_path):
    """`predict`, a `.keras` file, a functional model, `segment` and ONNX, within 1e-4."""
    pytest.importorskip("onnxruntime")
    from keras_parts import exports

    inputs = keras.Input((65, 65, 3))
    functional = keras.Model(inputs, segmenter(inputs))
    loaded = saved_and_loaded(segmenter, tmp_path)
    expected = segmenter.predict(images, verbose=0)
    for model in (functional, loaded):
        np.testing.assert_allclose(model.predict(images, verbose=0), expected, atol=1e-4)

    # Those that give probabilities at the size of the image.
    exports.export(segmenter, "onnx", tmp_path / "model.onnx", images=images[:1])
    found = exports.load("onnx", tmp_path / "model.onnx")(images)["probabilities"]
    for image, probabilities in zip(images, found, strict=True):
        for model in (segmenter, loaded):
            parts = model.segment(image, looks=1)
            np.testing.assert_allclose(parts.probabilities, probabilities, atol=1e-4)


def test_images_of_another_range_or_several_inputs_are_refused(segmenter, images):
    functions = (
        segmenter,
        segmenter.predict,
        segmenter.predict_on_batch,
        segmenter.fit,
        segmenter.evaluate,
        segmenter.train_on_batch,
        segmenter.test_on_batch,
    )
    for function, given in (
        *((function, images / 255) for function in functions),
        (segmenter.predict, ops.convert_to_tensor(images) / 255),
        (segmenter.fit, ((images / 255, 0) for _ in range(2))),
    ):
        with pytest.raises(DataError, match="expected RGB in 0 to 255: multiply them by 255"):
            function(given)
    for given, way_out in (
        (images / 127.5 - 1, "add 1 to them, then multiply by 127.5"),
        (images / 100 - 1.2, "without normalisation"),
    ):
        with pytest.raises(DataError, match=way_out):
            segmenter.fit(given.clip(-2, 2))
    with pytest.raises(DataError, match="inputs of the shapes .* expected one shape"):
        ImagePreprocessor(33, "short").prepare(random_images((40, 60), (60, 40)))


@pytest.mark.backend("tensorflow")  # others do not keep sides open
def test_the_preprocessor_needs_fixed_sides():
    with pytest.raises(ConfigError, match="expected a fixed height and width"):
        ImagePreprocessor(33)(keras.Input((None, None, 3)))
