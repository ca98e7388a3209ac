"""A linear classifier of positions: object or background, from their features."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_STEPS = 6
_RIDGE = 1e-3  # weight of the squared weights, for each position
_MIN_CURVATURE = 1e-3


class PositionClassifier(NamedTuple):
    """Logistic regression from features to the probability that a position is of the object.

    Attributes:
        weights: `(channels,)` float32.
        bias: the logit of features that are all 0.
    """

    weights: np.ndarray
    bias: float

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """The probabilities `(..., )` float32 of features `(..., channels)`."""
        logits = features.astype(np.float32) @ self.weights + self.bias
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def fit_classifier(
    features: Sequence[np.ndarray], targets: Sequence[np.ndarray]
) -> PositionClassifier:
    """Fit a `PositionClassifier` by Newton's method.

    A linear map of few hundred features cannot learn the errors of single masks, only what the
    masks of most photographs have in common.

    Args:
        features: of each photograph, `(h, w, channels)`.
        targets: of each photograph, `(h, w)`, the share of the object at each position, 0 to 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.classifier import fit_classifier
        >>> features = np.random.default_rng(0).normal(size=(2, 8, 8, 3))
        >>> classifier = fit_classifier(features, features[..., 0] > 0)
        >>> bool(((classifier(features) > 0.5) == (features[..., 0] > 0)).mean() > 0.95)
        True
    """
    mean, std = channel_moments(features)
    weights = np.zeros(len(mean) + 1, np.float32)
    for _ in range(_STEPS):
        weights += _newton_step(weights, features, targets, mean, std)
    scaled = weights[:-1] / std
    return PositionClassifier(scaled, float(weights[-1] - scaled @ mean))


def channel_moments(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of maps `(h, w, channels)`: float32."""
    count = sum(maps[..., 0].size for maps in features)
    mean = sum(maps.sum((0, 1), dtype=np.float64) for maps in features) / count
    squares = sum(((maps - mean) ** 2).sum((0, 1)) for maps in features) / count
    return mean.astype(np.float32), np.sqrt(squares).astype(np.float32) + 1e-6


def _newton_step(weights, features, targets, mean, std):
    size = len(weights)
    curvature, gradient, count = np.zeros((size, size)), np.zeros(size), 0
    for number, (maps, target) in enumerate(zip(features, targets, strict=True)):
        # Neighbours tell the same: every other position, in turns.
        rows = maps.reshape(-1, size - 1)[number % 2 :: 2].astype(np.float32)
        rows = np.concatenate([(rows - mean) / std, np.ones((len(rows), 1), np.float32)], axis=1)
        probability = 1 / (1 + np.exp(-np.clip(rows @ weights, -12, 12)))
        slope = np.maximum(probability * (1 - probability), _MIN_CURVATURE)
        curvature += (rows * slope[:, None]).T @ rows
        gradient += rows.T @ (np.ravel(target)[number % 2 :: 2] - probability)
        count += len(rows)
    ridge = _RIDGE * count
    step = np.linalg.solve(curvature + ridge * np.eye(size), gradient - ridge * weights)
    return step.astype(np.float32)
