"""Baselines that are measured by the same protocols as a model, with the same K."""

from keras_parts.metrics.baselines.centroids import (
    CentroidModel,
    colour_baseline,
    feature_baseline,
    kmeans_baseline,
    position_baseline,
)
from keras_parts.metrics.baselines.factorisation import FactorModel, factor_baseline
from keras_parts.metrics.baselines.features import (
    CachedFeatures,
    FeatureExtractor,
    NamedFeatures,
    NetworkFeatures,
    teacher_features,
)
from keras_parts.metrics.baselines.slic import SuperpixelModel, slic_baseline
from keras_parts.metrics.baselines.spectral import SpectralEmbedding, spectral_baseline
from keras_parts.metrics.baselines.table import BASELINES, Baseline, baseline_named

__all__ = [
    "BASELINES",
    "Baseline",
    "CachedFeatures",
    "CentroidModel",
    "FactorModel",
    "FeatureExtractor",
    "NamedFeatures",
    "NetworkFeatures",
    "SpectralEmbedding",
    "SuperpixelModel",
    "baseline_named",
    "colour_baseline",
    "factor_baseline",
    "feature_baseline",
    "kmeans_baseline",
    "position_baseline",
    "slic_baseline",
    "spectral_baseline",
    "teacher_features",
]
