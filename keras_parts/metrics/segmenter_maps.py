"""A segmenter as protocols see it."""

import functools

import numpy as np


class SegmenterMaps:
    """A `Maps` callable (see `keras_parts.metrics.Maps`) that says whether it knows background.

    Args:
        segmenter: a `keras_parts.PartSegmenter`.
        flip: average with the mirrored image, at twice the cost.

    Attributes:
        background: False for what cannot tell objects from background, such as the paper's released
            checkpoints: protocols that need it leave these out.
    """

    def __init__(self, segmenter, flip: bool = False):
        from keras_parts.models.paper_checkpoints import predicts_background

        self.background = predicts_background(segmenter)
        self._maps = functools.partial(segmenter.maps, flip=True) if flip else segmenter.maps

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32 at each image's own size."""
        return self._maps(images)
