"""The paper's segmentation network: DeepLab-v2 on ResNet-50.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, in the original (Caffe) form
with the stride in the first 1x1 convolution; Chen et al., "DeepLab", PAMI 2018, for the dilation
and the head.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_parts.backbones.backbone import Backbone, build_backbone
from keras_parts.backbones.preprocessing import CAFFE, Preprocessing
from keras_parts.backbones.tensorflow_layers import BatchNormalization, Conv2D, shifted
from keras_parts.backbones.torch_weights import load_state
from keras_parts.errors import ConfigError, DataError

PREPROCESSING = CAFFE
RELEASED_PREPROCESSING = Preprocessing("RGB", 255.0, (104.007, 116.669, 122.679))
"""For the paper's released checkpoints, trained with the means of BGR subtracted from RGB."""

# for stages 1 to 4: number of blocks, channels of their 3x3 convolutions
_STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
_EXPANSION = 4
OUTPUTS = ("stem", "stage_1", "stage_2", "stage_3", "stage_4")

# PyTorch's defaults, with which the paper's network was trained
_EPSILON = 1e-5
_MOMENTUM = 0.9


def resnet50(
    output_stride: int = 8,
    outputs: str | Sequence[str] = ("stage_4",),
    preprocessing: Preprocessing = PREPROCESSING,
) -> Backbone:
    """The paper's dilated ResNet-50 with random weights.

    Strides beyond `output_stride` are replaced by dilation. Pooling rounds up: 256 x 256 pixels
    give 33 x 33 positions at output stride 8. Sides of 16 n + 1 pixels give feature maps with
    aligned corners.

    Args:
        output_stride: 8 (the paper's), 16 or 32.
        outputs: names in `OUTPUTS`: "stem" (stride 4, 64 channels), "stage_1" .. "stage_4" (256,
            512, 1024, 2048 channels). Layers after the last of them are not built.
        preprocessing: preprocessing of the weights that will be loaded; `RELEASED_PREPROCESSING`
            for the paper's checkpoints.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`.

    Raises:
        ConfigError: an argument is outside its range.

    Example:
        >>> from keras_parts.backbones.resnet50 import resnet50
        >>> resnet50(output_stride=8, outputs=("stem", "stage_1")).channels
        {'stem': 64, 'stage_1': 256}
    """
    return build_backbone("resnet50", _stages, OUTPUTS, outputs, preprocessing, output_stride)


