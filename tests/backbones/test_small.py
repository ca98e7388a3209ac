"""The network that ships with weights: its structure, and the shipped weights."""

from functools import partial

import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_parts.backbones import small as module
from keras_parts.backbones.small import (
    OUTPUTS,
    SHA256,
    load_small_weights,
    small,
    weights_path,
)
from keras_parts.backbones.weights_file import check_weights_file, weights_layout
from keras_parts.data.toy.dataset import load_toy
from keras_parts.errors import ConfigError, IntegrityError
from tests.backbones.contract import check_backbone, evaluate

pytestmark = pytest.mark.backend


def test_contract(tmp_path):
    channels = {"stage2": 48, "stage3": 80, "stage4": 128}
    check_backbone(partial(small, outputs=tuple(channels)), channels, tmp_path)


@pytest.mark.parametrize(("output_stride", "strides"), [(16, [2, 4, 8, 16]), (8, [2, 4, 8, 8])])
def test_strides(output_stride, strides):
    assert list(small(output_stride, OUTPUTS).strides.values()) == strides


def test_it_is_small():
    assert 300_000 < small(outputs=OUTPUTS).count_params() < 500_000
    assert weights_path().stat().st_size < 1_100_000


def test_layers_after_the_last_output_are_not_built():
    names = {layer.name for layer in small(outputs=("stage2",)).layers}
    assert "stage2_2_conv" in names
    assert not any(name.startswith(("stage3", "stage4")) for name in names)


def test_classes_are_an_additional_output():
    model = small(outputs=("stage3",), classes=7)
    outputs = model(np.zeros((2, 33, 33, 3), "float32"))
    assert set(outputs) == {"stage3", "classes"}
    assert tuple(outputs["classes"].shape) == (2, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 12}, "output_stride is 12"),
        ({"outputs": ("stage5",)}, "no output named 'stage5'"),
        ({"outputs": ()}, "outputs is empty"),
        ({"classes": 0}, "classes is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        small(**arguments)


def test_the_shipped_file_contains_only_the_weights_of_this_network():
    check_weights_file(weights_path(), weights_layout(small(outputs=OUTPUTS)))


@pytest.mark.parametrize("options", [{"outputs": ("stage2",)}, {"output_stride": 8, "classes": 3}])
def test_weights_load_into_every_configuration(options):
    whole = small(outputs=OUTPUTS)
    whole.load_weights(weights_path())
    model = small(**options)
    load_small_weights(model)
    for layer in model.layers:
        if layer.weights and layer.name != "classes":
            expected = whole.get_layer(layer.name).get_weights()
            for found, value in zip(layer.get_weights(), expected, strict=True):
                np.testing.assert_array_equal(found, value)


@pytest.mark.backend("tensorflow")  # a property of the weights
def test_the_weights_separate_parts_better_than_random_ones():
    """A linear probe on the features separates the true parts of unseen animals."""
    trained, random = (small(8, ("stage4",)) for _ in range(2))
    load_small_weights(trained)
    train, test = load_toy("train", count=12), load_toy("test", count=12)
    accuracy = {}
    for name, model in (("trained", trained), ("random", random)):
        probe = LogisticRegression(max_iter=60, C=0.01)
        features, labels = _foreground(model, train)
        mean, deviation = features.mean(0), features.std(0) + 1e-4
        probe.fit((features - mean) / deviation, labels)
        features, labels = _foreground(model, test)
        accuracy[name] = probe.score((features - mean) / deviation, labels)
    assert accuracy["trained"] > max(0.7, accuracy["random"] + 0.1)


def _foreground(model, dataset):
    """Features and part labels at the positions on the animals; corners are aligned."""
    images = np.stack([sample.image for sample in dataset]).astype("float32")
    maps = evaluate(model, model.preprocessing.apply(images))["stage4"]
    labels = np.stack([sample.part_labels[::8, ::8] for sample in dataset])
    return maps[labels > 0], labels[labels > 0]


def test_unknown_weights_and_other_networks_are_refused():
    with pytest.raises(ConfigError, match="no weights named 'imagenet'"):
        load_small_weights(small(), "imagenet")
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="alien")])
    with pytest.raises(ConfigError, match="alien"):
        load_small_weights(other)


def test_a_changed_or_missing_file_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_FOLDER", tmp_path)
    with pytest.raises(IntegrityError, match="missing"):
        load_small_weights(small())
    path = tmp_path / "small_toy.weights.h5"
    content = bytearray((module.Path(module.__file__).parent / "weights" / path.name).read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="has been changed"):
        load_small_weights(small())
    assert set(SHA256) == {"toy"}
