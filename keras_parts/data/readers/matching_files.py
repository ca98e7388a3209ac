"""Image files below a folder, and files of masks or labels with the same names."""

import os
import re
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from keras_parts.data.problems import report
from keras_parts.errors import DataError
from keras_parts.images.decoding import IMAGE_SUFFIXES


class MatchingFiles:
    """A folder with one file per image (a mask, say), of the same relative name up to the suffix.

    Args:
        folder: the folder.
        what: what the files are, in the singular, for messages.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, folder: str | PathLike, what: str):
        self.folder = existing_folder(folder, f"the {what}s")
        self._what = what
        self._files: dict[str, list[Path]] = {}
        for path in find_images(self.folder):
            self._files.setdefault(_stem(path), []).append(self.folder / path)

    def of(self, path: Path) -> Path:
        """The file of an image.

        Args:
            path: the image's, relative to its folder.

        Raises:
            DataError: there is no file, or more than one.
        """
        found = self._files.get(_stem(path), [])
        if not found:
            expected = self.folder / path.with_suffix(".png")
            raise DataError(f"{path.as_posix()}: no {self._what}, expected {expected}")
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(
                f"{path.as_posix()}: more than one {self._what} in {self.folder}: {names}"
            )
        return found[0]

    def report_unmatched(self, paths: Iterable[Path], others: Sequence[Path]) -> None:
        """Report files that belong to no image, or to several.

        Args:
            paths: the images', relative to their folder.
            others: folders of other files, which are skipped if they lie inside this one.
        """
        images: dict[str, list[str]] = {}
        for path in paths:
            images.setdefault(_stem(path), []).append(path.as_posix())
        for path in find_images(self.folder, without=others):
            file, matches = self.folder / path, images.get(_stem(path), [])
            if not matches:
                report(f"{file}: there is no image with the name of this {self._what}")
            if len(matches) > 1:
                report(f"{file}: this {self._what} matches several images: {', '.join(matches)}")


def find_images(root: Path, *, without: Sequence[Path] = ()) -> list[Path]:
    """Image files in a folder and its subfolders, relative to it, in natural order (2 before 10).

    Args:
        root: the folder.
        without: folders that are skipped.
    """
    found = []
    for folder_name, folders, files in os.walk(root):
        folder = Path(folder_name)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not any((folder / name).samefile(other) for other in without)
        ]
        found += [
            (folder / name).relative_to(root)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=_natural_order)


def existing_folder(folder: str | PathLike, what: str) -> Path:
    """The folder as a path.

    Raises:
        DataError: there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder for {what}")
    return folder


def _natural_order(path):
    """A key that compares numbers in names by value, and equal names by their spelling."""
    words = re.split(r"(\d+)", path.as_posix())
    key = [int(word) if index % 2 else word.casefold() for index, word in enumerate(words)]
    return key, path.as_posix()


def _stem(path):
    return path.with_suffix("").as_posix()
