"""Segmenting many picture files: find them, decode, segment in batches, write the results."""

from keras_parts.inference.done import Failure
from keras_parts.inference.inputs import ImageFile, find_images
from keras_parts.inference.network import Network, network_of
from keras_parts.inference.run import Summary, recorded_batch_size, segment_files
from keras_parts.inference.writers import FORMATS

__all__ = [
    "FORMATS",
    "Failure",
    "ImageFile",
    "Network",
    "Summary",
    "find_images",
    "network_of",
    "recorded_batch_size",
    "segment_files",
]
