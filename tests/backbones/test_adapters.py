"""Networks of other libraries fulfil the contract of all backbones."""

import functools
import warnings

import keras
import numpy as np
import pytest

from keras_parts.backbones.adapters import from_keras_cv, from_keras_hub
from keras_parts.backbones.atrous import atrous
from keras_parts.backbones.dinov2 import token_maps
from keras_parts.backbones.preprocessing import IMAGENET
from keras_parts.discovery.teachers import create_teacher
from keras_parts.errors import ConfigError
from tests.backbones.contract import check_backbone

pytestmark = pytest.mark.slow
_MASK = ("mask_token",)  # DINO's own training masks patches with it


def check_fixed(create, strides, side, tmp_path, channels=8, **options):
    """The contract of all backbones, for a network whose strides are fixed."""
    channels = channels if isinstance(channels, dict) else dict.fromkeys(strides, channels)
    options = {"mirrors": False, **options}
    check_backbone(lambda output_stride: create(), channels, tmp_path, strides, side, **options)


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
    """Like `keras_parts.backbones.dinov2.dinov2`, which needs a preset."""
    return token_maps(
        hub.DINOV2Backbone(
            patch_size=14, num_layers=2, hidden_dim=8, num_heads=2, intermediate_dim=16,
            layer_scale_init_value=1.0, num_register_tokens=4, position_embedding_shape=(56, 56),
            image_shape=(56, 56, 3), name="dinov2",
        ),
        ("block_1", "block_2"),
    )  # fmt: skip


def efficientnet(hub):
    return hub.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 3], stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 8], stackwise_output_filters=[8, 16],
        stackwise_expansion_ratios=[1, 4], stackwise_squeeze_and_excite_ratios=[0, 0.25],
        stackwise_strides=[1, 2], stackwise_block_types=["fused", "unfused"],
        width_coefficient=1.0, depth_coefficient=1.0, name="efficientnet",
    )  # fmt: skip


def swin(hub):
    return hub.SwinTransformerBackbone(
        image_shape=(64, 64, 3), embed_dim=8, depths=(1, 1), num_heads=(2, 2), window_size=4,
        drop_path=0.0, name="swin",
    )  # fmt: skip


def siglip(hub):
    return hub.SigLIPVisionEncoder(
        patch_size=8, hidden_dim=8, num_layers=2, num_heads=2, intermediate_dim=16,
        image_shape=(32, 32, 3), name="siglip",
    )  # fmt: skip


def hgnet(hub):
    return hub.HGNetV2Backbone(
        depths=[1, 1], embedding_size=8, hidden_sizes=[8, 16], stem_channels=[3, 8, 8],
        hidden_act="relu", use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 24, 1, 1, 3)],
        apply_downsample=[False, True], use_lightweight_conv_block=[False, False], name="hgnet",
    )  # fmt: skip


def test_dinov2(hub, tmp_path):
    check_fixed(lambda: dinov2(hub), {"block_1": 14, "block_2": 14}, 56, tmp_path, unused=_MASK)


def test_pyramids_of_keras_hub(hub, tmp_path):
    create = lambda: from_keras_hub(densenet(hub), ("P2", "P3"), IMAGENET)  # noqa: E731
    check_fixed(create, {"P2": 4, "P3": 8}, 64, tmp_path, {"P2": 68, "P3": 38})


@pytest.mark.backend
def test_odd_kernels_of_keras_hub(hub, tmp_path):
    create = lambda: from_keras_hub(efficientnet(hub), "P1", IMAGENET)  # noqa: E731
    check_fixed(create, {"P1": 2}, 65, tmp_path, mirrors=True)


def test_the_last_map_of_a_network_of_keras_hub(hub, tmp_path):
    def create():
        model = hub.VGGBackbone(
            stackwise_num_repeats=[1, 1], stackwise_num_filters=[4, 8], name="vgg"
        )
        return from_keras_hub(model, preprocessing=IMAGENET)

    check_fixed(create, {"features": 4}, 64, tmp_path)


def test_dictionaries_of_keras_hub(hub, tmp_path):
    create = lambda: from_keras_hub(hgnet(hub), ("stage1", "stage2"), IMAGENET)  # noqa: E731
    channels = {"stage1": 16, "stage2": 24}
    check_fixed(create, {"stage1": 4, "stage2": 8}, 65, tmp_path, channels)


@pytest.mark.backend
@pytest.mark.parametrize(("build", "stride", "side"), [(vit, 8, 32), (siglip, 8, 32)])
def test_patch_tokens_of_keras_hub(hub, build, stride, side, tmp_path):
    create = lambda: from_keras_hub(build(hub), preprocessing=IMAGENET)  # noqa: E731
    check_fixed(create, {"tokens": stride}, side, tmp_path)


def test_merged_patches_of_keras_hub(hub, tmp_path):
    create = lambda: from_keras_hub(swin(hub), preprocessing=IMAGENET)  # noqa: E731
    check_fixed(create, {"tokens": 8}, 64, tmp_path, 16)


def test_blocks_of_keras_hub(hub, tmp_path):
    create = lambda: from_keras_hub(dinov3(hub), ("block_1", "block_2"), IMAGENET)  # noqa: E731
    check_fixed(create, {"block_1": 16, "block_2": 16}, 64, tmp_path, unused=_MASK)


