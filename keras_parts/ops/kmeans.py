"""K-means on NumPy arrays, for the initial clusters of training and for baselines."""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from keras_parts.extras import import_from_extra


class Clusters(NamedTuple):
    """The result of `kmeans`.

    Attributes:
        centres: `(num_clusters, channels)`.
        inertia: weighted sum of the squared distances between vectors and their nearest centres.
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
    """The best of several runs of scikit-learn's k-means.

    Args:
        vectors: `(vectors, channels)` floats.
        num_clusters: number of clusters.
        restarts: number of random initialisations; the result with the least inertia is kept.
        seed: seed of the initialisations.
        weights: `(vectors,)`, the weight of each vector; None for equal weights.
        max_iterations: maximum number of iterations of each restart.
        max_threads: maximum number of threads; None for scikit-learn's default. With 1, every call
            gives the same bits; several threads add in any order.

    Returns:
        `Clusters`, the centres in the dtype of `vectors`.

    Raises:
        ValueError: there are fewer vectors than clusters, or a vector is not finite.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.kmeans import kmeans
        >>> sorted(kmeans(np.array([[0.0], [1.0], [9.0]]), 2, restarts=4).centres.ravel().tolist())
        [0.5, 9.0]
    """
    from threadpoolctl import threadpool_limits

    KMeans = import_from_extra("sklearn.cluster", "train").KMeans
    estimator = KMeans(num_clusters, n_init=restarts, max_iter=max_iterations, random_state=seed)
    with threadpool_limits(max_threads) if max_threads else nullcontext():
        estimator.fit(vectors, sample_weight=weights)
    return Clusters(estimator.cluster_centers_, float(estimator.inertia_))
