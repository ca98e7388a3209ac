"""The bootstrap over images: how much a value depends on the choice of test images.

Efron: *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics, 1979.
"""

from collections.abc import Sequence

import numpy as np

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols.base import Result


def bootstrap_intervals(
    results: Sequence[Result], *, level: float = 0.95, num_draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals of metrics: images are drawn at random with replacement.

    Each draw has as many images as the data set, the same for all runs; its value of a metric is
    the mean over the runs. The values are then shifted so that their mean is the measured value: a
    draw contains only 63 % of the distinct images, and NMI is higher with fewer distinct images.
    An interval shows how much the choice of test images matters; the standard deviation over runs
    shows how much the seed of the training matters.

    Args:
        results: results of one protocol on the same images, one for each run.
        level: share of the draws inside the interval, above 0 and below 1.
        num_draws: number of draws, at least 1.
        seed: seed of the draws.

    Returns:
        {metric: (low, high)} in per cent; metrics without a finite value in any draw are absent.

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
    sizes = sorted({result.num_images for result in results})
    if len(sizes) != 1:
        raise DataError(
            f"runs were measured on different numbers of images ({', '.join(map(str, sizes))}): "
            "measure all on the same split"
        )
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
    """For each draw, the values of each run on images drawn at random."""
    num_images, rng = results[0].num_images, np.random.default_rng(seed)
    drawn = []
    for _ in range(num_draws):
        indices = rng.integers(num_images, size=num_images)
        weights = np.bincount(indices, minlength=num_images)
        drawn.append([result.reweighted(weights) for result in results])
    return drawn
