"""Parts of a `PartDiscovery` as JSON values, for the `.keras` files of Keras."""

import base64
import io
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import keras
import numpy as np

from keras_parts.discovery.losses import LOSSES
from keras_parts.errors import ConfigError

_ARRAY = "npy"


def array_config(array: np.ndarray) -> dict[str, str]:
    """A NumPy array as a JSON value: a digit for every bit would make files ten times as large."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return {_ARRAY: base64.b64encode(content.getvalue()).decode("ascii")}


def array_from_config(config: Mapping[str, str]) -> np.ndarray:
    """The inverse of `array_config`."""
    content = io.BytesIO(base64.b64decode(config[_ARRAY], validate=True))
    return np.load(content, allow_pickle=False)


def loss_config(function: Any) -> dict[str, Any]:
    """A loss as a JSON value: one of `LOSSES` with its settings, or a function that is registered
    with `keras.saving.register_keras_serializable`."""
    if type(function) is not LOSSES.get(getattr(function, "name", "")):
        return {"function": keras.saving.serialize_keras_object(function)}
    values = {each.name: getattr(function, each.name) for each in fields(function)}
    settings = {
        name: array_config(value) if isinstance(value, np.ndarray) else value
        for name, value in values.items()
    }
    return {"loss": function.name, "settings": settings}


def loss_from_config(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Any:
    """The inverse of `loss_config`.

    Raises:
        ConfigError: there is no such loss in `LOSSES`.
    """
    if "function" in config:
        return keras.saving.deserialize_keras_object(config["function"], custom_objects)
    name = config["loss"]
    if name not in LOSSES:
        raise ConfigError(
            f"there is no loss {name!r}; there are {', '.join(LOSSES)}: if it is your own, add its "
            "class to keras_parts.discovery.LOSSES before loading"
        )
    settings = {
        setting: array_from_config(value) if isinstance(value, Mapping) else value
        for setting, value in config["settings"].items()
    }
    return LOSSES[name](**settings)
