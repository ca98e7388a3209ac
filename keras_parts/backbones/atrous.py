"""Dilated ("atrous") copies of the networks of `keras.applications`, with their weights.

Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", PAMI 2018, section 3.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers, ops

from keras_parts.backbones.backbone import Backbone, check_output_stride
from keras_parts.backbones.preprocessing import CAFFE, IMAGENET, Preprocessing
from keras_parts.errors import ConfigError

_RANGE_255 = Preprocessing("RGB", 255.0)  # [0, 255]
_SYMMETRIC = Preprocessing("RGB", 1.0, (0.5,) * 3, (0.5,) * 3)  # [-1, 1]

# The input of the networks of `keras.applications`, by prefix of the model's name. The longest
# matching prefix counts.
_PREPROCESSING = {
    "convnext": _RANGE_255,
    "densenet": IMAGENET,
    "efficientnet": _RANGE_255,
    "inception": _SYMMETRIC,
    "mobilenet": _SYMMETRIC,
    "mobilenetv3": _RANGE_255,
    "nasnet": _SYMMETRIC,
    "resnet": CAFFE,
    "resnet50v2": _SYMMETRIC,
    "resnet101v2": _SYMMETRIC,
    "resnet152v2": _SYMMETRIC,
    "vgg": CAFFE,
    "xception": _SYMMETRIC,
}

_SIDE = 257  # side in pixels of the image on which the sizes of the maps are checked
_CONVOLUTIONS = layers.Conv2D | layers.DepthwiseConv2D | layers.SeparableConv2D
_POOLINGS = layers.MaxPooling2D | layers.AveragePooling2D
_GLOBAL_POOLINGS = layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D
# Layers that compute each position from that position alone. By name, as some are not public in
# Keras.
_POINTWISE = {
    "Activation",
    "Add",
    "Average",
    "BatchNormalization",
    "Concatenate",
    "CustomScaleLayer",  # of InceptionResNetV2
    "Dense",
    "Dropout",
    "ELU",
    "Identity",
    "LayerNormalization",
    "LayerScale",
    "LeakyReLU",
    "Maximum",
    "Minimum",
    "Multiply",
    "Normalization",
    "PReLU",
    "ReLU",
    "Rescaling",
    "SpatialDropout2D",
    "StochasticDepth",
    "Subtract",
    "TrueDivide",
    "Divide",
}


def atrous(
    model: keras.Model,
    output_stride: int = 16,
    outputs: str | Sequence[str] | Mapping[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> Backbone:
    """A dilated copy of a functional network, with its weights.

    Strides up to `output_stride` are kept. Every later stride is replaced by 1, and the layers
    after it are dilated: the new map is finer, and has the original values at the original
    positions. This is exact for convolutions, poolings and pointwise layers. Means over the whole
    image (squeeze-and-excitation) are taken over the finer map.

    The maps cover the whole image, which changes how some networks treat its border:

    - Padding made for even sizes is made symmetric, as `keras.applications` itself does for odd
      sizes: with sides of `32 n + 1` pixels, all maps of networks with odd kernels have aligned
      corners, and the values are those of the network built for that size.
    - Overlapping windows without padding ("valid": InceptionV3, InceptionResNetV2, the stems of
      Xception and NASNet) are padded ("same"). Away from the border the values are those of the
      original network on a shifted image.
    - Networks that downsample with even kernels, such as VGG, DenseNet and ConvNeXt, have their
      positions at the centres of patches instead of at aligned corners. In a map that is `step`
      times as fine as the original one, the original positions are `(step - 1) // 2 + step * i`.

    Args:
        model: functional `keras.Model` with one image as input, for example
            `keras.applications.MobileNetV2(include_top=False, weights="imagenet")`. It is copied,
            not changed.
        output_stride: 8, 16 or 32.
        outputs: names of the layers whose outputs the backbone returns, or a mapping from names of
            outputs to names of layers; by default "features", the last map of the network.
        preprocessing: the preprocessing with which the model was trained; only needed for models
            that are not of `keras.applications`.

    Returns:
        `Backbone`: `(batch, height, width, 3)` -> `{name: (batch, h, w, channels)}`. Its layers
        have the names and weights of `model`'s.

    Raises:
        ConfigError: the network has a layer that cannot be dilated, or does not reach the stride;
            its own padding and cropping produce maps that do not cover the image; or an argument
            is outside its range.

    Example:
        >>> import keras
        >>> from keras_parts.backbones import Preprocessing
        >>> from keras_parts.backbones.atrous import atrous
        >>> x = image = keras.Input((64, 64, 3))
        >>> for _ in range(4):
        ...     x = keras.layers.Conv2D(8, 3, strides=2, padding="same")(x)
        >>> atrous(keras.Model(image, x), 8, preprocessing=Preprocessing()).strides
        {'features': 8}
    """
    check_output_stride(output_stride, "atrous")
    if not isinstance(model, keras.Model) or not hasattr(model, "operations"):
        raise ConfigError(f"atrous: model is {model!r}, expected a functional keras.Model")
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 4:
        raise ConfigError(
            f"atrous: {model.name} has inputs of shapes {[each.shape for each in model.inputs]}, "
            "expected one image (batch, height, width, channels)"
        )
    requested = _requested(model, outputs)
    if preprocessing is None:
        preprocessing = _known_preprocessing(model)

    network = keras.Model(model.inputs[0], list(requested.values()))
    image = keras.Input((None, None, model.inputs[0].shape[-1]), name="image")
    dilation = _Dilation(output_stride)
    tensors = dict(zip(requested, dilation.copy(network, image), strict=True))
    strides = {name: dilation.stride(name, tensor) for name, tensor in tensors.items()}
    dilation.copy_weights()
    backbone = Backbone(
        image,
        tensors,
        preprocessing=preprocessing,
        output_stride=max(strides.values()),
        strides=strides,
        name=f"{model.name}_atrous",
    )
    _check_maps_cover_the_image(backbone, model.name)
    return backbone


def _check_maps_cover_the_image(backbone, name):
    """Refuse shifted maps, as all code that uses them assumes aligned corners.

    One position too many or too few is allowed.
    """
    image = keras.KerasTensor((1, _SIDE, _SIDE, backbone.inputs[0].shape[-1]))
    shapes = backbone.compute_output_spec(image)
    for output, stride in backbone.strides.items():
        found, expected = shapes[output].shape[1:3], (_SIDE - 1) // stride + 1
        if max(abs(side - expected) for side in found) > 1:
            raise ConfigError(
                f"atrous: {output!r} of {name} has {found[0]} x {found[1]} positions of stride "
                f"{stride} on {_SIDE} x {_SIDE} pixels, expected {expected} x {expected}: its "
                "padding or cropping shifts the map; choose earlier outputs, or build the network "
                'with padding="same"'
            )


def _requested(model, outputs):
    """`{output name: tensor of the model}`."""
    if outputs is None:
        return {"features": _last_map(model)}
    outputs = (outputs,) if isinstance(outputs, str) else outputs
    names = dict(outputs) if isinstance(outputs, dict) else {name: name for name in outputs}
    if not names:
        raise ConfigError(
            "atrous: outputs is empty, expected at least one layer; model.summary() lists them"
        )
    by_name = {layer.name: layer for layer in model.layers}
    for layer_name in names.values():
        if isinstance(by_name.get(layer_name), keras.Model | None):
            raise ConfigError(
                f"atrous: {model.name} has no layer {layer_name!r}, or it is a nested model; "
                "model.summary() lists the layers"
            )
    return {name: by_name[layer_name].output for name, layer_name in names.items()}


def _last_map(model):
    """The model's output or, of a classifier, the input of its global pooling."""
    candidates = [model.outputs[0]] + [
        layer.input
        for layer in reversed(model.layers)
        if isinstance(layer, _GLOBAL_POOLINGS | layers.Flatten)
    ]
    for tensor in candidates:
        if len(tensor.shape) == 4 and (tensor is model.outputs[0] or tensor.shape[1:3] != (1, 1)):
            return tensor
    raise ConfigError(f"atrous: {model.name} does not end with a feature map: pass outputs")


