"""Find the images to segment, and name the results of each."""

import logging
import os
import posixpath
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from os import PathLike

from keras_parts.addresses import (
    check_address,
    file_system,
    is_address,
    is_http,
    protocol_of,
    read_address,
    shown_address,
    version_of,
    without_file_protocol,
)
from keras_parts.environment import max_image_bytes
from keras_parts.errors import ConfigError, DataError, KerasPartsError, hide_secrets
from keras_parts.files import read_file
from keras_parts.images.decoding import read_size
from keras_parts.images.folders import (
    LeftOut,
    check_path,
    expand_path,
    folder_identity,
    has_image_suffix,
    natural_key,
)
from keras_parts.images.opening import check_image_file
from keras_parts.inference.manifests import Row, list_name, list_rows, manifest_rows, read_list

_LOG = logging.getLogger(__name__)
_MAGIC = re.compile(r"[*?[]")
_HIDDEN = re.compile(r"(^|/)\.")
_MANIFESTS = (".csv", ".parquet")
_LARGE_FILE = 2**26
"""Bytes from which on the header of an image file is checked before all of it is read."""
_AS_OTHERS_WRITE = re.compile(r"^[\s\"'#]|[\s\"']$|\\")
_ELSEWHERE = "is on another drive or kind of storage than most of the images: use a run for each"
_MAX_PATH = 2**13
"""Characters of the longest path that is looked for."""
_SHOWN_PATH = 1000
"""Characters that are kept of the path in a row that cannot be used."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image to segment.

    Attributes:
        root: the folder of all images of the run, absolute, or an address.
        relative: path of the image in `root`, with forward slashes; unique in the run.
        result: name of its results, to which a format adds its suffix: `relative` without its
            suffix, or with it if two images differ in the suffix alone.
        source: the address to read if it differs from `root` and `relative`, which have no
            passwords and queries; or the row of a list that cannot be used.
        problem: why the image cannot be read; "" if it may be.

    Example:
        >>> from keras_parts.inference import ImageFile
        >>> ImageFile("/photos", "birds/1.jpg", "birds/1").path
        '/photos/birds/1.jpg'
    """

    root: str
    relative: str
    result: str
    source: str = ""
    problem: str = ""

    @property
    def path(self) -> str:
        """Path or address of the image. An address may have a password: see `hide_secrets`."""
        if self.source or is_address(self.root):
            return self.source or _join(self.root, self.relative)
        return os.path.join(self.root, *self.relative.split("/"))

    def read(self) -> bytes:
        """The content of the file.

        Raises:
            DataError: it is missing, unreadable, too large or not a plain file.
            ConfigError: its address is of a kind that is not opened.
        """
        self._check_problem()
        if is_address(self.path):
            return read_address(self.path, max_bytes=max_image_bytes())
        check_image_file(self.path)
        if os.path.isfile(self.path) and os.path.getsize(self.path) > _LARGE_FILE:
            # The header tells whether it is an image at all, before it fills the memory.
            read_size(self.path, max_pixels=sys.maxsize)
        return read_file(self.path, max_bytes=max_image_bytes())

    def version(self) -> str:
        """A text that changes when the file does, from its size and date.

        Raises:
            DataError: it is missing or not a file.
            ConfigError: its address is of a kind that is not opened.
        """
        self._check_problem()
        if is_address(self.path):
            return version_of(self.path)
        try:
            status = os.stat(self.path)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.path}: cannot be read: {reason}", path=self.path) from None
        if not stat.S_ISREG(status.st_mode):  # a pipe may block, a device may never end
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a plain file"
            raise DataError(f"{self.path}: this is {kind}, expected an image file", path=self.path)
        return f"{status.st_size} {status.st_mtime_ns}"

    def _check_problem(self) -> None:
        if self.problem:
            raise DataError(f"{self.relative}: {self.problem}", path=self.path)


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
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
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


