"""K-means on NumPy arrays, for the initial clusters of a training and for baselines."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np


class Clusters(NamedTuple):
    """The result of `kmeans`.

    Attributes:
        centres: `(num_clusters, channels)`.
        inertia: sum of the squared distances of all vectors from their centre.
    """

    centres: np.ndarray
    inertia: float


def kmeans(
    vectors: np.ndarray,
    num_clusters: int,
    *,
    restarts: int,
    seed: int = 0,
    weights: np.ndarray | None = None,
    max_iterations: int = 300,
    max_threads: int | None = None,
) -> Clusters:
    """K-means (scikit-learn), the best of several restarts.

    Args:
        vectors: `(vectors, channels)` floats.
        num_clusters: number of clusters.
        restarts: number of initialisations, of which the one with the least inertia is kept.
        seed: of the initialisations.
        weights: `(vectors,)` weight of each vector; None for 1.
        max_iterations: maximum of iterations a restart.
        max_threads: 1 makes the result the same to the last bit at every call: several threads add
            in any order. None leaves the number to scikit-learn.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.kmeans import kmeans
        >>> sorted(kmeans(np.array([[0.0], [1.0], [9.0]]), 2, restarts=4).centres.ravel().tolist())
        [0.5, 9.0]
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    estimator = KMeans(num_clusters, n_init=restarts, max_iter=max_iterations, random_state=seed)
    with threadpool_limits(max_threads) if max_threads else nullcontext():
        estimator.fit(vectors, sample_weight=weights)
    return Clusters(estimator.cluster_centers_, float(estimator.inertia_))
