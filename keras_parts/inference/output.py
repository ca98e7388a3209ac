"""The folder that results go to, on a disk or at an address: every file whole or not at all."""

import errno
import os
import shutil
import uuid
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from threading import Lock

from keras_parts.errors import KerasPartsError
from keras_parts.inference.addresses import file_system, is_address

UNFINISHED = ".unfinished"
"""Where files lie while they are written: what a killed run leaves is found there and nowhere
else."""
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
"""Errors that the next file would meet as well."""

_OPEN_FILES = 32
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Kinds of storage where the only folder to make would be a bucket, of a mistyped name say."""


class Unwritable(KerasPartsError):
    """Results cannot be written at all: the disk is full, or the folder refuses."""


def open_output(path: str | PathLike, owner: str):
    """The output folder at a path or address.

    Args:
        path: made when the first file is written.
        owner: a name that no other process writing there has.
    """
    return RemoteOutput(path, owner) if is_address(path) else LocalOutput(path, owner)


class LocalOutput:
    """A folder on a file system. Names are relative, with forward slashes.

    Attributes:
        path: the folder.
    """

    def __init__(self, path, owner):
        self.path = Path(path)
        self._unfinished = self.path / UNFINISHED / owner
        self._folders, self._reading, self._lock = set(), {}, None
        self._placing = Lock()  # no folder goes while a file is put into it

    def prepare(self):
        """Make the folder, take it for this owner, and remove what killed ones left.

        Raises:
            Unwritable: it cannot be made. KerasPartsError: the owner is at work in another process.
        """
        with self._refusals(self.path):
            self._unfinished.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._unfinished)
            if self._lock is None:
                raise KerasPartsError(
                    f"{self.path}: another process is writing these results: wait for it, or "
                    "choose another --output"
                )
            self._clear()
            self._unfinished.mkdir()
            with open(self._unfinished / "probe", "wb"):  # a folder may be there and refuse files
                pass

    def close(self):
        """Give the folder back and leave nothing unfinished in it."""
        for file in self._reading.values():
            file.close()
        self._reading.clear()
        if self._lock:
            self._clear()
            _unlocked(self._unfinished, self._lock)
            self._lock = None
            with suppress(OSError):  # others are at work
                self._unfinished.parent.rmdir()

    def _clear(self):
        """Remove what this owner, and others that are not at work any more, left unfinished."""
        shutil.rmtree(self._unfinished, ignore_errors=True)
        for folder in self._unfinished.parent.iterdir():
            if folder.is_dir() and (lock := _locked(folder)):
                shutil.rmtree(folder, ignore_errors=True)
                _unlocked(folder, lock)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of an older one.

        Raises:
            Unwritable: the disk is full or the folder refuses. OSError: this file cannot be
                written.
        """
        with self.create(name) as file:
            file.write(content)

    @contextmanager
    def create(self, name: str):
        """A file opened for writing bytes; it is there under its name when the block ends."""
        target, unfinished = self.path / name, self._unfinished / uuid.uuid4().hex
        with self._refusals(target):
            try:
                with open(unfinished, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                with self._placing:
                    if target.parent not in self._folders:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        self._folders.add(target.parent)
                    os.replace(unfinished, target)
            finally:
                unfinished.unlink(missing_ok=True)

    def log(self, name: str):
        """A new file of lines; see `LocalLog`."""
        with self._refusals(self.path / name):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            return LocalLog(self.path / name, self._refusals)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        return os.path.exists(self.path / name)

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder ("" for all of it), sorted; nothing if there is none."""
        try:
            return sorted(_below(folder, name) for name in os.listdir(self.path / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def open(self, name: str):
        """A file opened for reading bytes."""
        return open(self.path / name, "rb")

    def line_at(self, name: str, offset: int) -> bytes:
        """The line of a file that begins at `offset`."""
        if name not in self._reading:
            if len(self._reading) == _OPEN_FILES:
                self._reading.pop(next(iter(self._reading))).close()
            self._reading[name] = open(self.path / name, "rb")
        self._reading[name].seek(offset)
        return self._reading[name].readline()

    def remove(self, name: str) -> None:
        """Remove a file, and its folder when that is empty; nothing if there is none."""
        path = self.path / name
        path.unlink(missing_ok=True)
        with self._placing:
            for folder in path.parents:
                if folder == self.path or not folder.is_dir() or any(folder.iterdir()):
                    return
                folder.rmdir()
                self._folders.discard(folder)

    @contextmanager
    def _refusals(self, path):
        try:
            yield
        except OSError as error:
            if error.errno in _UNWRITABLE or path == self.path:
                text = f"{path}: results cannot be written: {error.strerror}"
                raise Unwritable(text) from error
            raise


def _below(folder, name):
    return f"{folder}/{name}" if folder else name


def _locked(folder):
    """The lock on a folder of unfinished files, or None if another process has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(f"{folder}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock


def _unlocked(folder, lock):
    Path(f"{folder}.lock").unlink(missing_ok=True)
    lock.release()


class LocalLog:
    """Lines that are on their way to the disk when `append` returns: a killed process loses none.

    A line that was cut short (a full disk, a power cut) is one without a line feed.
    """

    def __init__(self, path, refusals):
        self._path, self._refusals = path, refusals
        self._file = open(path, "xb", buffering=0)

    def append(self, line: bytes) -> None:
        """Add a line, which holds no line feed."""
        with self._refusals(self._path):
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self):
        """Have all lines on the disk."""
        with self._refusals(self._path):
            os.fsync(self._file.fileno())
            self._file.close()


class RemoteOutput:
    """A folder at an address. Stores of objects make each file whole or not at all themselves."""

    def __init__(self, path, owner):
        self.path = path.rstrip("/")
        self._system, self._root = file_system(self.path)
        self._has_folders = self.path.partition("://")[0] not in _WITHOUT_FOLDERS
        self._reading = {}

    def prepare(self):
        """Find out whether files can be written there."""
        self.write(f"{UNFINISHED}/probe", b"")
        self.remove(f"{UNFINISHED}/probe")

    def close(self):
        """Nothing is left to be done."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of an older one.

        Raises:
            Unwritable: the store refuses.
        """
        path = self._at(name)
        try:
            self._make_folder(path)
            self._system.pipe_file(path, content)
        except Exception as error:  # each kind of store has errors of its own
            raise Unwritable(f"{self.path}/{name}: results cannot be written: {error}") from error

    @contextmanager
    def create(self, name: str):
        """A file opened for writing bytes; it is there under its name when the block ends."""
        path = self._at(name)
        self._make_folder(path)
        with self._system.transaction, self._system.open(path, "wb") as file:
            yield file

    def log(self, name: str):
        """A new file of lines; see `RemoteLog`."""
        return RemoteLog(self, name)

    def exists(self, name: str) -> bool:
        """Taken for granted: asking for each file would take longer than writing it."""
        return True

    def names(self, folder: str) -> list[str]:
        """What lies directly in a folder ("" for all of it), sorted; nothing if there is none."""
        self._system.invalidate_cache()
        try:
            found = self._system.ls(self._at(folder).rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
        return sorted(_below(folder, path.rstrip("/").rpartition("/")[2]) for path in found)

    def open(self, name: str):
        """A file opened for reading bytes."""
        return self._system.open(self._at(name), "rb")

    def line_at(self, name: str, offset: int) -> bytes:
        """The line of a file that begins at `offset`."""
        if name not in self._reading:
            if len(self._reading) == _OPEN_FILES:
                self._reading.pop(next(iter(self._reading)))
            self._reading[name] = self._system.cat_file(self._at(name))
        content = self._reading[name]
        return content[offset : content.index(b"\n", offset) + 1]

    def remove(self, name: str) -> None:
        """Remove a file; nothing if there is none."""
        try:
            self._system.rm_file(self._at(name))
        except FileNotFoundError:
            pass

    def _make_folder(self, path):
        if self._has_folders:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _at(self, name):
        return f"{self._root}/{name}"


class RemoteLog:
    """Lines that reach the store a few at a time, as files of their own: objects cannot grow.

    Each file begins with the first line of all. A killed process loses the last few lines, whose
    pictures are segmented again.
    """

    AT_A_TIME = 64

    def __init__(self, output, name):
        self._output, (self._stem, self._suffix) = output, os.path.splitext(name)
        self._head, self._lines, self._written = None, [], 0

    def append(self, line: bytes) -> None:
        """Add a line, which holds no line feed."""
        if self._head is None:
            self._head = line + b"\n"
            return
        self._lines.append(line + b"\n")
        if len(self._lines) == self.AT_A_TIME:
            self._flush()

    def close(self):
        """Have all lines in the store."""
        if self._lines:
            self._flush()

    def _flush(self):
        name = f"{self._stem}.{self._written:06d}{self._suffix}"
        self._output.write(name, b"".join([self._head, *self._lines]))
        self._lines, self._written = [], self._written + 1
