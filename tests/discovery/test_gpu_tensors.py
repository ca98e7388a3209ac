"""PyTorch converts no tensor of a GPU to a NumPy array, as `tensor * array` and `numpy.asarray` do.

Here no tensor is converted, except by Keras, which copies it from the device first.
"""

import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from keras_parts.data.features import FeatureCache
from keras_parts.discovery.losses import create_losses
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.standardiser import Standardiser, mirror_noise
from keras_parts.discovery.teachers import Teacher
from keras_parts.metrics import NetworkFeatures
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.optimisers import Schedule, create_optimizer
from tests.discovery.together import TOGETHER
from tests.small import random_images, register_tiny, tiny

pytestmark = pytest.mark.backend("torch")


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch):
    import torch

    convert = torch.Tensor.__array__

    def refuse(tensor, *arguments, **options):
        if "keras/src/" not in sys._getframe(1).f_code.co_filename:
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        return convert(tensor, *arguments, **options)

    monkeypatch.setattr(torch.Tensor, "__array__", refuse)


@pytest.fixture(scope="module")
def segmenter():
    return PartSegmenter(SegmenterConfig(3, register_tiny(), 8))


def test_the_refusal_itself():
    with pytest.raises(TypeError, match="cuda"):
        keras.ops.ones(3) * np.ones(3)


def test_predictions(segmenter, tmp_path):
    images = np.stack(random_images((65, 65), (65, 65)))
    assert segmenter.predict(images[:, :40], verbose=0).shape == (2, 9, 9, 4)
    results = segmenter.segment(images, flip=True, descriptors=True)
    assert len(results) == 2 and np.isfinite(results[0].logits).all()
    assert segmenter(segmenter.preprocessor(images[:, :40])).shape == (2, 9, 9, 4)
    segmenter.export(tmp_path / "model.pt2", format="torch", verbose=False)


def test_a_training_step_with_every_loss(segmenter):
    teacher = Teacher(tiny(16, ("eighth", "sixteenth")), mirror=True, turns=(1, 1, 1, 1))
    size = teacher.channels
    losses = create_losses(dict.fromkeys(TOGETHER, 1.0))
    clusters, weight = losses["clusters"]
    losses["clusters"] = replace(clusters, centres=np.eye(3, size, dtype="float32")), weight
    images = np.stack(random_images((65, 65), (65, 65)))
    foreground = np.ones((2, 65, 65, 1), "float32")
    noise = mirror_noise(teacher, [(images, foreground)])
    discovery = PartDiscovery(
        segmenter,
        losses,
        teacher=teacher,
        standardiser=Standardiser(np.zeros(size), np.eye(size) + noise),
        loss_size=33,
        centre_features=True,
        prominence_exponent=1.0,
    )
    head = {variable.path for variable in segmenter.head.variables}
    schedule = Schedule("cosine", 1e-3, 100, 5)
    discovery.compile(
        create_optimizer("adamw", schedule, clip_norm=1.0, head_multiplier=2.0, is_head=head)
    )
    batch = {"image": images, "foreground": foreground}
    logs = discovery.train_on_batch(batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values()) and not logs["skipped_steps"]


class Pair(list):
    """Two samples with a foreground, as `FeatureCache` needs of a data set."""

    def fingerprint(self):
        return "pair"


def test_features_of_functions_that_return_tensors():
    from keras_parts.data import CropSettings, Sample

    mask = np.ones((65, 65), bool)
    samples = Pair(Sample("a", each, foreground=mask) for each in random_images((65, 65)) * 2)
    teacher = Teacher(tiny(16, ("sixteenth",)))
    assert NetworkFeatures(teacher, 65)(samples)[0].shape == (5, 5, 8)
    cache = FeatureCache(
        samples,
        CropSettings(jitter=0.0, mirror=0.0),
        image_size=65,
        teacher=teacher,
        fingerprint="teacher",
        progress=False,
    )
    assert cache.shape == (5, 5, 8)


def test_nothing_reads_a_value_on_the_device(segmenter):
    """Tensors on the device "meta" have no values at all."""
    import torch

    images = torch.zeros((2, 65, 65, 3), dtype=torch.uint8, device="meta")
    batch = {"image": images, "foreground": torch.zeros((2, 65, 65, 1), device="meta")}
    with keras.device("meta"):
        model = PartSegmenter(segmenter.config)
        teacher = Teacher(tiny(16, ("sixteenth",)))
        losses = create_losses(dict.fromkeys(TOGETHER, 1.0))
        discovery = PartDiscovery(model, losses, teacher=teacher, loss_size=33)
        assert model(images).shape == (2, 9, 9, 4)
        assert set(discovery.compute_losses(batch)) == set(TOGETHER)
