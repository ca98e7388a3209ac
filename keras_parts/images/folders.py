"""The image files of a folder: one walk and one order for everything that reads folders."""

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from unicodedata import decimal

from keras_parts.errors import DataError
from keras_parts.images.formats import IMAGE_SUFFIXES, ways_out

_MAGIC = re.compile(r"[*?[]")
_MAX_SUFFIXES_SHOWN = 6
_FILES_OF_RESULTS = (
    {"run.json", "labels.json"},
    {"config.json", "metrics.jsonl"},
    {"masks.csv", "index.html"},
)
"""Files by which the results of `segment`, the runs of `train` and the masks of `data masks` are
known."""


@dataclass
class LeftOut:
    """Counts of the files and folders that a walk leaves out; as text, a sentence, or "".

    The sentence ends with what the user can do to have them read, where something is known.

    Attributes:
        suffixes: files whose suffix is not in `IMAGE_SUFFIXES`, by suffix.
        hidden: files and folders whose names begin with a dot.
        special: pipes, sockets and devices with the suffix of an image.
        linked: links to folders that are read already.
        results: folders below the given one with results of `segment`, a run of `train` or masks of
            `data masks`.

    Example:
        >>> from keras_parts.images.folders import LeftOut
        >>> from collections import Counter
        >>> print(LeftOut(suffixes=Counter({".txt": 2}), hidden=1))
        left out: 2 files that are not images by their suffix (2 .txt), 1 hidden
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    hidden: int = 0
    special: int = 0
    linked: int = 0
    results: int = 0

    def __str__(self) -> str:
        count = self.suffixes.total()
        words = []
        if count:
            files = "1 file that is not an image by its suffix"
            if count > 1:
                files = f"{count:,} files that are not images by their suffix"
            words.append(f"{files} ({self._suffixes()})")
        if self.hidden:
            words.append(f"{self.hidden:,} hidden")
        if self.special:
            words.append(f"{self.special:,} pipes or devices")
        if self.linked:
            words.append(f"{self.linked:,} links to folders that are read already")
        if self.results:
            folders = "1 folder" if self.results == 1 else f"{self.results:,} folders"
            words.append(f"{folders} with results of earlier runs")
        way_out = ways_out(suffix for _, _, suffix in self._sorted())
        return f"left out: {', '.join(words)}{way_out and '; '}{way_out}" if words else ""

    def _sorted(self) -> list[tuple[int, bool, str]]:
        """(-count, whether it is empty, suffix), the most frequent suffix first."""
        return sorted((-count, not suffix, suffix) for suffix, count in self.suffixes.items())

    def _suffixes(self) -> str:
        shown = [f"{-count:,} {suffix or 'without'}" for count, _, suffix in self._sorted()]
        more = ["..."] if len(shown) > _MAX_SUFFIXES_SHOWN else []
        return ", ".join(shown[:_MAX_SUFFIXES_SHOWN] + more)


def walk_images(
    folder: str,
    *,
    pattern: Sequence[str] = (),
    exclude: Iterable[tuple[int, int]] = (),
    seen: set[tuple[int, int]] | None = None,
    left_out: LeftOut | None = None,
) -> list[str]:
    """The image files in a folder and below it: those with a suffix of `IMAGE_SUFFIXES`.

    Hidden files and folders are left out, and so are pipes and devices, because reading them may
    block. So are folders below it with the results of earlier runs, whose pictures are not images
    to segment again. Links are followed, and each folder is entered once, so that links cannot form
    a loop. A link to a file that does not exist is included: opening it raises an error that names
    it.

    Args:
        folder: path of the folder.
        pattern: components of a path below the folder with `*`, `?`, `[...]` and `**`; empty for
            all files.
        exclude: identities of folders that are not entered (see `folder_identity`).
        seen: identities of folders that were read before, which are not entered again; the folders
            of this walk are added.
        left_out: counts what is left out, if given.

    Returns:
        Paths relative to the folder, with forward slashes; each folder in natural order.

    Raises:
        DataError: a folder cannot be listed.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.images.folders import LeftOut, walk_images
        >>> for name in ("2.jpg", "10.jpg", "notes.txt"):
        ...     Path(name).touch()
        >>> left_out = LeftOut()
        >>> walk_images(".", left_out=left_out), str(left_out)
        (['2.jpg', '10.jpg'], 'left out: 1 file that is not an image by its suffix (1 .txt)')
    """
    excluded, left_out = set(exclude), LeftOut() if left_out is None else left_out
    seen = set() if seen is None else seen
    pending: list[tuple[str, tuple[str, ...], bool]] = [(folder, (), False)]
    files: list[str] = []
    while pending:
        path, parts, is_link = pending.pop()
        try:
            identity = folder_identity(path)
            if identity in excluded:
                continue
            if identity in seen:
                left_out.linked += is_link
                continue
            with os.scandir(path) as listed:
                entries = sorted(listed, key=lambda entry: natural_key(entry.name), reverse=True)
        except OSError as error:
            raise DataError(f"{path}: cannot be listed: {error.strerror}", path=path) from error
        seen.add(identity)
        if parts and _holds_results(entry.name for entry in entries):
            left_out.results += 1
            continue
        found = []
        for entry in entries:
            below, is_folder = (*parts, entry.name), _is_folder(entry)
            if not _matches(below, pattern, partly=is_folder):
                continue
            if entry.name.startswith("."):
                left_out.hidden += 1
            elif is_folder:
                pending.append((entry.path, below, entry.is_symlink()))
            elif not has_image_suffix(entry.name):
                left_out.suffixes[os.path.splitext(entry.name)[1].lower()] += 1
            elif _is_special(entry):
                left_out.special += 1
            else:
                found.append("/".join(below))
        files += reversed(found)
    return files


def check_path(path: str) -> None:
    """Raise DataError unless a file or folder exists, or the path is a pattern."""
    if not os.path.lexists(path) and not _MAGIC.search(path):
        raise DataError(f"{path}: there is no such file or folder", path=path)


def expand_path(
    path: str,
    *,
    exclude: Iterable[tuple[int, int]] = (),
    seen: set[tuple[int, int]] | None = None,
    left_out: LeftOut | None = None,
) -> tuple[str, list[str]]:
    """The images of a file, a folder or a pattern.

    Args:
        path: of a file, which is taken whatever its suffix; of a folder; or a pattern with `*`,
            `?`, `[...]`, and `**` for any folders. An existing path is never a pattern.
        exclude, seen, left_out: see `walk_images`. A pattern may match some files of a folder only:
            it enters folders that are not in `seen`, but adds none.

    Returns:
        The absolute folder, and the images relative to it.

    Raises:
        DataError: the path is no pattern and does not exist, or a folder cannot be listed.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.images.folders import expand_path
        >>> for name in ("2.jpg", "10.jpg", "notes.txt"):
        ...     Path(name).touch()
        >>> expand_path("*.jpg")[1]
        ['2.jpg', '10.jpg']
    """
    absolute = os.path.abspath(path)
    if os.path.isdir(absolute):
        return absolute, walk_images(absolute, exclude=exclude, seen=seen, left_out=left_out)
    if os.path.lexists(absolute):
        return os.path.split(absolute)[0], [os.path.basename(absolute)]
    check_path(path)
    parts = Path(absolute).parts
    first = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    root = os.path.join(*parts[:first])
    files = walk_images(
        root, pattern=parts[first:], exclude=exclude, seen=set(seen or ()), left_out=left_out
    )
    return root, files


def holds_several(path: str | PathLike[str]) -> bool:
    """Whether a path is a folder, or a pattern because no file has this name."""
    path = os.fspath(path)
    return os.path.isdir(path) or bool(_MAGIC.search(path) and not os.path.lexists(path))


def _holds_results(names: Iterable[str]) -> bool:
    listed = set(names)
    return any(files <= listed for files in _FILES_OF_RESULTS)


def has_image_suffix(path: str) -> bool:
    """Whether a path ends in one of `IMAGE_SUFFIXES`, in small or capital letters."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def folder_identity(path: str | PathLike[str]) -> tuple[int, int]:
    """Device and number of a folder, which are the same for all links to it.

    Raises:
        OSError: there is no such folder.
    """
    status = os.stat(path)
    return status.st_dev, status.st_ino