def _stages(x, strides):
    """Yield `(name, features)` for every possible output, beginning at the image."""
    stride, _ = strides.enter(2)
    x = layers.ZeroPadding2D(3, name="stem_pad")(x)
    x = layers.Conv2D(64, 7, strides=stride, use_bias=False, name="stem_conv")(x)
    x = _relu(_normalise(x, "stem_bn"), "stem_relu")
    # PyTorch pads by 1 and rounds sizes up. Padding one more row and column at the end does the
    # same in Keras, which rounds down. Zeros are right for a maximum, as no value is negative here.
    stride, _ = strides.enter(2)
    x = layers.ZeroPadding2D(((1, 2), (1, 2)), name="stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=stride, name="stem_pool")(x)
    yield "stem", x
    for stage, (blocks, channels) in enumerate(_STAGES, start=1):
        for block in range(blocks):
            stride, _ = strides.enter(2 if stage > 1 and block == 0 else 1)
            x = _bottleneck(x, channels, stride, strides.dilation, f"stage_{stage}_block_{block}")
        yield f"stage_{stage}", x


def _bottleneck(x, channels, stride, dilation, name):
    shortcut = x
    x = _convolve(x, channels, 1, f"{name}_conv_1", strides=stride)
    x = _relu(_normalise(x, f"{name}_bn_1"), f"{name}_relu_1")
    x = _convolve(x, channels, 3, f"{name}_conv_2", dilation_rate=dilation)
    x = _relu(_normalise(x, f"{name}_bn_2"), f"{name}_relu_2")
    x = _convolve(x, _EXPANSION * channels, 1, f"{name}_conv_3")
    x = _normalise(x, f"{name}_bn_3")
    if name.endswith("block_0"):
        shortcut = _convolve(
            shortcut, _EXPANSION * channels, 1, f"{name}_conv_shortcut", strides=stride
        )
        shortcut = _normalise(shortcut, f"{name}_bn_shortcut")
    return _relu(layers.Add(name=f"{name}_add")([shortcut, x]), f"{name}_relu_3")


def _convolve(x, channels, kernel, name, **options):
    return Conv2D(channels, kernel, padding="same", use_bias=False, name=name, **options)(x)


def _normalise(x, name):
    return BatchNormalization(momentum=_MOMENTUM, epsilon=_EPSILON, name=name)(x)


def _relu(x, name):
    return layers.ReLU(name=name)(x)


@keras.saving.register_keras_serializable("keras_parts")
class DeepLabHead(layers.Layer):
    """DeepLab-v2's head: the sum of four dilated 3x3 convolutions of the last input channels.

    Input: features `(batch, h, w, channels)`. Output: logits `(batch, h, w, num_parts)`.

    Args:
        num_parts: number of output channels.
        used_channels: number of input channels to use, counted from the last. The paper's network
            uses 1024 of 2048.

    Raises:
        ConfigError: an argument is less than 1, or the features have fewer than `used_channels`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.resnet50 import DeepLabHead
        >>> tuple(DeepLabHead(4, used_channels=8)(np.ones((1, 33, 33, 16))).shape)
        (1, 33, 33, 4)
    """

    DILATIONS = (6, 12, 18, 24)

    def __init__(self, num_parts: int, *, used_channels: int = 1024, **kwargs: Any):
        super().__init__(**kwargs)
        if num_parts < 1 or used_channels < 1:
            raise ConfigError(
                f"DeepLab head: num_parts is {num_parts} and used_channels {used_channels}, "
                "expected positive numbers"
            )
        self.num_parts = num_parts
        self.used_channels = used_channels
        self.convolutions = [
            layers.Conv2D(
                num_parts,
                3,
                dilation_rate=dilation,
                padding="same",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                dtype=self.dtype_policy,
                name=f"dilation_{dilation}",
            )
            for dilation in self.DILATIONS
        ]

    def build(self, input_shape: tuple) -> None:
        if input_shape[-1] < self.used_channels:
            raise ConfigError(
                f"DeepLab head: the features have {input_shape[-1]} channels, fewer than "
                f"used_channels={self.used_channels}: pass a smaller used_channels"
            )
        for convolution in self.convolutions:
            convolution.build((*input_shape[:-1], self.used_channels))

    def call(self, features: Any) -> Any:
        # The output has far fewer channels than the input, so the products are shifted and padded,
        # not the input.
        used = features[..., -self.used_channels :]
        kernels, offsets = zip(*self._taps(*used.shape[1:3]), strict=True)
        maps = ops.matmul(used, ops.concatenate(kernels, axis=-1))
        maps = ops.cast(maps, keras.backend.result_type(maps.dtype, "float32"))
        maps = ops.split(maps, len(kernels), axis=-1)
        logits = sum(_shift(each, *offset) for each, offset in zip(maps, offsets, strict=True))
        logits += sum(ops.cast(each.bias, logits.dtype) for each in self.convolutions)
        return ops.cast(logits, self.compute_dtype)

    def _taps(self, height, width):
        """`(kernel, (rows, columns))`: kernel and offset of each tap that can reach the map."""
        for convolution in self.convolutions:
            dilation = convolution.dilation_rate[0]
            for row in range(3):
                for column in range(3):
                    rows, columns = dilation * (row - 1), dilation * (column - 1)
                    if _within(rows, height) and _within(columns, width):
                        yield convolution.kernel[row, column], (rows, columns)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.num_parts)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_parts": self.num_parts,
            "used_channels": self.used_channels,
        }


def _within(offset, size):
    return size is None or abs(offset) < size


def _shift(maps, rows, columns):
    """Give each position the value from `rows` below and `columns` to the right; 0 from outside."""
    padding = [(max(-offset, 0), max(offset, 0)) for offset in (rows, columns)]
    padded = ops.pad(maps, ((0, 0), *padding, (0, 0)))
    return padded[:, shifted(rows), shifted(columns)]


def deeplab_head(
    num_parts: int, *, used_channels: int = 1024, name: str = "deeplab_head"
) -> DeepLabHead:
    """A `DeepLabHead` whose weights have the same names in every segmenter."""
    return DeepLabHead(num_parts, used_channels=used_channels, name=name)