def _known_preprocessing(model):
    matching = [prefix for prefix in _PREPROCESSING if model.name.lower().startswith(prefix)]
    known = _PREPROCESSING[max(matching, key=len)] if matching else None
    rescales = any(
        isinstance(layer, layers.Rescaling | layers.Normalization) for layer in model.layers
    )
    if known is None or (known == _RANGE_255 and not rescales):
        raise ConfigError(
            f"atrous: the preprocessing of {model.name!r} is not known: pass "
            "preprocessing=Preprocessing(channel_order, multiplier, mean, std)"
        )
    return known


@dataclass(frozen=True)
class _Sampling:
    """How a feature map is sampled.

    Attributes:
        stride: pixels of the input between neighbouring positions.
        dilation: every `dilation`-th position is also a position of the original network.
        padded: whether zeros have been added around the map.
    """

    stride: int = 1
    dilation: int = 1
    padded: bool = False


class _Dilation:
    """Copies the graph of a network and records how each of its maps is sampled."""

    def __init__(self, output_stride):
        self.output_stride = output_stride
        self._samplings = {}  # id of a tensor -> _Sampling; None for one vector per image
        self._kept = []  # references to these tensors, so that no id is reused
        self._copies = {}  # id of a layer -> (layer, its copy)
        self._cropped = set()  # ids of the network's tensors that a layer crops

    def copy(self, model, inputs, sampling=_Sampling()):
        """The outputs of a copy of `model` on `inputs`."""
        self._record(inputs, sampling)
        self._cropped |= {
            id(layer.input) for layer in model.layers if isinstance(layer, layers.Cropping2D)
        }
        copied = keras.models.clone_model(
            model,
            input_tensors=inputs if not isinstance(model.input, list) else [inputs],
            clone_function=lambda operation: operation,
            call_function=self._call,
        )
        return copied.outputs

    def stride(self, name, tensor):
        """Pixels of the input between neighbouring positions of an output."""
        sampling = self._samplings[id(tensor)]
        if sampling is None:
            raise ConfigError(
                f"atrous: output {name!r} is not a map, but one vector per image: choose an "
                "earlier output"
            )
        return sampling.stride

    def copy_weights(self):
        for layer, copied in self._copies.values():
            copied.set_weights(layer.get_weights())
            if hasattr(copied, "finalize_state"):  # Normalization
                copied.finalize_state()

    def _record(self, tensor, sampling):
        self._samplings[id(tensor)] = sampling
        self._kept.append(tensor)

    def _call(self, operation, *args, **kwargs):
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if id(x) in self._samplings]
        samplings = {self._samplings[id(x)] for x in tensors} - {None}
        if len(samplings) > 1:
            raise ConfigError(
                f"atrous: {operation.name} joins maps of different strides or paddings, which is "
                "not supported: choose earlier outputs, or another network"
            )
        sampling = samplings.pop() if samplings else None
        if isinstance(operation, keras.Sequential | keras.Model):
            return self._call_nested(operation, sampling, args, kwargs)
        if sampling is None or not isinstance(operation, layers.Layer):
            changes, after = {}, sampling
            if sampling is not None and type(operation).__name__ not in _POINTWISE:
                raise _unsupported(operation)
        else:
            changes, after = self._adapt(operation, sampling)
        outputs = self._copied(operation, changes)(*args, **kwargs)
        for tensor in keras.tree.flatten(outputs):
            self._record(tensor, after)
        return outputs

    def _call_nested(self, model, sampling, args, kwargs):
        if len(args) != 1 or sampling is None or not hasattr(model, "layers"):
            raise _unsupported(model)
        x = args[0]
        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                x = self._call(layer, x)
            return x
        outputs = self.copy(model, x, sampling)
        if len(outputs) != 1:
            raise _unsupported(model)
        return outputs[0]

    def _copied(self, operation, changes):
        if not isinstance(operation, layers.Layer):
            return operation
        if id(operation) in self._copies:
            if changes:
                raise ConfigError(
                    f"atrous: {operation.name} is used twice, which is not supported: choose "
                    "earlier outputs, or another network"
                )
            return self._copies[id(operation)][1]
        changes = dict(changes)
        kind = changes.pop("class", type(operation))
        config = operation.get_config()
        if kind is not type(operation):
            config = {name: config[name] for name in ("name", "dtype", "trainable")}
        copied = kind.from_config({**config, **changes})
        self._copies[id(operation)] = operation, copied
        return copied

    def _adapt(self, layer, sampling):
        """`(changes of a layer's configuration, sampling of its output)` for a feature map."""
        if isinstance(layer, _GLOBAL_POOLINGS):
            return {}, None
        if isinstance(layer, layers.ZeroPadding2D):
            return self._adapt_padding(layer, sampling), replace(sampling, padded=True)
        if isinstance(layer, layers.Cropping2D):
            cropping = _dilated(layer.cropping, sampling.dilation)
            return {"cropping": cropping}, replace(sampling, padded=False)
        if isinstance(layer, _CONVOLUTIONS):
            stride, after = self._stride(layer, layer.strides, sampling)
            return self._adapt_convolution(layer, stride, sampling), after
        if isinstance(layer, _POOLINGS):
            stride, after = self._stride(layer, layer.strides, sampling)
            return self._adapt_pooling(layer, stride, sampling), after
        if type(layer).__name__ in _POINTWISE:
            return {}, sampling
        raise _unsupported(layer)

    def _stride(self, layer, strides, sampling):
        """`(stride that is kept, sampling of the output)` of a layer with strides."""
        if strides[0] != strides[1]:
            raise _unsupported(layer)
        stride, reached = strides[0], sampling.stride * strides[0]
        after = replace(sampling, padded=False)
        if reached <= self.output_stride:
            return stride, replace(after, stride=reached)
        if sampling.stride < self.output_stride:
            raise ConfigError(
                f"atrous: {layer.name} goes from stride {sampling.stride} to {reached}, past the "
                f"output stride {self.output_stride}"
            )
        return 1, replace(after, dilation=sampling.dilation * stride)

    def _adapt_padding(self, layer, sampling):
        padding = layer.padding
        # Padding that is cropped again shifts the map, as in NASNet, so it stays asymmetric.
        if id(layer.output) not in self._cropped:
            padding = tuple(_symmetric(before, after) for before, after in padding)
        return {"padding": _dilated(padding, sampling.dilation)}

    def _adapt_convolution(self, layer, stride, sampling):
        if layer.data_format != "channels_last":
            raise _unsupported(layer)
        changes = {
            "strides": (stride, stride),
            "padding": _window_padding(layer, layer.kernel_size, stride, sampling),
        }
        if sampling.dilation == 1:
            return changes
        rates = layer.dilation_rate
        rates = (rates, rates) if isinstance(rates, int) else rates
        return {**changes, "dilation_rate": tuple(rate * sampling.dilation for rate in rates)}

    def _adapt_pooling(self, layer, stride, sampling):
        if layer.data_format != "channels_last":
            raise _unsupported(layer)
        padding = _window_padding(layer, layer.pool_size, stride, sampling)
        if sampling.dilation == 1:
            return {"strides": (stride, stride), "padding": padding}
        return {
            "class": DilatedPooling2D,
            "pool_size": tuple(layer.pool_size),
            "dilation": sampling.dilation,
            "padding": padding,
            "mode": "max" if isinstance(layer, layers.MaxPooling2D) else "average",
        }


