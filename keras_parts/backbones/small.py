"""`small`: a compact residual network that ships with weights for the `toy` data set."""

import hashlib
from pathlib import Path

from keras import layers

from keras_parts.backbones.backbone import build_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.tensorflow_layers import BatchNormalization, Conv2D
from keras_parts.errors import ConfigError, IntegrityError

PREPROCESSING = Preprocessing("RGB", 1.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
SHA256 = {"toy": "e74404cca0b83f0fa71f47229041a6e20c1dfbbb76d2bc8da91f4234b98b0a81"}
"""Checksums of the weights that ship with the package, by name."""
_FOLDER = Path(__file__).parent / "weights"

_CHANNELS = (24, 48, 80, 128)
OUTPUTS = ("stage1", "stage2", "stage3", "stage4")


def small(output_stride=16, outputs=("stage3", "stage4"), classes=None):
    """A residual network of 0.4 million parameters, with random weights (see
    `load_small_weights`).

    Four stages of two 3x3 convolutions (the first one 5x5), the second with a shortcut; each stage
    starts with a stride of 2, those behind `output_stride` are dilated instead.

    Args:
        output_stride: 8, 16 or 32; the network's own is 16.
        outputs: names out of `OUTPUTS`, "stage1" (stride 2, 24 channels) to "stage4" (stride 16,
            128 channels). Nothing behind the last of them is built.
        classes: number of classes, or None. Adds the output "classes": logits
            `(batch, classes)` of the pooled last stage.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`.

    Raises:
        ConfigError: an argument is outside its range.
    """
    return build_backbone("small", _stages, OUTPUTS, outputs, PREPROCESSING, output_stride, classes)


def _stages(x, strides):
    """Yield `(name, features)` of every stage, from the image on."""
    for stage, channels in zip(OUTPUTS, _CHANNELS, strict=True):
        stride, dilation = strides.enter(2)
        kernel = 5 if stage == OUTPUTS[0] else 3
        x = _convolve(x, channels, kernel, f"{stage}_1", strides=stride, dilation_rate=dilation)
        y = _convolve(x, channels, 3, f"{stage}_2", dilation_rate=strides.dilation)
        x = layers.Add(name=stage)([x, y])
        yield stage, x


def _convolve(x, channels, kernel, name, **options):
    x = Conv2D(
        channels, kernel, padding="same", use_bias=False, name=f"{name}_conv", **options
    )(x)  # fmt: skip
    x = BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def weights_path(name="toy"):
    """Where the weights of this name lie in the package."""
    return _FOLDER / f"small_{name}.weights.h5"


def load_small_weights(model, name="toy"):
    """Load weights that ship with the package into the network; "classes" stays as it is.

    "toy" was trained to tell species of drawn animals apart by `benchmarks/train_toy_teacher.py`.

    Args:
        model: what `small` returned, at any output stride, with any outputs.
        name: a key of `SHA256`.

    Raises:
        ConfigError: no weights of this name, or the model is another network.
        IntegrityError: the file is missing, or not the one that was shipped.
    """
    if name not in SHA256:
        raise ConfigError(f"small: no weights named {name!r}; there are {', '.join(SHA256)}")
    path = weights_path(name)
    if not path.is_file():
        raise IntegrityError(f"{path} is missing: install the package again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256[name]:
        raise IntegrityError(f"{path} is not the file that was shipped: install the package again")
    trained = small(outputs=OUTPUTS)
    trained.load_weights(path)
    sources = {layer.name: layer for layer in trained.layers}
    for layer in model.layers:
        if layer.weights and layer.name != "classes":
            if layer.name not in sources:
                raise ConfigError(f"small: {model.name} has a layer {layer.name!r} unknown to it")
            layer.set_weights(sources[layer.name].get_weights())
