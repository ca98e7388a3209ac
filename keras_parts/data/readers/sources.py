"""`DatasetSource`, and functions that read the text files and images of a data set."""

import json
import logging
import re
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from keras_parts.data.dataset import FIT_AND_VALIDATION
from keras_parts.data.problems import attempt, collect_problems
from keras_parts.environment import DATA_VARIABLE, data_folder, data_folders
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import decode_text, read_file
from keras_parts.images.decoding import read_image, read_size

_LOG = logging.getLogger(__name__)


@cache
def _say_once(text: str) -> None:
    # A command may load several splits of a data set.
    _LOG.warning("%s", text)


@dataclass(frozen=True)
class DatasetSource:
    """What is known about a data set without reading it.

    The module of every reader defines one, `SOURCE`.

    Args:
        name: the name for `keras_parts.data.load`.
        annotations: the kinds of annotations.
        licence: the terms of the images and their annotations.
        how_to_obtain: instructions to obtain the data, which follow "To obtain the data set,".
        folder: usual name of the data set's folder; "" if there is none.
        splits: names of its splits.

    Example:
        >>> from keras_parts.data.readers.sources import DatasetSource
        >>> source = DatasetSource("cats", "masks", "CC0", "download cats.zip from ...")
        >>> source.check_split("val")
        Traceback (most recent call last):
        keras_parts.errors.ConfigError: cats has the splits train, test, ..., all, not 'val'
    """

    name: str
    annotations: str
    licence: str
    how_to_obtain: str
    folder: str = ""
    splits: tuple[str, ...] = ("train", "test", *FIT_AND_VALIDATION, "all")

    def check_split(self, split: str) -> None:
        """Raise `ConfigError` unless the data set has this split."""
        if split not in self.splits:
            raise ConfigError(f"{self.name} has the splits {', '.join(self.splits)}, not {split!r}")

    def find(self, data_dir: str | PathLike | None) -> Path:
        """The folder of the data set.

        Args:
            data_dir: the folder itself or its parent; None for `folder` in one of
                `keras_parts.environment.data_folders`, which is then said unless it is the one in
                `$KERAS_PARTS_DATA`.

        Raises:
            DataError: there is no such folder.
        """
        if data_dir is None:
            return self._found()
        root = Path(data_dir).expanduser()
        if self.folder and (root / self.folder).is_dir():
            root = root / self.folder
        if not root.is_dir():
            raise self.missing(f"there is no folder {root}")
        return root

    def is_found(self) -> bool:
        """Whether `find` finds the folder where none is named."""
        return any((each / self.folder).is_dir() for each in data_folders())

    def _found(self) -> Path:
        """The folder of the data set, where none was named."""
        searched = data_folders()
        found = [each / self.folder for each in searched if (each / self.folder).is_dir()]
        if found:
            if found[0].parent != data_folder():
                _say_once(f"{self.name}: read from {found[0]}, because no other folder was named")
            return found[0]
        named = data_folder()
        where = f"{DATA_VARIABLE} is {named}" if named else f"{DATA_VARIABLE} is not set"
        here = [str(each) for each in searched if each not in (named, Path())]
        raise self.missing(
            f"there is no folder {self.folder} in the working folder, {', '.join(here)}, and "
            f"{where}. Put it into one of them, or name it (--data-dir)"
        )

    def missing(self, problem: str) -> DataError:
        """The error for missing data, with instructions to obtain them."""
        return DataError(f"{self.name}: {problem}. To obtain the data set, {self.how_to_obtain}")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, see `keras_parts.files.decode_text` for its encodings.

    Raises:
        DataError: the file is missing, unreadable or not text.
    """
    text = read_text(path).rstrip()
    # Not `splitlines`: it also splits at characters that names may contain.
    return re.split("\r\n|\r|\n", text) if text else []


def read_text(path: Path) -> str:
    """The content of a text file, see `keras_parts.files.decode_text` for its encodings.

    Raises:
        DataError: the file is missing, unreadable or not text.
    """
    try:
        return decode_text(read_file(path))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as text: {error}") from None


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: the file is missing, unreadable or not JSON, or is nested too deeply.
    """
    try:
        return json.loads(read_text(path))
    except RecursionError:
        raise DataError(f"{path}: not JSON of this kind: it is nested too deeply") from None
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from None


def size_and_time(path: Path) -> tuple[int | None, int | None]:
    """Size in bytes and modification time in nanoseconds, for fingerprints; None without a file."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None, None
    return status.st_size, status.st_mtime_ns


def read_image_and_size(
    source: str | PathLike | IO[bytes],
) -> tuple[np.ndarray | None, tuple[int, int] | None]:
    """An image and its size; the header of a damaged image may still contain the size.

    Returns:
        (height, width, 3) uint8 RGB, and the size (height, width) in pixels. Inside
        `collect_problems()` the image is None if it is damaged, and the size if the header is.

    Raises:
        DataError: the image is missing or damaged, outside `collect_problems()`.
    """
    image = attempt(read_image, source)
    if image is not None:
        return image, (image.shape[0], image.shape[1])
    with collect_problems():  # the damage has already been reported
        return None, attempt(read_size, source)
