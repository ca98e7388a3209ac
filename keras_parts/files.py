"""Atomic writes: an interrupted write leaves the previous file unchanged. Files and folders that
somebody else made: regular files only are read, up to a limit, and names stay in their folder.
Locks against other processes, and the files of the cache."""

import codecs
import errno
import hashlib
import logging
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from keras_parts.errors import DataError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOG = logging.getLogger(__name__)
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> the encoding. UTF-32 comes first: its mark begins with that of UTF-16."""

_UNFINISHED = re.compile(r"^\.[0-9a-f]{12}\.(?=.)")
"""What the name of an unfinished file begins with."""
MAX_FILE_BYTES = 2**31
"""Default maximum of bytes that are read of a file."""


@contextmanager
def atomic_path(path: str | PathLike[str]) -> Iterator[Path]:
    """Yield the path of a temporary file that replaces `path` at the end of the block.

    The temporary file lies in the same folder and has the same suffix, because some libraries
    choose the format by the suffix. If the block raises, the temporary file is removed and `path`
    is unchanged.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import atomic_path
        >>> with atomic_path("notes.txt") as unfinished:
        ...     _ = unfinished.write_text("complete")
        >>> Path("notes.txt").read_text()
        'complete'
    """
    path = Path(path)
    unfinished = _unfinished(path)
    try:
        yield unfinished
        with open(unfinished, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    with suppress(OSError):  # some file systems cannot flush a folder
        _flush_folder(path.parent)


@contextmanager
def atomic_write(path: str | PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a temporary file that replaces `path` at the end of the block.

    Args:
        path: the file to write, in an existing folder.
        mode: "wb" for bytes, "w" for text (UTF-8, with line feeds at the ends of lines).

    Example:
        >>> from keras_parts.files import atomic_write
        >>> with atomic_write("notes.txt", "w") as file:
        ...     _ = file.write("complete")
    """
    encoding = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with atomic_path(path) as unfinished, open(unfinished, mode, **encoding) as file:  # type: ignore[call-overload]
        yield file


