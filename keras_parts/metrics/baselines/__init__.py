"""Baselines that run through the same protocols as a model, all with K chosen as the model's."""

from collections.abc import Callable
from dataclasses import dataclass

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError
from keras_parts.metrics.baselines.centroids import (
    CentroidMaps,
    colour_baseline,
    feature_baseline,
    kmeans_baseline,
    position_baseline,
)
from keras_parts.metrics.baselines.factorisation import FactorMaps, factor_baseline
from keras_parts.metrics.baselines.features import (
    Embed,
    remembered,
    stretched,
    teacher_features,
)
from keras_parts.metrics.baselines.slic import SuperpixelMaps, slic_baseline
from keras_parts.metrics.baselines.spectral import SpectralEmbedding, spectral_baseline
from keras_parts.metrics.protocols.base import Maps

__all__ = [
    "BASELINES",
    "Baseline",
    "CentroidMaps",
    "Embed",
    "FactorMaps",
    "SpectralEmbedding",
    "SuperpixelMaps",
    "baseline_named",
    "colour_baseline",
    "factor_baseline",
    "feature_baseline",
    "kmeans_baseline",
    "position_baseline",
    "remembered",
    "slic_baseline",
    "spectral_baseline",
    "stretched",
    "teacher_features",
]


@dataclass(frozen=True)
class Baseline:
    """A baseline by name.

    Attributes:
        title: what it does, for tables; "{features}" stands for the features' name.
        fit: `(dataset, parts, seed)`, or `(features, dataset, parts, seed)`, to a `Maps`.
        on_features: whether it takes features.
        supervision: what it learns from besides images of one category.
    """

    title: str
    fit: Callable
    on_features: bool
    supervision: str = "masks"

    def __call__(
        self, dataset: Dataset, parts: int, seed: int = 0, features: Embed | None = None
    ) -> Maps:
        """Fit it on a train split with masks.

        Raises:
            ConfigError: it needs features and gets none, or a library that is not installed.
        """
        if not self.on_features:
            return self.fit(dataset, parts, seed)
        if features is None:
            raise ConfigError(f"{self.title}: it needs the features of a teacher")
        return self.fit(features, dataset, parts, seed)


BASELINES = {
    "kmeans-colour": Baseline("k-means on Lab colour", colour_baseline, False),
    "kmeans-position": Baseline("k-means on colour and position", position_baseline, False),
    "slic": Baseline("SLIC superpixels", slic_baseline, False),
    "kmeans-features": Baseline("k-means on {features}", feature_baseline, True),
    "nmf-features": Baseline("NMF of {features}", factor_baseline, True),
    "spectral-features": Baseline("spectral clustering of {features}", spectral_baseline, True),
}


def baseline_named(name: str) -> Baseline:
    """A baseline out of `BASELINES`; `ConfigError` if there is none of this name."""
    if name not in BASELINES:
        raise ConfigError(f"no baseline is called {name!r}: choose from {', '.join(BASELINES)}")
    return BASELINES[name]
