"""Deep feature factorisation: a teacher's features as sums of K factors that only add.

Collins, Achanta, Susstrunk: *Deep Feature Factorization for Concept Discovery*, ECCV 2018.
"""

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.baselines.centroids import without_background
from keras_parts.metrics.baselines.features import Embed, foreground_vectors, resize_aligned

_SMALL = 1e-6


class FactorMaps:
    """A `maps` callable: how much of each factor is in the features at every pixel.

    Args:
        embed: images to feature maps.
        factors: a fitted `sklearn.decomposition.NMF`.
    """

    background = False

    def __init__(self, embed: Embed, factors):
        self.embed = embed
        self._factors = factors
        self._lengths = np.linalg.norm(factors.components_, axis=1)

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32; a softmax gives each factor's share."""
        logits = []
        for features, image in zip(self.embed(images), images, strict=True):
            vectors = additive(np.asarray(features, np.float32).reshape(-1, features.shape[-1]))
            amounts = self._factors.transform(vectors) * self._lengths
            amounts = amounts.reshape(*features.shape[:2], -1).astype(np.float32)
            amounts = resize_aligned(amounts, image.shape[:2])
            logits.append(without_background(np.log(amounts + _SMALL)))
        return logits


def factor_baseline(
    features: Embed,
    dataset: Dataset,
    parts: int,
    seed: int = 0,
    images: int = 200,
    vectors: int = 5_000,
) -> FactorMaps:
    """Non-negative matrix factorisation of a teacher's features in the foreground.

    The paper factorises the features of the test images; here factors are fitted on the train
    split, as everything else is, and test images are written in them.

    Args:
        features: the teacher: images to `(h, w, channels)` maps.
        dataset: the train split, with masks; images with a box are cropped to it.
        parts: K factors.
        seed: draws vectors.
        images, vectors: at most so many.

    Returns:
        A callable for `evaluate` and the protocols.
    """
    from sklearn.decomposition import NMF

    rng = np.random.default_rng(seed)
    found = foreground_vectors(features, dataset, rng, images, vectors, least=parts)
    factors = NMF(parts, init="nndsvda", random_state=seed, max_iter=400, tol=1e-3)
    factors.fit(additive(found))
    return FactorMaps(features, factors)


def additive(features: np.ndarray) -> np.ndarray:
    """Features without negative values: channels of any sign become two, above and below zero.

    Args:
        features: `(vectors, channels)`.

    Returns:
        `(vectors, 2 * channels)`.
    """
    return np.concatenate([np.maximum(features, 0), np.maximum(-features, 0)], axis=-1)
