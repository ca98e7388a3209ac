from .baselines import (
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
from .bootstrap import intervals
from .clustering import ari, nmi
from .contingency import ContingencyTable
from .evaluation import evaluate, fitted_on_train
from .landmarks import landmark_error, soft_centres
from .meaning import PartMeaning, confusion_picture, part_meanings
from .protocols import PROTOCOLS, Maps, Protocol, Result
from .published import PUBLISHED, Published, published_values
from .report import Report, Runs
from .segmenter_maps import SegmenterMaps

__all__ = [
    "BASELINES",
    "CentroidMaps",
    "ContingencyTable",
    "Maps",
    "PROTOCOLS",
    "PUBLISHED",
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
    "feature_baseline",
    "fitted_on_train",
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
