"""One contract for the networks of other libraries, as backbones and as teachers."""

import functools
import json
import os

import keras
import numpy as np
import pytest

from keras_parts.backbones.adapters import from_keras_cv, from_keras_hub
from keras_parts.backbones.atrous import atrous
from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.dinov2 import token_maps
from keras_parts.backbones.preprocessing import IMAGENET, Preprocessing
from keras_parts.errors import ConfigError
from keras_parts.teachers import Teacher, create_teacher
from tests.backbones.contract import randomise

pytestmark = pytest.mark.backend


def check_adapted(create, side, strides):
    """Check a network of another library.

    Args:
        create: gives the `Backbone`, new each time.
        side: of square images that it takes.
        strides: expected {output name: stride}.
    """
    network = randomise(create())
    assert isinstance(network, Backbone) and network.strides == strides
    assert set(network.channels) == set(strides)
    config = json.loads(json.dumps(network.preprocessing.to_config()))
    assert Preprocessing.from_config(config) == network.preprocessing
    images = np.random.default_rng(0).random((2, side, side, 3)).astype("float32")
    found = network(network.preprocessing.apply(images), training=False)
    for name, stride in strides.items():
        values = keras.ops.convert_to_numpy(found[name])
        assert values.shape[0] == 2 and values.shape[3] == network.channels[name]
        assert abs(values.shape[1] - side / stride) <= 1 and values.shape[1] == values.shape[2]
        assert np.isfinite(values).all() and values.std() > 0
    check_teacher(network, images)
    check_weights(create, network)


def check_teacher(network, images):
    """It is frozen, sees [0, 1], and has a fingerprint of its weights."""
    teacher = Teacher(network)
    features = keras.ops.convert_to_numpy(teacher(images))
    assert features.shape[-1] == sum(network.channels.values()) and features.dtype == "float32"
    assert not teacher.trainable_weights
    before = teacher.fingerprint
    weight = network.weights[0]
    weight.assign(keras.ops.convert_to_numpy(weight) + 1)
    assert Teacher(network).fingerprint != before
    weight.assign(keras.ops.convert_to_numpy(weight) - 1)


def check_weights(create, network):
    """Names are unique and the same in every instance: files of weights are matched by them."""
    paths = [weight.path for weight in network.weights]
    assert len(set(paths)) == len(paths)
    again = create()
    assert [weight.shape for weight in again.weights] == [
        weight.shape for weight in network.weights
    ]
    again.set_weights(network.get_weights())


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub").models


def densenet(hub):
    return hub.DenseNetBackbone(
        stackwise_num_repeats=[1, 1], compression_ratio=0.5, growth_rate=4, name="densenet"
    )


def vit(hub, side=32):
    return hub.ViTBackbone(
        image_shape=(side, side, 3), patch_size=8, num_layers=2, num_heads=2, hidden_dim=8,
        mlp_dim=16, name="vit",
    )  # fmt: skip


def dinov3(hub):
    return hub.DINOV3Backbone(
        patch_size=16, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16,
        num_register_tokens=4, image_shape=(64, 64, 3), name="dinov3",
    )  # fmt: skip


def dinov2(hub):
    """As keras_parts.backbones.dinov2 makes it, which needs a preset."""
    return token_maps(
        hub.DINOV2Backbone(
            patch_size=14, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16,
            layer_scale_init_value=1.0, num_register_tokens=4, position_embedding_shape=(56, 56),
            image_shape=(56, 56, 3), name="dinov2",
        ),
        ("block_1", "block_2"),
    )  # fmt: skip


def test_dinov2(hub):
    check_adapted(lambda: dinov2(hub), 56, {"block_1": 14, "block_2": 14})


def test_pyramids_of_keras_hub(hub):
    check_adapted(
        lambda: from_keras_hub(densenet(hub), ("P2", "P3"), IMAGENET), 65, {"P2": 4, "P3": 8}
    )


def test_the_last_map_of_keras_hub(hub):
    check_adapted(
        lambda: from_keras_hub(
            hub.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[4, 8], name="vgg"),
            preprocessing=IMAGENET,
        ),
        64,
        {"features": 4},
    )


def test_patch_tokens_of_keras_hub(hub):
    check_adapted(lambda: from_keras_hub(vit(hub), preprocessing=IMAGENET), 32, {"tokens": 8})


def test_blocks_of_keras_hub(hub):
    create = lambda: from_keras_hub(dinov3(hub), ("block_1", "block_2"), IMAGENET)  # noqa: E731
    check_adapted(create, 64, {"block_1": 16, "block_2": 16})


