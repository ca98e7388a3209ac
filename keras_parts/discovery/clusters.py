"""Clusters of teacher features, by which parts can be initialised."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_parts.errors import DataError
from keras_parts.ops import downsample_aligned, part_means, prominence
from keras_parts.ops.kmeans import kmeans

_POSITIONS = 60_000
"""Number of positions that are clustered, of all images together."""
_INSIDE = 0.7
"""Foreground of a cell that counts as a position of the object, if the image has such a cell."""
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
    """k-means of the directions in which positions of objects differ from their image's mean.

    The best of several restarts is taken, so that the result hardly depends on the seed.

    Args:
        crops: features `(batch, h, w, channels)` and foregrounds `(batch, height, width, 1)` in
            [0, 1], not smaller than the features.
        num_clusters: number of clusters.
        num_images: expected number of images in `crops`; it decides how many positions of each
            are used.
        prominence_exponent: exponent of `keras_parts.ops.prominence`, by which each position is
            weighted.
        centre_features: False clusters the features themselves, for parts that differ by what the
            features of a whole image have in common.
        seed: of the choice of positions and of the initial centres.

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
    per_image = -(-_POSITIONS // num_images)
    chosen = [
        pair
        for features, foreground in crops
        for pair in _directions(
            features, foreground, prominence_exponent, centre_features, per_image, rng
        )
    ]
    directions, weights = (np.concatenate(arrays) for arrays in zip(*chosen, strict=True))
    if len(directions) < num_clusters:
        raise DataError(
            f"clusters: there are only {len(directions)} positions of objects for {num_clusters} "
            "parts: are the masks empty? Give more images, or initialise the parts at random: "
            "loss_weights.clusters=0"
        )
    found = kmeans(
        directions,
        num_clusters,
        restarts=_RESTARTS,
        seed=seed,
        weights=weights,
        max_iterations=60,
        max_threads=1,  # a resumed run must find the same clusters
    )
    return _normalised(found.centres)


def _directions(
    features: Any,
    foreground: Any,
    prominence_exponent: float,
    centre_features: bool,
    per_image: int,
    rng: np.random.Generator,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Directions `(positions, channels)` and weights `(positions,)` of some positions an image."""
    features, foreground = ops.cast(features, "float32"), ops.cast(foreground, "float32")
    size = features.shape[1:3]
    weights = downsample_aligned(prominence(features, foreground), size) ** prominence_exponent
    weights = ops.convert_to_numpy(weights)[..., 0]
    inside = ops.convert_to_numpy(downsample_aligned(foreground, size))[..., 0]
    if centre_features:
        features = features - part_means(foreground, features)[:, None]
    features = ops.convert_to_numpy(features)
    for image in range(len(features)):
        minimum = np.clip(inside[image].max(), 1e-6, _INSIDE)
        chosen = rng.permutation(np.flatnonzero(inside[image] >= minimum))[:per_image]
        rows = features[image].reshape(-1, features.shape[-1])[chosen]
        yield _normalised(rows), weights[image].reshape(-1)[chosen]


def _normalised(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype("float32")
