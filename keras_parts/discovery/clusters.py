"""Clusters of a teacher's features, from which parts may start."""

import numpy as np
from keras import ops

from keras_parts.errors import DataError
from keras_parts.ops import part_means, prominence, reduce_aligned
from keras_parts.ops.kmeans import kmeans

_PLACES = 60_000
_INSIDE = 0.7  # foreground of a cell that counts as a place of the object, if there is such a cell
_ATTEMPTS = 10


def find_clusters(crops, images, parts, exponent=0.0, centre=True, seed=0):
    """Directions in which places of objects differ from the mean of their image: k-means.

    Of several attempts the one with the least distance is taken, so that hardly anything is left
    to chance.

    Args:
        crops: iterable of features `(batch, h, w, channels)` and foregrounds
            `(batch, height, width, 1)` in [0, 1], not smaller than the features.
        images: how many images these are, about.
        parts: number of clusters.
        exponent: of `keras_parts.ops.prominence`, with which every place is weighted.
        centre: False takes the features as they are: the mean of an image tells its parts as well.
        seed: of the places that are looked at and of the first centres.

    Returns:
        float32 `(parts, channels)`, of length 1 each.

    Raises:
        DataError: there are fewer places than clusters.
    """
    rng = np.random.default_rng(seed)
    some = -(-_PLACES // images)
    found = [
        chosen
        for features, foreground in crops
        for chosen in _places(features, foreground, exponent, centre, some, rng)
    ]
    places, weights = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    if len(places) < parts:
        raise DataError(
            f"clusters: there are {len(places)} places of objects for {parts} parts: are the masks "
            "empty? Give more images, or let the parts start by chance: weights.clusters=0"
        )
    found = kmeans(
        places,
        parts,
        restarts=_ATTEMPTS,
        seed=seed,
        weights=weights,
        max_iterations=60,
        max_threads=1,  # a resumed run must find the same clusters
    )
    return _unit(found.centres)


def _places(features, foreground, exponent, centre, some, rng):
    """Of each image: directions `(places, channels)` and weights `(places,)` of some places."""
    features, foreground = ops.cast(features, "float32"), ops.cast(foreground, "float32")
    size = features.shape[1:3]
    weights = reduce_aligned(prominence(features, foreground), size) ** exponent
    weights = ops.convert_to_numpy(weights)[..., 0]
    inside = ops.convert_to_numpy(reduce_aligned(foreground, size))[..., 0]
    if centre:
        features = features - part_means(foreground, features)[:, None]
    features = ops.convert_to_numpy(features)
    for one in range(len(features)):
        enough = np.clip(inside[one].max(), 1e-6, _INSIDE)
        chosen = rng.permutation(np.flatnonzero(inside[one] >= enough))[:some]
        rows = features[one].reshape(-1, features.shape[-1])[chosen]
        yield _unit(rows), weights[one].reshape(-1)[chosen]


def _unit(vectors):
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype("float32")
