"""Baselines that assign pixels to the nearest of K centroids, which k-means finds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.metrics.baselines.features import (
    FeatureExtractor,
    at_pixels,
    colour_and_position,
    foreground_vectors,
    lab_features,
)
from keras_parts.ops.kmeans import kmeans

RESTARTS = 16
"""Number of k-means restarts. With four, all can miss the best clusters."""
NO_BACKGROUND = -1e6
"""Background logit for a probability of 0: baselines divide the foreground alone."""


class CentroidModel:
    """A `PartModel` that assigns every pixel to the nearest of K centroids.

    The logits are those of equal isotropic Gaussians around the centroids: their softmax gives
    soft parts, and the nearest centroid has the largest logit.

    Args:
        extract: function that computes the features.
        centroids: `(parts, channels)`.
        variance: within-cluster variance of a channel; the larger, the softer the parts.
        centre: `(channels,)` that is subtracted from the features, which are then scaled to length
            1; None for neither.
        scale: `(channels,)` by which the features are divided first; None for 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts import data, metrics
        >>> def brightness(samples):
        ...     return [sample.image.mean(-1, keepdims=True) for sample in samples]
        >>> model = metrics.CentroidModel(brightness, np.array([[50.0], [200.0]]))
        >>> sample = data.load("toy", "test", count=1)[0]
        >>> model.logits([sample])[0].shape == (*sample.size, 3)
        True
    """

    has_background = False

    def __init__(
        self,
        extract: FeatureExtractor,
        centroids: np.ndarray,
        *,
        variance: float = 1.0,
        centre: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ):
        self.extract = extract
        self.centroids = np.asarray(centroids, np.float32)
        self.variance = variance
        self.centre = centre
        self.scale = scale

    def logits(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32 of each image at its own size."""
        return [
            self._logits(np.asarray(features, np.float32), sample.size)
            for features, sample in zip(self.extract(samples), samples, strict=True)
        ]

    def _logits(self, features, size):
        features = normalised(features, self.centre, self.scale)
        # -|f - c|^2 without |f|^2, which is the same for all parts: linear in f, so that
        # interpolating it is the same as assigning interpolated features.
        score = 2 * features @ self.centroids.T - (self.centroids**2).sum(-1)
        return with_empty_background(at_pixels(score / (2 * self.variance), size))


def kmeans_baseline(
    extract: FeatureExtractor,
    dataset: Dataset,
    num_parts: int,
    seed: int = 0,
    *,
    normalise: bool = False,
    groups: tuple[int, ...] = (),
    max_images: int = 200,
    max_vectors: int = 20_000,
) -> CentroidModel:
    """K-means on the foreground features of a train split.

    Args:
        extract: function that computes the features.
        dataset: the train split, with masks; images that have a box are cropped to it.
        num_parts: K.
        seed: seed for choosing the vectors and for k-means.
        normalise: subtract the mean of the vectors, then scale each vector to length 1.
        groups: sizes of consecutive groups of channels, such as (3, 2). Each group is scaled to a
            total variance of 1, so that all groups have the same weight. Empty for no scaling.
        max_images: maximum number of images, spread evenly over the data set.
        max_vectors: maximum number of vectors in total, chosen at random, the same number from
            each image.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
        ConfigError: `num_parts`, `max_images` or `max_vectors` is below 1.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "train", count=4)
        >>> def colours(samples):
        ...     return [sample.image / 255 for sample in samples]
        >>> metrics.kmeans_baseline(colours, animals, 4).centroids.shape
        (4, 3)
    """
    rng = np.random.default_rng(seed)
    vectors = foreground_vectors(
        extract, dataset, rng, max_images=max_images, max_vectors=max_vectors,
        num_parts=num_parts,
    )  # fmt: skip
    scale = _group_scale(vectors, groups) if groups else None
    centre = vectors.mean(0) if normalise else None
    vectors = normalised(vectors, centre, scale)
    clusters = kmeans(vectors, num_parts, restarts=RESTARTS, seed=seed)
    variance = clusters.inertia / vectors.size or 1.0
    return CentroidModel(extract, clusters.centres, variance=variance, centre=centre, scale=scale)


def colour_baseline(
    dataset: Dataset, num_parts: int, seed: int = 0, **options: Any
) -> CentroidModel:
    """K-means on the CIE Lab colour of foreground pixels; see `kmeans_baseline`.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "train", count=4)
        >>> metrics.colour_baseline(animals, 4).centroids.shape
        (4, 3)
    """
    return kmeans_baseline(lab_features, dataset, num_parts, seed, **options)


def position_baseline(
    dataset: Dataset, num_parts: int, seed: int = 0, **options: Any
) -> CentroidModel:
    """K-means on Lab colour and the coordinates in the mask's box, with equal weight; see
    `kmeans_baseline`."""
    options = {"groups": (3, 2)} | options
    return kmeans_baseline(colour_and_position, dataset, num_parts, seed, **options)


def feature_baseline(
    extract: FeatureExtractor, dataset: Dataset, num_parts: int, seed: int = 0, **options: Any
) -> CentroidModel:
    """K-means on a teacher's features, centred and scaled to length 1; see `kmeans_baseline`.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "train", count=4)
        >>> extract = metrics.NetworkFeatures(lambda batch: batch[:, ::8, ::8], 65)
        >>> metrics.feature_baseline(extract, animals, 4).centroids.shape
        (4, 3)
    """
    options = {"normalise": True} | options
    return kmeans_baseline(extract, dataset, num_parts, seed, **options)


def with_empty_background(part_logits: np.ndarray) -> np.ndarray:
    """Part logits `(height, width, parts)` with a background of probability 0 in front, float32."""
    background = np.full((*part_logits.shape[:2], 1), NO_BACKGROUND, np.float32)
    return np.concatenate([background, part_logits.astype(np.float32)], -1)


def normalised(
    features: np.ndarray, centre: np.ndarray | None, scale: np.ndarray | None = None
) -> np.ndarray:
    """Features divided by `scale`; with a `centre`, it is subtracted and they get length 1."""
    if scale is not None:
        features = features / scale
    if centre is None:
        return features
    features = features - centre
    return features / np.sqrt((features**2).sum(-1, keepdims=True) + 1e-12)


def _group_scale(vectors, groups):
    variance = vectors.astype(np.float64).var(0)
    totals = [group.sum() for group in np.split(variance, np.cumsum(groups)[:-1])]
    # A group without variance has only rounding errors, which must not be amplified.
    scales = [np.sqrt(total) if total > 1e-6 else 1.0 for total in totals]
    return np.repeat(scales, groups).astype(np.float32)
