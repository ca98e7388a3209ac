from .baselines import (
    BASELINES,
    Baseline,
    CachedFeatures,
    CentroidModel,
    FeatureExtractor,
    NamedFeatures,
    NetworkFeatures,
    baseline_named,
    colour_baseline,
    feature_baseline,
    kmeans_baseline,
    teacher_features,
)
from .best_parts import best_scores
from .bootstrap import bootstrap_intervals
from .clustering import ari, nmi
from .contingency import ContingencyTable
from .evaluation import Evaluation, evaluate, needs_train_split
from .landmarks import LandmarkData, landmark_error, soft_centres
from .masks import MaskScores, mask_scores
from .part_model import ImageModel, PartModel
from .part_names import PartMeaning, confusion_picture, part_meanings, report_meanings
from .protocols import PROTOCOLS, Protocol, Result
from .published import PUBLISHED, Published, published_values
from .report import Report, Runs
from .segmenter_model import SegmenterModel

__all__ = [
    "BASELINES",
    "Baseline",
    "CachedFeatures",
    "CentroidModel",
    "ContingencyTable",
    "Evaluation",
    "FeatureExtractor",
    "ImageModel",
    "LandmarkData",
    "MaskScores",
    "NamedFeatures",
    "NetworkFeatures",
    "PROTOCOLS",
    "PUBLISHED",
    "PartMeaning",
    "PartModel",
    "Protocol",
    "Published",
    "Report",
    "Result",
    "Runs",
    "SegmenterModel",
    "ari",
    "baseline_named",
    "best_scores",
    "bootstrap_intervals",
    "colour_baseline",
    "confusion_picture",
    "evaluate",
    "feature_baseline",
    "kmeans_baseline",
    "landmark_error",
    "mask_scores",
    "needs_train_split",
    "nmi",
    "part_meanings",
    "published_values",
    "report_meanings",
    "soft_centres",
    "teacher_features",
]
