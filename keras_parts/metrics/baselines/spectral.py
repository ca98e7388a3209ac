"""Spectral clustering of teacher features, such as the patch features of a vision transformer.

Amir, Gandelsman, Bagon, Dekel: *Deep ViT Features as Dense Visual Descriptors*, 2021, find parts
by clustering patch features over images. The clustering is that of Ng, Jordan, Weiss (*On
Spectral Clustering*, NIPS 2001), extended to new images by the Nystrom method (Fowlkes, Belongie,
Chung, Malik: *Spectral Grouping Using the Nystrom Method*, PAMI 2004).
"""

from collections.abc import Sequence

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.metrics.baselines.centroids import RESTARTS, CentroidModel, normalised
from keras_parts.metrics.baselines.features import FeatureExtractor, foreground_vectors
from keras_parts.ops.kmeans import kmeans


class SpectralEmbedding:
    """Coordinates that separate the clusters of a similarity graph.

    The similarity of two nodes is exp(-distance^2 / s^2), where s^2 is the median squared distance
    of a node to its n-th nearest neighbour and n is a twentieth of the number of nodes.

    Args:
        vectors: `(vectors, channels)`, the nodes of the graph.
        dimensions: number of coordinates.
    """

    def __init__(self, vectors: np.ndarray, dimensions: int):
        self._nodes = np.asarray(vectors, np.float64)
        distance = _squared_distances(self._nodes, self._nodes)
        neighbour = max(1, len(distance) // 20)
        self._scale = max(np.median(np.partition(distance, neighbour)[:, neighbour]), 1e-12)
        similarity = np.exp(-distance / self._scale)
        self._degree = similarity.sum(1)
        similarity /= np.sqrt(self._degree[:, None] * self._degree)
        values, axes = np.linalg.eigh(similarity)
        largest = slice(None, -dimensions - 1, -1)
        self._projection = axes[:, largest] / np.maximum(values[largest], 1e-9)

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `(..., channels)` to coordinates `(..., dimensions)` float32 of length 1."""
        flat = np.asarray(vectors, np.float64).reshape(-1, vectors.shape[-1])
        similarity = np.exp(-_squared_distances(flat, self._nodes) / self._scale)
        degree = np.maximum(similarity.sum(1, keepdims=True), 1e-300)
        found = similarity / np.sqrt(degree * self._degree) @ self._projection
        found /= np.sqrt((found**2).sum(-1, keepdims=True) + 1e-30)
        return found.reshape(*vectors.shape[:-1], -1).astype(np.float32)


class SpectralFeatures:
    """Spectral coordinates of a teacher's features.

    Args:
        extract: function that computes the teacher features.
        centre: `(channels,)` that is subtracted from the features, which are then scaled to length
            1.
        embedding: the embedding of these scaled features.
    """

    def __init__(self, extract: FeatureExtractor, centre: np.ndarray, embedding: SpectralEmbedding):
        self._extract, self._centre, self._embedding = extract, centre, embedding

    def __call__(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        maps = self._extract(samples)
        return [self._embedding(normalised(features, self._centre)) for features in maps]


def spectral_baseline(
    extract: FeatureExtractor,
    dataset: Dataset,
    num_parts: int,
    seed: int = 0,
    *,
    max_images: int = 200,
    max_vectors: int = 1_000,
) -> CentroidModel:
    """Spectral clustering of a teacher's features in the foreground of a train split.

    Args:
        extract: function that computes the teacher features, in Amir et al. of a vision
            transformer.
        dataset: the train split, with masks; images that have a box are cropped to it.
        num_parts: K, the number of clusters and of coordinates.
        seed: seed for choosing the vectors and for k-means.
        max_images: maximum number of images, spread evenly over the data set.
        max_vectors: maximum number of vectors in total; the time grows with its cube.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
    """
    rng = np.random.default_rng(seed)
    vectors = foreground_vectors(
        extract, dataset, rng, max_images=max_images, max_vectors=max_vectors,
        num_parts=num_parts,
    )  # fmt: skip
    centre = vectors.mean(0)
    embedding = SpectralEmbedding(normalised(vectors, centre), num_parts)
    coordinates = embedding(normalised(vectors, centre))
    clusters = kmeans(coordinates, num_parts, restarts=RESTARTS, seed=seed)
    return CentroidModel(
        SpectralFeatures(extract, centre, embedding),
        clusters.centres,
        variance=clusters.inertia / coordinates.size or 1.0,
    )


def _squared_distances(one, other):
    products = one @ other.T
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1)
    return np.maximum(squares - 2 * products, 0)
