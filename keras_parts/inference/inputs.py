"""Which pictures to segment, and what the results of each are called."""

import csv
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path

from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import IMAGE_SUFFIXES
from keras_parts.inference.addresses import file_system, is_address, read_address, version_of

_MAGIC = re.compile(r"[*?[]")
_HIDDEN = re.compile(r"(^|/)\.")
_MANIFESTS = (".csv", ".parquet")
_COLUMNS = ("image", "path", "file", "file_name", "filename", "filepath", "uri", "url")
"""What a manifest's column of pictures may be called, the first that it has."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One picture to segment.

    Attributes:
        root: the folder that all pictures of the job lie in, absolute, or an address.
        relative: where the picture lies in it, with forward slashes; unique in the job.
        result: `relative` as its results are called, without a suffix of their own. That is
            `relative` less its suffix, or all of it where two pictures differ in nothing else.
    """

    root: str
    relative: str
    result: str

    @property
    def path(self) -> str:
        """The picture file: a path or an address."""
        if is_address(self.root):
            return f"{self.root}/{self.relative}"
        return os.path.join(self.root, *self.relative.split("/"))

    def read(self) -> bytes:
        """All of the file.

        Raises:
            DataError: it is missing, unreadable or no file.
        """
        if is_address(self.root):
            return read_address(self.path)
        try:
            with open(self.path, "rb") as file:
                return file.read()
        except IsADirectoryError:
            raise DataError(f"{self.path}: this is a folder, not a picture file") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None

    def version(self) -> str:
        """What changes when the file does, known without reading it.

        Raises:
            DataError: it is missing or no file.
        """
        if is_address(self.root):
            return version_of(self.path)
        try:
            about = os.stat(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for, a device never ends
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no plain file"
            raise DataError(f"{self.path}: this is {kind}, not a picture file")
        return f"{about.st_size} {about.st_mtime_ns}"


def shard(files: list[ImageFile], which: str) -> list[ImageFile]:
    """The `i`-th of `n` shares of a job, "i/n" with i from 1.

    A picture's share depends on its place alone: others may come or go.

    Raises:
        ConfigError: `which` is not of that form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", which)
    index, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise ConfigError(f"shard is {which!r}, expected i/n with i from 1 to n, such as 1/4")
    return [
        file
        for file in files
        if zlib.crc32(file.relative.encode("utf-8", "surrogateescape")) % count == index - 1
    ]


def find_images(
    paths: Iterable[str | PathLike], exclude: Iterable[str | PathLike] = ()
) -> list[ImageFile]:
    """The pictures behind files, folders, patterns, lists and manifests, each once, in natural
    order.

    A folder gives all files in it and below with a suffix of `IMAGE_SUFFIXES`; a pattern (`*`,
    `?`, `[...]`, and `**` for any folders) those that it or a folder that it names holds. A file
    named by itself is taken whatever its suffix. Hidden files and folders are left out unless
    they are named, and a folder that links lead to twice is read once.

    `@list.txt` is a list of pictures, one a line (or each ended by a zero byte, as `find -print0`
    writes them), and "-" the same on standard input; relative paths start at the working folder.
    A CSV or Parquet file is a manifest: a column named image, path, file, file_name, filename,
    filepath, uri or url holds pictures; relative paths start at the manifest's own folder. What is
    listed is not looked at until it is read.

    Files, folders, patterns and manifests may be addresses that fsspec knows, such as
    s3://bucket/photos.

    Args:
        paths: what to segment. What exists by that very name is not a pattern.
        exclude: folders to leave out, such as the one results are written to.

    Returns:
        The files, `img2` before `img10`. Empty if folders, patterns and lists hold none.

    Raises:
        DataError: a path that is no pattern does not exist, or a list cannot be read.
    """
    exclude = [os.fspath(path) for path in exclude]
    excluded = {_identity(path) for path in exclude if os.path.exists(path)}
    found, roots, seen = {}, [], set(excluded)
    for path in map(os.fspath, paths):
        for root, files in _expanded(path, seen, exclude):
            roots.append(root)
            found.update((_joined(root, file), None) for file in files)
    root = _common_folder(roots)
    relative = sorted((_relative(path, root) for path in found), key=_natural)
    return [
        ImageFile(root, path, result)
        for path, result in zip(relative, _result_names(relative), strict=True)
    ]


def _expanded(path, seen, exclude):
    """(folder, files in it relative to it) of one argument, one or more."""
    if not path:
        raise DataError("an input path is empty")
    if path == "-":
        return _listed(sys.stdin.buffer.read(), os.getcwd())
    if path.startswith("@") and not os.path.lexists(path):
        return _listed(_list_bytes(path[1:]), os.getcwd())
    if path.lower().endswith(_MANIFESTS):
        return _manifest(path)
    if is_address(path):
        return [_expand_address(path, exclude)]
    return [_expand(path, seen)]


def _listed(content, start):
    separator = b"\0" if b"\0" in content else b"\n"
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in content.split(separator)]
    return [_named_file(line, start) for line in lines if line.strip()]


def _named_file(path, start):
    if is_address(path):
        folder, name = path.rsplit("/", 1)
        return folder, [name]
    folder, name = os.path.split(os.path.normpath(os.path.join(start, path)))
    return folder, [name]


def _list_bytes(path):
    if is_address(path):
        return read_address(path)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the list cannot be read: {error.strerror}") from error


def _manifest(path):
    """What the rows of a CSV or Parquet file name."""
    rows = _parquet_column(path) if path.lower().endswith(".parquet") else _csv_column(path)
    start = path.rsplit("/", 1)[0] if is_address(path) else os.path.dirname(os.path.abspath(path))
    return [_below(row, start) for row in rows]


def _below(row, start):
    if is_address(start) and not is_address(row):
        row = f"{start}/{row}"
    return _named_file(row, start)


def _csv_column(path):
    text = _list_bytes(path).decode("utf-8-sig", "surrogateescape")
    rows = csv.DictReader(text.splitlines(keepends=True))
    column = _column(rows.fieldnames or [], path)
    paths = []
    for row in rows:
        if not row[column]:
            raise DataError(f"{path}: line {rows.line_num} has no {column}")
        paths.append(row[column])
    return paths


def _parquet_column(path):
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet files need pyarrow: pip install 'keras-parts[formats]'"
        ) from None
    try:
        file = parquet.ParquetFile(arrow.BufferReader(_list_bytes(path)))
        column = _column(file.schema_arrow.names, path)
        paths = file.read([column])[column].to_pylist()
    except arrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    if not all(isinstance(each, str) and each for each in paths):
        raise DataError(f"{path}: column {column} holds something else than paths")
    return paths


def _column(names, path):
    column = next((name for name in _COLUMNS if name in names), None)
    if column is None:
        raise DataError(
            f"{path}: no column of pictures among {', '.join(names) or 'none'}; "
            f"expected one called {', '.join(_COLUMNS)}"
        )
    return column


def _expand_address(address, exclude):
    """(folder, files in it) of an address: of a file, a folder or a pattern."""
    system, path = file_system(address)
    start = "file:///" if address.startswith("file:") else address.partition("://")[0] + "://"
    try:
        if _MAGIC.search(path) and not system.exists(path):
            fixed = path[: _MAGIC.search(path).start()].rpartition("/")[0]
            files, root = [file for file in system.glob(path) if _is_name(file)], fixed
        elif system.isdir(path):
            files, root = [file for file in system.find(path) if _is_name(file)], path.rstrip("/")
        elif system.exists(path):
            files, root = [path], path.rpartition("/")[0]
        else:
            raise DataError(f"{address}: there is no such file or folder")
    except DataError:
        raise
    except Exception as error:  # each kind of store has errors of its own
        raise DataError(f"{address}: cannot be listed: {error}") from error
    found = [start + file.lstrip("/") for file in files]
    root = start + root.lstrip("/")
    outside = [
        file
        for file in found
        if not any(file.startswith(folder.rstrip("/") + "/") for folder in exclude)
    ]
    below = [file.removeprefix(root).lstrip("/") for file in outside]
    named = path.rpartition("/")[2]
    return root, [file for file in below if file == named or not _HIDDEN.search(file)]


def _is_name(path):
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def _expand(path, seen):
    """(folder, files in it relative to it) of a file, a folder or a pattern."""
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


def _joined(root, file):
    return f"{root}/{file}" if is_address(root) else os.path.join(root, file)


def _common_folder(folders):
    folders = set(folders)
    if not folders:
        return os.getcwd()
    kinds = {folder.partition("://")[0] if is_address(folder) else "" for folder in folders}
    try:
        if kinds == {""}:
            return os.path.commonpath(folders)
        (kind,) = kinds
        paths = {folder.partition("://")[2] for folder in folders}
        return f"{kind}://{os.path.commonpath(paths)}"
    except ValueError as error:
        raise DataError(
            "the inputs lie on several drives or kinds of storage: segment those of each apart"
        ) from error


def _relative(path, root):
    if is_address(root):
        return path[len(root) :].lstrip("/")
    return os.path.relpath(path, root).replace(os.sep, "/")


def _natural(path):
    """A text that sorts numbers by value, ignoring case, and folders before what their names
    begin; one text a path, as a million of them are held."""
    folded = path.casefold().replace("/", "\0")
    numbered = re.sub(r"\d+", _by_value, folded)
    return f"{numbered}\0\0{path}"


def _by_value(digits):
    number = str(int(digits[0]))
    return f"0{len(number):04d}{number}"


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
