"""Where data sets lie, and how their files are read."""

from os import PathLike
from pathlib import Path
from typing import IO

import numpy as np

from keras_parts.data.problems import attempt, collected
from keras_parts.environment import DATA_VARIABLE, data_folder
from keras_parts.errors import DataError
from keras_parts.images.decoding import read_image, read_size


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, UTF-8.

    Raises:
        DataError: it is missing or cannot be read as text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None


def read_picture(
    source: str | PathLike | IO[bytes],
) -> tuple[np.ndarray | None, tuple[int, int] | None]:
    """The picture in a file, and its size, which the header of a damaged one may still tell.

    Returns:
        (height, width, 3) uint8 RGB and (height, width) in pixels. Inside `problems.collected()`
        the first is None where the picture is damaged, the second where its header is.

    Raises:
        DataError: the picture is missing or damaged, and nobody collects.
    """
    image = attempt(read_image, source)
    if image is not None:
        return image, image.shape[:2]
    with collected():  # the header's damage is the picture's, which is noted
        return None, attempt(read_size, source)


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
        parent = data_folder()
        if parent is None:
            raise DataError(
                f"{name}: no data folder was given and the environment variable {DATA_VARIABLE} "
                f"is not set. To obtain the data set, {how_to_obtain}"
            )
        data_dir = parent / folder
    root = Path(data_dir).expanduser()
    if (root / folder).is_dir():
        root = root / folder
    if not root.is_dir():
        raise DataError(
            f"{name}: there is no folder {root}. To obtain the data set, {how_to_obtain}"
        )
    return root
