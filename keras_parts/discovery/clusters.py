"""Clusters of teacher features, which initialise the parts."""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_parts.errors import DataError
from keras_parts.ops import downsample_aligned, part_means, prominence
from keras_parts.ops.kmeans import kmeans

_MAX_POSITIONS = 60_000
"""Maximum number of positions that are clustered, in all images together."""
_MIN_FOREGROUND = 0.7
"""Minimum share of foreground in a position of the object. In an image of smaller shares, the
positions with the largest share are taken."""
_RESTARTS = 10


def find_clusters(
    crops: Iterable[tuple[Any, Any]],
    num_clusters: int,
    *,
    num_images: int,
    prominence_exponent: float = 0.0,
    centre_features: bool = True,
    seed: int = 0,
) -> np.ndarray:
    """Cluster the features of objects with k-means.

    Features are taken relative to the mean feature of their image's foreground, and normalised to
    length 1. The best of several restarts is taken, so that the result hardly depends on the seed.

    Args:
        crops: batches of features `(batch, h, w, channels)` and foregrounds
            `(batch, height, width, 1)` in [0, 1], not smaller than the features.
        num_clusters: number of clusters.
        num_images: expected number of images in `crops`; the more there are, the fewer positions
            of each are used.
        prominence_exponent: exponent of `keras_parts.ops.prominence`, which weights the positions.
        centre_features: False does not subtract the mean feature: clusters may then differ in what
            all positions of an image have in common.
        seed: seed of the choice of positions and of the initial centres.

    Returns:
        float32 `(num_clusters, channels)`, vectors of length 1.

    Raises:
        DataError: there are fewer positions than clusters.

    Example:
        >>> import numpy as np
        >>> from keras_parts.discovery import find_clusters
        >>> features = np.random.default_rng(0).normal(size=(4, 5, 5, 8)).astype("float32")
        >>> foreground = np.ones((4, 20, 20, 1), "float32")
        >>> find_clusters([(features, foreground)], 3, num_images=4).shape
        (3, 8)
    """
    rng = np.random.default_rng(seed)
    max_per_image = math.ceil(_MAX_POSITIONS / num_images)
    chosen = [
        found.drawn(rng, max_per_image)
        for features, foreground in crops
        for found in object_directions(
            features,
            foreground,
            prominence_exponent=prominence_exponent,
            centre_features=centre_features,
        )
    ]
    directions, weights = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    if len(directions) < num_clusters:
        raise DataError(
            f"clusters: there are only {len(directions)} positions of objects for {num_clusters} "
            "parts: are the masks empty? Give more images, or set loss_weights.clusters to 0, "
            "which initialises the parts at random"
        )
    found = kmeans(
        directions,
        num_clusters,
        restarts=_RESTARTS,
        seed=seed,
        weights=weights,
        max_iterations=60,
        max_threads=1,  # a run that is resumed must find the same clusters
    )
    return _normalised(found.centres)


class ObjectDirections(NamedTuple):
    """The features of an object, as they are clustered.

    Attributes:
        maps: `(h, w, channels)` float32, vectors of length 1.
        prominence: `(h, w)` float32, the weight of each position.
        inside: `(h, w)` bool, which positions lie inside the object.
    """

    maps: np.ndarray
    prominence: np.ndarray
    inside: np.ndarray

    def drawn(self, rng: np.random.Generator, maximum: int) -> tuple[np.ndarray, np.ndarray]:
        """Vectors `(positions, channels)` and weights `(positions,)` inside the object.

        Up to `maximum` positions are drawn at random.
        """
        chosen = np.unravel_index(
            rng.permutation(np.flatnonzero(self.inside))[:maximum], self.inside.shape
        )
        return self.maps[chosen], self.prominence[chosen]


def object_directions(
    features: Any,
    foreground: Any,
    *,
    prominence_exponent: float = 0.0,
    centre_features: bool = True,
) -> Iterator[ObjectDirections]:
    """The features of each object of a batch, as `find_clusters` clusters them.

    Args:
        features: `(batch, h, w, channels)`.
        foreground: `(batch, height, width, 1)` in [0, 1], not smaller than the features.
        prominence_exponent, centre_features: see `find_clusters`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.discovery.clusters import object_directions
        >>> features = np.random.default_rng(0).normal(size=(1, 5, 5, 8)).astype("float32")
        >>> foreground = np.zeros((1, 20, 20, 1), "float32")
        >>> foreground[:, :10] = 1
        >>> (found,) = object_directions(features, foreground)
        >>> found.maps.shape, int(found.inside.sum())
        ((5, 5, 8), 10)
    """
    features, foreground = ops.cast(features, "float32"), ops.cast(foreground, "float32")
    size = features.shape[1:3]
    weights = downsample_aligned(prominence(features, foreground), size) ** prominence_exponent
    weights = ops.convert_to_numpy(weights)[..., 0]
    shares = ops.convert_to_numpy(downsample_aligned(foreground, size))[..., 0]
    if centre_features:
        features = features - part_means(foreground, features)[:, None]
    features = ops.convert_to_numpy(features)
    for image in range(len(features)):
        minimum = np.clip(shares[image].max(), 1e-6, _MIN_FOREGROUND)
        inside = shares[image] >= minimum
        yield ObjectDirections(_normalised(features[image]), weights[image], inside)


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype("float32")
