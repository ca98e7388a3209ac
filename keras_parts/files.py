"""Atomic writes: an interrupted write leaves the previous file unchanged. Reading of files that
somebody else made: regular files only, up to a limit. And locks against other processes."""

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from keras_parts.errors import DataError

if TYPE_CHECKING:
    from filelock import BaseFileLock


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
    unfinished = path.with_name(f".{uuid.uuid4().hex[:12]}.{path.name}")
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
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read: {reason}", path=path) from None
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
    check_regular(path)
    try:
        with open(path, "rb") as file:
            return file.read(max_bytes + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", path=path) from None


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

    if os.path.islink(path):  # earlier versions of filelock empty the file that it points to
        os.unlink(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def unlock(lock: "BaseFileLock") -> None:
    """Release a lock of `try_lock`, and remove its file."""
    with suppress(OSError):  # Windows removes no open file
        os.unlink(lock.lock_file)
    lock.release()


def _flush_folder(path: Path) -> None:
    """Write a folder's entries to disk, so that a rename survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
