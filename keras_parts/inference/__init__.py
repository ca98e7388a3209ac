"""Segmenting many picture files: find them, decode, segment in batches, write the results."""

from keras_parts.inference.engine import Failure, Summary, segment_files
from keras_parts.inference.inputs import ImageFile, find_images
from keras_parts.inference.writers import FORMATS, Format

__all__ = ["FORMATS", "Failure", "Format", "ImageFile", "Summary", "find_images", "segment_files"]
