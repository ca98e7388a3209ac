"""Frozen perceptual networks, whose features the discovered parts must explain."""

import hashlib
import inspect
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import keras
import numpy as np
from keras import ops

from keras_parts.backbones.dinov2 import dinov2, patch_input
from keras_parts.backbones.efficientnet_lite0 import efficientnet_lite0, load_efficientnet_lite0
from keras_parts.backbones.small import load_small_weights, small
from keras_parts.backbones.vgg19 import load_vgg19, vgg19
from keras_parts.errors import ConfigError, DataError
from keras_parts.ops import reduce_aligned, resize_aligned
from keras_parts.segmenter import PartSegmenter


@keras.saving.register_keras_serializable("keras_parts")
class Teacher(keras.Model):
    """A frozen network from images to features.

    `teacher(images)` takes `(batch, height, width, 3)`, RGB in [0, 1], and gives float32
    `(batch, h, w, channels)`: the named layers, each times its scale, side by side along the
    channels. Layers with a larger stride are enlarged, with aligned corners, to the finest one.
    No gradient flows into the network or through it.

    Args:
        network: a `Backbone`; its preprocessing is applied to the images.
        layers: names of its outputs, in order; by default all of them.
        scales: one factor a layer; by default 1.
        fit: `images -> images`, brings them to a size that the network takes; or None.
        turns: weight of the features of the image turned by 0, 90, 180 and 270 degrees, turned
            back and added up; by default only the upright image. What is left is what does not
            depend on where up is. Other weights than the default need square images.

    Attributes:
        channels: number of channels of the features.
        layer_names, scales: as given.
        fingerprint: hex digest of architecture, layers, scales, preprocessing and weights. Caches
            of features are keyed by it.

    Raises:
        ConfigError: a layer does not exist, or scales do not fit the layers.
    """

    def __init__(
        self, network, layers=None, scales=None, fit=None, turns=(1.0, 0.0, 0.0, 0.0), **kwargs
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
        self.network = network
        self.channels = sum(network.channels[name] for name in self.layer_names)
        self.trainable = False
        self.built = True
        self._fit = fit
        self._fingerprint = None

    def call(self, images):
        total = sum(self.turns)
        return sum(
            (weight / total) * _turned(self._features(_turned(images, quarters)), -quarters)
            for quarters, weight in enumerate(self.turns)
            if weight
        )

    def _features(self, images):
        maps = self.maps(images)
        size = max(tuple(features.shape[1:3]) for features in maps)
        return ops.concatenate([resize_aligned(features, size) for features in maps], axis=-1)

    def maps(self, images):
        """The scaled features of each layer at its own resolution: `[(batch, h, w, channels)]`.

        Args:
            images: `(batch, height, width, 3)`, RGB in [0, 1].
        """
        if self._fit:
            images = self._fit(images)
        outputs = self.network(self.network.preprocessing.apply(images), training=False)
        return [
            scale * ops.cast(ops.stop_gradient(outputs[name]), "float32")
            for name, scale in zip(self.layer_names, self.scales, strict=True)
        ]

    def map_size(self, height, width):
        """`(h, w)` of the features of images of `height` x `width` pixels."""
        return tuple(self.compute_output_spec(keras.KerasTensor((1, height, width, 3))).shape[1:3])

    @property
    def fingerprint(self):
        if self._fingerprint is None:
            settings = {
                "network": self.network.name,
                "layers": self.layer_names,
                "scales": self.scales,
                "turns": self.turns,
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


def _turned(maps, quarters):
    """`(batch, height, width, channels)` turned by quarters of a full turn."""
    return ops.rot90(maps, quarters, axes=(1, 2)) if quarters % 4 else maps


@dataclass(frozen=True)
class _Kind:
    """How a teacher is made.

    Attributes:
        build: `(layers, weights, **options) -> (Backbone, fit)`.
        layers: by default; none for the last output.
        scales: of those layers.
    """

    build: Callable
    layers: tuple[str, ...]
    scales: tuple[float, ...] = (1.0,)


def _build_efficientnet_lite0(layers, weights, output_stride=16):
    network = efficientnet_lite0(output_stride, layers)
    load_efficientnet_lite0(network, weights)
    return network, None


def _build_small(layers, weights, output_stride=16):
    network = small(output_stride, layers)
    load_small_weights(network, weights or "toy")
    return network, None


def _build_vgg19(layers, weights):
    network = vgg19(layers)
    load_vgg19(network, weights)
    return network, _to_multiple_of_16


def _build_dinov2(layers, weights, patches=16):
    network = dinov2(*([] if weights is None else [weights]), outputs=layers, patches=patches)
    return network, lambda images: patch_input(images, patches)


def _build_segmenter(layers, weights):
    if weights is None:
        raise ConfigError("teacher: a segmenter is a folder: give it as the teacher's weights")
    return PartSegmenter.from_preset(weights).backbone, None


def _to_multiple_of_16(images):
    """VGG's poolings drop what is left over: 257 x 257 pixels are brought to 256 x 256."""
    return resize_aligned(images, [max(16, round(side / 16) * 16) for side in images.shape[1:3]])


TEACHERS = {
    "efficientnet_lite0": _Kind(_build_efficientnet_lite0, ("block_14",)),
    "small": _Kind(_build_small, ("stage4",)),
    "vgg19": _Kind(_build_vgg19, ("relu3_2", "relu5_4"), (0.33, 1.0)),
    "dinov2": _Kind(_build_dinov2, ("block_7",)),
    "segmenter": _Kind(_build_segmenter, ()),
}


def create_teacher(
    kind, layers=None, weights=None, scales=None, turns=(1.0, 0.0, 0.0, 0.0), **options
):
    """A pretrained teacher.

    | kind | layers | weights | sizes of images | options |
    |---|---|---|---|---|
    | "efficientnet_lite0" | "block_14" | file or folder | 16 n + 1 a side | `output_stride` (16) |
    | "small" | "stage4" | "toy", in the package | 16 n + 1 a side | `output_stride` (16) |
    | "vgg19" | "relu3_2" x 0.33, "relu5_4" (the paper's) | torchvision's: file, or KerasHub's "vgg_19_imagenet" | the paper's is 256; others are resized to a multiple of 16 | |
    | "dinov2" | "block_7" | KerasHub preset or folder | any, square | `patches` a side (16) |
    | "segmenter" | its backbone's last output | a segmenter's folder, such as `keras_parts.zoo.path(name)` | as the segmenter's | |

    DINOv2's images are resampled so that the centres of its patches span the image corner to
    corner (`keras_parts.backbones.dinov2.patch_input`).

    Args:
        kind: as above.
        layers: names of the network's outputs; the default is above.
        weights: where the pretrained weights are; by default the weights folder, or KerasHub.
        scales: one factor a layer; by default the paper's for VGG19's default layers, else 1.
        turns: see `Teacher`.
        options: as above.

    Returns:
        `Teacher`.

    Raises:
        ConfigError: an argument is unknown or outside its range, or KerasHub is not installed.
        DataError: the weights are missing or not this network's; the message says what to do.
    """  # noqa: E501
    if kind not in TEACHERS:
        raise ConfigError(f"teacher: {kind!r} is unknown; there are {', '.join(TEACHERS)}")
    known = TEACHERS[kind]
    accepted = list(inspect.signature(known.build).parameters)[2:]
    unknown = [name for name in options if name not in accepted]
    if unknown:
        raise ConfigError(
            f"teacher: {kind} has no option {unknown[0]!r}; it takes {accepted or 'none'}"
        )
    layers = (layers,) if isinstance(layers, str) else tuple(layers or known.layers)
    if scales is None and layers == known.layers:
        scales = known.scales
    network, fit = known.build(layers, weights, **options)
    layers = layers or tuple(network.strides)[-1:]
    return Teacher(network, layers, scales, fit, turns, name=f"teacher_{kind}")


@dataclass(frozen=True)
class Standardiser:
    """Brings the features of any teacher to a common measure: `(features - mean) / std`.

    After `fit_standardiser`, the variance of the features within the foreground of an image,
    summed over the channels, is 1 on average: the feature consistency of a single part is 1, and
    loss weights carry over from one teacher to another.

    Attributes:
        mean: one number a channel.
        std: one positive number a channel.

    Raises:
        ConfigError: the fields have different lengths, or values that are not finite or positive.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self):
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if len(self.mean) != len(self.std):
            raise ConfigError(f"standardiser: {len(self.mean)} means, {len(self.std)} deviations")
        if not np.isfinite(self.mean + self.std).all() or min(self.std, default=1) <= 0:
            raise ConfigError("standardiser: means must be finite and deviations positive")

    def apply(self, features):
        """Standardised features.

        Args:
            features: `(..., channels)`.

        Returns:
            float32 tensor of the same shape.
        """
        mean, std = np.asarray(self.mean, "float32"), np.asarray(self.std, "float32")
        return (ops.cast(features, "float32") - mean) / std

    def to_config(self):
        """Plain JSON values that `from_config` turns back into an equal object."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_config(cls, config):
        """The inverse of `to_config`; missing or unknown fields raise `ConfigError`."""
        names = {field.name for field in fields(cls)}
        if not isinstance(config, dict) or set(config) != names:
            raise ConfigError(f"standardiser: expected the fields {sorted(names)}")
        return cls(**config)


def fit_standardiser(features, foregrounds, per_channel=True):
    """The `Standardiser` of a training set, in one pass over it and in double precision.

    Every image counts alike, and in it every position as much as it is foreground.

    Args:
        features: iterable of `(batch, h, w, channels)` arrays.
        foregrounds: iterable of the same length of `(batch, height, width, 1)` arrays in [0, 1],
            not smaller than the features.
        per_channel: give all channels the same variance, `1 / channels`; otherwise they keep
            their proportions and only the sum becomes 1.

    Raises:
        DataError: there is no foreground, or the features do not vary within it.
    """
    images, mean, variance = 0, 0.0, 0.0
    for batch, foreground in zip(features, foregrounds, strict=True):
        weights = ops.convert_to_numpy(reduce_aligned(foreground, batch.shape[1:3]))
        for image_mean, image_variance in _foreground_moments(ops.convert_to_numpy(batch), weights):
            images += 1
            mean = mean + (image_mean - mean) / images
            variance = variance + (image_variance - variance) / images
    total = np.sum(variance)
    # below is what rounding leaves of a constant
    if not images or not np.isfinite(total) or total <= 1e-12 * np.sum(np.square(mean)):
        raise DataError(
            "standardiser: the features do not vary within the foreground of "
            f"{images} images; are the masks empty?"
        )
    channels = len(variance)
    if not per_channel:
        return Standardiser(mean, np.full(channels, np.sqrt(total)))
    # What hardly varies is noise: it is kept small, not blown up to the measure of the others.
    alive = variance > 1e-6 * total / channels
    std = np.sqrt(np.where(alive, variance * alive.sum(), total))
    return Standardiser(mean, std)


def _foreground_moments(features, weights):
    """Yield mean and variance `(channels,)` within the foreground of each image that has any."""
    channels = features.shape[-1]
    for image, weight in zip(features, weights, strict=True):
        weight = weight.reshape(-1).astype("float64")
        if weight.sum() < 1e-6:
            continue
        weight = weight / weight.sum()
        values = image.reshape(-1, channels).astype("float64")
        mean = weight @ values
        yield mean, weight @ np.square(values - mean)
