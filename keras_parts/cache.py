"""Where the package keeps what it computed or downloaded, from one run to the next."""

import os
from pathlib import Path

HOME_VARIABLE = "KERAS_PARTS_HOME"
"""Environment variable that names the folder to keep things in."""


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder."""
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("keras_parts", appauthor=False)
