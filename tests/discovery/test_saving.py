"""`PartDiscovery` and `Teacher` as Keras models: they are saved, loaded and go on training."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.discovery.losses import LOSSES, create_losses
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.resizing import PatchInput, to_multiple_of_16
from keras_parts.discovery.standardiser import Standardiser
from keras_parts.discovery.teachers import Teacher
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.errors import ConfigError
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.optimisers import Schedule, create_optimizer
from tests.small import random_images, register_tiny, tiny

pytestmark = pytest.mark.backend


@keras.saving.register_keras_serializable("tests")
def certainty(views):
    return -ops.mean(views.logits**2)


@pytest.fixture(scope="module")
def discovery():
    segmenter = PartSegmenter(SegmenterConfig(3, register_tiny(), 8))
    teacher = Teacher(tiny(16, ("sixteenth",)), scales=(2.0,), mirror=True)
    losses = create_losses({"balance": 1.0, "clusters": 2.0})
    clusters, weight = losses["clusters"]
    losses["clusters"] = replace(clusters, decay_steps=7, centres=np.eye(3, 8)), weight
    losses["certainty"] = certainty, 0.1
    model = PartDiscovery(
        segmenter,
        losses,
        teacher=teacher,
        standardiser=Standardiser(np.zeros(8), np.eye(8)),
        loss_size=9,
        view_transforms=ViewTransforms(rotation=30.0),
        seed=3,
    )
    head = {variable.path for variable in segmenter.head.variables}
    schedule = Schedule("cosine", 1e-3, 100, 5)
    optimizer = create_optimizer("adamw", schedule, ema=0.9, head_multiplier=2.0, is_head=head)
    model.compile(optimizer, run_eagerly=True)
    return model


@pytest.fixture
def batch():
    images = np.stack(random_images((65, 65), (65, 65)))
    return {"image": images, "foreground": np.ones((2, 65, 65, 1), "float32")}


@pytest.mark.backend("tensorflow", "torch")  # JAX compiles two steps, and saves the same
def test_training_goes_on_after_loading(discovery, batch, tmp_path):
    path = tmp_path / "last.keras"
    callbacks = [keras.callbacks.ModelCheckpoint(path)]
    discovery.fit(((each,) for each in [batch]), callbacks=callbacks, verbose=0)
    again = keras.saving.load_model(path)
    assert type(again) is PartDiscovery and type(again.segmenter) is PartSegmenter
    for one, other in zip(again.variables, discovery.variables, strict=True):
        if "seed_generator" not in one.path:  # Keras does not save the state of random draws
            np.testing.assert_array_equal(*map(ops.convert_to_numpy, (one, other)))
    found, expected = again.get_config(), discovery.get_config()
    assert all(found[name] == expected[name] for name in found if name != "teacher")
    assert again.optimizer.get_config() == discovery.optimizer.get_config()
    assert int(again.optimizer.iterations) == int(again.steps_made) == 1
    assert again.loss_functions["certainty"] is certainty
    assert again.loss_functions["clusters"].decay_steps == 7
    found, expected = (
        ops.convert_to_numpy(each.teacher(batch["image"])) for each in (again, discovery)
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    logs = again.train_on_batch(batch, return_dict=True)
    assert np.isfinite(logs["loss"]) and int(again.optimizer.iterations) == 2


def test_a_discovery_without_networks_of_the_package():
    image = keras.Input((33, 33, 3))
    segmenter = keras.Model(image, keras.layers.Conv2D(4, 3, 4, "same")(image))
    model = PartDiscovery(segmenter, {"balance": 1.0})
    again = PartDiscovery.from_config(model.get_config())
    assert again.teacher is None and again.standardiser is None
    assert again.segmenter.output_shape == segmenter.output_shape


@pytest.mark.parametrize("resize", [PatchInput(5), to_multiple_of_16])
def test_teachers_that_resize(resize):
    teacher = Teacher(tiny(16, ("sixteenth",)), resize=resize, name="mine")
    again = Teacher.from_config(teacher.get_config())
    assert again.get_config() == teacher.get_config() and again.name == "mine"
    assert again.map_size(65, 65) == teacher.map_size(65, 65)


def test_a_loss_that_is_not_there(discovery, monkeypatch):
    config = discovery.get_config()
    monkeypatch.delitem(LOSSES, "balance")
    with pytest.raises(ConfigError, match="no loss 'balance'.*add its class"):
        PartDiscovery.from_config(config)
