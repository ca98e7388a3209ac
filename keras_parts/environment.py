"""Every environment variable that the package reads, and the folders that they name."""

import os
from pathlib import Path

from keras_parts.errors import ConfigError

HOME_VARIABLE = "KERAS_PARTS_HOME"
"""Folder of the cache: downloaded models, teacher features, pretrained weights."""
FEATURES_VARIABLE = "KERAS_PARTS_FEATURES_GIB"
"""Largest size of the cached teacher features, in GiB."""
WEIGHTS_VARIABLE = "KERAS_PARTS_WEIGHTS"
"""Folder of pretrained backbone weights."""
DATA_VARIABLE = "KERAS_PARTS_DATA"
"""Folder of the data sets."""
ZOO_VARIABLE = "KERAS_PARTS_ZOO"
"""Folders or http(s) addresses of further models, separated by commas, searched in order."""
OFFLINE_VARIABLE = "KERAS_PARTS_OFFLINE"
"""1 forbids every network request."""

_DEFAULT_FEATURES_GIB = "100"


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("keras_parts", appauthor=False)


def feature_bytes() -> int:
    """Largest size of the cached teacher features in bytes: `$KERAS_PARTS_FEATURES_GIB`, or
    100 GiB.

    Raises:
        ConfigError: the variable is not a number.
    """
    value = os.environ.get(FEATURES_VARIABLE) or _DEFAULT_FEATURES_GIB
    try:
        return int(float(value) * 2**30)
    except (ValueError, OverflowError):
        raise ConfigError(f"{FEATURES_VARIABLE} is {value!r}, expected a number") from None


def weights_folder() -> Path:
    """`$KERAS_PARTS_WEIGHTS`, or `weights` in the cache: where pretrained weights are searched."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return Path(named).expanduser() if named else cache_folder() / "weights"


def data_folder() -> Path | None:
    """`$KERAS_PARTS_DATA`, the folder of the data sets; None where it is not set."""
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
    """Address of Hugging Face: `$HF_ENDPOINT`, as its own library reads it, or the public one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
