"""Architectures of segmenters by name; `register` adds one with your own backbone."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from os import PathLike
from typing import Any

import keras

from keras_parts.backbones.efficientnet_lite import (
    VARIANTS,
    Variant,
    efficientnet_lite,
    load_efficientnet_lite,
)
from keras_parts.backbones.resnet50 import load_keras_applications, resnet50
from keras_parts.backbones.small import load_small_weights, small
from keras_parts.backbones.weights_file import load_weights
from keras_parts.errors import ConfigError
from keras_parts.models.heads import DecoderHead, DilatedHead, FusionHead

_OUTPUT_STRIDES = {4, 8, 16}
_DECODED_STRIDE = 4
"""The output stride at which a decoder refines the logits."""


@dataclass(frozen=True)
class Architecture:
    """A backbone, a head, and how images are resized for them.

    Attributes:
        backbone: function `(output_stride, outputs) -> Backbone` that creates the network with
            random weights; called with keyword arguments.
        layers: `{output stride of the logits: (output stride of the backbone, names of its
            outputs)}`, for 4, 8 or 16. At stride 4 a decoder refines the logits with finer maps,
            so that the outputs are maps of several strides.
        image_size: side of the network's input in pixels.
        head: function `(number of logits, name) -> layer`; the layer maps
            `{name: (batch, h, w, channels)}` to `(batch, h, w, logits)` at the finest stride.
        decoder: the head at stride 4, a function `(number of logits, levels, name) -> layer`; see
            `DecoderHead`.
        load: function `(backbone, path)` that loads pretrained weights, from the file `path` or, if
            it is None, the default ones; None if there are no pretrained weights.
        resize_mode: how an image is resized to the input, see
            `keras_parts.images.geometry.resize_geometry`.
        aligned_corners: whether logits are upsampled to the image with aligned corners;
            `image_size` is then a multiple of 16 plus 1. The paper aligns corners in training, but
            not in its evaluation.
        bytes_per_pixel: `{output stride of the logits: memory for a pixel of the input}`, by which
            `PartSegmenter.from_preset` estimates the memory for an image before it builds the
            network; without it, nothing is estimated.

    Raises:
        ConfigError: `layers` is empty or has an output stride other than 4, 8 and 16, or `backbone`
            is no function of `output_stride` and `outputs`.

    Example:
        >>> from keras_parts.models import ARCHITECTURES
        >>> ARCHITECTURES["resnet50"].resize_mode
        'short'
    """

    backbone: Callable[..., Any]
    layers: Mapping[int, tuple[int, Sequence[str]]]
    image_size: int
    head: Callable[..., Any] = FusionHead
    decoder: Callable[..., Any] = DecoderHead
    load: Callable[[Any, str | PathLike | None], None] | None = None
    resize_mode: str = "pad"
    aligned_corners: bool = True
    bytes_per_pixel: Mapping[int, int] | None = None

    def __post_init__(self):
        if not self.layers or not set(self.layers) <= _OUTPUT_STRIDES:
            raise ConfigError(
                f"architecture: layers are {self.layers!r}, expected {{4, 8 or 16: (output stride "
                "of the backbone, names of its outputs)}"
            )
        _check_creates(self.backbone)

    def create_head(self, backbone: Any, outputs: int, output_stride: int) -> Any:
        """The head of a segmenter.

        Args:
            backbone: the `Backbone` of the segmenter.
            outputs: number of logits.
            output_stride: input pixels between neighbouring logits.
        """
        if not self.has_decoder(output_stride):
            return self.head(outputs, name="head")
        strides = backbone.strides
        by_stride = sorted(strides, key=strides.get, reverse=True)
        levels = [list(names) for _, names in groupby(by_stride, key=strides.get)]
        return self.decoder(outputs, levels, name="head")

    @staticmethod
    def has_decoder(output_stride: int) -> bool:
        """Whether the head at an output stride is the decoder."""
        return output_stride == _DECODED_STRIDE


def _check_creates(backbone):
    expected = "expected a function with the arguments output_stride and outputs, so called"
    if isinstance(backbone, keras.layers.Layer) or not callable(backbone):
        raise ConfigError(
            f"architecture: backbone is a {type(backbone).__name__}, {expected}, that creates it"
        )
    signature = inspect.signature(backbone)
    try:
        signature.bind(output_stride=8, outputs=())
    except TypeError:
        raise ConfigError(f"architecture: backbone takes {signature}, {expected}") from None


def _load_resnet50(backbone, path):
    if path is None:
        model = keras.applications.ResNet50(weights="imagenet")
    else:
        model = keras.applications.ResNet50(weights=None)
        load_weights(model, path)
    load_keras_applications(backbone, model)


def _load_small(backbone, path):
    load_small_weights(backbone, path or "toy")


def _efficientnet_lite(variant: Variant) -> Architecture:
    quarter, eighth, *_ = variant.stage_ends[1:]
    deep = (variant.stage_ends[4], variant.stage_ends[5])
    return Architecture(
        functools.partial(efficientnet_lite, variant),
        {
            4: (16, (quarter, eighth, *deep)),
            8: (16, (eighth, *deep)),
            16: (16, deep),
        },
        image_size=257,
        load=functools.partial(load_efficientnet_lite, variant),
        # The widest maps are those of the first stages, which all variants have.
        bytes_per_pixel={4: 360, 8: 360, 16: 340},
    )


# bytes_per_pixel: measured on TensorFlow on a CPU, and half as much again for other backends.
ARCHITECTURES = {
    **{name: _efficientnet_lite(variant) for name, variant in VARIANTS.items()},
    "resnet50": Architecture(
        resnet50,
        {
            4: (16, ("stage_1", "stage_2", "stage_4")),
            8: (8, ("stage_4",)),
            16: (16, ("stage_4",)),
        },
        image_size=256,
        head=DilatedHead,
        load=_load_resnet50,
        resize_mode="short",
        aligned_corners=False,
        bytes_per_pixel={4: 440, 8: 700, 16: 440},
    ),
    "small": Architecture(
        small,
        {
            4: (16, ("stage2", "stage3", "stage4")),
            8: (16, ("stage3", "stage4")),
            16: (16, ("stage4",)),
        },
        image_size=161,
        load=_load_small,
        bytes_per_pixel={4: 130, 8: 130, 16: 130},
    ),
}
"""Name -> `Architecture`; `register` adds entries."""
_BUILT_IN = frozenset(ARCHITECTURES)


def register(
    name: str,
    backbone: Callable[..., Any],
    layers: Mapping[int, tuple[int, Sequence[str]]],
    image_size: int,
    **options: Any,
) -> Architecture:
    """Register your own backbone as an architecture of segmenters, in this process.

    `SegmenterConfig`, recipes and the loading of saved segmenters then accept the name. Every
    process that loads such a segmenter must register the name first. Registering a name again
    replaces its architecture.

    Args:
        name: of the architecture; saved segmenters contain it.
        backbone, layers, image_size, options: the fields of `Architecture`.

    Returns:
        The `Architecture`.

    Raises:
        ConfigError: the name is empty, not a string or an architecture of the package, or `layers`
            or the signature of `backbone` is wrong.

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
            f"architecture: name is {name!r}, expected a string other than "
            f"{', '.join(sorted(_BUILT_IN))}"
        )
    ARCHITECTURES[name] = Architecture(backbone, layers, image_size, **options)
    return ARCHITECTURES[name]


def architecture_of(name: str) -> Architecture:
    """The `Architecture` that is registered under a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in tuple(ARCHITECTURES):  # a tuple: `name` may be anything, unhashable too
        raise ConfigError(
            f"architecture is {name!r}, which is not registered; expected one of "
            f"{', '.join(ARCHITECTURES)}. If it is your own, call "
            f"keras_parts.models.architectures.register({name!r}, ...) first (docs/backbones.md)"
        )
    return ARCHITECTURES[name]
