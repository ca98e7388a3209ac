"""Every environment variable that the package reads, and the folders that they name.

What the package sets for the libraries below it (`KERAS_BACKEND` and the like) is set by
`keras_parts.cli.runtime`: they read it when they are imported, so only a program may set it.
"""

import os
import re
from pathlib import Path

from keras_parts.errors import ConfigError

HOME_VARIABLE = "KERAS_PARTS_HOME"
"""Folder of the cache: downloaded models, teacher features, pretrained weights."""
FEATURES_VARIABLE = "KERAS_PARTS_FEATURES_GIB"
"""Maximum size of the cached teacher features, in GiB."""
WEIGHTS_VARIABLE = "KERAS_PARTS_WEIGHTS"
"""Folder of pretrained backbone weights."""
DATA_VARIABLE = "KERAS_PARTS_DATA"
"""Folder of the data sets."""
ZOO_VARIABLE = "KERAS_PARTS_ZOO"
"""Folders or http(s) addresses of further models, separated by commas, searched in order."""
OFFLINE_VARIABLE = "KERAS_PARTS_OFFLINE"
"""1 forbids every network request."""

_DEFAULT_FEATURES_GIB = "100"
_WORKER_VARIABLES = re.compile("KERAS_|JAX_|TF_|XLA_")


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder.

    Example:
        >>> import os
        >>> from keras_parts import environment
        >>> os.environ["KERAS_PARTS_HOME"] = "cache"
        >>> str(environment.cache_folder())
        'cache'
        >>> del os.environ["KERAS_PARTS_HOME"]
    """
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("keras_parts", appauthor=False)


def feature_bytes() -> int:
    """Maximum size of the cached teacher features in bytes: `$KERAS_PARTS_FEATURES_GIB`, or
    100 GiB.

    Raises:
        ConfigError: the variable is not a number.
    """
    value = os.environ.get(FEATURES_VARIABLE) or _DEFAULT_FEATURES_GIB
    try:
        return int(float(value) * 2**30)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{FEATURES_VARIABLE} is {value!r}, expected a number",
            setting=FEATURES_VARIABLE,
            value=value,
        ) from None


def weights_folder() -> Path:
    """`$KERAS_PARTS_WEIGHTS`, or `weights` in the cache folder: holds pretrained weights."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named).expanduser() if named else cache_folder() / "weights"


def data_folder() -> Path | None:
    """`$KERAS_PARTS_DATA`, the folder of the data sets; None if it is not set."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def zoo_locations() -> list[str]:
    """The folders and addresses in `$KERAS_PARTS_ZOO`, in order."""
    named = os.environ.get(ZOO_VARIABLE, "")
    return [text.strip() for text in named.split(",") if text.strip()]


def offline() -> bool:
    """Whether `$KERAS_PARTS_OFFLINE` forbids network requests."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no")


def hugging_face_address() -> str:
    """`$HF_ENDPOINT`, which Hugging Face's own library reads too, or the public address."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def keras_backend() -> str | None:
    """`$KERAS_BACKEND`; None if it is not set."""
    return os.environ.get("KERAS_BACKEND") or None


def keras_folder() -> Path:
    """`$KERAS_HOME`, or `~/.keras`: the folder of Keras' own configuration file."""
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def visible_gpus() -> list[str] | None:
    """The GPUs in `$CUDA_VISIBLE_DEVICES`; None if it is not set, so that all are visible."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else None


def tensorflow_log_level() -> str | None:
    """`$TF_CPP_MIN_LOG_LEVEL`: which messages of TensorFlow the user wants; None if not set."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL")


def worker_variables() -> dict[str, str]:
    """All variables that configure the package and its backends, for a process on another
    machine."""
    return {name: value for name, value in os.environ.items() if _WORKER_VARIABLES.match(name)}
