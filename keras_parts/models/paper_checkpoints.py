"""The checkpoints that were released with the paper's public PyTorch code, as segmenters."""

from os import PathLike

import numpy as np

from keras_parts.backbones.files import read_arrays
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
_CERTAIN = 100.0
"""Foreground logit beside which no background is ever the best."""


def from_released(path: str | PathLike) -> PartSegmenter:
    """A segmenter out of a checkpoint of the paper's public code.

    The file is read with `weights_only=True`: nothing of it is executed. Its input convention, BGR
    means subtracted from RGB, becomes the segmenter's preprocessing. These networks know K parts
    and no background, which the paper takes from a given mask; the segmenter's is therefore never
    chosen, see `predicts_background`.

    Args:
        path: the `.pth` file, with the weights under `model_state_dict` or by themselves.

    Returns:
        `PartSegmenter` of the architecture "resnet50" with output stride 8; K is the file's.

    Raises:
        DataError: the file is missing, damaged, or the checkpoint of another network.
        ConfigError: PyTorch, which reads the file, is not installed or too old.
    """
    arrays = read_arrays(path)
    if _BIASES not in arrays:
        raise DataError(
            f"{path}: no array named {_BIASES!r}: it is no checkpoint of the paper's DeepLab"
        )
    parts = len(arrays[_BIASES])
    segmenter = PartSegmenter(
        SegmenterConfig(parts, "resnet50", 8, preprocessing=RELEASED_PREPROCESSING)
    )
    head = deeplab_head(parts, name="released_head")
    head.build((None, None, None, 2048))
    load_torch_state(segmenter.backbone, arrays, head, source=str(path))
    _fill(segmenter.head.dilated, head)
    return segmenter


def predicts_background(segmenter: PartSegmenter) -> bool:
    """Whether a segmenter tells objects from background, as all do but those of `from_released`.

    What cannot is good for protocols with given masks alone.
    """
    head = getattr(segmenter, "head", None)
    if not isinstance(head, DilatedHead):
        return True
    return any(np.any(conv.get_weights()[0][..., 0]) for conv in head.dilated.convolutions)


def _fill(head: DeepLabHead, released: DeepLabHead) -> None:
    """The released parts behind a foreground logit that is the same everywhere."""
    for number, (conv, theirs) in enumerate(
        zip(head.convolutions, released.convolutions, strict=True)
    ):
        kernel, bias = (np.pad(value, _one_in_front(value)) for value in theirs.get_weights())
        bias[0] = 0.0 if number else _CERTAIN
        conv.set_weights([kernel, bias])


def _one_in_front(value):
    return [(0, 0)] * (value.ndim - 1) + [(1, 0)]