def _with_places(problems: Mapping[tuple[str, str], Row]) -> Iterator[Row]:
    """The rows of several lists, each with a place of its own.

    Args:
        problems: (place, argument) -> row. Lists in two folders may have the same name.
    """
    count = Counter(place for place, _ in problems)
    for (place, argument), row in problems.items():
        shown = f"{place} of {hide_secrets(argument)}" if count[place] > 1 else place
        yield replace(row, place=shown)


def find_images(
    paths: Iterable[str | PathLike[str]],
    *,
    exclude: Iterable[str | PathLike[str]] = (),
    standard_input: bytes | None = None,
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

    Files, folders, patterns and manifests may be addresses such as s3://bucket/photos, of the
    protocols in `keras_parts.addresses.PROTOCOLS`. An address of the web is one file: there are no
    folders and patterns. A row of a list or manifest that cannot be used becomes an image that
    fails.

    Args:
        paths: of the images. An existing path is never a pattern.
        exclude: folders to omit, such as the output folder.
        standard_input: its content, where it has been read before; see `read_standard_input`.

    Returns:
        The files, `img2` before `img10`; empty if the folders, patterns and lists are empty.

    Raises:
        DataError: a path that is not a pattern does not exist, or a list cannot be read.
        ConfigError: an address is of a kind that is not opened.

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
    problems: dict[tuple[str, str], Row] = {}
    for argument in paths:
        path = os.fspath(argument)
        if path == "-":
            content = read_standard_input() if standard_input is None else standard_input
            expanded = _expand_list(content, "standard input", search)
        else:
            expanded = _expand(path, search)
        for root, files in expanded:
            roots.append(root)
            found.update(_join(root, file) for file in files)
        problems |= {(row.place, path): row for row in search.problems}
        search.problems.clear()
    if text := str(search.left_out):
        _LOG.warning("%s", text)
    elsewhere = _elsewhere(roots, found, search.row_kinds)
    found -= elsewhere.keys()
    kinds = set(elsewhere.values())
    root = _common_folder(root for root in roots if not kinds or _kind(root) not in kinds)
    relative = sorted((_relative(path, root) for path in found), key=natural_key)
    sources = search.sources
    images = [
        ImageFile(root, path, result, sources.get(_join(root, path), "") if sources else "")
        for path, result in zip(relative, _result_names(relative), strict=True)
    ]
    rows = list(_with_places(problems))
    rows += [Row(path, search.sources.get(path, path), _ELSEWHERE) for path in sorted(elsewhere)]
    return images + [ImageFile(root, row.place, row.place, row.path, row.problem) for row in rows]


def check_paths(paths: Iterable[str]) -> None:
    """Check that the files, folders and lists exist that `find_images` would read.

    Addresses are not requested, and patterns may match nothing.

    Raises:
        DataError: one does not exist.
    """
    for path in paths:
        is_list = path.startswith("@") and not os.path.lexists(path)
        path = without_file_protocol(path[1:] if is_list else path)
        if path not in ("", "-") and not is_address(path):
            check_path(path)


def read_standard_input() -> bytes:
    """All bytes of standard input.

    Raises:
        DataError: it is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise DataError("-: standard input is closed")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:  # opened for writing
        raise DataError(f"-: standard input cannot be read: {error.strerror}") from error


_Found = tuple[str, list[str]]
"""(folder, images in it, relative to it)."""


class _Search:
    """What the search in one argument must know of the others.

    Attributes:
        exclude: folders and addresses that are omitted.
        excluded: identities of those folders.
        seen: identities of the folders that are read already.
        left_out: what is left out in all of them.
        sources: path of an image -> the address to read, where they differ.
        problems: rows that cannot be used.
        row_kinds: kind of storage -> number of rows whose images it has.
    """

    def __init__(self, exclude: Sequence[str]):
        self.exclude = [without_file_protocol(path) for path in exclude]
        self.excluded = {folder_identity(path) for path in self.exclude if os.path.exists(path)}
        self.seen: set[tuple[int, int]] = set()
        self.left_out = LeftOut()
        self.sources: dict[str, str] = {}
        self.problems: list[Row] = []
        self.row_kinds: Counter[str] = Counter()


def _expand(path: str, search: _Search) -> list[_Found]:
    """The images of one argument."""
    if not path:
        raise DataError("an input path is empty, expected a file, folder, pattern, list or address")
    if path.startswith("@") and not os.path.lexists(path):
        name = without_file_protocol(path[1:])
        return _expand_list(read_list(name), list_name(name), search)
    path = without_file_protocol(path)
    if path.lower().endswith(_MANIFESTS):
        return _expand_manifest(path, search)
    if is_http(path):
        check_address(path)
        return [_named_file(path, "", search)]
    if is_address(path):
        return [_expand_address(path, search)]
    return [_expand_path(path, search)]


def _expand_list(content: bytes, name: str, search: _Search) -> list[_Found]:
    """The images of a list whose relative paths begin at the working folder."""
    folder, found, comments = os.getcwd(), [], 0
    for row in list_rows(content, name):
        path = _as_meant(row.path, folder)
        if path is None:
            comments += 1
        else:
            found += _row_file(replace(row, path=path), folder, search)
    if comments:
        _LOG.warning("comments left out of a list: %d (lines that begin with #)", comments)
    return found


def _expand_manifest(path: str, search: _Search) -> list[_Found]:
    """The images in the rows of a CSV or Parquet file, whose relative paths begin at its folder."""
    remote = is_address(path)
    folder = path.rsplit("/", 1)[0] if remote else os.path.dirname(os.path.abspath(path))
    found = []
    for row in manifest_rows(path):
        if not (row.problem or remote or len(row.path) > _MAX_PATH):
            row = replace(row, path=_as_meant(row.path, folder) or row.path)
        found += _row_file(row, folder, search)
    return found


def _row_file(row: Row, folder: str, search: _Search) -> list[_Found]:
    """The image in a row; none if the row cannot be used, which `search` then notes.

    Args:
        row: of a list or manifest.
        folder: at which relative paths begin.
        search: in which it is found.
    """
    problem = row.problem
    try:
        if not problem:
            found = _named_file(_row_path(row.path, folder), folder, search)
            search.row_kinds[_kind(found[0])] += 1
            return [found]
    except KerasPartsError as error:
        problem = str(error)
    path = row.path[:_SHOWN_PATH] or row.place
    search.problems.append(replace(row, path=path, problem=problem))
    return []


def _row_path(path: str, folder: str) -> str:
    """The path or address in a row, checked."""
    if len(path) > _MAX_PATH or "\0" in path:
        what = "a NUL" if "\0" in path else f"{len(path):,} characters"
        raise DataError(f"{path[:100]!r}: has {what}, which no path has")
    if is_address(folder) and not is_address(path):
        protocol, _, base = folder.partition("://")
        joined = posixpath.normpath(f"/{base}/{path}").lstrip("/")
        if joined.partition("/")[0] != base.partition("/")[0]:
            raise DataError(f"{path!r}: leads out of {shown_address(folder)}")
        return f"{protocol}://{joined}"
    if is_address(folder):
        check_address(path)  # of this machine's files too: the list came from another one
        return path
    path = without_file_protocol(path)
    if is_address(path):
        check_address(path)
    return path


def _named_file(path: str, folder: str, search: _Search) -> _Found:
    if is_address(path):
        shown = shown_address(path)
        if shown != path:
            search.sources[shown] = path
        parent, name = shown.rsplit("/", 1)
    else:
        parent, name = os.path.split(os.path.normpath(os.path.join(folder, path)))
    return parent, [name]


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


def _expand_address(address: str, search: _Search) -> _Found:
    """The images at the address of a file, a folder or a pattern."""
    scheme = address.partition("://")[0] + "://"
    root, files, name = _list_address(address, search.left_out)
    root = scheme + root.lstrip("/")
    found = [scheme + file.lstrip("/") for file in files]
    outside = [
        file
        for file in found
        if not any(file.startswith(folder.rstrip("/") + "/") for folder in search.exclude)
    ]
    below = [_relative(file, root) for file in outside]
    visible = [file for file in below if file == name or not _HIDDEN.search(file)]
    search.left_out.hidden += len(below) - len(visible)
    return root, [file for file in visible if _is_usable(_join(root, file), search)]


def _is_usable(address: str, search: _Search) -> bool:
    """Whether an address in a folder can be read; if not, `search` notes the problem."""
    try:
        check_address(address)
    except DataError as error:
        place = address.replace("/", "%2F").replace("\0", "%00")
        search.problems.append(Row(place, address, str(error)))
        return False
    return True


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
    if is_address(root):
        return f"{root}{file}" if root.endswith("://") else f"{root}/{file}"
    return os.path.join(root, file)


def _common_folder(roots: Iterable[str]) -> str:
    folders = set(roots)
    if not folders:
        return os.getcwd()
    address = next(filter(is_address, folders), None)
    if address is None:
        return os.path.commonpath(folders)
    # Not `commonpath`: it takes a//b, another object than a/b, for the same.
    parts = [folder.partition("://")[2].split("/") for folder in folders]
    first, last = min(parts), max(parts)
    equal = (a == b for a, b in zip(first, last, strict=False))
    return f"{protocol_of(address)}://{'/'.join(first[: sum(takewhile(bool, equal))])}"


def _kind(path: str) -> str:
    """The kind of storage of a path or address: its protocol or its drive, which may be ""."""
    return protocol_of(path) if is_address(path) else os.path.splitdrive(path)[0].lower()


def _elsewhere(roots: Sequence[str], found: Iterable[str], rows: Counter[str]) -> dict[str, str]:
    """The images on another kind of storage than most, and their kind: they have no folder in
    common. They are rows of lists and manifests, each of which fails alone.

    Args:
        roots: folders of the images.
        found: the images.
        rows: kind -> number of rows.

    Raises:
        DataError: they are no rows, but inputs by themselves.
    """
    examples = {_kind(root): root for root in roots}
    if len(examples) < 2:
        return {}
    kinds = Counter(map(_kind, roots))
    (kind, _), *others = (kinds - rows or kinds).most_common()
    if kinds - rows and others:
        shown = " and ".join(sorted(hide_secrets(examples[each]) for each in kinds - rows))
        raise DataError(
            f"the inputs are on several drives or kinds of storage ({shown}): use a run for each"
        )
    return {path: each for path in found if (each := _kind(path)) != kind}


def _relative(path: str, root: str) -> str:
    if is_address(root):
        return path.removeprefix(root if root.endswith("://") else f"{root}/")
    return os.path.relpath(path, root).replace(os.sep, "/")


def _result_names(relative: Sequence[str]) -> list[str]:
    """The paths without their suffix, or with it if two would be equal (a.jpg and a.png).

    A path with its suffix may equal another one without (a.jpg and a.jpg.png); the other one then
    keeps its suffix too, until all names differ.
    """
    relative = [_file_name(path) for path in relative]
    names = [os.path.splitext(path)[0] for path in relative]
    while True:
        count = Counter(names)
        distinct = [
            path if count[name] > 1 else name for path, name in zip(relative, names, strict=True)
        ]
        if distinct == names:
            return names
        names = distinct


def _file_name(path: str) -> str:
    """A path without empty parts, which addresses may have, and files have not."""
    if "//" not in path and not path.startswith("/"):
        return path
    stem, suffix = os.path.splitext("/".join(filter(None, path.split("/"))))
    return f"{stem}-{zlib.crc32(path.encode('utf-8', 'surrogateescape')):08x}{suffix}"