def natural_key(path: str) -> str:
    """A sort key: numbers by value, without case, and a folder before names that begin with its
    name. A single text, because there may be a million paths.

    Example:
        >>> from keras_parts.images.folders import natural_key
        >>> sorted(["b/1.jpg", "a10.jpg", "A2.jpg"], key=natural_key)
        ['A2.jpg', 'a10.jpg', 'b/1.jpg']
    """
    folded = path.casefold().replace("/", "\0")
    numbered = re.sub(r"\d+", _by_value, folded)
    return f"{numbered}\0\0{path}"


def _by_value(digits: re.Match[str]) -> str:
    # Not `int`: it refuses numbers of thousands of digits.
    number = "".join(str(decimal(digit)) for digit in digits[0]).lstrip("0") or "0"
    return f"0{len(number):09d}{number}"


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _is_special(entry: os.DirEntry[str]) -> bool:
    try:
        return not stat.S_ISREG(entry.stat().st_mode)
    except OSError:  # a link to nothing, or in a circle
        return False


def _matches(parts: Sequence[str], pattern: Sequence[str], *, partly: bool = False) -> bool:
    """Whether a pattern matches a path or a folder above it.

    Args:
        parts: of the path.
        pattern: its components; empty matches everything.
        partly: whether a match of something below the path counts.
    """
    if not pattern:
        return True
    if not parts:
        return partly
    if pattern[0] == "**":
        return _matches(parts, pattern[1:], partly=partly) or _matches(
            parts[1:], pattern, partly=partly
        )
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:], partly=partly)
