"""`prepare_training`: the command's model and batches, for Python."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_parts
from keras_parts import data
from keras_parts.errors import ConfigError, DataError
from keras_parts.models import PartSegmenter, SegmenterConfig
from tests.small import register_tiny

SETTINGS = {
    "architecture": register_tiny(), "teacher_layers": ("stage2",), "num_parts": 3, "steps": 2,
    "batch_size": 2, "image_size": 33, "loss_size": 9, "jit_compile": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def animals():
    return data.load("toy", "train", count=3, size=33)


def conv(channels, stride, name):
    image = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(channels, 3, strides=stride, padding="same")(image)
    return keras.Model(image, maps, name=name)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path))


def test_a_recipe_becomes_a_model_and_batches(animals, home):
    discovery, batches = keras_parts.prepare_training(
        "toy", animals, progress=False, **SETTINGS, **{"loss_weights.clusters": 1.0}
    )
    discovery.run_eagerly = True  # tracing takes longer than two steps
    history = discovery.fit(batches, steps_per_epoch=1, epochs=2, verbose=0).history
    assert len(history["clusters"]) == 2 and np.isfinite(history["loss"]).all()
    assert discovery.segmenter.num_parts == 3 and discovery.standardiser is not None
    assert float(ops.convert_to_numpy(discovery.optimizer.iterations)) == 2


def test_without_losses_of_features_there_is_no_teacher(animals, home):
    settings = SETTINGS | {"teacher_layers": ("no such layer",), "scenes.share": 1.0}
    discovery, batches = keras_parts.prepare_training(
        "toy", animals, progress=False, **settings,
        loss_weights={"foreground": 1.0, "equivariance": 1.0, "balance": 0.0},
    )  # fmt: skip
    assert discovery.teacher is None and "features" not in batches.batch(0)
    losses = discovery.compute_losses(batches.batch(0))
    assert all(np.isfinite(float(loss)) for loss in losses.values())


def test_own_networks_and_losses(animals, home):
    def mine(views):
        return ops.mean(views.logits**2)

    discovery, batches = keras_parts.prepare_training(
        "toy", animals, segmenter=conv(4, 4, "own"), teacher=conv(5, 8, "features"),
        losses={"mine": (mine, 0.1), "balance": 2.0}, progress=False, **SETTINGS,
    )  # fmt: skip
    assert batches.batch(0)["features"].shape == (2, 5, 5, 5)
    assert discovery.loss_weights["mine"] == 0.1 and discovery.loss_weights["balance"] == 2
    losses = discovery.compute_losses(batches.batch(0))
    assert all(np.isfinite(float(loss)) for loss in losses.values())


def test_a_segmenter_decides_on_parts_and_size(animals, home):
    segmenter = PartSegmenter(SegmenterConfig(2, register_tiny(), image_size=49))
    settings = {"loss_size": 9, "batch_size": 2, "steps": 2}
    discovery, batches = keras_parts.prepare_training(
        "toy", animals, segmenter=segmenter, progress=False, **settings
    )
    assert discovery.segmenter is segmenter
    assert batches.batch(0)["image"].shape == (2, 49, 49, 3)


def test_what_does_not_fit_is_refused_before_anything_is_computed(animals):
    with pytest.raises(ConfigError, match=r"own returns .* expected logits \(batch, h, w, 4\)"):
        keras_parts.prepare_training("toy", animals, segmenter=conv(3, 4, "own"), **SETTINGS)
    with pytest.raises(ConfigError, match="the data set is str, expected one of keras_parts.data"):
        keras_parts.prepare_training("toy", "photos")
    with pytest.raises(ConfigError, match="no recipe 'toys'"):
        keras_parts.prepare_training("toys", animals)
    with pytest.raises(DataError, match="no samples"):
        keras_parts.prepare_training("toy", data.Subset(animals, []), **SETTINGS)
