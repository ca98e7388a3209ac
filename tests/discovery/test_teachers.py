import keras
import numpy as np
import pytest
from PIL import Image

from keras_parts.backbones.efficientnet_lite import efficientnet_lite0
from keras_parts.backbones.vgg19 import vgg19
from keras_parts.discovery.standardiser import Standardiser, fit_standardiser, mirror_noise
from keras_parts.discovery.teachers import Teacher, create_teacher
from keras_parts.errors import ConfigError, DataError
from keras_parts.keras_private import set_random_seed
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.ops import resize_aligned
from tests.backbones.test_efficientnet_lite import save_torch_state

pytestmark = pytest.mark.backend

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 33, 33, 3)).astype("float32")


def as_array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def check_teacher(teacher, images):
    """Check what every teacher must do; returns its features."""
    features = as_array(teacher(images))
    assert features.dtype == "float32" and np.isfinite(features).all() and features.std() > 0
    assert features.shape == (len(images), *teacher.map_size(*images.shape[1:3]), teacher.channels)
    assert not teacher.trainable_weights
    np.testing.assert_allclose(as_array(teacher(images)), features, atol=1e-6)
    assert int(teacher.fingerprint, 16) >= 0
    return features


def test_layers_are_scaled_upsampled_and_joined():
    network = efficientnet_lite0(16, ("block_2", "block_6"))
    teacher = Teacher(network, ("block_6", "block_2"), scales=(0.5, 2.0))
    features = check_teacher(teacher, IMAGES)
    assert features.shape == (2, 9, 9, 80 + 24)
    maps = network(network.preprocessing.apply(IMAGES))
    coarse = as_array(resize_aligned(maps["block_6"], (9, 9)))
    np.testing.assert_allclose(features[..., :80], 0.5 * coarse, atol=1e-5)
    np.testing.assert_allclose(features[..., 80:], 2 * as_array(maps["block_2"]), atol=1e-5)
    assert [tuple(m.shape[1:3]) for m in teacher.maps(IMAGES)] == [(3, 3), (9, 9)]


def test_training_mode_changes_neither_features_nor_statistics():
    network = efficientnet_lite0(16, ("block_2",))
    teacher = Teacher(network)
    before = network.get_weights()
    expected = as_array(teacher(IMAGES))
    np.testing.assert_array_equal(as_array(teacher(IMAGES, training=True)), expected)
    for previous, current in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(previous, current)


def test_fingerprint_changes_with_the_features():
    set_random_seed(0)
    network = efficientnet_lite0(16, ("block_1", "block_3"))
    base = Teacher(network, ("block_1",)).fingerprint
    assert Teacher(network, ("block_1",)).fingerprint == base
    assert Teacher(network, ("block_3",)).fingerprint != base
    assert Teacher(network, ("block_1",), scales=(2.0,)).fingerprint != base
    dilated = efficientnet_lite0(8, ("block_1", "block_3"))
    dilated.set_weights(network.get_weights())
    assert Teacher(dilated, ("block_1",)).fingerprint == base
    weight = network.weights[0]
    weight.assign(weight + 1e-3)
    assert Teacher(network, ("block_1",)).fingerprint != base


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ("block_2",)}, "no output 'block_2'"),
        ({"scales": (1.0, 2.0)}, "scales are"),
        ({"scales": (0.0,)}, "scales are"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Teacher(efficientnet_lite0(16, ("block_1",)), **arguments)


@pytest.mark.backend("tensorflow")
def test_efficientnet_lite0_from_a_drawn_file(tmp_path):
    save_torch_state(efficientnet_lite0(16, ("block_14",)), tmp_path)
    teacher = create_teacher("efficientnet_lite0", "block_14", tmp_path)
    assert check_teacher(teacher, IMAGES).shape == (2, 3, 3, 192)


def test_efficientnet_lite0(test_weights):
    teacher = create_teacher("efficientnet_lite0", weights=test_weights)
    assert check_teacher(teacher, IMAGES).shape == (2, 3, 3, 192)
    coarse = create_teacher("efficientnet_lite0", "block_14", test_weights, output_stride=32)
    found = as_array(coarse(IMAGES))
    np.testing.assert_allclose(as_array(teacher(IMAGES))[:, ::2, ::2], found, atol=1e-3)


def test_the_backbone_of_a_segmenter(tmp_path):
    segmenter = PartSegmenter(SegmenterConfig(3, "small", 8, image_size=65))
    segmenter.save_preset(tmp_path)
    teacher = create_teacher("segmenter", weights=tmp_path)
    images = 255 * np.random.default_rng(0).random((1, 65, 65, 3), "float32")
    inputs = segmenter.preprocessing.apply(images)
    expected = segmenter.backbone(inputs, training=False)["stage4"]
    assert teacher.layer_names == ("stage4",)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(teacher(images)), keras.ops.convert_to_numpy(expected), atol=1e-5
    )
    with pytest.raises(ConfigError, match="is None, expected the folder of a segmenter"):
        create_teacher("segmenter")


