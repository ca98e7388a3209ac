"""The contract of all backbones: `check_backbone` tests all of it for one constructor."""

import json

import keras
import numpy as np

from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.discovery.teachers import Teacher
from tests.small import as_one_program

SIDE = 65  # 32 n + 1: maps of all output strides are aligned with the image's corners


def check_backbone(create, channels, tmp_path, strides=None, side=SIDE, mirrors=True, unused=()):
    """Check a backbone.

    Args:
        create: constructor that takes `output_stride`; networks with fixed strides ignore it.
        channels: expected `{output name: number of channels}`.
        tmp_path: an empty folder.
        strides: expected `{output name: stride}` at output stride 32; by default the network's own,
            which are compared with the sizes of the maps in any case.
        side: side in pixels of the square images.
        mirrors: whether mirrored kernels must give mirrored maps. Even kernels, and tokens with
            position embeddings, do not.
        unused: suffixes of the names of weights on which the maps do not depend.
    """
    plain = randomise(create(output_stride=32))
    dilated = create(output_stride=8)
    dilated.set_weights(plain.get_weights())
    other = create(output_stride=32)
    image = np.random.default_rng(0).normal(size=(1, side, side, 3)).astype("float32")
    features = evaluate(plain, image)

    check_metadata(plain, channels, strides or plain.strides)
    check_names(plain, dilated, other)
    check_shapes(plain, features, channels, side)
    check_shapes(dilated, evaluate(dilated, image), channels, side)
    check_shared_positions(plain, features, dilated, evaluate(dilated, image))
    if mirrors:
        check_mirror(dilated, image)
    check_weights_file(other, plain, image, features, tmp_path)
    check_mixed_precision(create, image)
    check_teacher(plain, side)
    check_gradients(plain, np.repeat(image, 2, axis=0), features, unused)


def evaluate(model, images):
    """The outputs as arrays."""
    outputs = as_one_program(model, images)
    return {name: keras.ops.convert_to_numpy(maps) for name, maps in outputs.items()}


def randomise(model, seed=0):
    """Draw the weights of normalisations and biases, which initially change nothing."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(generator.uniform(0.8, 1.2, weight.shape))
        elif weight.path.endswith(("beta", "moving_mean", "bias")):
            weight.assign(generator.uniform(-0.2, 0.2, weight.shape))
    return model


def check_metadata(model, channels, strides):
    assert isinstance(model, Backbone)
    assert isinstance(model.preprocessing, Preprocessing)
    config = json.loads(json.dumps(model.preprocessing.to_config()))
    assert Preprocessing.from_config(config) == model.preprocessing
    assert dict(model.channels) == channels
    assert model.strides == strides
    assert set(model.output) == set(channels) == set(strides)


def check_names(*models):
    """Names are unique and the same in every instance: weights files are matched by them."""
    for model in models:
        layer_names = [layer.name for layer in model.layers]
        assert len(set(layer_names)) == len(layer_names)
        paths = [weight.path for weight in model.weights]
        assert len(set(paths)) == len(paths)
    first, *others = ([(w.path, w.shape) for w in model.weights] for model in models)
    assert all(names == first for names in others)


def check_shapes(model, features, channels, side):
    assert max(model.strides.values()) <= model.output_stride
    for name, maps in features.items():
        positions = (side - 1) // model.strides[name] + 1
        assert maps.shape == (1, positions, positions, channels[name])
        assert maps.dtype == "float32"
        assert np.isfinite(maps).all() and maps.std() > 0


def check_shared_positions(plain, plain_features, dilated, features):
    for name, maps in features.items():
        step = plain.strides[name] // dilated.strides[name]
        np.testing.assert_allclose(
            maps[:, ::step, ::step], plain_features[name], **tolerance(maps, 1e-4)
        )


def check_mirror(model, image):
    """With mirrored kernels, a mirrored image gives mirrored features: nothing is shifted."""
    expected = evaluate(model, image)
    kernels = [w for w in model.weights if len(w.shape) == 4]
    for kernel in kernels:
        kernel.assign(keras.ops.convert_to_numpy(kernel)[:, ::-1])
    found = evaluate(model, image[:, :, ::-1])
    for name, maps in found.items():
        np.testing.assert_allclose(maps[:, :, ::-1], expected[name], **tolerance(maps, 1e-4))


def check_weights_file(other, model, image, features, tmp_path):
    """Weights in a file give another instance the same maps."""
    path = tmp_path / "backbone.weights.h5"
    model.save_weights(path)
    other.load_weights(path)
    for name, maps in evaluate(other, image).items():
        np.testing.assert_array_equal(maps, features[name])


def check_mixed_precision(create, image):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = create(output_stride=32)
        # Within the policy, since some layers create others when they are called.
        outputs = evaluate(model, image)
    finally:
        keras.config.set_dtype_policy(before)
    assert {weight.dtype for weight in model.weights if "float" in weight.dtype} == {"float32"}
    for maps in outputs.values():
        assert keras.backend.standardize_dtype(maps.dtype) == "bfloat16"


def check_teacher(model, side):
    """As a teacher it is frozen, takes images in 0 to 255, and has a fingerprint of its weights."""
    teacher = Teacher(model)
    images = np.random.default_rng(1).uniform(0, 255, (2, side, side, 3)).astype("float32")
    features = keras.ops.convert_to_numpy(as_one_program(teacher, images))
    assert features.shape[-1] == sum(model.channels.values()) and features.dtype == "float32"
    assert np.isfinite(features).all() and features.std() > 0
    assert not teacher.trainable_weights
    before, weight = teacher.fingerprint, model.weights[0]
    value = keras.ops.convert_to_numpy(weight)
    weight.assign(value + 1)
    assert Teacher(model).fingerprint != before
    weight.assign(value)


def check_gradients(model, images, features, unused):
    """One step of training changes every weight; `features` are maps of the outputs' sizes."""
    model.trainable = True
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    # TensorFlow needs longer to trace a step than to run one.
    eagerly = keras.backend.backend() == "tensorflow"
    model.compile(keras.optimizers.Adam(1e-2), loss="mse", run_eagerly=eagerly)
    shapes = {name: (len(images), *maps.shape[1:]) for name, maps in features.items()}
    targets = {name: np.ones(shape, "float32") for name, shape in shapes.items()}
    logs = model.train_on_batch(images, targets, return_dict=True)
    assert np.isfinite(logs["loss"])
    for weight, value in zip(model.trainable_weights, before, strict=True):
        after = keras.ops.convert_to_numpy(weight)
        assert np.isfinite(after).all(), weight.path
        assert np.array_equal(after, value) == weight.path.endswith(unused), weight.path


def tolerance(maps, relative):
    """Tolerances relative to the largest value: rounding errors grow with it."""
    return {"rtol": 0, "atol": relative * np.abs(maps).max()}
