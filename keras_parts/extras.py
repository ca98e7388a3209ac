"""Packages that an extra installs, such as `pip install 'keras-parts[train]'`."""

import importlib
import importlib.util
from typing import Any

from keras_parts.errors import ConfigError

_TRAIN = ("sklearn", "scipy", "matplotlib")
"""Packages of the extra "train"."""


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


def _missing(name: str, extra: str) -> ConfigError:
    return ConfigError(f"this needs the package {name}: pip install 'keras-parts[{extra}]'")