def _window_padding(layer, size, stride, sampling):
    """The padding of a convolution or pooling.

    Overlapping windows are padded, because the map would otherwise lose its border. Windows side by
    side cover the whole map.
    """
    return layer.padding if sampling.padded or max(size) <= stride else "same"


def _symmetric(before, after):
    """Pad both sides by `after`, if `after` is one more than `before` as for even sizes."""
    return (after, after) if after == before + 1 else (before, after)


def _dilated(margins, dilation):
    """The margins of padding or cropping, multiplied by the dilation."""
    return tuple(tuple(dilation * pixels for pixels in margin) for margin in margins)


def _unsupported(operation):
    return ConfigError(
        f"atrous: {operation.name} ({type(operation).__name__}) cannot be dilated; choose earlier "
        "outputs, or another network"
    )


@keras.saving.register_keras_serializable("keras_parts")
class DilatedPooling2D(layers.Layer):
    """Dilated pooling with stride 1.

    Input `(batch, height, width, channels)`. Output of the same shape with padding "same"; without
    padding ("valid") height and width are smaller by `dilation * (pool size - 1)`. An average is
    over the positions inside the map only.

    Args:
        pool_size: number of rows and columns of positions that are pooled.
        dilation: distance between these positions.
        padding: "valid" or "same".
        mode: "max" or "average".

    Raises:
        ConfigError: another padding or mode.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.atrous import DilatedPooling2D
        >>> tuple(DilatedPooling2D((3, 3), 2, padding="same")(np.ones((1, 17, 17, 4))).shape)
        (1, 17, 17, 4)
    """

    def __init__(
        self,
        pool_size: Sequence[int],
        dilation: int,
        *,
        padding: str = "valid",
        mode: str = "max",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if padding not in ("valid", "same") or mode not in ("max", "average"):
            raise ConfigError(
                f"DilatedPooling2D: padding is {padding!r} and mode {mode!r}, expected padding "
                "'valid' or 'same' and mode 'max' or 'average'"
            )
        self.pool_size = tuple(pool_size)
        self.dilation = dilation
        self.padding = padding
        self.mode = mode

    def call(self, x: Any) -> Any:
        if self.mode == "max":
            return self._along_both(x, ops.maximum, float("-inf"))
        total = self._along_both(x, ops.add, 0.0)
        return total / self._along_both(ops.ones_like(x[:1, :, :, :1]), ops.add, 0.0)

    def _along_both(self, x, combine, outside):
        for axis, size in zip((1, 2), self.pool_size, strict=True):
            reach = self.dilation * (size - 1)
            if self.padding == "same":
                widths = [(0, 0)] * 4
                widths[axis] = (reach // 2, reach - reach // 2)
                x = ops.pad(x, widths, constant_values=outside)
            views = [
                _shifted(x, axis, self.dilation * index, reach - self.dilation * index)
                for index in range(size)
            ]
            x = views[0]
            for view in views[1:]:
                x = combine(x, view)
        return x

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        if self.padding == "same":
            return input_shape
        batch, height, width, channels = input_shape
        lost = [self.dilation * (size - 1) for size in self.pool_size]
        return (
            batch,
            None if height is None else height - lost[0],
            None if width is None else width - lost[1],
            channels,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "dilation": self.dilation,
            "padding": self.padding,
            "mode": self.mode,
        }


def _shifted(x, axis, before, after):
    """`x` without the first `before` and the last `after` positions along an axis."""
    index = [slice(None)] * 4
    index[axis] = slice(before, -after if after else None)
    return x[tuple(index)]
