from dataclasses import replace

import numpy as np
import pytest

from keras_parts.data import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import (
    BASELINES,
    CachedFeatures,
    CentroidModel,
    NetworkFeatures,
    baseline_named,
    colour_baseline,
    evaluate,
    feature_baseline,
    kmeans_baseline,
)
from keras_parts.metrics.baselines import (
    SpectralEmbedding,
    factor_baseline,
    position_baseline,
    slic_baseline,
    spectral_baseline,
)
from keras_parts.metrics.baselines.factorisation import non_negative
from keras_parts.metrics.baselines.features import coordinates, lab_features
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
    (found,) = lab_features([Sample("colours", colours)])
    np.testing.assert_allclose(found[0], expected, atol=0.02)


@pytest.mark.backend
def test_lab_equals_the_lab_of_the_losses():
    from keras import ops

    from keras_parts.ops import rgb_to_lab

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    expected = ops.convert_to_numpy(rgb_to_lab(image.astype("float32") / 255))
    np.testing.assert_allclose(lab_features([Sample("random", image)])[0], expected, atol=2e-3)


@pytest.mark.slow
def test_colour_baseline_solves_coloured_parts(coloured):
    baseline = colour_baseline(coloured, 3, seed=1)
    values = pixels_foreground(baseline, coloured, 3).values
    assert values == pytest.approx({"FG-NMI": 100, "FG-ARI": 100})


@pytest.mark.slow
def test_colour_baseline_is_reproducible_and_seeded(drawn):
    sample = drawn[0]
    (first,), (again,) = (colour_baseline(drawn, 3, seed=1).logits([sample]) for _ in range(2))
    (other,) = colour_baseline(drawn, 3, seed=2).logits([sample])
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (40, 56, 4) and first.dtype == np.float32


def coarse_truth(samples):
    """A teacher on a coarse grid with one feature for each part; magnitudes vary by row."""
    maps = []
    for sample in samples:
        rows, columns = (np.linspace(0, side - 1, 15).round().astype(int) for side in sample.size)
        labels = sample.image[np.ix_(rows, columns)][..., 0]
        maps.append(np.eye(4)[labels] * np.arange(1, 16)[:, None, None])
    return maps


def test_feature_baseline_follows_the_teacher(drawn):
    baseline = feature_baseline(coarse_truth, drawn, 3)
    report = evaluate(baseline, drawn, 3, ["pixels-foreground"], progress=False)
    assert report.values["pixels-foreground"]["FG-NMI"] > 75  # a 15 x 15 grid blurs the borders
    assert all(share > 0.25 for share in report.shares)


def test_networks_receive_square_images():
    seen = []

    def network(batch):
        seen.append(batch)
        return batch[:, ::16, ::16]

    samples = [Sample(str(v), np.full((8, 30, 3), v, np.uint8)) for v in (0, 51, 255)]
    maps = NetworkFeatures(network, 33)(samples)
    assert seen[0].shape == (3, 33, 33, 3) and seen[0].dtype == np.uint8
    assert [one.shape for one in maps] == [(3, 3, 3)] * 3
    np.testing.assert_allclose([one.mean() for one in maps], [0, 51, 255])


def test_baselines_have_no_background_of_their_own(coloured):
    baseline = colour_baseline(coloured, 3)
    report = evaluate(baseline, coloured, 3, progress=False)
    assert "pixels-full-given" in report.results
    assert "background" in report.skipped["pixels-full-model"]
    with pytest.raises(DataError, match="pixels-full-model needs a model with a background"):
        evaluate(baseline, coloured, 3, ["pixels-full-model"], progress=False)


def test_logits_select_the_nearest_centroid_and_are_posteriors():
    features = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)
    centroids = np.random.default_rng(1).normal(size=(4, 3))
    model = CentroidModel(lambda samples: [features], centroids, variance=0.5)
    (logits,) = model.logits([Sample("one", np.zeros((6, 5, 3), np.uint8))])
    distance = ((features[..., None, :] - centroids) ** 2).sum(-1)
    np.testing.assert_array_equal(logits[..., 1:].argmax(-1), distance.argmin(-1))
    posterior = np.exp(-distance / (2 * 0.5))
    posterior /= posterior.sum(-1, keepdims=True)
    found = np.exp(logits[..., 1:])
    np.testing.assert_allclose(found / found.sum(-1, keepdims=True), posterior, rtol=1e-4)


def test_logits_are_resized_with_aligned_corners():
    ramp = np.linspace(0, 1, 3)[None, :, None] * np.ones((2, 1, 1))
    model = CentroidModel(lambda samples: [ramp], np.array([[0.0], [1.0]]))
    (logits,) = model.logits([Sample("one", np.zeros((4, 9, 3), np.uint8))])
    expected = np.broadcast_to(np.linspace(0, 1, 9) - 0.5, (4, 9))
    np.testing.assert_allclose(logits[..., 2] - logits[..., 1], expected, atol=1e-6)


