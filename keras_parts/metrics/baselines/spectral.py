"""Spectral clustering of the patch features of a vision transformer.

Amir, Gandelsman, Bagon, Dekel: *Deep ViT Features as Dense Visual Descriptors*, 2021, find parts
by clustering such features over the images. The clustering is that of Ng, Jordan, Weiss (*On
Spectral Clustering*, NIPS 2001), carried over to new images by the Nystrom method (Fowlkes,
Belongie, Chung, Malik: *Spectral Grouping Using the Nystrom Method*, PAMI 2004).
"""

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.baselines.centroids import RESTARTS, CentroidMaps, prepared
from keras_parts.metrics.baselines.features import Embed, foreground_vectors
from keras_parts.ops.kmeans import kmeans


class SpectralEmbedding:
    """Coordinates in which clusters of a similarity graph lie apart.

    Args:
        vectors: `(vectors, channels)`, the graph's nodes. Two are similar by
            exp(-distance^2 / s^2), s^2 being the median over nodes of the squared distance within
            which a twentieth of the others lies.
        dimensions: number of coordinates.
    """

    def __init__(self, vectors: np.ndarray, dimensions: int):
        self._nodes = np.asarray(vectors, np.float64)
        distance = _squared_distances(self._nodes, self._nodes)
        neighbour = max(1, len(distance) // 20)
        self._scale = max(np.median(np.partition(distance, neighbour)[:, neighbour]), 1e-12)
        similarity = np.exp(-distance / self._scale)
        self._degree = similarity.sum(1)
        normalised = similarity / np.sqrt(self._degree[:, None] * self._degree)
        values, axes = np.linalg.eigh(normalised)
        best = slice(None, -dimensions - 1, -1)
        self._projection = axes[:, best] / np.maximum(values[best], 1e-9)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """`(..., dimensions)` float32 coordinates, of length 1, of `(..., channels)` vectors."""
        flat = np.asarray(vectors, np.float64).reshape(-1, vectors.shape[-1])
        similarity = np.exp(-_squared_distances(flat, self._nodes) / self._scale)
        degree = np.maximum(similarity.sum(1, keepdims=True), 1e-300)
        found = similarity / np.sqrt(degree * self._degree) @ self._projection
        found /= np.sqrt((found**2).sum(-1, keepdims=True) + 1e-30)
        return found.reshape(*vectors.shape[:-1], -1).astype(np.float32)


def spectral_baseline(
    features: Embed,
    dataset: Dataset,
    parts: int,
    seed: int = 0,
    images: int = 200,
    vectors: int = 1_000,
) -> CentroidMaps:
    """Spectral clustering of a teacher's features in the foreground of a train split.

    Args:
        features: the teacher, in Amir et al. a vision transformer: images to `(h, w, channels)`.
        dataset: the train split, with masks; images with a box are cropped to it.
        parts: K clusters, in K coordinates.
        seed: draws vectors and starts k-means.
        images, vectors: at most so many; time grows with the cube of `vectors`.

    Returns:
        A callable for `evaluate` and the protocols.
    """
    rng = np.random.default_rng(seed)
    found = foreground_vectors(features, dataset, rng, images, vectors, least=parts)
    centre = found.mean(0)
    embedding = SpectralEmbedding(prepared(found, centre), parts)
    coordinates = embedding(prepared(found, centre))
    clusters = kmeans(coordinates, parts, restarts=RESTARTS, seed=seed)

    def embed(images):
        return [embedding(prepared(one, centre)) for one in features(images)]

    return CentroidMaps(embed, clusters.centres, clusters.inertia / coordinates.size or 1.0)


def _squared_distances(one, other):
    products = one @ other.T
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)
    return np.maximum(squares - 2 * products, 0)
