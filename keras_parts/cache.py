"""Where the package keeps what it computed or downloaded, from one run to the next."""

import os
from pathlib import Path

from keras_parts.errors import ConfigError

HOME_VARIABLE = "KERAS_PARTS_HOME"
"""Environment variable that names the folder to keep things in."""
FEATURES_VARIABLE = "KERAS_PARTS_FEATURES_GIB"
"""Environment variable: how much of it the features of teachers may take, in GiB."""


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("keras_parts", appauthor=False)


def feature_bytes() -> int:
    """The most that the features of teachers may take in the cache folder: 100 GiB unless
    `$KERAS_PARTS_FEATURES_GIB` says something else.

    Raises:
        ConfigError: its value is no number.
    """
    value = os.environ.get(FEATURES_VARIABLE) or "100"
    try:
        return int(float(value) * 2**30)
    except ValueError:
        raise ConfigError(f"{FEATURES_VARIABLE} is {value!r}, expected a number") from None