def test_patches_lie_where_they_are(hub):
    model = vit(hub)
    network = from_keras_hub(model, preprocessing=IMAGENET)
    images = np.random.default_rng(0).random((1, 32, 32, 3)).astype("float32")
    tokens = keras.ops.convert_to_numpy(model(images, training=False))
    found = keras.ops.convert_to_numpy(network(images, training=False)["tokens"])
    np.testing.assert_allclose(found[0, 1, 2], tokens[0, 1 + 4 + 2], atol=1e-6)


def test_a_preset_brings_weights_and_preprocessing(hub, tmp_path):
    model = densenet(hub)
    model.save_to_preset(str(tmp_path))
    import keras_hub

    keras_hub.layers.DenseNetImageConverter(
        image_size=(64, 64), scale=[1 / 58, 1 / 57, 1 / 57], offset=[-2.1, -2.0, -1.8]
    ).save_to_preset(str(tmp_path))
    network = from_keras_hub(str(tmp_path))
    assert list(network.strides) == ["P3"]
    pixels = np.random.default_rng(0).random((1, 65, 65, 3)).astype("float32")
    expected = 255 * pixels / [58, 57, 57] - [2.1, 2.0, 1.8]
    found = keras.ops.convert_to_numpy(network.preprocessing.apply(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    values = network(expected.astype("float32"), training=False)["P3"]
    level = keras.Model(model.inputs, model.pyramid_outputs["P3"])
    wanted = level(expected.astype("float32"), training=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(values), keras.ops.convert_to_numpy(wanted), atol=1e-5
    )


def test_keras_applications():
    def create():
        model = keras.applications.MobileNetV2(
            (64, 64, 3), alpha=0.35, include_top=False, weights=None
        )
        return atrous(model, 16, ("block_5_add", "block_16_project"))

    check_adapted(create, 65, {"block_5_add": 8, "block_16_project": 16})


def test_keras_cv():
    if os.environ.get("KERAS_BACKEND") not in (None, "tensorflow"):
        pytest.skip("keras-cv needs TensorFlow")
    keras_cv = pytest.importorskip("keras_cv")

    def create():
        model = keras_cv.models.ResNetBackbone(
            stackwise_filters=[64, 64], stackwise_blocks=[1, 1], stackwise_strides=[1, 2],
            include_rescaling=True, input_shape=(None, None, 3), name="resnet",
        )  # fmt: skip
        with pytest.warns(DeprecationWarning, match="no longer developed"):
            return from_keras_cv(model, ("P2", "P3"))

    check_adapted(create, 65, {"P2": 4, "P3": 8})


def test_what_cannot_be_adapted(hub):
    with pytest.raises(ConfigError, match="only presets know their own"):
        from_keras_hub(densenet(hub))
    with pytest.raises(ConfigError, match="no output named 'P9'"):
        from_keras_hub(densenet(hub), "P9", IMAGENET)
    vector = keras.Input((8,))
    plain = keras.Model(vector, keras.layers.Dense(2)(vector), name="plain")
    with pytest.raises(ConfigError, match="no map of features"):
        from_keras_hub(plain, preprocessing=IMAGENET)
    with pytest.warns(DeprecationWarning), pytest.raises(ConfigError, match="no keras-cv backbone"):
        from_keras_cv(plain)


def test_teachers_out_of_presets(hub, tmp_path):
    import keras_hub

    model = vit(hub)
    model.save_to_preset(str(tmp_path))
    keras_hub.layers.ViTImageConverter(
        image_size=(32, 32), scale=1 / 127.5, offset=-1
    ).save_to_preset(str(tmp_path))
    teacher = create_teacher("keras_hub", weights=str(tmp_path))
    images = np.random.default_rng(0).random((1, 65, 65, 3)).astype("float32")
    assert teacher(images).shape == (1, 4, 4, 8) and teacher.layer_names == ("tokens",)
    with pytest.raises(ConfigError, match="name or folder of a preset"):
        create_teacher("keras_hub")


def test_teachers_of_keras_applications(monkeypatch):
    small = functools.partial(keras.applications.MobileNetV2, alpha=0.35)

    def mobilenet(include_top, weights):
        assert not include_top and weights == "imagenet"
        return small(include_top=False, weights=None)

    monkeypatch.setattr(keras.applications, "MobileNetV2", mobilenet)
    teacher = create_teacher("keras_applications", "block_5_add", "MobileNetV2")
    images = np.random.default_rng(0).random((1, 33, 33, 3)).astype("float32")
    assert teacher(images).shape == (1, 5, 5, 16)
    with pytest.raises(ConfigError, match="has no 'nosuch'"):
        create_teacher("keras_applications", weights="nosuch")
