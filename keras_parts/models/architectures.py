"""What segmenters are put together of: a table of architectures by name, open to one's own."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from keras_parts.backbones.efficientnet_lite0 import efficientnet_lite0, load_efficientnet_lite0
from keras_parts.backbones.resnet50 import load_keras_applications, resnet50
from keras_parts.backbones.small import load_small_weights, small
from keras_parts.errors import ConfigError
from keras_parts.models.heads import DilatedHead, FusionHead

_OUTPUT_STRIDES = {8, 16}


@dataclass(frozen=True)
class Architecture:
    """How a segmenter is put together.

    Attributes:
        backbone: `(output_stride, outputs) -> Backbone`, with random weights; both by keyword.
        layers: `{output stride of the logits: (output stride of the backbone, its outputs)}`, for
            8, 16 or both.
        size: side of the input in pixels.
        head: `(number of logits, name) -> layer` from `{name: (batch, h, w, channels)}` to
            `(batch, h, w, logits)` at the finest stride.
        load: `(backbone, path)`, puts in the pretrained weights, those of a file where `path` is
            not None; None if there are no such weights.
        fit: how an image is brought to the size, see `keras_parts.images.geometry.fit_geometry`.
        aligned_corners: whether logits are enlarged to the image with aligned corners; `size` is
            then a multiple of 16 plus 1. The paper does so in training, but not in its evaluation.

    Raises:
        ConfigError: `layers` has no output stride, or another one than 8 and 16.
    """

    backbone: Callable
    layers: dict[int, tuple[int, tuple[str, ...]]]
    size: int
    head: Callable = FusionHead
    load: Callable | None = None
    fit: str = "pad"
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
        size=257,
        load=load_efficientnet_lite0,
    ),
    "resnet50": Architecture(
        resnet50,
        {8: (8, ("stage_4",)), 16: (16, ("stage_4",))},
        size=256,
        head=DilatedHead,
        load=_load_resnet50,
        fit="short",
        aligned_corners=False,
    ),
    "small": Architecture(
        small,
        {8: (16, ("stage3", "stage4")), 16: (16, ("stage4",))},
        size=161,
        load=_load_small,
    ),
}
"""By name; `register` adds to it."""
_OWN = frozenset(ARCHITECTURES)


def register(name, backbone, layers, size, **options):
    """Make a backbone of one's own an architecture of segmenters, in this process.

    `SegmenterConfig(architecture=name)`, recipes, and loading what was saved with it work from
    then on; whoever loads it elsewhere registers it there first. A name may be registered again.

    Args:
        name: of the architecture; it is saved with segmenters.
        backbone, layers, size, options: the fields of `Architecture`.

    Returns:
        The `Architecture`.

    Raises:
        ConfigError: the name is one of the package's own or no text, or a field is wrong.
    """
    if not isinstance(name, str) or not name or name in _OWN:
        raise ConfigError(
            f"architecture: name is {name!r}, expected a text other than {', '.join(_OWN)}"
        )
    ARCHITECTURES[name] = Architecture(backbone, layers, size, **options)
    return ARCHITECTURES[name]


def architecture_of(name):
    """The `Architecture` of a name.

    Raises:
        ConfigError: nothing of this name is registered.
    """
    if name not in tuple(ARCHITECTURES):  # which anything can be compared with
        raise ConfigError(
            f"architecture is {name!r}, which is not registered; there are "
            f"{', '.join(ARCHITECTURES)}. If it is your own, call "
            f"keras_parts.models.architectures.register({name!r}, ...) first (docs/backbones.md)"
        )
    return ARCHITECTURES[name]
