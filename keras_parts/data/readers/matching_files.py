"""Find image files, and files of masks or part labels with the same names."""

from collections import Counter
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from keras_parts.data.problems import report
from keras_parts.data.readers.mask_table import TABLE_FILE
from keras_parts.errors import DataError
from keras_parts.images.folders import LeftOut, folder_identity, natural_key, walk_images
from keras_parts.results.page import FOLDER, PAGE_FILE


class MatchingFiles:
    """A folder with one file per image, such as its mask.

    The relative paths of both are the same, except for the suffix, or that of the file is the whole
    path of the image with another suffix (a.jpg.png for a.jpg). Names are compared as a person sees
    them (see `plain_name`).

    Args:
        folder: the folder.
        kind: what a file is, for messages: "mask", for example.

    Attributes:
        left_out: counts what is not read.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, folder: str | PathLike, kind: str):
        self.folder = existing_folder(folder, f"the {kind}s")
        self._kind = kind
        self._files: dict[str, list[Path]] = {}
        self.left_out = LeftOut()
        exclude = []
        if (self.folder / TABLE_FILE).is_file():  # the table and the page of `data masks` are known
            exclude = [page for page in [self.folder / FOLDER] if page.is_dir()]
        for path in find_images(self.folder, exclude=exclude, left_out=self.left_out):
            self._files.setdefault(_key(path), []).append(self.folder / path)
        if (self.folder / TABLE_FILE).is_file():
            self.left_out.suffixes -= Counter(Path(name).suffix for name in (TABLE_FILE, PAGE_FILE))

    def of(self, path: Path) -> Path:
        """The file of an image.

        Args:
            path: path of the image, relative to the folder of images.

        Raises:
            DataError: there is no such file, or more than one.
        """
        found = self.find(path)
        if found is None:
            expected = self.folder / path.with_suffix(".png")
            raise DataError(f"{path.as_posix()}: no {self._kind}, expected {expected}")
        return found

    def find(self, path: Path) -> Path | None:
        """The file of an image; None if there is none.

        Args:
            path: path of the image, relative to the folder of images.

        Raises:
            DataError: there is more than one such file.
        """
        whole = self._files.get(_whole_key(path), [])
        found = whole or _as_written(self._files.get(_key(path), []), path)
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(
                f"{path.as_posix()}: more than one {self._kind} in {self.folder}: {names}: keep one"
            )
        return found[0] if found else None

    def report_unmatched(self, paths: Iterable[Path], exclude: Sequence[Path]) -> None:
        """Report files that belong to no image, or to several.

        Args:
            paths: paths of the images, relative to the folder of images.
            exclude: folders that are skipped if they lie inside this one.
        """
        images: dict[str, list[str]] = {}
        for path in paths:
            key = _whole_key(path)
            key = key if key in self._files else _key(path)
            images.setdefault(key, []).append(path.as_posix())
        for path in find_images(self.folder, exclude=exclude):
            file, matches = self.folder / path, images.get(_key(path), [])
            if not matches:
                report(f"{file}: no image has the name of this {self._kind}")
            if len(matches) > 1:
                report(f"{file}: this {self._kind} matches several images: {', '.join(matches)}")


class ImageNames:
    """Finds the images of a folder by the names that annotation tools write.

    These may begin with "./", with other folders or with those of another machine, contain
    backslashes, lack the folders in which the image lies, and differ in capitals or in the Unicode
    form of letters. An image fits such a name if one of the two paths ends with the other.

    Args:
        paths: of the images, relative to their folder.
    """

    def __init__(self, paths: Sequence[Path]):
        self._exact = {path.as_posix(): path for path in paths}
        self._by_name: dict[str, list[Path]] = {}
        for path in paths:
            self._by_name.setdefault(plain_name(path.name), []).append(path)

    def match(self, names: Iterable[str]) -> tuple[dict[str, Path], dict[str, list[Path]]]:
        """The image of each name.

        Returns:
            {name: image}, and {name: images} of the names that fit several images, or none. Of
            several names for one image, none counts unless one is its exact path.
        """
        fitting = {name: self._fitting(name) for name in names}
        owners: dict[Path, list[str]] = {}
        for name, found in fitting.items():
            if len(found) == 1:
                owners.setdefault(found[0], []).append(name)
        matched: dict[str, Path] = {}
        others: dict[str, list[Path]] = {}
        for name, images in fitting.items():
            alone = len(images) == 1 and owners[images[0]] == [name]
            if alone or name in self._exact:
                matched[name] = images[0]
            else:
                others[name] = images if len(images) > 1 else []
        return matched, others

    def _fitting(self, name: str) -> list[Path]:
        if name in self._exact:
            return [self._exact[name]]
        found = self._similar(name) or self._similar(unquote(name))
        return found or (self._similar(unquote(name.split("?")[0])) if "://" in name else [])

    def _similar(self, name: str) -> list[Path]:
        parts = _components(name)
        lengths: dict[Path, int] = {}
        for path in self._by_name.get(parts[-1], []) if parts else []:
            own = _components(path.as_posix())
            length = min(len(parts), len(own))
            if parts[-length:] == own[-length:]:
                lengths[path] = length
        longest = max(lengths.values(), default=0)
        return [path for path, length in lengths.items() if length == longest]


def plain_name(name: str) -> str:
    """A name without what a person does not see: the Unicode form of its letters, and capitals.

    Example:
        >>> from keras_parts.data.readers.matching_files import plain_name
        >>> plain_name("Ma\u0308rz.JPG") == plain_name("m\u00e4rz.jpg")
        True
    """
    return normalize("NFC", normalize("NFC", name).casefold())


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


def _key(path):
    return plain_name(_stem(path))


def _whole_key(path):
    return plain_name(path.as_posix())


def _as_written(files, path):
    """The files whose names equal the image's also in capitals; all if there is none."""
    name = normalize("NFC", path.stem)
    return [file for file in files if normalize("NFC", file.stem) == name] or files


def _components(name):
    words = plain_name(name).replace("\\", "/").split("/")
    return [word for word in words if word not in ("", ".", "..")]
