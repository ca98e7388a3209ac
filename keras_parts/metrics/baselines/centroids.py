"""Nearest centroids as a partition into parts, and k-means to find them."""

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.baselines.features import (
    Embed,
    colour_and_position,
    foreground_vectors,
    lab_maps,
    resize_aligned,
)
from keras_parts.ops.kmeans import kmeans

RESTARTS = 16
"""How often k-means starts, to keep the best: of four starts all can miss the best clusters."""
NO_BACKGROUND = -1e6
"""Logit of a background that no softmax notices: baselines of the foreground know none."""


class CentroidMaps:
    """A `maps` callable that assigns every pixel to the nearest of K centroids.

    The logits are those of equal isotropic Gaussians around the centroids, so that a softmax gives
    soft parts; the best channel is the nearest centroid. Channel 0 means nothing: protocols that
    need the model's own background leave these out.

    Args:
        embed: images to feature maps.
        centroids: `(parts, channels)`.
        variance: within-cluster variance a channel; sets how soft the parts are.
        centre: `(channels,)` subtracted from features, which are then brought to length 1; None
            leaves features as they are.
        scale: `(channels,)` that features are divided by first; None for 1.
    """

    background = False

    def __init__(
        self,
        embed: Embed,
        centroids: np.ndarray,
        variance: float = 1.0,
        centre: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ):
        self.embed = embed
        self.centroids = np.asarray(centroids, np.float32)
        self.variance = variance
        self.centre = centre
        self.scale = scale

    @property
    def takes_samples(self) -> bool:
        """Whether it is called with `Sample`s: where the features see the mask."""
        return getattr(self.embed, "takes_samples", False)

    def __call__(self, images: list) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32 at each image's own size."""
        sizes = [one.size if self.takes_samples else one.shape[:2] for one in images]
        return [
            self._logits(np.asarray(features, np.float32), size)
            for features, size in zip(self.embed(images), sizes, strict=True)
        ]

    def _logits(self, features, size):
        features = prepared(features, self.centre, self.scale)
        # -|f - c|^2 without |f|^2, which all parts share: linear in f, so that interpolating it
        # assigns the interpolated features exactly.
        score = 2 * features @ self.centroids.T - (self.centroids**2).sum(-1)
        return without_background(resize_aligned(score / (2 * self.variance), size))


def kmeans_baseline(
    embed: Embed,
    dataset: Dataset,
    parts: int,
    seed: int = 0,
    normalise: bool = False,
    groups: tuple[int, ...] = (),
    images: int = 200,
    vectors: int = 20_000,
) -> CentroidMaps:
    """K-means on the foreground features of a train split.

    Args:
        embed: images to feature maps.
        dataset: the train split, with masks; images with a box are cropped to it.
        parts: K.
        seed: draws vectors and starts k-means.
        normalise: centre the vectors on their mean, then bring each to length 1.
        groups: numbers of channels that belong together, such as (3, 2): every group is brought to
            a total variance of 1, so that all weigh alike. None are by default.
        images: at most so many images, evenly spread over the data set.
        vectors: at most so many vectors in all, drawn at random, the same number an image.

    Returns:
        A callable for `evaluate` and the protocols.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
        ConfigError: `parts`, `images` or `vectors` is below 1.
    """
    rng = np.random.default_rng(seed)
    found = foreground_vectors(embed, dataset, rng, images, vectors, least=parts)
    scale = _group_scale(found, groups) if groups else None
    centre = found.mean(0) if normalise else None
    found = prepared(found, centre, scale)
    clusters = kmeans(found, parts, restarts=RESTARTS, seed=seed)
    variance = clusters.inertia / found.size
    return CentroidMaps(embed, clusters.centres, variance or 1.0, centre, scale)


def colour_baseline(dataset: Dataset, parts: int, seed: int = 0, **options) -> CentroidMaps:
    """K-means on the CIE Lab colour of foreground pixels; see `kmeans_baseline`."""
    return kmeans_baseline(lab_maps, dataset, parts, seed, **options)


def position_baseline(dataset: Dataset, parts: int, seed: int = 0, **options) -> CentroidMaps:
    """K-means on Lab colour and the position in the mask's box, which weigh alike; see
    `kmeans_baseline`."""
    return kmeans_baseline(
        colour_and_position, dataset, parts, seed, **({"groups": (3, 2)} | options)
    )


def feature_baseline(
    features: Embed, dataset: Dataset, parts: int, seed: int = 0, **options
) -> CentroidMaps:
    """K-means on a teacher's features, centred and of length 1; see `kmeans_baseline`.

    Args:
        features: the teacher: images to `(h, w, channels)` maps.
    """
    return kmeans_baseline(features, dataset, parts, seed, **({"normalise": True} | options))


def without_background(parts: np.ndarray) -> np.ndarray:
    """`(height, width, 1 + parts)` float32 logits out of `(height, width, parts)` of the parts."""
    background = np.full((*parts.shape[:2], 1), NO_BACKGROUND, np.float32)
    return np.concatenate([background, parts.astype(np.float32)], -1)


def prepared(
    features: np.ndarray, centre: np.ndarray | None, scale: np.ndarray | None = None
) -> np.ndarray:
    """Features divided by `scale`; and with a `centre`, moved there and brought to length 1."""
    if scale is not None:
        features = features / scale
    if centre is None:
        return features
    features = features - centre
    return features / np.sqrt((features**2).sum(-1, keepdims=True) + 1e-12)


def _group_scale(vectors, groups):
    variance = vectors.astype(np.float64).var(0)
    totals = [group.sum() for group in np.split(variance, np.cumsum(groups)[:-1])]
    # what does not vary but for rounding says nothing, and must not be blown up
    scales = [np.sqrt(total) if total > 1e-6 else 1.0 for total in totals]
    return np.repeat(scales, groups).astype(np.float32)
