"""The largest NMI and ARI that K parts can have on a data set's labels."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.errors import ConfigError
from keras_parts.metrics.clustering import ari, nmi

_STARTS = 64


def best_scores(
    label_counts: ArrayLike, num_parts: int, *, background: bool = False
) -> dict[str, float]:
    """The largest NMI and ARI of K parts, each of which consists of whole labels.

    K parts cannot agree fully with more than K labels, so that perfect parts do not reach 100, and
    values of different K or data sets say more as shares of these.

    With whole labels in each part, the clusters are as good as they can be if their sizes are as
    equal as possible: NMI grows with the entropy of the sizes, ARI falls with the sum of their
    squares. From many starts, labels are moved or exchanged between parts as long as that helps.

    Args:
        label_counts: `(labels,)` integers, the observations of each label.
        num_parts: K.
        background: whether label 0 is the background, which is a cluster of its own beside the K
            parts.

    Returns:
        {"NMI": per cent, "ARI": per cent}.

    Raises:
        ConfigError: `num_parts` is below 1.

    Example:
        >>> from keras_parts.metrics import best_scores
        >>> {name: round(value, 1) for name, value in best_scores([40, 30, 20, 10], 2).items()}
        {'NMI': 70.3, 'ARI': 59.4}
        >>> best_scores([40, 30], 4)
        {'NMI': 100.0, 'ARI': 100.0}
    """
    if num_parts < 1:
        raise ConfigError(f"num_parts must be at least 1, got {num_parts}")
    counts = np.asarray(label_counts, np.int64)
    alone, counts = (counts[:1], counts[1:]) if background else (counts[:0], counts)
    counts = counts[counts > 0]
    best: dict[str, float] = {}
    for name, (score, cost) in _MEASURES.items():
        parts = _most_even_parts(counts, num_parts, cost)
        table = np.zeros((len(alone) + len(counts), len(alone) + num_parts), np.int64)
        table[: len(alone), : len(alone)] = alone
        table[len(alone) + np.arange(len(counts)), len(alone) + parts] = counts
        best[name] = 100 * score(table)
    return best


def _n_log_n(sizes: np.ndarray) -> np.ndarray:
    return sizes * np.log(np.maximum(sizes, 1e-300))


_MEASURES: Mapping[str, tuple[Callable, Callable]] = {
    "NMI": (nmi, _n_log_n),
    "ARI": (ari, np.square),
}
"""Measure -> its function of a contingency table, and the cost of a part's size whose sum is least
where the measure is largest."""


def _most_even_parts(counts: np.ndarray, num_parts: int, cost: Callable) -> np.ndarray:
    """`(labels,)` part of each label, so that the sum of the costs of the parts' sizes is least."""
    if num_parts >= len(counts):
        return np.arange(len(counts))
    weights = counts / counts.sum()
    rng = np.random.default_rng(0)
    orders = [np.argsort(-weights), *(rng.permutation(len(weights)) for _ in range(_STARTS - 1))]
    found = (_improved(_dealt(weights, order, num_parts), weights, cost) for order in orders)
    return min(found, key=lambda parts: cost(np.bincount(parts, weights, num_parts)).sum())


def _dealt(weights: np.ndarray, order: np.ndarray, num_parts: int) -> np.ndarray:
    """Labels dealt out in an order, each to the smallest part."""
    parts, sizes = np.zeros(len(weights), int), np.zeros(num_parts)
    for label in order:
        parts[label] = sizes.argmin()
        sizes[parts[label]] += weights[label]
    return parts


def _improved(parts: np.ndarray, weights: np.ndarray, cost: Callable) -> np.ndarray:
    """Labels moved to another part, or exchanged with one of it, as long as the cost falls."""
    num_parts = parts.max() + 1
    labels = np.arange(len(weights))
    # What a label brings to a part: itself alone (the last column), or in exchange for another.
    brought = weights[:, None] - np.append(weights, 0.0)
    while True:
        sizes = np.bincount(parts, weights, num_parts)
        changes = np.full((len(weights), num_parts, len(weights) + 1), np.inf)
        for part in range(num_parts):
            allowed = np.append(parts == part, True)
            own = sizes[parts][:, None]
            change = cost(sizes[part] + brought) + cost(np.maximum(own - brought, 0))
            change -= cost(np.asarray(sizes[part])) + cost(own)
            changes[:, part] = np.where(allowed & (parts != part)[:, None], change, np.inf)
        label, part, other = map(int, np.unravel_index(changes.argmin(), changes.shape))
        if changes[label, part, other] > -1e-12:
            return parts
        parts = parts.copy()
        if other < len(labels):
            parts[other] = parts[label]
        parts[label] = part
