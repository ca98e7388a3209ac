"""Where data sets lie."""

import os
from os import PathLike
from pathlib import Path

from keras_parts.errors import DataError

DATA_VARIABLE = "KERAS_PARTS_DATA"
"""Environment variable that names the folder of data sets."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, UTF-8.

    Raises:
        DataError: it cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None


def find_data(name: str, data_dir: str | PathLike | None, folder: str, how_to_obtain: str) -> Path:
    """The folder of a data set.

    Args:
        name: of the data set, for messages.
        data_dir: the folder itself or the one that holds it; None for that of `DATA_VARIABLE`.
        folder: its usual name.
        how_to_obtain: the way out, for messages.

    Raises:
        DataError: there is no such folder.
    """
    if data_dir is None:
        named = os.environ.get(DATA_VARIABLE)
        if not named:
            raise DataError(
                f"{name}: no data folder was given and the environment variable {DATA_VARIABLE} "
                f"is not set. To obtain the data set, {how_to_obtain}"
            )
        data_dir = Path(named) / folder
    root = Path(data_dir).expanduser()
    if (root / folder).is_dir():
        root = root / folder
    if not root.is_dir():
        raise DataError(
            f"{name}: there is no folder {root}. To obtain the data set, {how_to_obtain}"
        )
    return root
