"""Find image files, and files of masks or part labels with the same names."""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from keras_parts.data.problems import report
from keras_parts.errors import DataError
from keras_parts.images.folders import LeftOut, folder_identity, natural_key, walk_images


class MatchingFiles:
    """A folder with one file per image, such as its mask.

    The relative paths of both are the same, except for the suffix.

    Args:
        folder: the folder.
        kind: what a file is, for messages: "mask", for example.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, folder: str | PathLike, kind: str):
        self.folder = existing_folder(folder, f"the {kind}s")
        self._kind = kind
        self._files: dict[str, list[Path]] = {}
        for path in find_images(self.folder):
            self._files.setdefault(_stem(path), []).append(self.folder / path)

    def of(self, path: Path) -> Path:
        """The file of an image.

        Args:
            path: path of the image, relative to the folder of images.

        Raises:
            DataError: there is no such file, or more than one.
        """
        found = self._files.get(_stem(path), [])
        if not found:
            expected = self.folder / path.with_suffix(".png")
            raise DataError(f"{path.as_posix()}: no {self._kind}, expected {expected}")
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(
                f"{path.as_posix()}: more than one {self._kind} in {self.folder}: {names}: keep one"
            )
        return found[0]

    def report_unmatched(self, paths: Iterable[Path], exclude: Sequence[Path]) -> None:
        """Report files that belong to no image, or to several.

        Args:
            paths: paths of the images, relative to the folder of images.
            exclude: folders that are skipped if they lie inside this one.
        """
        images: dict[str, list[str]] = {}
        for path in paths:
            images.setdefault(_stem(path), []).append(path.as_posix())
        for path in find_images(self.folder, exclude=exclude):
            file, matches = self.folder / path, images.get(_stem(path), [])
            if not matches:
                report(f"{file}: no image has the name of this {self._kind}")
            if len(matches) > 1:
                report(f"{file}: this {self._kind} matches several images: {', '.join(matches)}")


def find_images(
    root: Path, *, exclude: Sequence[Path] = (), left_out: LeftOut | None = None
) -> list[Path]:
    """Image files in a folder and its subfolders, relative to it, in natural order (2 before 10).

    Args:
        root: the folder.
        exclude: folders that are skipped.
        left_out: counts the files and folders that are left out, see `walk_images`.
    """
    excluded = [folder_identity(folder) for folder in exclude if not folder.samefile(root)]
    found = walk_images(str(root), exclude=excluded, left_out=left_out)
    return [Path(path) for path in sorted(found, key=natural_key)]


def existing_folder(folder: str | PathLike, what: str) -> Path:
    """The path of a folder, after checking that it exists.

    Args:
        folder: the folder; "~" is expanded.
        what: what the folder contains, for messages: "the masks", for example.

    Raises:
        DataError: there is no such folder.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder for {what}")
    return folder


def _stem(path):
    return path.with_suffix("").as_posix()
