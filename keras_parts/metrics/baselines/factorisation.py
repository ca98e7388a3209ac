"""Deep feature factorisation: a teacher's features as non-negative sums of K factors.

Collins, Achanta, Susstrunk: *Deep Feature Factorization for Concept Discovery*, ECCV 2018.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.extras import import_from_extra
from keras_parts.metrics.baselines.centroids import with_empty_background
from keras_parts.metrics.baselines.features import FeatureExtractor, at_pixels, foreground_vectors

_EPSILON = 1e-6


class FactorModel:
    """A `PartModel` whose part probabilities are the shares of K factors in the features.

    Args:
        extract: function that computes the features.
        factors: a fitted `sklearn.decomposition.NMF`.
    """

    has_background = False

    def __init__(self, extract: FeatureExtractor, factors: Any):
        self.extract = extract
        self._factors = factors
        self._lengths = np.linalg.norm(factors.components_, axis=1)

    def logits(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32; their softmax is each factor's share."""
        return [
            self._logits(np.asarray(features, np.float32), sample.size)
            for features, sample in zip(self.extract(samples), samples, strict=True)
        ]

    def _logits(self, features, size):
        vectors = non_negative(features.reshape(-1, features.shape[-1]))
        amounts = self._factors.transform(vectors) * self._lengths
        amounts = amounts.reshape(*features.shape[:2], -1).astype(np.float32)
        return with_empty_background(np.log(at_pixels(amounts, size) + _EPSILON))


def factor_baseline(
    extract: FeatureExtractor,
    dataset: Dataset,
    num_parts: int,
    seed: int = 0,
    *,
    max_images: int = 200,
    max_vectors: int = 5_000,
) -> FactorModel:
    """Non-negative matrix factorisation of a teacher's features in the foreground.

    The paper factorises the features of the test images. Here the factors are estimated on the
    train split, as for all baselines, and the features of test images are expressed in them.

    Args:
        extract: function that computes the teacher features.
        dataset: the train split, with masks; images that have a box are cropped to it.
        num_parts: K, the number of factors.
        seed: seed for choosing the vectors and for the factorisation.
        max_images: maximum number of images, spread evenly over the data set.
        max_vectors: maximum number of vectors in total.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
    """
    NMF = import_from_extra("sklearn.decomposition", "train").NMF
    rng = np.random.default_rng(seed)
    vectors = foreground_vectors(
        extract, dataset, rng, max_images=max_images, max_vectors=max_vectors,
        num_parts=num_parts,
    )  # fmt: skip
    factors = NMF(num_parts, init="nndsvda", random_state=seed, max_iter=400, tol=1e-3)
    factors.fit(non_negative(vectors))
    return FactorModel(extract, factors)


def non_negative(features: np.ndarray) -> np.ndarray:
    """Features without negative values: each channel becomes its positive and its negative part.

    Args:
        features: `(vectors, channels)`.

    Returns:
        `(vectors, 2 * channels)`, the positive parts first.
    """
    return np.concatenate([np.maximum(features, 0), np.maximum(-features, 0)], axis=-1)
