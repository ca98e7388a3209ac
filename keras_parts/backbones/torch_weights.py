"""Weights with PyTorch's names and array layouts, loaded into Keras layers."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_parts.errors import DataError

# layer class -> (name in the state dict, attribute of the layer, axes for the transposition)
_VARIABLES = {
    "Conv2D": (("weight", "kernel", (2, 3, 1, 0)), ("bias", "bias", (0,))),
    "DepthwiseConv2D": (("weight", "kernel", (2, 3, 0, 1)), ("bias", "bias", (0,))),
    "Dense": (("weight", "kernel", (1, 0)), ("bias", "bias", (0,))),
    "BatchNormalization": (
        ("weight", "gamma", (0,)),
        ("bias", "beta", (0,)),
        ("running_mean", "moving_mean", (0,)),
        ("running_var", "moving_variance", (0,)),
    ),
}


def load_state(
    layers: Mapping[str, keras.Layer], arrays: Mapping[str, Any], source: Any = "weights"
) -> None:
    """Copy arrays with PyTorch's names into built layers.

    All arrays are checked before the first one is assigned.

    Args:
        layers: `{prefix: layer}`, where the layer's arrays are named `prefix.weight` and the like:
            convolutions, depthwise convolutions, dense layers and batch normalisations.
        arrays: mapping from names such as "layer1.0.conv1.weight" to arrays in PyTorch's layouts
            (convolutions OIHW, depthwise convolutions (channels, 1, height, width)).
        source: name of the arrays in error messages, for example a path.

    Raises:
        DataError: an array is missing, has another shape, or has NaN or infinite values.
        TypeError: a layer is of another kind.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.backbones.torch_weights import load_state
        >>> layer = keras.layers.Dense(2, use_bias=False)
        >>> layer.build((None, 3))
        >>> load_state({"fc": layer}, {"fc.weight": np.ones((2, 3))})
        >>> layer.get_weights()[0].shape
        (3, 2)
    """
    values = []
    for prefix, layer in layers.items():
        for suffix, attribute, axes in _VARIABLES[_layer_class(layer)]:
            variable = getattr(layer, attribute, None)
            if variable is not None:
                value = _converted(arrays, f"{prefix}.{suffix}", axes, variable.shape, source)
                values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


def _layer_class(layer):
    for base in type(layer).__mro__:
        if base.__name__ in _VARIABLES:
            return base.__name__
    raise TypeError(
        f"layer {layer.name!r} is a {type(layer).__name__}, expected one of {', '.join(_VARIABLES)}"
    )


def _converted(arrays, name, axes, shape, source):
    if name not in arrays:
        raise DataError(f"{source}: no array named {name!r}; is the file for another network?")
    value = np.asarray(arrays[name])
    expected = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
    if value.shape != expected:
        raise DataError(f"{source}: {name!r} has shape {value.shape}, expected {expected}")
    value = value.astype("float32").transpose(axes)
    if not np.isfinite(value).all():
        raise DataError(f"{source}: {name!r} has values that are not finite: the file is damaged")
    return value