def load_torch_state(
    backbone: Backbone,
    arrays: Mapping[str, Any],
    head: DeepLabHead | None = None,
    source: Any = "checkpoint",
) -> None:
    """Load weights with the names of the paper's released checkpoints (`model_state_dict`).

    Args:
        backbone: a network made by `resnet50`.
        arrays: mapping from names ("conv1.weight", "layer1.0.bn1.running_mean", ...,
            "layer5.conv2d_list.3.bias") to arrays in PyTorch's layouts. Additional names are
            ignored.
        head: a built `DeepLabHead` to load as well, or None.
        source: name of the arrays in error messages.

    Raises:
        DataError: an array is missing, has another shape, or is not finite. No weight has been
            changed then.
    """
    targets = {}
    for layer in backbone.layers:
        if layer.weights:
            targets[_torch_name(layer.name)] = layer
    if head is not None:
        for index, convolution in enumerate(head.convolutions):
            targets[f"layer5.conv2d_list.{index}"] = convolution
    load_state(targets, arrays, source)


def _torch_name(layer_name):
    """ "stage_1_block_0_bn_2" -> "layer1.0.bn2"."""
    if layer_name.startswith("stem_"):
        return layer_name.removeprefix("stem_") + "1"
    _, stage, _, block, kind, which = layer_name.split("_")
    if which == "shortcut":
        return f"layer{stage}.{block}.downsample.{0 if kind == 'conv' else 1}"
    return f"layer{stage}.{block}.{kind}{which}"


def load_keras_applications(backbone: Backbone, model: keras.Model) -> None:
    """Copy the weights of a `keras.applications.ResNet50`, layer by layer.

    The two networks have the same structure. Only the model's convolutions have biases, and its
    normalisations have another epsilon: both are folded into the running statistics. The networks
    then compute the same function, apart from the padding (here pooling rounds up) and the
    dilation.

    Args:
        backbone: a network made by `resnet50`.
        model: `keras.applications.ResNet50(weights=...)`, with or without its classifier.

    Raises:
        DataError: the model is not a `keras.applications.ResNet50`.
    """
    sources = {layer.name: layer for layer in model.layers}
    values = []
    for layer in backbone.layers:
        if not isinstance(layer, layers.Conv2D):
            continue
        bn_name = layer.name.replace("conv", "bn", 1)
        values += _folded_values(layer, backbone.get_layer(bn_name), sources)
    for variable, value in values:
        variable.assign(value)


def _folded_values(conv, bn, sources):
    """`(variable, value)` for a convolution and its normalisation, with the bias folded into it."""
    name = _applications_name(conv.name)
    bn_name = name.removesuffix("conv") + "bn"
    try:
        kernel, *bias = sources[name].get_weights()
        gamma, beta, mean, variance = sources[bn_name].get_weights()
    except (KeyError, ValueError) as error:
        raise DataError(
            f"the layers {name} and {bn_name} are missing or have other weights, expected those of "
            "a keras.applications.ResNet50"
        ) from error
    if kernel.shape != tuple(conv.kernel.shape):
        raise DataError(
            f"{name}: the kernel has shape {kernel.shape}, expected {tuple(conv.kernel.shape)} as "
            "in keras.applications.ResNet50"
        )
    if bias:
        mean = mean - bias[0]
    variance = variance + (sources[bn_name].epsilon - bn.epsilon)
    return [
        (conv.kernel, kernel),
        (bn.gamma, gamma),
        (bn.beta, beta),
        (bn.moving_mean, mean),
        (bn.moving_variance, variance),
    ]


def _applications_name(conv_name):
    """ "stage_1_block_0_conv_2" -> "conv2_block1_2_conv"."""
    if conv_name == "stem_conv":
        return "conv1_conv"
    _, stage, _, block, _, which = conv_name.split("_")
    number = 0 if which == "shortcut" else which
    return f"conv{int(stage) + 1}_block{int(block) + 1}_{number}_conv"


def freeze_affine(model: keras.Model) -> None:
    """Freeze the scale and offset of all batch normalisations of a model, as the paper does.

    Their running statistics are still updated in training. Call this last, before the optimizer is
    built: setting `trainable` of the model or of a layer makes them trainable again.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            freeze_affine(layer)
        elif isinstance(layer, layers.BatchNormalization):
            for variable in (layer.gamma, layer.beta):
                if variable is not None:
                    variable.trainable = False
