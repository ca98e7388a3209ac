"""Segmenters from the checkpoints that were released with the paper's PyTorch code."""

from os import PathLike

import numpy as np

from keras_parts.backbones.pretrained import read_arrays
from keras_parts.backbones.resnet50 import (
    RELEASED_PREPROCESSING,
    DeepLabHead,
    deeplab_head,
    load_torch_state,
)
from keras_parts.errors import DataError
from keras_parts.models.heads import DilatedHead
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig

_BIASES = "layer5.conv2d_list.0.bias"
_FOREGROUND_LOGIT = 100.0
"""So high that the background never has the maximum probability."""


def from_released(path: str | PathLike) -> PartSegmenter:
    """Create a segmenter from a checkpoint of the paper's public code.

    The file is read with `weights_only=True`: nothing in it is executed. Its input convention, BGR
    means subtracted from RGB, becomes the segmenter's preprocessing. These networks predict K parts
    and no background: the paper takes the background from a given mask. The segmenter therefore
    never predicts background, see `predicts_background`.

    Args:
        path: the `.pth` file: the weights, or a dictionary that holds them as `model_state_dict`.

    Returns:
        `PartSegmenter` of the architecture "resnet50", with output stride 8 and as many parts as
        the file has.

    Raises:
        DataError: the file is missing or damaged, or is the checkpoint of another network.
        ConfigError: PyTorch, which reads the file, is not installed or too old.

    Example:
        >>> from keras_parts.models import from_released
        >>> segmenter = from_released("released.pth")  # doctest: +SKIP
        >>> segmenter.save_preset("segmenter")  # doctest: +SKIP
    """
    arrays = read_arrays(path)
    if _BIASES not in arrays:
        raise DataError(
            f"{path}: has no array {_BIASES!r}, so it is no checkpoint of the paper's DeepLab"
        )
    num_parts = len(arrays[_BIASES])
    segmenter = PartSegmenter(
        SegmenterConfig(num_parts, "resnet50", 8, preprocessing=RELEASED_PREPROCESSING)
    )
    head = deeplab_head(num_parts, name="released_head")
    head.build((None, None, None, 2048))
    load_torch_state(segmenter.backbone, arrays, head, source=str(path))
    _fill(segmenter.head.dilated, head)
    return segmenter


def predicts_background(segmenter: PartSegmenter) -> bool:
    """Whether a segmenter predicts background; only segmenters of `from_released` do not.

    These can only be evaluated by protocols with given masks.
    """
    head = getattr(segmenter, "head", None)
    if not isinstance(head, DilatedHead):
        return True
    return any(bool(np.any(conv.get_weights()[0][..., 0])) for conv in head.dilated.convolutions)


def _fill(head: DeepLabHead, released: DeepLabHead) -> None:
    """Copy the released part logits behind a foreground logit that is the same everywhere."""
    for number, (conv, source) in enumerate(
        zip(head.convolutions, released.convolutions, strict=True)
    ):
        kernel, bias = (np.pad(value, _one_in_front(value)) for value in source.get_weights())
        bias[0] = 0.0 if number else _FOREGROUND_LOGIT
        conv.set_weights([kernel, bias])


def _one_in_front(value):
    """Padding by one channel before the first, on the last axis."""
    return [(0, 0)] * (value.ndim - 1) + [(1, 0)]
