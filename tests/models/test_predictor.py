import keras
import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.images.geometry import RESIZE_MODES, resize_image
from keras_parts.keras_private import set_random_seed
from keras_parts.models import ARCHITECTURES, PartSegmenter, SegmenterConfig, create_predictor
from keras_parts.models.forward import digest
from keras_parts.ops import split_background
from keras_parts.results.parts import Parts
from tests.small import random_images, small_segmenter, tiny_resnet50

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def segmenter():
    return small_segmenter()


@pytest.mark.parametrize("flip", [False, True])
def test_parts_are_those_of_segmenter_maps(segmenter, flip):
    predictor = create_predictor(segmenter, batch_size=2, flip=flip)
    assert predictor.names == ("part 1", "part 2", "part 3")
    for image in random_images((40, 60), (100, 30)):
        (wanted,) = segmenter.maps([image], flip=flip)
        parts = predictor.segment(image)
        np.testing.assert_allclose(np.asarray(parts.logits), wanted, atol=2e-3)
        assert (parts.labels == predictor.segment(image).labels).all()


@pytest.fixture(scope="module")
def strips():
    """Images of 16:1, 1600 x 200 and ordinary sizes; smooth, so that labels form regions."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    sizes = [(20, 320), (320, 20), (200, 1600), (90, 70), (65, 97)]
    smooth = Image.Resampling.BICUBIC
    return [np.asarray(Image.fromarray(coarse).resize(size[::-1], smooth)) for size in sizes]


CONFIGS = {
    **{
        mode: SegmenterConfig(3, "small", 16, image_size=65, resize_mode=mode)
        for mode in RESIZE_MODES
    },
    "the paper's": SegmenterConfig(3, "resnet50", 16, image_size=64),
}


def decided_segmenter(config, image):
    """A segmenter whose random weights give several labels, most of them by a wide margin."""
    segmenter, rng = PartSegmenter(config), np.random.default_rng(0)
    for weight in segmenter.head.weights:
        scale = 3 / np.sqrt(np.prod(weight.shape[:-1]) or 1)
        weight.assign(rng.normal(scale=scale, size=weight.shape))
    inputs, _ = resize_image(image, config.image_size, config.resize_mode)
    parts, foreground = split_background(segmenter(inputs[None].astype("float32")))
    values = keras.ops.convert_to_numpy(keras.ops.concatenate([foreground, parts], axis=-1))
    *_, bias = (each for each in segmenter.head.weights if each.shape == values.shape[-1:])
    bias.assign(keras.ops.convert_to_numpy(bias) - np.median(values, axis=(0, 1, 2)))
    return segmenter


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_path_gives_the_same_labels(name, strips, monkeypatch):
    monkeypatch.setitem(ARCHITECTURES, "resnet50", tiny_resnet50())
    segmenter = decided_segmenter(CONFIGS[name], strips[3])
    once = create_predictor(segmenter, batch_size=1, looks=1)
    wanted = [once.segment(image) for image in strips]
    assert any(len(np.unique(parts.labels)) > 2 for parts in wanted)
    for parts, expected in zip(segmenter.segment(strips, looks=1), wanted, strict=True):
        assert_same_labels(parts.labels, expected)
    for logits, expected in zip(segmenter.maps(strips, looks=1), wanted, strict=True):
        assert_same_labels(Parts(logits).labels, expected)
    if keras.backend.backend() == "tensorflow":
        from keras_parts.exports.graph import ImageToParts

        graph = ImageToParts(segmenter)
        for image, expected in zip(strips, wanted, strict=True):
            assert_same_labels(graph(image[None])["labels"][0].numpy(), expected)


def assert_same_labels(labels, expected):
    """Equal labels, but where rounding decides: programs for other batches round otherwise.

    The foreground is decided between the background and the sum of the parts, the label between
    the parts.
    """
    rows, columns = np.nonzero(labels != expected.labels)
    background, *parts = np.moveaxis(expected.probabilities[rows, columns], -1, 0)
    first, second = np.sort(parts, axis=0)[:-3:-1]
    tie = (np.abs(background - 0.5) < 1e-4) | (first - second < 1e-4 * first)
    assert tie.all() and len(rows) <= 1e-3 * labels.size


@pytest.mark.parametrize("architecture", ["small", "resnet50"])
def test_inputs_of_many_shapes(architecture, monkeypatch):
    """Outputs for inputs of several shapes equal those of the uncompiled segmenter.

    After a few shapes a graph of TensorFlow leaves the sides open; others compile for each shape.
    """
    monkeypatch.setitem(ARCHITECTURES, "resnet50", tiny_resnet50())
    set_random_seed(0)
    side = {"small": 65, "resnet50": 64}[architecture]
    config = SegmenterConfig(3, architecture, 8, image_size=side, resize_mode="short")
    segmenter = PartSegmenter(config)
    sizes = ((65, 130), (140, 65), (65, 65), (65, 200))
    for image in random_images(*sizes[: 4 if keras.backend.backend() == "tensorflow" else 2]):
        inputs, _ = resize_image(image, side, "short")
        expected = segmenter(inputs[None].astype("float32"))
        (output,) = create_predictor(segmenter, batch_size=1).predict([inputs])
        np.testing.assert_allclose(
            output["logits"], keras.ops.convert_to_numpy(expected)[0], atol=2e-3
        )


def test_predictors_share_the_compiled_forward_pass(segmenter):
    first, second = (create_predictor(segmenter, batch_size=size) for size in (1, 2))
    assert first.forward is second.forward
    assert create_predictor(segmenter, flip=True).forward is not first.forward


def test_outputs_do_not_depend_on_the_rest_of_the_batch(segmenter):
    predictor = create_predictor(segmenter, batch_size=4)
    inputs = [
        predictor.prepare(image).inputs[0] for image in random_images((40, 60), (65, 65), (9, 9))
    ]
    together = predictor.predict(inputs)
    for index in (0, 2):
        (alone,) = predictor.predict([inputs[index]])
        np.testing.assert_array_equal(alone["logits"], together[index]["logits"])


def test_descriptors_are_means_of_features_over_parts(segmenter):
    (image,) = random_images((65, 65))
    predictor = create_predictor(segmenter, batch_size=1, descriptors=True, looks=1)
    (output,) = predictor.predict(predictor.prepare(image).inputs)
    inputs = segmenter.preprocessing.apply(image[None].astype("float32"))
    features = segmenter.backbone(inputs)
    channels = max(maps.shape[-1] for maps in features.values())
    assert output["descriptors"].shape == (3, channels)
    parts = predictor.segment(image)
    np.testing.assert_allclose(parts.descriptors, output["descriptors"], rtol=1e-5)
    low = min(keras.ops.convert_to_numpy(maps).min() for maps in features.values())
    high = max(keras.ops.convert_to_numpy(maps).max() for maps in features.values())
    assert low - 1e-4 <= parts.descriptors.min() <= parts.descriptors.max() <= high + 1e-4
    assert create_predictor(segmenter).segment(image).descriptors is None


def test_automatic_batch_size(segmenter):
    assert create_predictor(segmenter, batch_size="auto").batch_size in (4, 8, 16, 32, 64, 128, 256)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        create_predictor(segmenter, batch_size=0)


def test_the_digest_depends_on_the_weights(segmenter):
    before = digest(segmenter)
    assert before == digest(segmenter) and len(before) == 64
    weight = segmenter.head.weights[0]
    value = keras.ops.convert_to_numpy(weight)
    weight.assign(value + 1)
    assert digest(segmenter) != before
    weight.assign(value)
    assert digest(segmenter) == before
