"""How good parts are: contingency tables, NMI, ARI, landmark regression, and the benchmarks."""

from keras_parts.metrics.baselines import (
    CentroidMaps,
    colour_baseline,
    feature_baseline,
    kmeans_baseline,
    stretched,
)
from keras_parts.metrics.clustering import ari, nmi
from keras_parts.metrics.contingency import ContingencyTable
from keras_parts.metrics.evaluation import evaluate
from keras_parts.metrics.landmarks import landmark_error, soft_centres
from keras_parts.metrics.protocols import PROTOCOLS, Maps, Protocol, Result
from keras_parts.metrics.published import PUBLISHED, Published, published_values
from keras_parts.metrics.report import Report

__all__ = [
    "PROTOCOLS",
    "PUBLISHED",
    "CentroidMaps",
    "ContingencyTable",
    "Maps",
    "Protocol",
    "Published",
    "Report",
    "Result",
    "ari",
    "colour_baseline",
    "evaluate",
    "feature_baseline",
    "kmeans_baseline",
    "landmark_error",
    "nmi",
    "published_values",
    "soft_centres",
    "stretched",
]
