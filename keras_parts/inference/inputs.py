"""Find the images to segment, and name the results of each."""

import csv
import io
import logging
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from keras_parts.addresses import file_system, is_address, read_address, version_of
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import decode_text, read_file
from keras_parts.images.decoding import read_size
from keras_parts.images.folders import (
    LeftOut,
    expand_path,
    folder_identity,
    has_image_suffix,
    natural_key,
)

_LOG = logging.getLogger(__name__)
_MAGIC = re.compile(r"[*?[]")
_HIDDEN = re.compile(r"(^|/)\.")
_MANIFESTS = (".csv", ".parquet")
_LARGE_FILE = 2**26
"""Bytes from which on the header of an image file is checked before all of it is read."""
_DELIMITERS = ",;\t|"
_AS_OTHERS_WRITE = re.compile(r"^[\s\"'#]|[\s\"']$|\\")
_COLUMNS = ("image", "path", "file", "file_name", "filename", "filepath", "uri", "url")
"""Names of a manifest's column of images; the first one that it has is read."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image to segment.

    Attributes:
        root: the folder of all images of the run, absolute, or an address.
        relative: path of the image in `root`, with forward slashes; unique in the run.
        result: name of its results, to which a format adds its suffix: `relative` without its
            suffix, or with it if two images differ in the suffix alone.

    Example:
        >>> from keras_parts.inference import ImageFile
        >>> ImageFile("/photos", "birds/1.jpg", "birds/1").path
        '/photos/birds/1.jpg'
    """

    root: str
    relative: str
    result: str

    @property
    def path(self) -> str:
        """Path or address of the image."""
        if is_address(self.root):
            return f"{self.root}/{self.relative}"
        return os.path.join(self.root, *self.relative.split("/"))

    def read(self) -> bytes:
        """The content of the file.

        Raises:
            DataError: it is missing, unreadable, too large or not a plain file.
        """
        if is_address(self.root):
            return read_address(self.path)
        if os.path.isfile(self.path) and os.path.getsize(self.path) > _LARGE_FILE:
            # The header tells whether it is an image at all, before it fills the memory.
            read_size(self.path, max_pixels=sys.maxsize)
        return read_file(self.path)

    def version(self) -> str:
        """A text that changes when the file does, from its size and date.

        Raises:
            DataError: it is missing or not a file.
        """
        if is_address(self.root):
            return version_of(self.path)
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be read: {error.strerror}", path=self.path
            ) from None
        if not stat.S_ISREG(status.st_mode):  # a pipe may block, a device may never end
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
            raise DataError(f"{self.path}: this is {kind}, expected an image file", path=self.path)
        return f"{status.st_size} {status.st_mtime_ns}"


