from . import architectures
from .architectures import ARCHITECTURES, Architecture
from .heads import DecoderHead, DilatedHead, FusionHead
from .paper_checkpoints import from_released
from .predictor import PartPredictor, Predictor, create_predictor
from .preprocessor import ImagePreprocessor
from .segmenter import PartSegmenter, SegmenterConfig

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "DecoderHead",
    "DilatedHead",
    "FusionHead",
    "ImagePreprocessor",
    "PartPredictor",
    "PartSegmenter",
    "Predictor",
    "SegmenterConfig",
    "architectures",
    "create_predictor",
    "from_released",
]
