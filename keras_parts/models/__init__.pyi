from .architectures import ARCHITECTURES, Architecture
from .heads import DilatedHead, FusionHead
from .paper_checkpoints import from_released
from .predictor import Predictor, create_predictor
from .segmenter import PartSegmenter, SegmenterConfig

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "DilatedHead",
    "FusionHead",
    "Predictor",
    "PartSegmenter",
    "SegmenterConfig",
    "from_released",
    "create_predictor",
]
