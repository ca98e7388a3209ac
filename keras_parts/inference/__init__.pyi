from .done_log import Failure
from .inputs import ImageFile, find_images
from .run import (
    Summary,
    recorded_batch_size,
    recorded_formats,
    recorded_model,
    recorded_runtime,
    segment_files,
)
from .search import Match, PartIndex
from .video import VideoSummary, segment_video
from .writers import DEFAULT_FORMATS, FORMATS

__all__ = [
    "DEFAULT_FORMATS",
    "FORMATS",
    "Failure",
    "ImageFile",
    "Match",
    "PartIndex",
    "Summary",
    "VideoSummary",
    "find_images",
    "recorded_batch_size",
    "recorded_formats",
    "recorded_model",
    "recorded_runtime",
    "segment_files",
    "segment_video",
]
