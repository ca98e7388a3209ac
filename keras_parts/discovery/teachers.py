"""Teachers: frozen networks whose features the discovered parts must explain."""

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from os import PathLike
from typing import Any

import keras
from keras import ops

from keras_parts.backbones.adapters import from_keras, from_keras_hub
from keras_parts.backbones.atrous import atrous
from keras_parts.backbones.backbone import Backbone
from keras_parts.backbones.dinov2 import dinov2
from keras_parts.backbones.efficientnet_lite import (
    VARIANTS,
    Variant,
    efficientnet_lite,
    load_efficientnet_lite,
)
from keras_parts.backbones.small import load_small_weights, small
from keras_parts.backbones.vgg19 import load_vgg19, vgg19
from keras_parts.discovery.resizing import PatchInput, ResizeTo, to_multiple_of_16
from keras_parts.discovery.views import Tensor, join_maps
from keras_parts.errors import ConfigError
from keras_parts.models.segmenter import PartSegmenter

PART_LOGITS = "part_logits"
"""Layer of the teacher "segmenter": the logits of its parts instead of features."""


@keras.saving.register_keras_serializable("keras_parts")
class Teacher(keras.Model):
    """A frozen network from images to features.

    `teacher(images)` takes `(batch, height, width, 3)`, RGB in 0 to 255, and returns float32
    `(batch, h, w, channels)`: the outputs of the layers, each multiplied by its scale, upsampled
    to the finest one with aligned corners, and concatenated along the channels.
    `teacher.maps(images)` returns them at their own resolutions. The network is not trained, and
    no gradient flows through it.

    Args:
        network: a `Backbone`; its preprocessing is applied to the images.
        layers: names of outputs of the network, in order; by default all of them.
        scales: one factor for each layer; by default 1.
        resize: function that resizes a batch of images to a size that the network takes; or None.
        turns: weights of the image rotated by 0, 90, 180 and 270 degrees. The features of the
            rotated images are rotated back and averaged, so that they depend less on which way is
            up. By default only the upright image is used. Other weights need square images.
        mirror: average the features with those of the mirrored image, mirrored back. The features
            of a mirrored image are then the mirrored features of the image.

    Attributes:
        channels: number of channels of the features.
        layer_names, scales: as given.

    Raises:
        ConfigError: there is no such layer, the number of scales is not that of the layers, or a
            scale or weight is outside its range.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.small import small
        >>> from keras_parts.discovery import Teacher
        >>> teacher = Teacher(small(16, ("stage3", "stage4")))
        >>> teacher(np.zeros((1, 33, 33, 3), "float32")).shape[-1] == teacher.channels
        True
    """

    def __init__(
        self,
        network: Backbone,
        layers: Sequence[str] | None = None,
        scales: Sequence[float] | None = None,
        *,
        resize: Callable[[Tensor], Tensor] | None = None,
        turns: Sequence[float] = (1.0, 0.0, 0.0, 0.0),
        mirror: bool = False,
        **kwargs: Any,
    ):
        super().__init__(name=kwargs.pop("name", f"teacher_{network.name}"), **kwargs)
        self.layer_names = tuple(layers or network.strides)
        self.scales = tuple(float(scale) for scale in scales or (1.0,) * len(self.layer_names))
        unknown = [name for name in self.layer_names if name not in network.strides]
        if unknown:
            raise ConfigError(
                f"teacher: {network.name} has no output {unknown[0]!r}; there are "
                f"{', '.join(network.strides)}"
            )
        if len(self.scales) != len(self.layer_names) or min(self.scales) <= 0:
            raise ConfigError(
                f"teacher: scales are {self.scales}, expected a positive one for each of "
                f"{self.layer_names}"
            )
        self.turns = tuple(float(weight) for weight in turns)
        if len(self.turns) != 4 or min(self.turns) < 0 or not sum(self.turns) > 0:
            raise ConfigError(
                f"teacher: turns is {self.turns}, expected four weights of 0 or more, not all 0"
            )
        self.mirror = bool(mirror)
        self.network = network
        self.channels = sum(network.channels[name] for name in self.layer_names)
        self.trainable = False
        self.built = True
        self._resize = resize
        self._fingerprint: str | None = None

    def call(self, images: Tensor) -> Tensor:
        return join_maps(self.maps(images))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The same features, each layer at its own resolution.

        To compare features with pixels, upsample these maps, as the paper does. Upsampling the
        joined map upsamples coarse layers twice, which gives other values.

        Args:
            images: `(batch, height, width, 3)`, RGB in 0 to 255.

        Returns:
            list of float32 maps `(batch, h, w, channels)`; successive layers of the same
            resolution are concatenated to one map.
        """
        upright = self._averaged_turns(images)
        if not self.mirror:
            return upright
        mirrored = self._averaged_turns(_mirrored(images))
        return [0.5 * (one + _mirrored(two)) for one, two in zip(upright, mirrored, strict=True)]

    def mirrored_pair(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of images, and of their mirror images, mirrored back.

        They differ only because the objects face the other way.

        Args:
            images: `(batch, height, width, 3)`, RGB in 0 to 255.

        Returns:
            Two float32 tensors `(batch, h, w, channels)`.
        """
        upright, mirrored = (
            join_maps(self._layer_features(each)) for each in (images, _mirrored(images))
        )
        return upright, _mirrored(mirrored)

    def _averaged_turns(self, images: Tensor) -> list[Tensor]:
        total = sum(self.turns)
        turned = [
            [
                (weight / total) * _turned(features, -quarters)
                for features in self._layer_features(_turned(images, quarters))
            ]
            for quarters, weight in enumerate(self.turns)
            if weight
        ]
        return [sum(maps) for maps in zip(*turned, strict=True)]

    def _layer_features(self, images: Tensor) -> list[Tensor]:
        """The scaled outputs of the layers; successive ones of one resolution are concatenated."""
        if self._resize:
            images = self._resize(images)
        outputs = self.network(self.network.preprocessing.apply(images), training=False)
        scaled = [
            scale * ops.cast(ops.stop_gradient(outputs[name]), "float32")
            for name, scale in zip(self.layer_names, self.scales, strict=True)
        ]
        strides = (self.network.strides[name] for name in self.layer_names)
        pairs = groupby(zip(strides, scaled, strict=True), key=itemgetter(0))
        return [ops.concatenate([maps for _, maps in group], axis=-1) for _, group in pairs]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "network": keras.saving.serialize_keras_object(self.network),
            "layers": list(self.layer_names),
            "scales": list(self.scales),
            "resize": keras.saving.serialize_keras_object(self._resize),
            "turns": list(self.turns),
            "mirror": self.mirror,
        }

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> "Teacher":
        """The inverse of `get_config`, with random weights."""
        values = dict(config)
        for name in ("network", "resize"):
            values[name] = keras.saving.deserialize_keras_object(values[name], custom_objects)
        return cls(values.pop("network"), **values)

    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """`(h, w)` of the features of images of `height` x `width` pixels."""
        return tuple(self.compute_output_spec(keras.KerasTensor((1, height, width, 3))).shape[1:3])

    @property
    def fingerprint(self) -> str:
        """Hexadecimal digest of all that decides the features; the key of cached features.

        That is the network, its weights and preprocessing, layers, scales, turns and mirroring.
        """
        if self._fingerprint is None:
            settings = {
                "network": self.network.name,
                "layers": self.layer_names,
                "scales": self.scales,
                "turns": self.turns,
                "mirror": self.mirror,
                "strides": [self.network.strides[name] for name in self.layer_names],
                "input": self.network.inputs[0].shape[1:3],
                "preprocessing": self.network.preprocessing.to_config(),
            }
            digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
            for weight in self.network.weights:
                values = ops.convert_to_numpy(ops.cast(weight.value, "float32"))
                digest.update(repr(values.shape).encode() + values.astype("<f4").tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def _turned(maps: Tensor, quarters: int) -> Tensor:
    """`(batch, height, width, channels)` rotated by `quarters` times 90 degrees."""
    return ops.rot90(maps, quarters, axes=(1, 2)) if quarters % 4 else maps


def _mirrored(maps: Tensor) -> Tensor:
    return ops.flip(maps, axis=2)


def as_teacher(network: keras.Model) -> Teacher:
    """Any network as a teacher.

    Args:
        network: a `Teacher`, which is returned; a `Backbone`, whose outputs are all taken; a
            `PartSegmenter`, whose backbone is taken; or any Keras model from images
            `(batch, height, width, 3)`, RGB in 0 to 255, to one or several feature maps, see
            `keras_parts.backbones.from_keras`. It is frozen.

    Raises:
        ConfigError: it is no Keras model, or has no feature maps.

    Example:
        >>> import keras
        >>> from keras_parts.discovery import as_teacher
        >>> image = keras.Input((None, None, 3))
        >>> maps = keras.layers.Conv2D(8, 3, strides=4, padding="same")(image)
        >>> as_teacher(keras.Model(image, maps)).channels
        8
    """
    if isinstance(network, Teacher):
        return network
    if isinstance(network, PartSegmenter):
        network = network.backbone
    if isinstance(network, Backbone):
        return Teacher(network)
    if not isinstance(network, keras.Layer):
        raise ConfigError(
            f"the teacher is {type(network).__name__}, expected a Keras model from images to "
            "feature maps"
        )
    backbone = from_keras(network, name=_identity(network))
    size = backbone.inputs[0].shape[1:3]
    resize = None if None in size else ResizeTo(size)
    return Teacher(backbone, resize=resize, name=f"teacher_{network.name}")


def _identity(network: keras.Layer) -> str:
    """Name of a network with a digest of its layers, as cached features belong to the name."""
    try:
        values = keras.saving.serialize_keras_object(network)
        config = json.dumps(values, sort_keys=True, default=str)
    except Exception:  # a subclassed model without get_config
        config = f"{type(network).__module__}.{type(network).__qualname__}"
    return f"{network.name}_{hashlib.sha256(config.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class _Kind:
    """A kind of teacher.

    Attributes:
        build: function `(layers, weights, **options) -> (Backbone, resize)`.
        layers: the default layers; an empty tuple takes the last output.
        scales: scales of the default layers.
    """

    build: Callable
    layers: tuple[str, ...]
    scales: tuple[float, ...] = (1.0,)


def _efficientnet_lite(variant: Variant) -> _Kind:
    def build(layers, weights, output_stride=16):
        network = efficientnet_lite(variant, output_stride, layers)
        load_efficientnet_lite(variant, network, weights)
        return network, None

    return _Kind(build, variant.stage_ends[-2:-1])


def _build_small(layers, weights, output_stride=16):
    network = small(output_stride, layers)
    load_small_weights(network, weights or "toy")
    return network, None


def _build_vgg19(layers, weights):
    network = vgg19(layers)
    load_vgg19(network, weights)
    return network, to_multiple_of_16


def _build_dinov2(layers, weights, patches=16):
    options = {} if weights is None else {"preset": weights}
    network = dinov2(**options, outputs=layers, patches=patches)
    return network, PatchInput(patches)


def _build_segmenter(layers, weights):
    if weights is None:
        raise ConfigError("teacher segmenter: weights is None, expected the folder of a segmenter")
    segmenter = PartSegmenter.from_preset(weights)
    if PART_LOGITS in layers:
        side = segmenter.config.image_size
        return _part_logits_network(segmenter), ResizeTo((side, side))
    return segmenter.backbone, None


def _part_logits_network(segmenter: PartSegmenter) -> Backbone:
    """A segmenter as a network whose output is the logits of its parts."""
    config, backbone = segmenter.config, segmenter.backbone
    # Of fixed size, as the head resizes its maps to the size of the finest.
    image = keras.Input((config.image_size, config.image_size, 3), name="image")
    return Backbone(
        image,
        {PART_LOGITS: segmenter.head_logits(backbone(image))[0]},
        segmenter.preprocessing,
        backbone.output_stride,
        {PART_LOGITS: config.output_stride},
        name=f"{backbone.name}_{PART_LOGITS}",
    )


def _build_keras_hub(layers, weights, size=None):
    if weights is None:
        raise ConfigError(
            "teacher keras_hub: weights is None, expected the name or folder of a KerasHub preset"
        )
    options: dict[str, Any] = {} if size is None else {"image_shape": (size, size, 3)}
    network = from_keras_hub(weights, layers or None, **options)
    side, patch = network.inputs[0].shape[1], network.output_stride
    if side is None:
        return network, None
    return network, PatchInput(side // patch, patch)


def _build_keras_applications(layers, weights, output_stride=16):
    create = getattr(keras.applications, str(weights), None)
    if not inspect.isfunction(create):
        raise ConfigError(
            f"teacher keras_applications: weights is {weights!r}, expected the name of a network "
            "of keras.applications, such as 'MobileNetV2'"
        )
    model = create(include_top=False, weights="imagenet")
    return atrous(model, output_stride, layers or None), None


TEACHERS = {
    **{name: _efficientnet_lite(variant) for name, variant in VARIANTS.items()},
    "small": _Kind(_build_small, ("stage4",)),
    "vgg19": _Kind(_build_vgg19, ("relu3_2", "relu5_4"), (0.33, 1.0)),
    "dinov2": _Kind(_build_dinov2, ("block_7",)),
    "keras_hub": _Kind(_build_keras_hub, ()),
    "keras_applications": _Kind(_build_keras_applications, ()),
    "segmenter": _Kind(_build_segmenter, ()),
}


def create_teacher(
    kind: str,
    layers: str | Sequence[str] | None = None,
    weights: str | PathLike | None = None,
    *,
    scales: Sequence[float] | None = None,
    turns: Sequence[float] = (1.0, 0.0, 0.0, 0.0),
    mirror: bool = False,
    **options: Any,
) -> Teacher:
    """A pretrained teacher.

    | kind | default layers | weights | sides of images in pixels | options |
    |---|---|---|---|---|
    | "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2" | "block_14"; "block_19" of the last two | file or folder; those of the first in the package | 16 n + 1 | `output_stride` (16) |
    | "small" | "stage4" | "toy", in the package | 16 n + 1 | `output_stride` (16) |
    | "vgg19" | "relu3_2" x 0.33, "relu5_4" (the paper's) | torchvision's: file, or KerasHub's "vgg_19_imagenet" | the paper's is 256; others are resized to a multiple of 16 | |
    | "dinov2" | "block_7" | KerasHub preset or folder | any, square | `patches` per side (16) |
    | "keras_hub" | the last map or tokens, see `from_keras_hub` | any KerasHub preset or folder | the network's; any square for transformers | `size` of a transformer's input |
    | "keras_applications" | the last map, see `atrous` | name of a network, which Keras downloads | 16 n + 1 for most | `output_stride` (16) |
    | "segmenter" | its backbone's last output; "part_logits" are the logits of its parts | a segmenter's folder, such as `keras_parts.zoo.path(name)` | as the segmenter's | |

    Images for DINOv2 are resampled so that the centres of its patches span the image from corner
    to corner (`keras_parts.backbones.dinov2.patch_input`).

    Args:
        kind: a name in the table.
        layers: names of outputs of the network; by default as in the table.
        weights: as in the table; by default the weights folder, or KerasHub.
        scales: one factor for each layer; by default the paper's for VGG19's default layers,
            else 1.
        turns, mirror: see `Teacher`.
        options: as in the table.

    Raises:
        ConfigError: an argument is unknown or outside its range, or KerasHub is not installed.
        DataError: the weights are missing or belong to another network.

    Example:
        >>> from keras_parts.discovery import create_teacher
        >>> create_teacher("small").layer_names
        ('stage4',)
    """  # noqa: E501
    if kind not in TEACHERS:
        raise ConfigError(f"teacher: {kind!r} is unknown; there are {', '.join(TEACHERS)}")
    known = TEACHERS[kind]
    accepted = list(inspect.signature(known.build).parameters)[2:]
    unknown = [name for name in options if name not in accepted]
    if unknown:
        known_options = f"there are {', '.join(accepted)}" if accepted else "there are none"
        raise ConfigError(f"teacher: {kind} has no option {unknown[0]!r}; {known_options}")
    layers = (layers,) if isinstance(layers, str) else tuple(layers or known.layers)
    if scales is None and layers == known.layers:
        scales = known.scales
    network, resize = known.build(layers, weights, **options)
    layers = layers or tuple(network.strides)[-1:]
    return Teacher(
        network,
        layers,
        scales,
        resize=resize,
        turns=turns,
        mirror=mirror,
        name=f"teacher_{kind}",
    )
