"""The bootstrap over images: how much a value depends on which images were measured.

Efron: *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics, 1979.
"""

from collections.abc import Sequence

import numpy as np

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols.base import Result


def bootstrap_intervals(
    results: Sequence[Result], *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Intervals in which metrics lie when images are drawn with replacement.

    Every draw takes as many images as there are, the same ones for all runs, and a metric is the
    mean over the runs. The draws are moved so that their mean is the measured value: a draw holds
    only 63 % of the different images, and NMI of fewer different images is higher. An interval
    shows how much the choice of test images matters; the standard deviation over runs shows how
    much the seed of the training matters.

    Args:
        results: of one protocol on the same images, one a run.
        level: share of the draws inside the interval.
        num_draws: number of draws.
        seed: of the draws.

    Returns:
        {metric: (low, high)} in per cent, for the metrics that depend on the images.

    Raises:
        ConfigError: `level` or `num_draws` is outside its range.
        DataError: the runs were measured on different numbers of images.

    Example:
        >>> from keras_parts import data, metrics
        >>> from keras_parts.metrics import bootstrap_intervals
        >>> animals = data.load("toy", "test", count=6)
        >>> model = metrics.colour_baseline(animals, 2)
        >>> result = metrics.PROTOCOLS["pixels-foreground"](model, animals, 2)
        >>> low, high = bootstrap_intervals([result], num_draws=20)["FG-NMI"]
        >>> low <= result.values["FG-NMI"] <= high
        True
    """
    if not 0 < level < 1 or num_draws < 1:
        raise ConfigError(
            f"level={level}, num_draws={num_draws}: expected 0 < level < 1, num_draws >= 1"
        )
    if len({result.num_images for result in results}) != 1:
        raise DataError("runs on different images have no common interval")
    draws = _draws(results, num_draws, seed)
    low, high = 50 * (1 - level), 50 * (1 + level)
    intervals = {}
    for metric in draws[0][0]:
        means = np.array([np.mean([run[metric] for run in runs]) for runs in draws])
        means = means[np.isfinite(means)]
        if len(means):
            measured = np.mean([result.values[metric] for result in results])
            bounds = measured + np.percentile(means - means.mean(), [low, high])
            intervals[metric] = (float(bounds[0]), float(bounds[1]))
    return intervals


def _draws(results, num_draws, seed):
    """`num_draws` times: the values of each run on randomly drawn images."""
    num_images, rng = results[0].num_images, np.random.default_rng(seed)
    drawn = []
    for _ in range(num_draws):
        indices = rng.integers(num_images, size=num_images)
        weights = np.bincount(indices, minlength=num_images)
        drawn.append([result.reweighted(weights) for result in results])
    return drawn
