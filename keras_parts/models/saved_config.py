"""Reads the configuration file of a saved segmenter, of any format, without importing Keras."""

import json
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_write, read_limited

FORMAT = 2
CONFIG_FILE, WEIGHTS_FILE = "segmenter.json", "segmenter.weights.h5"
MAX_CONFIG_BYTES = 2**20
_NAMES_IN_FORMAT_1 = {"num_parts": "parts", "image_size": "size", "resize_mode": "fit"}


def read_saved_config(folder: str | PathLike) -> dict[str, Any]:
    """The configuration in a folder that any version of `PartSegmenter.save_preset` wrote.

    Returns:
        The fields of its `SegmenterConfig`, as JSON values.

    Raises:
        DataError: the file is missing, not a regular file, too large, or not JSON.
        ConfigError: the file is not a segmenter's configuration, or of a later format.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.models.saved_config import read_saved_config
        >>> read_saved_config(zoo.path("toy"))["num_parts"]
        5
    """
    path = Path(folder, CONFIG_FILE)
    if not os.path.exists(path):
        raise DataError(
            f"{path}: there is no such file; expected a folder that save_preset wrote", path=path
        )
    content = read_limited(path, MAX_CONFIG_BYTES)
    if len(content) > MAX_CONFIG_BYTES:
        raise DataError(
            f"{path}: has more than {MAX_CONFIG_BYTES:,} bytes, the maximum for a configuration",
            path=path,
        )
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}", path=path) from None
    return current_fields(values, source=path)


def write_saved_config(folder: str | PathLike, values: Mapping[str, Any]) -> None:
    """Write the configuration of a segmenter atomically; the inverse of `read_saved_config`."""
    with atomic_write(Path(folder, CONFIG_FILE), "w") as file:
        json.dump({**values, "format": FORMAT}, file, indent=2)


def current_fields(values: Any, source: object = CONFIG_FILE) -> dict[str, Any]:
    """The content of a configuration file under the current names of its fields.

    Args:
        values: JSON values, of format 1 or 2.
        source: name of the file in error messages.

    Raises:
        ConfigError: `values` are not a segmenter's configuration, or of a later format.
    """
    found = values.get("format") if isinstance(values, dict) else None
    if found not in (1, FORMAT):
        is_later = isinstance(found, int) and found > FORMAT
        way_out = ": update the package (pip install --upgrade keras-parts)" if is_later else ""
        raise ConfigError(
            f"{source}: format is {found!r:.50}, expected a segmenter of format 1 or "
            f"{FORMAT}{way_out}"
        )
    fields = {name: value for name, value in values.items() if name != "format"}
    if found == 1:
        current = {old: name for name, old in _NAMES_IN_FORMAT_1.items()}
        fields = {current.get(name, name): value for name, value in fields.items()}
    return fields


def digest_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values of a configuration under the names of format 1, from which earlier versions
    computed the digests that they wrote into results."""
    return {_NAMES_IN_FORMAT_1.get(name, name): value for name, value in values.items()} | {
        "format": 1
    }
