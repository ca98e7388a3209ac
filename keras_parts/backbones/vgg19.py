"""VGG19 without its classifier, with torchvision's weights: the paper's perceptual network.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
ICLR 2015, configuration E.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras import layers

from keras_parts.backbones.backbone import Backbone, build_backbone
from keras_parts.backbones.preprocessing import IMAGENET
from keras_parts.backbones.pretrained import find_weights, keras_hub_backbone, read_arrays
from keras_parts.backbones.torch_weights import load_state
from keras_parts.backbones.weights_file import load_weights
from keras_parts.errors import DataError

PREPROCESSING = IMAGENET
WEIGHTS_FILE = "vgg19_imagenet.npz"
PRESET = "vgg_19_imagenet"
"""The KerasHub preset with torchvision's weights."""

_REPEATS = (2, 2, 4, 4, 4)
_CHANNELS = (64, 128, 256, 512, 512)
_STEPS = tuple(
    f"{stage}_{step}" for stage, repeats in enumerate(_REPEATS, 1) for step in range(1, repeats + 1)
)
OUTPUTS = tuple(f"relu{step}" for step in _STEPS)


def vgg19(outputs: str | Sequence[str] = ("relu3_2", "relu5_4")) -> Backbone:
    """VGG19's convolutions with random weights (see `load_vgg19`).

    Args:
        outputs: names in `OUTPUTS`, "relu1_1" to "relu5_4": "relu3_2" is the feature map after the
            second convolution of the third stage and its ReLU. Layers after the last of them are
            not built.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`. The stages
        have strides 1, 2, 4, 8 and 16; sides are rounded down.

    Raises:
        ConfigError: an output is unknown or repeated.

    Example:
        >>> from keras_parts.backbones.vgg19 import vgg19
        >>> vgg19(("relu1_2", "relu2_1")).channels
        {'relu1_2': 64, 'relu2_1': 128}
    """
    return build_backbone("vgg19", _steps, OUTPUTS, outputs, PREPROCESSING, output_stride=16)


def _steps(x, strides):
    """Yield `(name, features)` for every convolution, beginning at the image."""
    for name, step in zip(OUTPUTS, _STEPS, strict=True):
        stage = int(step[0])
        if stage > 1 and step.endswith("_1"):
            stride, _ = strides.enter(2)
            x = layers.MaxPooling2D(stride, name=f"pool{stage - 1}")(x)
        x = layers.Conv2D(_CHANNELS[stage - 1], 3, padding="same", name=f"conv{step}")(x)
        x = layers.ReLU(name=name)(x)
        yield name, x


def load_vgg19(model: Backbone, weights: str | os.PathLike | None = None) -> None:
    """Load torchvision's ImageNet weights.

    Do not load those of `keras.applications.VGG19`: they come from Caffe, and their features have
    other magnitudes.

    Args:
        model: a network made by `vgg19`.
        weights: a `.npz`, `.safetensors` or `.pth` file with torchvision's names
            ("features.0.weight", ...); a `.weights.h5` file of `model.save_weights`; or the name or
            folder of a KerasHub preset. By default `vgg19_imagenet.npz` in
            `keras_parts.environment.weights_folder()`.

    Raises:
        DataError: there is no such file, or it is for another network.
        IntegrityError: a `.weights.h5` file is damaged, or not that of a vgg19 with these outputs.
    """
    if weights is not None and _is_preset(weights):
        return load_keras_hub(model, keras_hub_backbone(weights))
    path = find_weights(WEIGHTS_FILE, weights)
    if path.name.endswith(".weights.h5"):
        load_weights(model, path)
        return
    arrays = read_arrays(path)
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    names = _torch_names()
    load_state(dict(zip(names, convolutions, strict=False)), arrays, source=path)


def load_keras_hub(model: Backbone, backbone: Any) -> None:
    """Copy the weights of a `keras_hub.models.VGGBackbone` with VGG19's structure.

    Args:
        model: a network made by `vgg19`.
        backbone: `keras_hub.models.VGGBackbone`.

    Raises:
        DataError: the backbone has another structure.
    """
    sources = {layer.name: layer for layer in backbone.layers}
    values = []
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            name = layer.name.replace("conv", "block").replace("_", "_conv")
            found = [tuple(w.shape) for w in sources[name].weights] if name in sources else None
            expected = [tuple(w.shape) for w in layer.weights]
            if found != expected:
                raise DataError(
                    f"{backbone.name}: the weights of {name} have shapes {found}, expected "
                    f"VGG19's {expected}"
                )
            values.append((layer, sources[name].get_weights()))
    for layer, weights in values:
        layer.set_weights(weights)


def _is_preset(weights):
    """Whether `weights` is a preset: unlike files, presets and their folders have no suffix."""
    return not Path(weights).suffix and not (Path(weights) / WEIGHTS_FILE).is_file()


def _torch_names():
    """torchvision's names of the convolutions, numbered together with ReLUs and poolings."""
    names, index = [], 0
    for repeats in _REPEATS:
        names += [f"features.{index + 2 * step}" for step in range(repeats)]
        index += 2 * repeats + 1
    return names
