"""How sure a figure is: the bootstrap over images.

Efron: *Bootstrap Methods: Another Look at the Jackknife*, Annals of Statistics, 1979.
"""

from collections.abc import Sequence

import numpy as np

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols.base import Result


def intervals(
    results: Sequence[Result], level: float = 0.95, draws: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """How far metrics spread over images drawn with replacement, around what was measured.

    Every draw takes as many images as there are, the same ones for all runs, and a metric is the
    mean over the runs. Where the draws' mean differs from the measured value, they are moved onto
    it: a draw holds only 63 % of the images, the others being repeats, and NMI of fewer different
    images is higher by itself. What an interval says is how much the choice of test images
    matters; how much the seed of a training matters is the standard deviation over runs.

    Args:
        results: of one protocol on the same images, one a run.
        level: share of the draws that lie inside.
        draws: number of draws.
        seed: of the draws.

    Returns:
        {metric: (low, high)} in per cent, for the metrics that depend on the images.

    Raises:
        ConfigError: `level` or `draws` is outside its range.
        DataError: the runs saw different numbers of images.
    """
    if not 0 < level < 1 or draws < 1:
        raise ConfigError(f"level={level}, draws={draws}: expected 0 < level < 1, draws >= 1")
    if len({result.samples for result in results}) != 1:
        raise DataError("runs on different images have no common interval")
    images = results[0].samples
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws):
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        drawn.append([result.by_image(weights) for result in results])
    low, high = 50 * (1 - level), 50 * (1 + level)
    found = {}
    for metric in drawn[0][0]:
        means = np.array([np.mean([run[metric] for run in runs]) for runs in drawn])
        means = means[np.isfinite(means)]
        if len(means):
            measured = np.mean([result.values[metric] for result in results])
            bounds = measured + np.percentile(means - means.mean(), [low, high])
            found[metric] = tuple(map(float, bounds))
    return found
