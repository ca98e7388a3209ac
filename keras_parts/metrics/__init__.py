"""How good parts are: contingency tables, NMI, ARI, landmark regression, and the benchmarks."""

from keras_parts.metrics.baselines import (
    BASELINES,
    CentroidMaps,
    baseline_named,
    colour_baseline,
    feature_baseline,
    kmeans_baseline,
    remembered,
    stretched,
    teacher_features,
)
from keras_parts.metrics.bootstrap import intervals
from keras_parts.metrics.clustering import ari, nmi
from keras_parts.metrics.contingency import ContingencyTable
from keras_parts.metrics.evaluation import evaluate, fitted_on_train
from keras_parts.metrics.landmarks import landmark_error, soft_centres
from keras_parts.metrics.meaning import PartMeaning, confusion_picture, part_meanings
from keras_parts.metrics.protocols import PROTOCOLS, Maps, Protocol, Result
from keras_parts.metrics.published import PUBLISHED, Published, published_values
from keras_parts.metrics.report import Report, Runs
from keras_parts.metrics.segmenter_maps import SegmenterMaps

__all__ = [
    "BASELINES",
    "PROTOCOLS",
    "PUBLISHED",
    "CentroidMaps",
    "ContingencyTable",
    "Maps",
    "PartMeaning",
    "Protocol",
    "Published",
    "Report",
    "Result",
    "Runs",
    "SegmenterMaps",
    "ari",
    "baseline_named",
    "colour_baseline",
    "confusion_picture",
    "evaluate",
    "fitted_on_train",
    "feature_baseline",
    "intervals",
    "kmeans_baseline",
    "landmark_error",
    "nmi",
    "part_meanings",
    "published_values",
    "remembered",
    "soft_centres",
    "stretched",
    "teacher_features",
]