@contextmanager
def atomic_folder(path: str | PathLike[str]) -> Iterator[Path]:
    """Yield a new folder that gets the name `path`, which is free, at the end of the block.

    If the block raises, the folder is removed.

    Raises:
        FileExistsError: there is a file or folder of this name.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import atomic_folder
        >>> with atomic_folder("notes/new") as unfinished:
        ...     _ = (unfinished / "a.txt").write_text("complete")
        >>> [path.name for path in Path("notes").iterdir()]
        ['new']
    """
    path = Path(path)
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _unfinished(path)
    unfinished.mkdir()
    try:
        yield unfinished
        os.rename(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")


def describe_os_error(error: OSError) -> str:
    """An error of the system as a message: the file, by its final name, and what went wrong.

    Example:
        >>> from keras_parts.files import describe_os_error
        >>> describe_os_error(PermissionError(13, "Permission denied", "out/.0123456789ab.a.txt"))
        'out/a.txt: Permission denied'
    """
    if error.strerror is None or not isinstance(error.filename, str | bytes):
        return str(error)
    folder, name = os.path.split(os.fsdecode(error.filename))
    return f"{os.path.join(folder, _UNFINISHED.sub('', name))}: {error.strerror}"


def check_regular(path: str | PathLike[str]) -> int:
    """The size of a regular file in bytes.

    Opening a named pipe waits for ever, and a device may have no end: files that somebody else made
    are opened only after this check.

    Raises:
        DataError: it is missing, or not a regular file.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import check_regular
        >>> _ = Path("notes.txt").write_text("complete")
        >>> check_regular("notes.txt")
        8
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in the name
        raise DataError(f"{path}: there is no such file", path=path) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", path=path) from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, a socket or a device"
        raise DataError(f"{path}: is {kind}, expected a regular file", path=path)
    return status.st_size


def read_limited(path: str | PathLike[str], max_bytes: int) -> bytes:
    """The first `max_bytes` + 1 bytes of a regular file, so that a larger file is noticed.

    Raises:
        DataError: it is missing, not a regular file or cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import read_limited
        >>> _ = Path("notes.txt").write_text("complete")
        >>> read_limited("notes.txt", 3)
        b'comp'
    """
    if not check_regular(path):
        return b""  # a file of /proc has no size, and reading it may wait for ever
    try:
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", path=path) from None


def read_file(path: str | PathLike[str], *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """All bytes of a regular file; its size is checked before it is read.

    Raises:
        DataError: it is missing, not a regular file, larger than `max_bytes` or cannot be read.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import read_file
        >>> _ = Path("notes.txt").write_text("complete")
        >>> read_file("notes.txt")
        b'complete'
    """
    size = check_regular(path)
    content = read_limited(path, max_bytes) if size <= max_bytes else b""
    if (size := max(size, len(content))) > max_bytes:
        raise DataError(f"{path}: {size:,} bytes exceed the limit of {max_bytes:,}", path=path)
    return content


def file_sha256(path: str | PathLike[str]) -> str:
    """Hexadecimal sha256 of a file's content, which is read block by block.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import file_sha256
        >>> Path("empty").touch()
        >>> file_sha256("empty")[:8]
        'e3b0c442'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decode_text(content: bytes, *, errors: str = "strict") -> str:
    """The text in the bytes of a file: UTF-8, or UTF-16 and UTF-32 with a byte order mark.

    Editors and shells of Windows write these marks; they are not part of the text.

    Args:
        content: all bytes of the file.
        errors: as for `bytes.decode`; "surrogateescape" keeps file names that are not UTF-8.

    Raises:
        UnicodeDecodeError: the bytes are not text, with `errors="strict"`.

    Example:
        >>> from keras_parts.files import decode_text
        >>> decode_text("größer".encode("utf-16"))
        'größer'
    """
    for mark, encoding in _MARKS.items():
        if content.startswith(mark) and len(content) > len(mark):
            # "surrogateescape" knows bytes of UTF-8 only.
            return content.decode(encoding, errors if errors == "strict" else "replace")
    return content.decode("utf-8-sig", errors)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder and below it, in bytes; links count themselves."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


@dataclass(frozen=True)
class CachedFile:
    """A file in the cache.

    Attributes:
        path: of the file.
        bytes: its size.
        used: when it was last read or written, in seconds since 1970.
        is_unfinished: whether a process that was killed, or still runs, has begun to write it.
    """

    path: Path
    bytes: int
    used: float
    is_unfinished: bool


def cached_files(folder: str | PathLike[str], suffix: str) -> list[CachedFile]:
    """The cached files in a folder, the least recently used first.

    Args:
        folder: it need not exist.
        suffix: of the files, such as ".npy".

    Example:
        >>> from keras_parts.files import cached_files
        >>> cached_files("no such folder", ".npy")
        []
    """
    found = []
    for path in Path(folder).glob(f"*{suffix}"):
        with suppress(FileNotFoundError):  # another process has removed it
            status = path.stat()
            is_unfinished = path.name.startswith(".")
            found.append(CachedFile(path, status.st_size, status.st_mtime, is_unfinished))
    return sorted(found, key=lambda file: (file.used, file.path))


def remove_cached(paths: Iterable[str | PathLike[str]]) -> int:
    """Remove cached files, but those that a running process writes.

    Args:
        paths: from `cached_files`.

    Returns:
        The number of bytes freed.

    Example:
        >>> from keras_parts.files import remove_cached
        >>> remove_cached([])
        0
    """
    freed = 0
    for path in map(Path, paths):
        # Unfinished files are called ".ID.NAME" until they are complete.
        name = path.stem.rpartition(".")[2] + path.suffix
        lock = try_lock(path.with_name(f"{name}.lock"))
        if lock is None:
            continue
        try:
            with suppress(OSError):  # Windows removes no open file
                size = path.stat().st_size
                path.unlink()
                freed += size
        finally:
            unlock(lock)
    return freed


def try_lock(path: str | PathLike[str]) -> "BaseFileLock | None":
    """The lock with a file of this name, or None if another process has it.

    The system releases the lock of a process that was killed, and the file that it leaves behind
    blocks nobody.

    Example:
        >>> from keras_parts.files import try_lock, unlock
        >>> lock = try_lock("results.lock")
        >>> try_lock("results.lock") is None
        True
        >>> unlock(lock)
    """
    from filelock import FileLock, Timeout

    with suppress(FileNotFoundError):
        status = os.lstat(path)
        # FileLock may empty the file that a link, or a second name of the file, leads to.
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            os.unlink(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


@contextmanager
def locked(path: str | PathLike[str], waiting: str = "") -> Iterator[None]:
    """Exclude other processes from the block; waits for the one that has the lock.

    Args:
        path: of the lock's file, in an existing folder.
        waiting: a warning while it waits.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        if waiting:
            _LOG.warning("%s", waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def unlock(lock: "BaseFileLock") -> None:
    """Release a lock of `try_lock`, and remove its file."""
    with suppress(OSError):  # Windows removes no open file
        os.unlink(lock.lock_file)
    lock.release()


def check_name(name: str) -> None:
    """Check that a name with forward slashes stays in its folder, whatever the folder is.

    Raises:
        DataError: the name is empty or absolute, has a drive, `..` or a NUL, or cannot be the name
            of a file.

    Example:
        >>> from keras_parts import errors, files
        >>> files.check_name("indexed/a.png")
        >>> try:
        ...     files.check_name("../a.png")
        ... except errors.DataError as error:
        ...     print(error)
        the name '../a.png' leads out of its folder
    """
    path = PurePath(name)
    leads_out = path.drive or path.root or ".." in path.parts
    if leads_out or not path.parts or "\0" in name or not _is_encodable(name):
        kind = "leads out of its folder" if leads_out else "cannot be the name of a file"
        shown = name if len(name) < 200 else f"{name[:200]}..."
        raise DataError(f"the name {shown!r} {kind}")


def path_inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by its name relative to the folder.

    It is the way to files whose names somebody else chose. The path lies in the folder, and none of
    the folders between is a link. The file itself may be a link: replace or remove it, but do not
    open it.

    Args:
        folder: resolved, without links.
        name: with forward slashes.

    Raises:
        DataError: the name leads out of the folder, or is none; see `check_name`.
        OSError: a folder on the way is a link.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.files import path_inside
        >>> folder = Path.cwd().resolve()
        >>> path_inside(folder, "indexed/a.png").relative_to(folder).as_posix()
        'indexed/a.png'
    """
    check_name(name)
    path = folder / name
    if os.path.normcase(os.path.realpath(path.parent)) != os.path.normcase(path.parent):
        raise OSError(
            errno.ELOOP,
            f"{path.parent} is, or lies behind, a link to another folder: remove the link",
            str(path),
        )
    return path


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _flush_folder(path: Path) -> None:
    """Write a folder's entries to disk, so that a rename survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
