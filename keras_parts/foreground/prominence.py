"""Where the objects of a set of photographs probably are, from the features alone."""

import numpy as np

from keras_parts.extras import import_from_extra

_NORM_WEIGHT = 0.25
_WIDTH = 0.35  # of the transition from background to object, in standard deviations
_BORDER = 2  # positions
_CENTRAL = 0.25  # by which lengths are larger inside than at the borders, in standard deviations
_MIN_SHARE, _MAX_SHARE = 0.02, 0.8  # of the positions that can be objects


def object_probabilities(deepest: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """The probability that a position is of an object, from what differs most in the photographs.

    The first principal component of the features of all positions tells objects from background
    (as in Oquab et al., "DINOv2", 2023). The objects are its side that is more frequent inside the
    photographs than at their borders, and where features are long: networks that classify have
    long features where they see something that they know. The lengths are also added to the
    component. Lengths that are not larger inside the photographs, as in some transformers, are
    ignored.

    Args:
        deepest: `(images, h, w, channels)`, the deepest features.
        norms: `(images, h, w, n)`, lengths of features.

    Returns:
        `(images, h, w)` float32; all 0 if all positions have the same features.

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
    lengths = [_standardised(each) for each in np.moveaxis(norms.astype(np.float32), -1, 0)]
    scores = _principal_component(deepest)
    if not scores.std() > 1e-6:
        return np.zeros(scores.shape, np.float32)  # nothing differs
    scores = _standardised(scores)
    lengths = [each for each in lengths if _centrality(each) > _CENTRAL]
    evidence = _centrality(scores)
    if lengths:
        evidence += np.mean([(scores * each).mean() for each in lengths])
    if evidence < 0:
        scores = -scores
    scores = scores + _NORM_WEIGHT * sum(lengths)
    excess = (scores - _end_of_background(scores)) / _WIDTH
    return (1 / (1 + np.exp(-np.clip(excess, -30, 30)))).astype(np.float32)


def _standardised(maps):
    return (maps - maps.mean()) / (maps.std() + 1e-6)


def _centrality(maps):
    """How much larger maps are inside than at the borders."""
    inside = np.zeros(maps.shape[1:], bool)
    inside[_BORDER:-_BORDER, _BORDER:-_BORDER] = True
    return maps[:, inside].mean() - maps[:, ~inside].mean()


def _principal_component(features):
    """`(images, h, w)`, of either sign."""
    rows = features.reshape(-1, features.shape[-1]).astype(np.float32)
    rows = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-6)
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return (rows @ vectors[:, -1]).reshape(features.shape[:-1])


def _end_of_background(scores):
    """The score that divides background and objects.

    Where objects have most positions, as in portraits, it is the score between the means of two
    normal distributions where both are equally likely: the background is the smaller and narrower
    one. It lets much background pass where the objects are the smaller one.
    """
    rows = scores.reshape(-1, 1)[:: max(1, scores.size // 20_000)]
    mixture = import_from_extra("sklearn.mixture", "train").GaussianMixture(2, random_state=0)
    mixture.fit(rows)
    low, high = np.argsort(mixture.means_.ravel())
    between = np.linspace(mixture.means_[low, 0], mixture.means_[high, 0], 1000)
    is_object = mixture.predict(between[:, None]) == high
    end = between[np.argmax(is_object)] if is_object.any() else between[-1]
    is_most = 0.5 < (rows > end).mean() < _MAX_SHARE
    return end if is_most else _best_split(np.sort(rows[:, 0]))


def _best_split(scores):
    """The score that divides sorted scores into the two most different groups (Otsu, 1979), of
    those that leave objects a plausible share."""
    count = len(scores)
    below = np.arange(int(count * (1 - _MAX_SHARE)), int(count * (1 - _MIN_SHARE)))
    sums = np.cumsum(scores)
    means = sums[below - 1] / below, (sums[-1] - sums[below - 1]) / (count - below)
    best = below[np.argmax(below * (count - below) * (means[1] - means[0]) ** 2)]
    return (scores[best - 1] + scores[best]) / 2
