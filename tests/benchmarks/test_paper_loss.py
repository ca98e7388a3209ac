"""The recipe "paper" computes the same losses as the plain PyTorch program of the benchmarks."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.backbones.vgg19 import vgg19
from keras_parts.discovery import model as discovery_model
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.teachers import Teacher
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.keras_private import set_random_seed
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.ops import resize_aligned, split_background
from keras_parts.training.recipes import recipe

torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import plain_torch  # noqa: E402

pytestmark = [pytest.mark.backend, pytest.mark.slow]
SIZE = 65  # the maps of the teacher are 16 x 16 and 4 x 4 then
PAPER = recipe("paper")
TORCH = keras.config.backend() == "torch"
STILL = ViewTransforms(jitter_first=False, jitter_probability=0.0, grey_probability=0.0)


@pytest.fixture
def plain():
    """The plain step without its segmenter; its teacher is initialised so that no layer is zero."""
    torch.manual_seed(0)
    step = plain_torch.PlainStep.__new__(plain_torch.PlainStep)
    step.teacher = plain_torch.Teacher()
    for layer in convolutions(step):
        torch.nn.init.kaiming_normal_(layer.weight)
    return step


def convolutions(step):
    return [layer for layer in step.teacher.layers if isinstance(layer, torch.nn.Conv2d)]


def paper_discovery(step):
    """The package's model with the paper's losses, that teacher and a small segmenter."""
    set_random_seed(0)
    network = vgg19(PAPER.teacher_layers)
    network.set_weights(
        [
            values.detach().numpy()
            for layer in convolutions(step)
            for values in (layer.weight.permute(2, 3, 1, 0), layer.bias)
        ]
    )
    segmenter = PartSegmenter(SegmenterConfig(3, "small", image_size=SIZE))
    return PartDiscovery(
        segmenter,
        PAPER.create_losses(),
        teacher=Teacher(network, PAPER.teacher_layers, (0.33, 1.0)),
        loss_size=None,
        view_transforms=STILL,
        centre_features=PAPER.centre_features,
        prominence_exponent=PAPER.prominence_exponent,
    )


def plain_segmenter(segmenter):
    """The package's segmenter with the plain program's output: channels first, parts, foreground.

    Its logits are upsampled before the foreground's is computed from them, as that is no linear
    function of the package's channels.
    """

    def segment(images):
        inputs = 255 * images.permute(0, 2, 3, 1)
        logits = segmenter(inputs if TORCH else inputs.numpy(), training=False)
        channels = split_background(resize_aligned(logits, (SIZE, SIZE)))
        if not TORCH:
            channels = [torch.from_numpy(np.array(channel)) for channel in channels]
        return torch.cat(channels, -1).permute(0, 3, 1, 2)

    return segment


def test_the_whole_loss_of_the_paper(plain, monkeypatch):
    """Without jitter and with the same warp. On PyTorch the gradients are compared too."""
    discovery = paper_discovery(plain)
    points = plain_torch.random_source_points(2, "cpu")
    monkeypatch.setattr(plain_torch, "jitter", lambda images: images)
    monkeypatch.setattr(plain_torch, "random_source_points", lambda *_: points)
    monkeypatch.setattr(
        discovery_model,
        "random_source_points",
        lambda *_, **__: ops.convert_to_tensor(points.numpy()),
    )
    plain.segmenter = plain_segmenter(discovery.segmenter)
    images = torch.rand(2, 3, SIZE, SIZE)
    foreground = torch.zeros(2, 1, SIZE, SIZE)
    foreground[..., 9:50, 13:60] = 1
    batch = {
        name: each.permute(0, 2, 3, 1).numpy()
        for name, each in (("image", images), ("foreground", foreground))
    }
    batch["image"] = 255 * batch["image"]
    losses = discovery.compute_losses(batch, training=False)
    expected = plain.losses(images, foreground)
    assert [PAPER.loss_weights[name] for name in losses] == list(plain_torch.WEIGHTS.values())
    for (name, loss), other in zip(losses.items(), expected.values(), strict=True):
        assert ops.convert_to_numpy(loss) == pytest.approx(float(other), rel=1e-4), name
    if TORCH:
        total = sum(PAPER.loss_weights[name] * loss for name, loss in losses.items())
        compare_gradients(discovery.segmenter, total, plain.loss(images, foreground))


def compare_gradients(segmenter, total, expected):
    weights = [variable.value for variable in segmenter.trainable_variables]
    ours, theirs = (torch.autograd.grad(each, weights) for each in (total, expected))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))
