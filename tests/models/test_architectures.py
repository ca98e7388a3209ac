"""Backbones of users: registered, configured, saved, loaded and trained."""

import keras
import numpy as np
import pytest

from keras_parts import data
from keras_parts.backbones.atrous import atrous
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.errors import ConfigError
from keras_parts.models import architectures
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.build import build_segmenter
from keras_parts.training.recipes import recipe
from keras_parts.training.run import train
from tests.small import random_images

pytestmark = pytest.mark.backend
LAYERS = {8: (16, ("third", "fourth")), 16: (16, ("fourth",))}


def plain(output_stride, outputs):
    """Four strided convolutions."""
    x = image = keras.Input((None, None, 3))
    for name in ("first", "second", "third", "fourth"):
        convolution = keras.layers.Conv2D(8, 3, 2, padding="same", activation="relu", name=name)
        x = convolution(x)
    return atrous(keras.Model(image, x, name="plain"), output_stride, outputs, Preprocessing())


def load_halves(backbone, path):
    for weight in backbone.weights:
        weight.assign(np.full(weight.shape, 0.5 if path is None else 0.25, "float32"))


@pytest.fixture(autouse=True)
def unregistered():
    """Remove what a test has registered."""
    before = dict(architectures.ARCHITECTURES)
    yield
    architectures.ARCHITECTURES.clear()
    architectures.ARCHITECTURES.update(before)


@pytest.fixture
def registered():
    return architectures.register("plain", plain, LAYERS, image_size=65, load=load_halves)


def test_its_segmenter_is_saved_and_loaded(registered, tmp_path):
    segmenter = PartSegmenter(SegmenterConfig(3, "plain", output_stride=8))
    images = random_images((50, 40))
    (logits,) = segmenter.maps(images)
    assert logits.shape == (50, 40, 4) and segmenter.config.image_size == registered.image_size
    segmenter.save_preset(tmp_path)
    (again,) = PartSegmenter.from_preset(tmp_path).maps(images)
    np.testing.assert_allclose(np.asarray(again), np.asarray(logits), atol=1e-5)

    del architectures.ARCHITECTURES["plain"]
    words = r"segmenter.json: architecture is 'plain', which is not registered.*register\('plain'"
    with pytest.raises(ConfigError, match=words):
        PartSegmenter.from_preset(tmp_path)


SMALL = {
    "num_parts": 2, "architecture": "plain", "image_size": 65, "batch_size": 2, "steps": 2,
    "loss_size": 17, "train_from": None,
}  # fmt: skip


@pytest.mark.slow
def test_a_recipe_trains_it(registered, tmp_path, eager):
    chosen = recipe("toy", **SMALL)
    summary = train(
        chosen, data.load("toy", "train", count=4, size=65), tmp_path / "run", progress=False
    )
    assert np.isfinite(summary["loss"])
    trained = PartSegmenter.from_preset(tmp_path / "run/segmenter")
    assert trained.config.architecture == "plain"


def test_load_gets_the_path_of_the_weights(registered):
    for weights, value in (("pretrained", 0.5), ("some.h5", 0.25)):
        backbone = build_segmenter(recipe("toy", **SMALL, backbone_weights=weights)).backbone
        assert (keras.ops.convert_to_numpy(backbone.weights[0]) == value).all()
    architectures.register("plain", plain, LAYERS, image_size=65)
    with pytest.raises(ConfigError, match="plain was registered without `load`"):
        build_segmenter(recipe("toy", **SMALL, backbone_weights="pretrained"))
    build_segmenter(recipe("toy", **SMALL, backbone_weights="random"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "resnet50"}, "name is 'resnet50', expected a string other than"),
        ({"name": 3}, "name is 3"),
        ({"layers": {}}, "layers are {}, expected"),
        ({"layers": {2: (8, ("third",))}}, "layers are {2: "),
        ({"backbone": lambda stride, maps: None}, r"backbone takes \(stride, maps\), expected"),
        ({"backbone": keras.Sequential()}, "backbone is a Sequential, expected a function"),
    ],
)
def test_errors_of_register(change, message):
    with pytest.raises(ConfigError, match=message):
        architectures.register(
            **{"name": "plain", "backbone": plain, "layers": LAYERS, "image_size": 65} | change
        )


def test_backbones_that_differ_from_their_architecture_are_refused():
    architectures.register("plain", lambda **_: keras.Sequential(), LAYERS, image_size=65)
    with pytest.raises(
        ConfigError, match="plain is a Sequential, expected a Backbone: .* from_keras, "
    ):
        PartSegmenter(SegmenterConfig(2, "plain"))
    architectures.register("plain", plain, {8: (16, ("fourth",))}, image_size=65)
    with pytest.raises(ConfigError, match="gives maps of strides {'fourth': 16}, expected 8"):
        PartSegmenter(SegmenterConfig(2, "plain", output_stride=8))
