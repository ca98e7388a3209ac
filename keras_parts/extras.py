"""Packages that an extra installs, such as `pip install 'keras-parts[train]'`."""

import importlib
import importlib.util
import re
from typing import Any

from keras_parts.environment import package_version
from keras_parts.errors import ConfigError

_TRAIN = ("sklearn", "scipy", "matplotlib")
"""Packages of the extra "train"."""
BACKENDS = ("tensorflow", "jax", "torch")
"""Of Keras, in order of preference: on a CPU, TensorFlow's convolutions are the fastest."""
_OLDEST_KERAS = (3, 15, 1)


def import_from_extra(module: str, extra: str) -> Any:
    """Import a module of a package that an extra installs.

    Args:
        module: such as "scipy.spatial".
        extra: such as "train".

    Raises:
        ConfigError: it is not installed; the message says how to install it.

    Example:
        >>> from keras_parts.extras import import_from_extra
        >>> import_from_extra("scipy.spatial", "train").__name__
        'scipy.spatial'
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error.name or module, extra) from error


def check_train_extra() -> None:
    """Raise ConfigError unless the packages of the extra "train" are installed; imports none."""
    for name in _TRAIN:
        if importlib.util.find_spec(name) is None:
            raise _missing(name, "train")


def check_keras() -> None:
    """Raise ConfigError unless Keras is installed, in a version that suffices; it is not imported.

    Keras comes with the extra of a backend, so that ONNX Runtime can do without it.

    Example:
        >>> from keras_parts.extras import check_keras
        >>> check_keras()
    """
    found = package_version("keras") if importlib.util.find_spec("keras") else ""
    backend = next((name for name in BACKENDS if importlib.util.find_spec(name)), BACKENDS[0])
    install = f"pip install 'keras-parts[{backend}]'"
    if found == "":
        raise ConfigError(
            f"this needs Keras and one of its backends ({', '.join(BACKENDS)}): {install}"
        )
    numbers = re.findall(r"\d+", found or "")[:3]  # keras-nightly has another name
    if numbers and tuple(map(int, numbers)) < _OLDEST_KERAS:
        oldest = ".".join(map(str, _OLDEST_KERAS))
        raise ConfigError(f"Keras {found} is installed, this needs {oldest} or later: {install}")


def _missing(name: str, extra: str) -> ConfigError:
    return ConfigError(f"this needs the package {name}: pip install 'keras-parts[{extra}]'")
