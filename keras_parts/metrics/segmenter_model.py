"""A segmenter as a `PartModel`."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_parts.data.sample import Sample


class SegmenterModel:
    """A `PartModel` from a segmenter.

    Args:
        segmenter: a `keras_parts.PartSegmenter`.
        flip: average with the predictions of the mirrored image, at twice the cost.
        looks: see `keras_parts.PartSegmenter.segment`.

    Attributes:
        has_background: False for segmenters that do not predict the background, such as the
            paper's released checkpoints.

    Example:
        >>> from keras_parts import data, metrics, zoo
        >>> animals = data.load("toy", "test", count=2)
        >>> model = metrics.SegmenterModel(zoo.load("toy"))
        >>> model.logits([animals[0]])[0].shape[:2] == animals[0].size
        True
    """

    def __init__(self, segmenter: Any, *, flip: bool = False, looks: Any = "auto"):
        from keras_parts.models.paper_checkpoints import predicts_background

        self.has_background: bool = predicts_background(segmenter)
        self._maps = functools.partial(segmenter.maps, flip=flip, looks=looks)

    def logits(self, samples: Sequence[Sample]) -> Sequence[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32 of each image at its own size."""
        return self._maps([sample.image for sample in samples])