def select_shard(files: Sequence[ImageFile], shard: str) -> list[ImageFile]:
    """The images of one shard of a run.

    The shard of an image depends on its relative path alone, so that it does not change if other
    images are added or removed.

    Args:
        files: all images.
        shard: "i/n" for the i-th of n shards, from 1.

    Raises:
        ConfigError: `shard` is not of that form.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    index, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= index <= count:
        raise ConfigError(
            f"shard is {shard!r}, expected I/N with I from 1 to N, such as 1/4",
            setting="shard",
            value=shard,
        )
    return [
        file
        for file in files
        if zlib.crc32(file.relative.encode("utf-8", "surrogateescape")) % count == index - 1
    ]


def find_images(
    paths: Iterable[str | PathLike[str]], *, exclude: Iterable[str | PathLike[str]] = ()
) -> list[ImageFile]:
    """The images in files, folders, patterns, lists and manifests, each once, in natural order.

    A folder contributes all files in it and below with a suffix of `IMAGE_SUFFIXES`; a pattern
    (`*`, `?`, `[...]`, and `**` for any folders) those that it matches, or that are in a folder
    that it matches. A file given by name is taken whatever its suffix. Hidden files and folders are
    omitted unless they are given by name. A folder that is linked twice is read once. What folders
    hold beside images is counted in one warning of the logger.

    `@list.txt` is a list of images, one in each line (or each terminated by a zero byte, as
    `find -print0` writes them), and "-" is such a list on standard input; its relative paths begin
    at the working folder. Where no file has the name as it is written, quotes and spaces around it
    and backslashes in it are understood, and a line that begins with "#" is a comment.

    A CSV file (with commas, semicolons, tabs or bars) or a Parquet file is a manifest: its column
    image, path, file, file_name, filename, filepath, uri or url has the images; its relative paths
    begin at the folder of the manifest. Lists and CSV files are UTF-8, or begin with a byte order
    mark. Whether their files exist is not checked here.

    Files, folders, patterns and manifests may be addresses that fsspec supports, such as
    s3://bucket/photos.

    Args:
        paths: of the images. An existing path is never a pattern.
        exclude: folders to omit, such as the output folder.

    Returns:
        The files, `img2` before `img10`; empty if the folders, patterns and lists are empty.

    Raises:
        DataError: a path that is not a pattern does not exist, or a list cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.inference import find_images
        >>> for name in ("img10.jpg", "img2.jpg", "notes.txt"):
        ...     Path(name).touch()
        >>> [file.relative for file in find_images(["."])]
        ['img2.jpg', 'img10.jpg']
    """
    excluded = [os.fspath(path) for path in exclude]
    search = _Search(excluded)
    found: set[str] = set()
    roots: list[str] = []
    for path in paths:
        for root, files in _expand(os.fspath(path), search):
            roots.append(root)
            found.update(_join(root, file) for file in files)
    if text := str(search.left_out):
        _LOG.warning("%s", text)
    root = _common_folder(roots)
    relative = sorted((_relative(path, root) for path in found), key=natural_key)
    return [
        ImageFile(root, path, result)
        for path, result in zip(relative, _result_names(relative), strict=True)
    ]


_Found = tuple[str, list[str]]
"""(folder, images in it, relative to it)."""


class _Search:
    """What the search in one argument must know of the others.

    Attributes:
        exclude: folders and addresses that are omitted.
        excluded: identities of those folders.
        seen: identities of the folders that are read already.
        left_out: what is left out in all of them.
    """

    def __init__(self, exclude: Sequence[str]):
        self.exclude = exclude
        self.excluded = {folder_identity(path) for path in exclude if os.path.exists(path)}
        self.seen: set[tuple[int, int]] = set()
        self.left_out = LeftOut()


def _expand(path: str, search: _Search) -> list[_Found]:
    """The images of one argument."""
    if not path:
        raise DataError("an input path is empty, expected a file, folder, pattern, list or address")
    if path == "-":
        return _expand_list(sys.stdin.buffer.read(), os.getcwd())
    if path.startswith("@") and not os.path.lexists(path):
        return _expand_list(_read_list(path[1:]), os.getcwd())
    if path.lower().endswith(_MANIFESTS):
        return _expand_manifest(path)
    if is_address(path):
        return [_expand_address(path, search)]
    return [_expand_path(path, search)]


def _expand_list(content: bytes, folder: str) -> list[_Found]:
    """The images of a list whose relative paths begin at `folder`."""
    text = decode_text(content, errors="surrogateescape")
    if "\0" in text:
        return [_named_file(line, folder) for line in text.split("\0") if line.strip()]
    lines = [_as_meant(line.rstrip("\r"), folder) for line in text.split("\n") if line.strip()]
    paths = [line for line in lines if line is not None]
    if comments := len(lines) - len(paths):
        _LOG.warning("comments left out of a list: %d (lines that begin with #)", comments)
    return [_named_file(path, folder) for path in paths]


def _as_meant(line: str, folder: str) -> str | None:
    """The path in a line of a list; None for a comment.

    Other tools quote paths, use backslashes or leave spaces at the ends. A path that exists as it
    is written is taken as it is.
    """
    if not _AS_OTHERS_WRITE.search(line) or os.path.lexists(os.path.join(folder, line)):
        return line
    plain = line.strip()
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "\"'":
        plain = plain[1:-1]
    # Tables for spreadsheets have a quote before "=", "+", "-" and "@".
    for path in (plain, plain.replace("\\", "/"), plain.removeprefix("'")):
        if is_address(path) or os.path.lexists(os.path.join(folder, path)):
            return path
    return None if line.startswith("#") else line


def _named_file(path: str, folder: str) -> _Found:
    if is_address(path):
        parent, name = path.rsplit("/", 1)
    else:
        parent, name = os.path.split(os.path.normpath(os.path.join(folder, path)))
    return parent, [name]


def _read_list(path: str) -> bytes:
    if is_address(path):
        return read_address(path)
    try:
        return Path(path).read_bytes()  # it may be a pipe: @<(find ...)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the list cannot be read: {reason}", path=path) from error


def _expand_manifest(path: str) -> list[_Found]:
    """The images in the rows of a CSV or Parquet file."""
    rows = _parquet_column(path) if path.lower().endswith(".parquet") else _csv_column(path)
    folder = path.rsplit("/", 1)[0] if is_address(path) else os.path.dirname(os.path.abspath(path))
    return [_row_file(row, folder) for row in rows]


def _row_file(row: str, folder: str) -> _Found:
    if is_address(row):
        return _named_file(row, folder)
    if is_address(folder):
        return _named_file(f"{folder}/{row}", folder)
    return _named_file(_as_meant(row, folder) or row, folder)


def _csv_column(path: str) -> list[str]:
    text = decode_text(_read_list(path), errors="surrogateescape")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    column = _column(rows.fieldnames or [], path)
    paths = []
    for row in rows:
        if row[column]:
            paths.append(row[column])
        elif any(row.values()):  # spreadsheets leave empty rows at the end
            raise DataError(f"{path}: line {rows.line_num} has no {column}", path=path)
    return paths


def _delimiter(text: str) -> str:
    """The character between the columns of a CSV file, according to its first line."""
    header = text.partition("\n")[0]
    return next((each for each in _DELIMITERS if _names_images(header.split(each))), ",")


def _names_images(names: Sequence[str]) -> bool:
    """Whether a manifest with these columns has one of images."""
    return any(_plain(name) in _COLUMNS for name in names)


def _plain(name: str) -> str:
    """The name of a column without quotes, spaces and capitals."""
    return name.strip().strip('"').strip().casefold()


def _parquet_column(path: str) -> list[str]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet files need pyarrow: pip install 'keras-parts[formats]'"
        ) from None
    try:
        file = parquet.ParquetFile(arrow.BufferReader(_read_list(path)))
        column = _column(file.schema_arrow.names, path)
        paths = file.read([column])[column].to_pylist()
    except arrow.ArrowException as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}", path=path) from error
    if not all(isinstance(each, str) and each for each in paths):
        raise DataError(f"{path}: column {column} has values that are not paths", path=path)
    return paths


def _column(names: Sequence[str], path: str) -> str:
    plain = {_plain(name): name for name in reversed(names)}
    column = next((plain[name] for name in _COLUMNS if name in plain), None)
    if column is None:
        raise DataError(
            f"{path}: no column of images among {', '.join(names) or 'none'}; "
            f"expected one called {', '.join(_COLUMNS)}",
            path=path,
        )
    return column


def _expand_address(address: str, search: _Search) -> _Found:
    """The images at the address of a file, a folder or a pattern."""
    scheme = "file:///" if address.startswith("file:") else address.partition("://")[0] + "://"
    root, files, name = _list_address(address, search.left_out)
    root = scheme + root.lstrip("/")
    found = [scheme + file.lstrip("/") for file in files]
    outside = [
        file
        for file in found
        if not any(file.startswith(folder.rstrip("/") + "/") for folder in search.exclude)
    ]
    below = [file.removeprefix(root).lstrip("/") for file in outside]
    visible = [file for file in below if file == name or not _HIDDEN.search(file)]
    search.left_out.hidden += len(below) - len(visible)
    return root, visible


def _list_address(address: str, left_out: LeftOut) -> tuple[str, list[str], str]:
    """(root, files, last component) of an address, as paths of its file system."""
    system, path = file_system(address)
    name = path.rpartition("/")[2]
    pattern = _MAGIC.search(path)
    try:
        if pattern and not system.exists(path):
            root = path[: pattern.start()].rpartition("/")[0]
            return root, _images(system.glob(path), left_out), name
        if system.isdir(path):
            return path.rstrip("/"), _images(system.find(path), left_out), name
        if system.exists(path):
            return path.rpartition("/")[0], [path], name
    except Exception as error:  # each kind of storage raises other errors
        raise DataError(f"{address}: cannot be listed: {error}", path=address) from error
    raise DataError(f"{address}: there is no such file or folder", path=address)


def _images(files: Iterable[str], left_out: LeftOut) -> list[str]:
    """The files with the suffix of an image; the others are counted."""
    files = list(files)
    others = [os.path.splitext(file)[1].lower() for file in files if not has_image_suffix(file)]
    left_out.suffixes.update(others)
    return [file for file in files if has_image_suffix(file)]


def _expand_path(path: str, search: _Search) -> _Found:
    """The images of a file, a folder or a pattern on this machine."""
    return expand_path(path, exclude=search.excluded, seen=search.seen, left_out=search.left_out)


def _join(root: str, file: str) -> str:
    return f"{root}/{file}" if is_address(root) else os.path.join(root, file)


def _common_folder(roots: Iterable[str]) -> str:
    folders = set(roots)
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
            "the inputs are on several drives or kinds of storage: use a run for each"
        ) from error


def _relative(path: str, root: str) -> str:
    if is_address(root):
        return path[len(root) :].lstrip("/")
    return os.path.relpath(path, root).replace(os.sep, "/")


def _result_names(relative: Sequence[str]) -> list[str]:
    """The paths without their suffix, or with it if two would be equal (a.jpg and a.png).

    A path with its suffix may equal another one without (a.jpg and a.jpg.png); the other one then
    keeps its suffix too, until all names differ.
    """
    names = [os.path.splitext(path)[0] for path in relative]
    while True:
        count = Counter(names)
        distinct = [
            path if count[name] > 1 else name for path, name in zip(relative, names, strict=True)
        ]
        if distinct == names:
            return names
        names = distinct
