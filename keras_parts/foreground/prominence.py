"""Where the objects of a set of photographs probably are, from the features alone."""

import numpy as np

from keras_parts.extras import import_from_extra

_NORM_WEIGHT = 0.25
_WIDTH = 0.35  # of the transition from background to object, in standard deviations
_BORDER = 2  # positions


def object_probabilities(deepest: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The probability that a position is of an object, from what differs most in the photographs.

    The first principal component of the features of all positions tells objects from background
    (as in Oquab et al., "DINOv2", 2023). Background is the side of it that is more frequent at the
    borders of the photographs. The lengths of the features, which are large where the network sees
    one of its classes, are added. A mixture of two normal distributions says where the
    background ends.

    Args:
        deepest: `(images, h, w, channels)`, the deepest features.
        norms: `(images, h, w, n)`, lengths of features.

    Returns:
        `(images, h, w)` float32.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.prominence import object_probabilities
        >>> random = np.random.default_rng(0)
        >>> features = random.normal(size=(4, 17, 17, 8)) + 4 * random.normal(size=8)
        >>> features[:, 5:12, 5:12] += 9
        >>> found = object_probabilities(features, np.linalg.norm(features, axis=-1, keepdims=True))
        >>> float(found[:, 6:11, 6:11].min()) > 0.5 > float(found[:, :4].max())
        True
    """
    scores = _standardised(_principal_component(deepest))
    for each in np.moveaxis(norms.astype(np.float32), -1, 0):
        scores = scores + _NORM_WEIGHT * _standardised(each)
    excess = (scores - _end_of_background(scores)) / _WIDTH
    return (1 / (1 + np.exp(-np.clip(excess, -30, 30)))).astype(np.float32)


def _standardised(maps):
    return (maps - maps.mean()) / (maps.std() + 1e-6)


def _principal_component(features):
    """`(images, h, w)`, larger inside than at the borders."""
    images, height, width, channels = features.shape
    rows = features.reshape(-1, channels).astype(np.float32)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    component = (rows @ vectors[:, -1]).reshape(images, height, width)
    inside = np.zeros((height, width), bool)
    inside[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    difference = component[:, inside].mean() - component[:, ~inside].mean()
    return component if difference >= 0 else -component


def _end_of_background(scores):
    """The score between the means of two normal distributions where both are equally likely."""
    mixture = import_from_extra("sklearn.mixture", "train").GaussianMixture(2, random_state=0)
    mixture.fit(scores.reshape(-1, 1)[:: max(1, scores.size // 20_000)])
    low, high = np.argsort(mixture.means_.ravel())
    between = np.linspace(mixture.means_[low, 0], mixture.means_[high, 0], 1000)
    is_object = mixture.predict(between[:, None]) == high
    return between[np.argmax(is_object)] if is_object.any() else between[-1]