def test_small_needs_no_weights_file():
    teacher = create_teacher("small")
    assert teacher.layer_names == ("stage4",)
    check_teacher(teacher, IMAGES)


def test_vgg19_has_the_papers_layers_and_scales(tmp_path):
    vgg19().save_weights(tmp_path / "vgg19.weights.h5")
    teacher = create_teacher("vgg19", weights=tmp_path / "vgg19.weights.h5")
    assert teacher.layer_names == ("relu3_2", "relu5_4") and teacher.scales == (0.33, 1.0)
    assert teacher.map_size(256, 256) == (64, 64)
    features = check_teacher(teacher, IMAGES)
    # 33 pixels are resized to 32; the paper's size is not resized.
    assert features.shape == (2, 8, 8, 768)
    even = IMAGES[:, :32, :32]
    maps = teacher.network((even / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225])
    np.testing.assert_allclose(
        as_array(teacher(even))[..., :256], 0.33 * as_array(maps["relu3_2"]), atol=1e-4
    )


@pytest.mark.backend("tensorflow")
def test_dinov2_from_a_drawn_folder(tmp_path):
    keras_hub = pytest.importorskip("keras_hub")
    keras_hub.models.DINOV2Backbone(
        patch_size=14, num_layers=2, hidden_dim=12, num_heads=3, intermediate_dim=24,
        layer_scale_init_value=1.0, num_register_tokens=4, position_embedding_shape=(56, 56),
        image_shape=(56, 56, 3),
    ).save_to_preset(tmp_path / "vit")  # fmt: skip
    teacher = create_teacher("dinov2", ("block_1", "block_2"), tmp_path / "vit", patches=3)
    assert check_teacher(teacher, IMAGES).shape == (2, 3, 3, 2 * 12)


def test_dinov2_folder(test_data, test_weights):
    pytest.importorskip("keras_hub")
    folder = test_weights / "vit_s14_dinov2_saliency"
    teacher = create_teacher("dinov2", ("block_6", "block_7"), folder, patches=8)
    path = sorted((test_data / "CUB_200_2011" / "images").glob("014*/*.jpg"))[0]
    with Image.open(path) as photograph:
        pixels = np.asarray(photograph.convert("RGB").resize((113, 113)))
    image = pixels[None].astype("float32")
    features = check_teacher(teacher, image)
    assert features.shape == (1, 8, 8, 2 * 384)
    # With trained weights the features of a mirrored image are about the mirrored features.
    mirrored = as_array(teacher(image[:, :, ::-1]))
    assert similarity(features, mirrored[:, :, ::-1]) > similarity(features, mirrored) + 0.1
    assert similarity(features, mirrored[:, :, ::-1]) > 0.6


def similarity(first, second):
    """Mean cosine over all positions."""
    norms = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return float(((first * second).sum(-1) / norms).mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg16",), "'vgg16' is unknown"),
        (("efficientnet_lite0", "block_99"), "no output named 'block_99'"),
    ],
)
def test_unknown_names(arguments, message):
    with pytest.raises(ConfigError, match=message):
        create_teacher(*arguments)


def test_unknown_option():
    with pytest.raises(ConfigError, match="vgg19 has no option 'patches'; there are none"):
        create_teacher("vgg19", patches=8)
    with pytest.raises(ConfigError, match="dinov2 has no option 'stride'; there are patches"):
        create_teacher("dinov2", stride=8)


def test_the_error_for_missing_weights_names_the_weights_folder(tmp_path):
    with pytest.raises(DataError, match="KERAS_PARTS_WEIGHTS"):
        create_teacher("efficientnet_lite0", weights=tmp_path)


FEATURES = np.random.default_rng(1).normal(size=(6, 5, 5, 4)) * [1, 10, 0.1, 1] + [5, 0, -300, 0]
FOREGROUND = (np.random.default_rng(2).random((6, 17, 17, 1)) > 0.6).astype("float32")


def within_image_variance(features, foreground):
    from keras_parts.ops import downsample_aligned

    weights = as_array(downsample_aligned(foreground, features.shape[1:3])).astype("float64")
    weights = weights / weights.sum((1, 2), keepdims=True)
    mean = (weights * features).sum((1, 2), keepdims=True)
    return (weights * (features - mean) ** 2).sum((1, 2)).mean(0), mean.mean((0, 1, 2))


def standardiser_of(features, foregrounds, **options):
    return fit_standardiser(zip(features, foregrounds, strict=True), **options)


def test_standardised_features_have_total_variance_one():
    standardiser = standardiser_of([FEATURES[:4], FEATURES[4:]], [FOREGROUND[:4], FOREGROUND[4:]])
    variance, mean = within_image_variance(as_array(standardiser.apply(FEATURES)), FOREGROUND)
    np.testing.assert_allclose(variance, 0.25, atol=1e-4)
    np.testing.assert_allclose(mean, 0, atol=1e-4)


