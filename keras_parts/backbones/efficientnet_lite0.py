"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
in the variant for small devices, whose stem and head are not scaled.
"""

import os
from collections.abc import Sequence
from itertools import chain

from keras import layers

from keras_parts.backbones.backbone import Backbone, build_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.pretrained import find_weights, read_arrays
from keras_parts.backbones.tensorflow_layers import BatchNormalization
from keras_parts.backbones.torch_weights import load_state
from keras_parts.errors import DataError

PREPROCESSING = Preprocessing("RGB", 255.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
WEIGHTS_FILE = "efficientnet_lite0_imagenet.npz"

# repeats, kernel size, stride, expansion, channels
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# kernel size, stride, expansion, channels of blocks 0..15
_BLOCKS = tuple(
    chain.from_iterable(
        [(kernel, stride, expansion, channels)] + [(kernel, 1, expansion, channels)] * (repeats - 1)
        for repeats, kernel, stride, expansion, channels in _STAGES
    )
)
OUTPUTS = ("stem", *(f"block_{index}" for index in range(len(_BLOCKS))), "head")


def efficientnet_lite0(
    output_stride: int = 32,
    outputs: str | Sequence[str] = ("block_14",),
    classes: int | None = None,
) -> Backbone:
    """EfficientNet-Lite0 with random weights (see `load_efficientnet_lite0`).

    Args:
        output_stride: 8, 16 or 32. Strides beyond it are replaced by dilation, with the same
            weights.
        outputs: names in `OUTPUTS`: "stem", "block_0" .. "block_15", "head" (the last convolution,
            1280 channels). Layers after the last of them are not built.
        classes: number of classes of an additional output "classes", logits `(batch, classes)`;
            None for no such output.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`.

    Raises:
        ConfigError: an argument is outside its range.

    Example:
        >>> from keras_parts.backbones.efficientnet_lite0 import efficientnet_lite0
        >>> backbone = efficientnet_lite0(16, ("block_10", "block_14"))
        >>> backbone.strides, backbone.channels
        ({'block_10': 16, 'block_14': 16}, {'block_10': 112, 'block_14': 192})
    """
    return build_backbone(
        "efficientnet_lite0", _layers, OUTPUTS, outputs, PREPROCESSING, output_stride, classes
    )


def _layers(x, strides):
    """Yield `(name, features)` for every possible output, beginning at the image."""
    stride, _ = strides.enter(2)
    x = layers.Conv2D(
        32, 3, strides=stride, padding="same", use_bias=False, name="stem_conv"
    )(x)  # fmt: skip
    x = _normalise(x, "stem", activate=True)
    yield "stem", x
    for index, (kernel, stride, expansion, channels) in enumerate(_BLOCKS):
        stride, dilation = strides.enter(stride)
        x = _block(x, kernel, stride, dilation, expansion, channels, f"block_{index}")
        yield f"block_{index}", x
    x = layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(x)
    yield "head", _normalise(x, "head", activate=True)


def _block(x, kernel, stride, dilation, expansion, channels, name):
    """An inverted residual block (MobileNetV2)."""
    shortcut = x
    if expansion != 1:
        x = layers.Conv2D(
            expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand_conv"
        )(x)  # fmt: skip
        x = _normalise(x, f"{name}_expand", activate=True)
    x = layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        dilation_rate=dilation,
        padding="same",
        use_bias=False,
        name=f"{name}_depthwise_conv",
    )(x)
    x = _normalise(x, f"{name}_depthwise", activate=True)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _normalise(x, f"{name}_project")
    if stride == 1 and channels == shortcut.shape[-1]:
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x


def _normalise(x, name, activate=False):
    x = BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6.0, name=f"{name}_relu")(x) if activate else x


def load_efficientnet_lite0(model: Backbone, path: str | os.PathLike | None = None) -> None:
    """Load ImageNet weights with PyTorch's names.

    Args:
        model: a network made by `efficientnet_lite0`, without the output "classes" or with 1000
            classes.
        path: the file (`.npz`, `.safetensors` or `.pth`), or the folder that contains
            `efficientnet_lite0_imagenet.npz`; by default
            `keras_parts.environment.weights_folder()`, and where it has none, the file of the
            package (Apache-2.0; multi-dimensional arrays in float16).

    Raises:
        DataError: there is no such file, it is for another network, or it is damaged.
    """
    path = find_weights(WEIGHTS_FILE, path)
    arrays = read_arrays(path)
    prefixes = _prefixes()
    known = tuple(f"{prefix}." for prefix in prefixes.values())
    unknown = [name for name in arrays if not name.startswith(known)]
    if unknown:
        raise DataError(
            f"{path}: {unknown[0]!r} is not an array of EfficientNet-Lite0; "
            "is the file for another network?"
        )
    built = {layer.name: layer for layer in model.layers}
    targets = {prefix: built[name] for name, prefix in prefixes.items() if name in built}
    load_state(targets, arrays, source=path)


def _prefixes():
    """`{layer name: name in the file}` for all layers with weights."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    for index, (_, _, expansion, _) in enumerate(_BLOCKS):
        steps = ("expand", "depthwise", "project")[0 if expansion != 1 else 1 :]
        for step in steps:
            norm = {"expand": 0, "depthwise": 1, "project": 2}[step]
            names[f"block_{index}_{step}_conv"] = f"_blocks.{index}._{step}_conv"
            names[f"block_{index}_{step}_bn"] = f"_blocks.{index}._bn{norm}"
    return names | {"head_conv": "_conv_head", "head_bn": "_bn1", "classes": "_fc"}
