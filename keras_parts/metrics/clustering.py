"""Agreement of two partitions, computed from their contingency table."""

import math

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.errors import DataError


def nmi(counts: ArrayLike) -> float:
    """Normalised mutual information, `2 I(L; C) / (H(L) + H(C))` (arithmetic mean).

    Equal to `sklearn.metrics.normalized_mutual_info_score`, also for degenerate partitions: 1 if
    both have at most one class, 0 if only one of them has.

    Args:
        counts: `(labels, clusters)` non-negative integers; rows and columns may be all zero.

    Returns:
        A float in [0, 1], accurate to about 1e-15 for any number of observations.

    Raises:
        DataError: `counts` is not two-dimensional, not of integers, or has negative values.

    Example:
        >>> from keras_parts.metrics import nmi
        >>> nmi([[5, 0], [0, 5]]), nmi([[5, 5], [5, 5]])
        (1.0, 0.0)
    """
    table = _checked(counts)
    marginals = _entropy(table.sum(1)) + _entropy(table.sum(0))
    if marginals == 0:
        return 1.0
    # I = H(L) + H(C) - H(L, C). The entropies are accurate to their last digits, so NMI is too.
    return min(max(2 - 2 * _entropy(table.ravel()) / marginals, 0.0), 1.0)


def ari(counts: ArrayLike) -> float:
    """Adjusted Rand index (Hubert and Arabie, 1985).

    Equal to `sklearn.metrics.adjusted_rand_score`, also for degenerate partitions. Pairs are
    counted in Python's integers: 10^10 pixels make 10^20 pairs, too many for int64.

    Args:
        counts: `(labels, clusters)` non-negative integers; rows and columns may be all zero.

    Returns:
        A float in [-0.5, 1]: 1 for equal partitions, 0 on average for random ones.

    Raises:
        DataError: `counts` is not two-dimensional, not of integers, or has negative values.

    Example:
        >>> from keras_parts.metrics import ari
        >>> ari([[5, 0], [0, 5]]), ari([[5, 5], [0, 0]])
        (1.0, 0.0)
    """
    table = _checked(counts)
    total = int(table.sum())
    together = _squares(table.ravel())
    same_label, same_cluster = _squares(table.sum(1)), _squares(table.sum(0))
    # Numbers of ordered pairs that share label and cluster, only one of them, or neither.
    both = together - total
    label_only = same_label - together
    cluster_only = same_cluster - together
    neither = total * total - same_label - same_cluster + together
    if label_only == cluster_only == 0:
        return 1.0
    expected = (both + label_only) * (label_only + neither)
    expected += (both + cluster_only) * (cluster_only + neither)
    return 2 * (both * neither - label_only * cluster_only) / expected


def _checked(counts: ArrayLike) -> np.ndarray:
    counts = np.asarray(counts)
    if counts.ndim != 2 or not np.issubdtype(counts.dtype, np.integer):
        raise DataError(
            f"a contingency table must be a 2-d integer array, got {counts.dtype} {counts.shape}"
        )
    if counts.size and counts.min() < 0:
        raise DataError(f"a contingency table must not have negative counts, got {counts.min()}")
    return counts.astype(np.int64)


def _squares(counts):
    return sum(count * count for count in counts.tolist())


def _entropy(counts):
    """Entropy in nats of counts `(classes,)`, accurate even if one class has nearly all."""
    total = counts.sum()
    counts = counts[counts > 0]
    shares = counts / total
    surprisal = np.where(shares < 0.5, -np.log(shares), -np.log1p(-((total - counts) / total)))
    return math.fsum(shares * surprisal)