def test_the_batch_size_does_not_matter():
    large = standardiser_of([FEATURES], [FOREGROUND])
    single = standardiser_of(FEATURES[:, None], FOREGROUND[:, None])
    np.testing.assert_allclose(large.mean, single.mean, rtol=1e-6)
    np.testing.assert_allclose(large.matrix, single.matrix, rtol=1e-6)


def test_images_without_foreground_and_constant_channels():
    features = FEATURES * [1, 1, 1, 0]
    foreground = FOREGROUND.copy()
    foreground[0] = 0
    standardiser = standardiser_of([features], [foreground])
    found = as_array(standardiser.apply(features[1:]))
    variance, _ = within_image_variance(found, foreground[1:])
    np.testing.assert_allclose(variance, [1 / 3, 1 / 3, 1 / 3, 0], atol=1e-4)


def test_noisy_directions_are_scaled_down():
    direction = np.array([3.0, 0.0, 0.0, 4.0]) / 5
    noise = 100 * np.outer(direction, direction)  # all noise is in this direction
    scale = np.sqrt(np.diag(within_covariance(FEATURES)))
    standardiser = standardiser_of(
        [FEATURES], [FOREGROUND], noise=noise * np.outer(scale, scale), noise_floor=0.01
    )
    found = as_array(standardiser.apply(FEATURES))
    variance, _ = within_image_variance(found, FOREGROUND)
    assert variance.sum() == pytest.approx(1, abs=1e-4)
    along, across = found @ direction, found @ np.array([4.0, 0.0, 0.0, -3.0]) / 5
    # sqrt((noise + floor) / floor): the floor is 0.01 of the mean noise of the four channels, 25.
    ratio = np.sqrt(within_variance(across) / within_variance(along))
    assert ratio == pytest.approx(np.sqrt((100 + 0.25) / 0.25), rel=0.1)


def within_variance(values):
    return within_image_variance(values[..., None], FOREGROUND)[0][0]


def within_covariance(features):
    variance, _ = within_image_variance(features, FOREGROUND)
    return np.diag(variance)


def test_a_symmetric_teacher_and_the_noise_of_mirroring():
    set_random_seed(3)
    network = efficientnet_lite0(16, ("block_1",))
    plain, symmetric = Teacher(network), Teacher(network, mirror=True)
    assert plain.fingerprint != symmetric.fingerprint
    upright, mirrored = (as_array(maps) for maps in plain.mirrored_pair(IMAGES))
    np.testing.assert_allclose(upright, as_array(plain(IMAGES)), atol=1e-6)
    np.testing.assert_allclose(mirrored[:, :, ::-1], as_array(plain(IMAGES[:, :, ::-1])), atol=1e-6)
    features = check_teacher(symmetric, IMAGES)
    np.testing.assert_allclose(features, 0.5 * (upright + mirrored), atol=1e-5)
    found = as_array(symmetric(IMAGES[:, :, ::-1]))
    np.testing.assert_allclose(found[:, :, ::-1], features, atol=1e-5)

    everywhere = np.ones((2, 33, 33, 1), "float32")
    noise = mirror_noise(plain, [(IMAGES[:1], everywhere[:1]), (IMAGES[1:], everywhere[1:])])
    expected, _ = within_image_variance(0.5 * (upright - mirrored), everywhere)
    np.testing.assert_allclose(np.diag(noise), expected, rtol=1e-4, atol=1e-9)


def test_no_foreground_at_all():
    with pytest.raises(DataError, match="0 images"):
        standardiser_of([FEATURES], [np.zeros_like(FOREGROUND)])
    with pytest.raises(DataError, match="do not vary"):
        standardiser_of([np.ones_like(FEATURES)], [FOREGROUND])


@pytest.mark.parametrize(
    ("mean", "matrix", "message"),
    [
        ((0, 0), np.eye(1), "do not match"),
        ((0,), (1,), "do not match"),
        ((0, np.nan), np.eye(2), "finite"),
    ],
)
def test_wrong_standardisers(mean, matrix, message):
    with pytest.raises(ConfigError, match=message):
        Standardiser(mean, matrix)
    assert repr(Standardiser(np.zeros(3), np.eye(3))) == "<Standardiser of 3 channels>"


def test_images_of_many_sizes():
    """After a few shapes, a graph of TensorFlow leaves the sides of images open; others compile
    for each shape."""
    teacher = create_teacher("small", layers=("stage3", "stage4"))
    for side in (33, 49, 65, 81)[: 4 if keras.config.backend() == "tensorflow" else 2]:
        images = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), np.uint8)
        found = teacher.predict_on_batch(images)
        assert found.shape[1:3] == teacher.map_size(side, side)
        np.testing.assert_allclose(
            found, keras.ops.convert_to_numpy(teacher(images)), rtol=1e-4, atol=1e-4
        )