@pytest.mark.backend
def test_patches_are_at_their_positions(hub):
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
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)).astype("float32")
    expected = pixels / [58, 57, 57] - [2.1, 2.0, 1.8]
    found = keras.ops.convert_to_numpy(network.preprocessing.apply(pixels))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    values = network(expected.astype("float32"), training=False)["P3"]
    level = keras.Model(model.inputs, model.pyramid_outputs["P3"])
    wanted = level(expected.astype("float32"), training=False)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(values), keras.ops.convert_to_numpy(wanted), atol=1e-5
    )


def test_keras_applications(tmp_path):
    @functools.cache
    def mobilenet(policy):
        return keras.applications.MobileNetV2(
            (64, 64, 3), alpha=0.35, include_top=False, weights=None
        )

    def create(output_stride):
        model = mobilenet(keras.config.dtype_policy().name)
        return atrous(model, output_stride, ("block_5_add", "block_15_add"))

    channels, strides = {"block_5_add": 16, "block_15_add": 56}, {"block_5_add": 8}
    check_backbone(create, channels, tmp_path, {**strides, "block_15_add": 32})


@pytest.mark.integration
@pytest.mark.backend("tensorflow")
def test_keras_cv(tmp_path):
    keras_cv = pytest.importorskip("keras_cv")

    def create():
        model = keras_cv.models.ResNetBackbone(
            stackwise_filters=[64, 64], stackwise_blocks=[1, 1], stackwise_strides=[1, 2],
            include_rescaling=True, input_shape=(None, None, 3), name="resnet",
        )  # fmt: skip
        with pytest.warns(FutureWarning, match="no longer developed"):
            return from_keras_cv(model, ("P2", "P3"))

    check_fixed(create, {"P2": 4, "P3": 8}, 65, tmp_path, 256, mirrors=True)


HIDDEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""What Python hides by default outside the main module."""


def test_the_warning_about_keras_cv_is_shown_by_default():
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        for category in HIDDEN:
            warnings.simplefilter("ignore", category)
        with pytest.raises(ConfigError):
            from_keras_cv(None)
    (warning,) = (each for each in shown if "keras-cv is no longer" in str(each.message))
    assert warning.category is FutureWarning and warning.filename == __file__


def test_the_grid_follows_from_the_number_of_tokens_and_the_image_size(hub):
    model = hub.SwinTransformerBackbone(
        image_shape=(64, 96, 3), embed_dim=8, depths=(1, 1), num_heads=(2, 2), window_size=4
    )
    network = from_keras_hub(model, preprocessing=IMAGENET)
    assert network.strides == {"tokens": 8}
    assert network.output["tokens"].shape == (None, 8, 12, 16)
    # 33 pixels become 9 positions of stride 4, not of stride 3
    image = keras.Input((33, 33, 3))
    convolution = keras.layers.Conv2D(4, 3, strides=4, padding="same")
    plain = keras.Model(image, convolution(image), name="plain")
    assert from_keras_hub(plain, preprocessing=IMAGENET).strides == {"features": 4}


def test_models_that_cannot_be_adapted_are_refused(hub):
    with pytest.raises(ConfigError, match="only a preset has its own"):
        from_keras_hub(densenet(hub))
    with pytest.raises(ConfigError, match="no output named 'P9'"):
        from_keras_hub(densenet(hub), "P9", IMAGENET)
    vector = keras.Input((8,))
    plain = keras.Model(vector, keras.layers.Dense(2)(vector), name="plain")
    with pytest.raises(ConfigError, match="neither a feature map"):
        from_keras_hub(plain, preprocessing=IMAGENET)
    image = keras.Input((8, 8, 3))
    pooled = keras.layers.Dense(2)(keras.layers.Flatten()(image))
    with pytest.raises(ConfigError, match="neither a feature map"):
        from_keras_hub(keras.Model(image, pooled, name="flat"), preprocessing=IMAGENET)
    tokens = keras.layers.Reshape((-1, 3))(image[:, :7])
    with pytest.raises(
        ConfigError, match="56 tokens of 'tokens' do not form a grid .* 8 x 8 pixels"
    ):
        from_keras_hub(keras.Model(image, tokens, name="strip"), preprocessing=IMAGENET)
    image = keras.Input((None, None, 3))
    tokens = keras.layers.Reshape((-1, 3))(image)
    with pytest.raises(ConfigError, match="build the model with an image_shape"):
        from_keras_hub(keras.Model(image, tokens, name="free"), preprocessing=IMAGENET)
    with pytest.warns(FutureWarning), pytest.raises(ConfigError, match="not a keras-cv backbone"):
        from_keras_cv(plain)


def test_teachers_from_presets(hub, tmp_path):
    import keras_hub

    model = vit(hub)
    model.save_to_preset(str(tmp_path))
    keras_hub.layers.ViTImageConverter(
        image_size=(32, 32), scale=1 / 127.5, offset=-1
    ).save_to_preset(str(tmp_path))
    teacher = create_teacher("keras_hub", weights=str(tmp_path))
    images = np.random.default_rng(0).random((1, 65, 65, 3)).astype("float32")
    assert teacher(images).shape == (1, 4, 4, 8) and teacher.layer_names == ("tokens",)
    with pytest.raises(ConfigError, match="name or folder of a KerasHub preset"):
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
    with pytest.raises(ConfigError, match="weights is 'nosuch', expected the name of a network"):
        create_teacher("keras_applications", weights="nosuch")
