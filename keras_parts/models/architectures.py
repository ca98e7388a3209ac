"""Architectures of segmenters by name; `register` adds one with a backbone of one's own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import keras

from keras_parts.backbones.efficientnet_lite0 import efficientnet_lite0, load_efficientnet_lite0
from keras_parts.backbones.resnet50 import load_keras_applications, resnet50
from keras_parts.backbones.small import load_small_weights, small
from keras_parts.errors import ConfigError
from keras_parts.models.heads import DilatedHead, FusionHead

_OUTPUT_STRIDES = {8, 16}


@dataclass(frozen=True)
class Architecture:
    """A backbone, a head, and how images come to them.

    Attributes:
        backbone: `(output_stride, outputs) -> Backbone` with random weights, called by keyword.
        layers: `{output stride of the logits: (output stride of the backbone, its outputs)}`, for
            8, 16 or both.
        image_size: side of the network's input in pixels.
        head: `(number of logits, name) -> layer` from `{name: (batch, h, w, channels)}` to
            `(batch, h, w, logits)` at the finest stride.
        load: `(backbone, path)`, loads the pretrained weights, those of a file where `path` is
            not None; None if there are no such weights.
        resize_mode: how an image is resized to the input, see
            `keras_parts.images.geometry.resize_geometry`.
        aligned_corners: whether logits are upsampled to the image with aligned corners;
            `image_size` is then a multiple of 16 plus 1. The paper does so in training, but not in
            its evaluation.

    Raises:
        ConfigError: `layers` has no output stride, or another one than 8 and 16.

    Example:
        >>> from keras_parts.models import ARCHITECTURES
        >>> ARCHITECTURES["resnet50"].resize_mode
        'short'
    """

    backbone: Callable[..., Any]
    layers: Mapping[int, tuple[int, Sequence[str]]]
    image_size: int
    head: Callable[..., Any] = FusionHead
    load: Callable[[Any, str | PathLike | None], None] | None = None
    resize_mode: str = "pad"
    aligned_corners: bool = True

    def __post_init__(self):
        if not self.layers or not set(self.layers) <= _OUTPUT_STRIDES:
            raise ConfigError(
                f"architecture: layers are {self.layers!r}, expected {{8 or 16: (output stride of "
                "the backbone, names of its outputs)}"
            )


def _load_resnet50(backbone, path):
    weights = "imagenet" if path is None else path
    load_keras_applications(backbone, keras.applications.ResNet50(weights=weights))


def _load_small(backbone, path):
    load_small_weights(backbone, path or "toy")


ARCHITECTURES = {
    "efficientnet_lite0": Architecture(
        efficientnet_lite0,
        {
            8: (16, ("block_4", "block_10", "block_14")),
            16: (16, ("block_10", "block_14")),
        },
        image_size=257,
        load=load_efficientnet_lite0,
    ),
    "resnet50": Architecture(
        resnet50,
        {8: (8, ("stage_4",)), 16: (16, ("stage_4",))},
        image_size=256,
        head=DilatedHead,
        load=_load_resnet50,
        resize_mode="short",
        aligned_corners=False,
    ),
    "small": Architecture(
        small,
        {8: (16, ("stage3", "stage4")), 16: (16, ("stage4",))},
        image_size=161,
        load=_load_small,
    ),
}
"""By name; `register` adds to it."""
_BUILT_IN = frozenset(ARCHITECTURES)


def register(
    name: str,
    backbone: Callable[..., Any],
    layers: Mapping[int, tuple[int, Sequence[str]]],
    image_size: int,
    **options: Any,
) -> Architecture:
    """Register a backbone of one's own as an architecture of segmenters, in this process.

    From then on, the name works in `SegmenterConfig`, in recipes and for loading saved segmenters.
    Another process registers it before it loads such a segmenter. A name may be registered again.

    Args:
        name: of the architecture; it is saved with segmenters.
        backbone, layers, image_size, options: the fields of `Architecture`.

    Returns:
        The `Architecture`.

    Raises:
        ConfigError: the name is one of the package's own or no text, or a field is wrong.

    Example:
        >>> from keras_parts.backbones.small import small
        >>> from keras_parts.models import SegmenterConfig, architectures
        >>> layers = {16: (16, ("stage4",))}
        >>> mine = architectures.register("mine", small, layers, image_size=129)
        >>> SegmenterConfig(4, "mine").image_size
        129
        >>> del architectures.ARCHITECTURES["mine"]
    """
    if not isinstance(name, str) or not name or name in _BUILT_IN:
        raise ConfigError(
            f"architecture: name is {name!r}, expected a text other than {', '.join(_BUILT_IN)}"
        )
    ARCHITECTURES[name] = Architecture(backbone, layers, image_size, **options)
    return ARCHITECTURES[name]


def architecture_of(name: str) -> Architecture:
    """The `Architecture` of a name.

    Raises:
        ConfigError: nothing of this name is registered.
    """
    if name not in tuple(ARCHITECTURES):  # a tuple: `name` may be anything, unhashable too
        raise ConfigError(
            f"architecture is {name!r}, which is not registered; there are "
            f"{', '.join(ARCHITECTURES)}. If it is your own, call "
            f"keras_parts.models.architectures.register({name!r}, ...) first (docs/backbones.md)"
        )
    return ARCHITECTURES[name]