def test_baseline_errors(drawn):
    with pytest.raises(ConfigError, match="max_images=0"):
        kmeans_baseline(coarse_truth, drawn, 3, max_images=0)
    bare = Sample("bare", drawn[0].image)
    drawn.samples[:] = [bare]
    with pytest.raises(DataError, match="bare: there is no mask"):
        colour_baseline(drawn, 3)
    drawn.samples[:] = [replace(bare, foreground=np.zeros(bare.size, bool))]
    with pytest.raises(DataError, match="0 foreground vectors are too few for 3 parts"):
        colour_baseline(drawn, 3)


@pytest.mark.slow
def test_position_baseline_uses_coordinates(drawn):
    """The animals are grey, so that only coordinates distinguish their parts."""
    drawn.samples[:] = [replace(s, image=np.full_like(s.image, 90)) for s in drawn.samples]
    baseline = position_baseline(drawn, 3)
    values = pixels_foreground(baseline, drawn, 3).values
    assert values["FG-NMI"] > 30  # three clusters of a square are not three strips
    by_colour = colour_baseline(drawn, 3)
    assert pixels_foreground(by_colour, drawn, 3).values["FG-NMI"] == 0


def test_coordinates_span_the_box_of_the_mask():
    mask = np.zeros((6, 9), bool)
    mask[1:5, 2:8] = True
    sample = Sample("one", np.zeros((6, 9, 3), np.uint8), foreground=mask)
    found = coordinates(sample)
    np.testing.assert_allclose(found[1, 2], [0.5 / 6, 0.5 / 4], atol=1e-6)
    np.testing.assert_allclose(found[4, 7], [5.5 / 6, 3.5 / 4], atol=1e-6)
    empty = replace(sample, foreground=np.zeros_like(mask))
    np.testing.assert_allclose(coordinates(empty)[0, 0], [0.5 / 9, 0.5 / 6], atol=1e-6)


def test_factors_follow_the_teacher(drawn):
    baseline = factor_baseline(coarse_truth, drawn, 3)
    assert pixels_foreground(baseline, drawn, 3).values["FG-NMI"] > 75
    (logits,) = baseline.logits([drawn[0]])
    assert logits.shape == (40, 56, 4) and np.isfinite(logits).all()


def test_features_become_non_negative():
    np.testing.assert_array_equal(non_negative(np.array([[1.0, -2.0]])), [[1, 0, 0, 2]])


def test_spectral_clustering_follows_the_teacher(drawn):
    baseline = spectral_baseline(coarse_truth, drawn, 3, max_vectors=300)
    assert pixels_foreground(baseline, drawn, 3).values["FG-NMI"] > 75


def test_spectral_clustering_separates_rings_that_centroids_cannot():
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    rings = np.concatenate([0.2 * circle, 1.5 * circle])
    coordinates = SpectralEmbedding(rings[::2], 2)(rings)
    inner, outer = coordinates[:200].mean(0), coordinates[200:].mean(0)
    nearer = np.linalg.norm(coordinates - inner, axis=1) < np.linalg.norm(
        coordinates - outer, axis=1
    )
    assert nearer[:200].all() and not nearer[200:].any()


def test_superpixels_are_matched_across_images(coloured):
    pytest.importorskip("skimage")
    baseline = slic_baseline(coloured, 3)
    assert pixels_foreground(baseline, coloured, 3).values["FG-NMI"] > 60
    (logits,) = baseline.logits([coloured[0]])
    assert logits.shape == (40, 56, 4)
    empty = replace(coloured[0], foreground=np.zeros(coloured[0].size, bool))
    assert np.isfinite(baseline.logits([empty])[0]).all()


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.slow
def test_every_baseline_by_name(coloured, name):
    """All take the same arguments, predict no background, and are reproducible."""
    if name == "slic":
        pytest.importorskip("skimage")
    fitted = [BASELINES[name](coloured, 3, 1, lab_features) for _ in range(2)]
    reports = [evaluate(maps, coloured, 3, progress=False) for maps in fitted]
    assert reports[0].values == reports[1].values
    assert "background" in reports[0].skipped["pixels-full-model"]
    assert set(reports[0].results) == {
        "keypoints-foreground",
        "keypoints-full-given",
        "pixels-foreground",
        "pixels-full-given",
    }
    assert baseline_named(name) is BASELINES[name]


def test_unknown_baselines_and_missing_features(drawn):
    with pytest.raises(ConfigError, match="'nosuch': choose from kmeans-colour"):
        baseline_named("nosuch")
    with pytest.raises(ConfigError, match="NMF of features needs the features of a teacher"):
        BASELINES["nmf-features"](drawn, 3)


def test_cached_features_are_computed_once():
    num_computed = []

    def extract(samples):
        num_computed.append(len(samples))
        return [np.full((64, 64, 32), sample.image[0, 0, 0] / 3) for sample in samples]

    samples = [Sample(str(v), np.full((4, 5, 3), v, np.uint8)) for v in range(6)]
    fresh = extract(samples)
    cached = CachedFeatures(extract, max_megabytes=1)  # room for four images
    for _ in range(2):
        found = cached([samples[0], samples[1], samples[0]])
        for one, index in zip(found, (0, 1, 0), strict=True):
            np.testing.assert_allclose(one, fresh[index], atol=1e-2)
    assert num_computed == [6, 2, 0]
    cached(samples)
    cached(samples[:1])
    assert num_computed[3:] == [4, 1]  # the first image was removed from the cache
