"""A small segmenter and pictures for it."""

import keras
import numpy as np

from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig


def small_segmenter():
    """Three parts, untrained."""
    keras.utils.set_random_seed(0)
    return PartSegmenter(SegmenterConfig(3, "small", image_size=65))


def pictures(*sizes):
    """Noise of `(height, width)` each, uint8 RGB."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
