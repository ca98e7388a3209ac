from dataclasses import replace

import numpy as np
import pytest

from keras_parts.data import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import (
    CentroidMaps,
    colour_baseline,
    evaluate,
    feature_baseline,
    kmeans_baseline,
    stretched,
)
from keras_parts.metrics.baselines import lab
from keras_parts.metrics.protocols import pixels_foreground

COLOURS = np.array([(200, 180, 160), (220, 30, 30), (30, 200, 40), (40, 50, 210)], np.uint8)


@pytest.fixture
def coloured(drawn):
    """The drawn animals, each part in its own colour with a little noise."""
    rng = np.random.default_rng(0)
    for index, sample in enumerate(drawn.samples):
        noise = rng.integers(0, 8, (*sample.size, 3), np.uint8)
        drawn.samples[index] = replace(sample, image=COLOURS[sample.part_labels] + noise)
    return drawn


def test_lab_of_known_colours():
    colours = np.array([[(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 128, 0)]], np.uint8)
    expected = [(100, 0, 0), (0, 0, 0), (53.24, 80.09, 67.20), (46.23, -51.70, 49.90)]
    np.testing.assert_allclose(lab(colours)[0], expected, atol=0.02)


@pytest.mark.backend
def test_lab_is_that_of_the_losses():
    from keras import ops

    from keras_parts.ops import rgb_to_lab

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    expected = ops.convert_to_numpy(rgb_to_lab(image.astype("float32") / 255))
    np.testing.assert_allclose(lab(image), expected, atol=2e-3)


def test_colour_baseline_solves_coloured_parts(coloured):
    baseline = colour_baseline(coloured, 3, seed=1)
    values = pixels_foreground(baseline, coloured, 3).values
    assert values == pytest.approx({"FG-NMI": 100, "FG-ARI": 100})


def test_colour_baseline_is_reproducible_and_seeded(drawn):
    image = drawn[0].image
    (first,), (again,) = (colour_baseline(drawn, 3, seed=1)([image]) for _ in range(2))
    (other,) = colour_baseline(drawn, 3, seed=2)([image])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (40, 56, 4) and first.dtype == np.float32


def coarse_truth(images):
    """A teacher on a coarse grid with a feature for each part, of any magnitude."""
    maps = []
    for image in images:
        rows, columns = (
            np.linspace(0, side - 1, 15).round().astype(int) for side in image.shape[:2]
        )
        labels = image[np.ix_(rows, columns)][..., 0]
        maps.append(np.eye(4)[labels] * np.arange(1, 16)[:, None, None])
    return maps


def test_feature_baseline_follows_the_teacher(drawn):
    baseline = feature_baseline(coarse_truth, drawn, 3)
    report = evaluate(baseline, drawn, 3, ["pixels-foreground"], progress=False)
    assert report.values["pixels-foreground"]["FG-NMI"] > 75  # a 15 x 15 grid blurs the borders
    assert all(share > 0.25 for share in report.shares)


def test_stretched_gives_a_network_squares():
    seen = []

    def network(batch):
        seen.append(batch)
        return batch[:, ::16, ::16]

    images = [np.full((8, 30, 3), value, np.uint8) for value in (0, 51, 255)]
    maps = stretched(network, 33)(images)
    assert seen[0].shape == (3, 33, 33, 3) and seen[0].dtype == np.float32
    assert [one.shape for one in maps] == [(3, 3, 3)] * 3
    np.testing.assert_allclose([one.mean() for one in maps], [0, 0.2, 1], atol=1e-6)


def test_baselines_have_no_background_of_their_own(coloured):
    baseline = colour_baseline(coloured, 3)
    report = evaluate(baseline, coloured, 3, progress=False)
    assert "pixels-full-given" in report.results
    assert "background" in report.skipped["pixels-full-model"]
    with pytest.raises(DataError, match="pixels-full-model needs a model with a background"):
        evaluate(baseline, coloured, 3, ["pixels-full-model"], progress=False)


def test_logits_pick_the_nearest_centroid_and_give_posteriors():
    features = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    centroids = np.random.default_rng(1).normal(size=(4, 3))
    maps = CentroidMaps(lambda images: [features], centroids, variance=0.5)
    (logits,) = maps([np.zeros((6, 5, 3), np.uint8)])
    distance = ((features[..., None, :] - centroids) ** 2).sum(-1)
    np.testing.assert_array_equal(logits[..., 1:].argmax(-1), distance.argmin(-1))
    posterior = np.exp(-distance / (2 * 0.5))
    posterior /= posterior.sum(-1, keepdims=True)
    found = np.exp(logits[..., 1:])
    np.testing.assert_allclose(found / found.sum(-1, keepdims=True), posterior, rtol=1e-4)


def test_logits_are_resized_with_aligned_corners():
    ramp = np.linspace(0, 1, 3)[None, :, None] * np.ones((2, 1, 1))
    maps = CentroidMaps(lambda images: [ramp], np.array([[0.0], [1.0]]))
    (logits,) = maps([np.zeros((4, 9, 3), np.uint8)])
    expected = np.broadcast_to(np.linspace(0, 1, 9) - 0.5, (4, 9))
    np.testing.assert_allclose(logits[..., 2] - logits[..., 1], expected, atol=1e-6)


def test_baseline_errors(drawn):
    with pytest.raises(ConfigError, match="images=0"):
        kmeans_baseline(coarse_truth, drawn, 3, images=0)
    bare = Sample("bare", drawn[0].image)
    drawn.samples[:] = [bare]
    with pytest.raises(DataError, match="bare: no foreground mask"):
        colour_baseline(drawn, 3)
    drawn.samples[:] = [replace(bare, foreground=np.zeros(bare.size, bool))]
    with pytest.raises(DataError, match="0 foreground vectors are too few for 3 parts"):
        colour_baseline(drawn, 3)
