"""The plain PyTorch program of the benchmarks computes the values of the paper's public code."""

import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.backend("torch")]
torch = pytest.importorskip("torch")
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import plain_torch  # noqa: E402


@pytest.fixture
def tensors(reference):
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in reference.items()}


def close(value, expected):
    expected = np.asarray(expected)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(value.detach(), expected, rtol=1e-4, atol=tolerance)


def test_consistency(tensors):
    logits = tensors["consistency_logits"].requires_grad_()
    foreground = tensors["consistency_fg"]
    masks = logits.softmax(1) * foreground
    visual = plain_torch.within_part_variance(masks, foreground, tensors["consistency_image"])
    close(visual, tensors["consistency_batch_mean"])
    (gradient,) = torch.autograd.grad(visual, logits, retain_graph=True)
    close(gradient, tensors["consistency_batch_mean_dlogits"])

    features = plain_torch.upsampled(tensors["feature_map"], foreground)
    mean = plain_torch.within_part_variance(masks, foreground, features)
    close(len(logits) * mean, tensors["feature_consistency_batch_sum"])
    close(plain_torch.part_descriptors(masks, features), tensors["feature_descriptors"])


def test_contrastive(tensors):
    loss = plain_torch.contrastive(
        tensors["contrastive_features"], float(tensors["contrastive_temperature"])
    )
    close(loss, tensors["contrastive_mean_over_positives"])


def test_warp_and_equivariance(tensors):
    size = tensors["consistency_fg"].shape[-2:]
    grid = plain_torch.thin_plate_grid(tensors["tps_source_points"], size)
    np.testing.assert_allclose(grid, tensors["tps_grid"], atol=1e-5)
    grid = tensors["tps_grid"]
    target = plain_torch.warped(tensors["consistency_logits"], grid)
    foreground = plain_torch.warped(tensors["consistency_fg"], grid)
    loss = plain_torch.equivariance(target, tensors["equivariance_logits_of_warped"], foreground)
    close(loss, tensors["equivariance_loss"])


@pytest.mark.parametrize("program", (plain_torch.PlainStep, plain_torch.PlainNetworks))
def test_a_step_trains(program):
    torch.manual_seed(0)
    step = program(parts=3)
    head = step.segmenter.head[0].weight
    before = head.detach().clone()
    foreground = torch.zeros(2, 1, 33, 33)
    foreground[..., 8:24, 8:24] = 1
    assert torch.isfinite(step(torch.rand(2, 3, 33, 33), foreground))
    assert not torch.equal(head, before)
