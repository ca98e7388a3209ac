"""Which pictures to segment, and what the results of each are called."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

from keras_parts.errors import DataError
from keras_parts.images import IMAGE_SUFFIXES

_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One picture to segment.

    Attributes:
        root: the folder that all pictures of the job lie in, absolute.
        relative: where the picture lies in it, with forward slashes; unique in the job.
        result: `relative` as its results are called, without a suffix of their own. That is
            `relative` less its suffix, or all of it where two pictures differ in nothing else.
    """

    root: str
    relative: str
    result: str

    @property
    def path(self) -> Path:
        """The picture file."""
        return Path(self.root, self.relative)


def find_images(
    paths: Iterable[str | PathLike], exclude: Iterable[str | PathLike] = ()
) -> list[ImageFile]:
    """The pictures behind files, folders and patterns, each once, in natural order.

    A folder gives all files in it and below with a suffix of `IMAGE_SUFFIXES`; a pattern (`*`,
    `?`, `[...]`, and `**` for any folders) those that it or a folder that it names holds. A file
    named by itself is taken whatever its suffix. Hidden files and folders are left out unless
    they are named, and a folder that links lead to twice is read once.

    Args:
        paths: files, folders and patterns. What exists by that very name is not a pattern.
        exclude: folders to leave out, such as the one results are written to.

    Returns:
        The files, `img2` before `img10`. Empty if folders and patterns hold none.

    Raises:
        DataError: a path that is no pattern does not exist.
    """
    excluded = {_identity(path) for path in exclude if os.path.exists(path)}
    found, roots, seen = {}, [], set(excluded)
    for path in map(os.fspath, paths):
        root, files = _expand(path, seen)
        roots.append(root)
        found.update((os.path.join(root, file), None) for file in files)
    root = _common_folder(roots)
    relative = sorted((_relative(path, root) for path in found), key=_natural)
    return [
        ImageFile(root, path, result)
        for path, result in zip(relative, _result_names(relative), strict=True)
    ]


def _expand(path, seen):
    """(folder, files in it relative to it) of one argument."""
    if not path:
        raise DataError("an input path is empty")
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute):
        return absolute, _walk(absolute, seen)
    if os.path.lexists(absolute):
        return os.path.split(absolute)[0], [os.path.basename(absolute)]
    if not _MAGIC.search(path):
        raise DataError(f"{path}: there is no such file or folder")
    parts = Path(absolute).parts
    fixed = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    root, pattern = os.path.join(*parts[:fixed]), parts[fixed:]
    return root, _walk(root, seen, pattern)


def _walk(folder, seen, pattern=()):
    """Picture files below a folder that match a pattern, relative to it.

    Folders in `seen`, and those that were found before, are not entered: no loop, nothing twice.
    """
    pending, files = [(folder, ())], []
    # Matching may enter a folder for one deep file only: the next argument may want the rest.
    seen = set(seen) if pattern else seen
    while pending:
        path, parts = pending.pop()
        try:
            identity = _identity(path)
            entries = [] if identity in seen else list(os.scandir(path))
        except OSError as error:
            raise DataError(f"{path}: cannot be listed: {error.strerror}") from error
        seen.add(identity)
        for entry in sorted(entries, key=lambda entry: _natural(entry.name), reverse=True):
            below = (*parts, entry.name)
            if entry.name.startswith(".") or not _matches(below, pattern, partly=entry.is_dir()):
                continue
            if entry.is_dir():
                pending.append((entry.path, below))
            elif _is_picture(entry):
                files.append("/".join(below))
    return files


def _is_picture(entry):
    # A broken link counts, to be reported; a pipe does not: reading it would wait forever.
    readable = entry.is_file() or entry.is_symlink()
    return readable and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES


def _matches(parts, pattern, partly=False):
    """Whether a pattern matches a path or a folder above it; `partly`: or something below it."""
    if not pattern:
        return True
    if not parts:
        return partly
    if pattern[0] == "**":
        return _matches(parts, pattern[1:], partly) or _matches(parts[1:], pattern, partly)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:], partly)


def _identity(path):
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _common_folder(folders):
    try:
        return os.path.commonpath(folders) if folders else os.getcwd()
    except ValueError as error:
        raise DataError("inputs on several drives: segment those of each drive apart") from error


def _relative(path, root):
    return os.path.relpath(path, root).replace(os.sep, "/")


def _natural(path):
    """Sorts numbers by value, ignoring case, then folders before what their names begin."""
    return [
        ([(0, int(run), "") if run.isdecimal() else (1, 0, run.casefold())
          for run in re.split(r"(\d+)", part) if run], part)
        for part in path.split("/")
    ]  # fmt: skip


def _result_names(relative):
    """Paths without suffix where that is unique, else with it: a.jpg and a.png both have results.

    A name kept whole may be another's name without suffix (a.jpg beside a.jpg.png), so that the
    other is kept whole as well, until all differ.
    """
    names = [os.path.splitext(path)[0] for path in relative]
    while True:
        count = Counter(names)
        whole = [
            path if count[name] > 1 else name for path, name in zip(relative, names, strict=True)
        ]
        if whole == names:
            return names
        names = whole
