"""The folder for results, on a disk or at an address; every file is written atomically.

Somebody else may have made the folder: nothing outside of it is read, written or removed, whatever
its files are called and whatever it says about itself. Every name passes `path_inside`.
"""

import errno
import io
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Protocol

from keras_parts.addresses import file_system, is_address, is_http, without_file_protocol
from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.files import check_name, path_inside, try_lock, unlock

if TYPE_CHECKING:
    from filelock import BaseFileLock

UNFINISHED = ".unfinished"
"""Folder of files that are being written; a killed run leaves incomplete files only here."""
_FATAL_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.ELOOP)
}
"""Errors that would occur with every other file too."""
_OBSTACLES = (errno.EISDIR, errno.EEXIST, errno.ENOTDIR, errno.ENOTEMPTY)
"""Errors where a folder is in the place of a file, or a file in that of a folder."""
_ADVICE = {
    **dict.fromkeys(_OBSTACLES, ": remove what is there"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ": choose another --output"),
    errno.ENAMETOOLONG: ": give the image a shorter name, or choose an --output with a shorter one",
    errno.EFBIG: ": the file system or the user (ulimit -f) limits the size of files",
    errno.EMFILE: ": the user (ulimit -n) limits the number of open files",
}
DAMAGED_RECORDS = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError),
)
"""Errors of a writer whose records are not those that it has written."""
_MAX_OPEN_FILES = 32
_WITHOUT_FOLDERS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss"}
"""Kinds of storage where creating a folder could create a bucket of a mistyped name."""


class OutputError(KerasPartsError):
    """No results can be written: the disk is full, or the folder is not writable."""


class Log(Protocol):
    """A file to which lines are appended."""

    def append(self, line: bytes) -> None:
        """Append a line, which contains no line feed."""

    def close(self) -> None:
        """Flush all lines."""


class Output(Protocol):
    """An output folder. Names of files are relative, with forward slashes.

    Methods that take a name raise DataError if it leads out of the folder, and OutputError if a
    link does.

    Attributes:
        path: of the folder.
    """

    path: Any

    def prepare(self) -> None:
        """Create the folder, and check that files can be written to it.

        Raises:
            OutputError: files cannot be written to it.
            KerasPartsError: another process with the same owner is writing to it.
        """

    def close(self) -> None:
        """Release the folder, and remove unfinished files."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; it replaces an older one.

        Raises:
            OutputError: no file can be written.
            KerasPartsError: this file cannot be written.
        """

    def create(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for writing; it appears under its name at the end of the block."""

    def log(self, name: str) -> Log:
        """A new file of lines."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file; False for a link."""

    def names(self, folder: str) -> list[str]:
        """The content of a folder ("" for this one), sorted; empty if it does not exist."""

    def open(self, name: str) -> Any:
        """Open a file for reading bytes."""

    def line_at(self, name: str, offset: int) -> bytes:
        """The line of a file that begins at `offset`."""

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


def open_output(path: str | PathLike[str], owner: str) -> Output:
    """The output folder at a path or address.

    Args:
        path: created with the first file.
        owner: a name that no other process writing to the folder has.

    Raises:
        ConfigError: the path is empty or has a NUL; the address is of a kind that is not opened,
            or cannot be written.
    """
    path = without_file_protocol(os.fspath(path))
    if not path or "\0" in path:
        raise ConfigError(f"the output folder is {path!r}, expected a path", setting="output")
    if is_http(path):
        raise ConfigError(f"{path}: results cannot be written to an address of the web", path=path)
    return RemoteOutput(path) if is_address(path) else LocalOutput(path, owner)


class LocalOutput:
    """An output folder on a file system; see `Output`.

    The folder may be given as a link. In it, links are not followed.
    """

    def __init__(self, path: str | PathLike[str], owner: str) -> None:
        self.path = Path(path)
        self._root = Path(os.path.realpath(path))
        self._unfinished_name = f"{UNFINISHED}/{owner}"
        self._folders: set[Path] = set()
        self._open_files: dict[str, IO[bytes]] = {}
        self._lock: BaseFileLock | None = None
        # A folder must not be removed as empty just before a file is moved into it.
        self._folder_lock = Lock()

    def prepare(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path} is a file: give --output a folder", path=self.path)
        with self._output_errors(self.path):
            self._unfinished.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _try_lock(self._unfinished)
            if self._lock is None:
                raise KerasPartsError(
                    f"{self.path}: another process is writing to this folder: wait for it, or "
                    "choose another --output",
                    path=self.path,
                )
            self._clear()
            self._unfinished.mkdir()
            with open(self._unfinished / "probe", "wb"):  # the folder may exist but be read-only
                pass

    def close(self) -> None:
        for file in self._open_files.values():
            file.close()
        self._open_files.clear()
        if self._lock:
            self._clear()
            unlock(self._lock)
            self._lock = None
            with suppress(OSError):  # not empty: another process is writing
                self._unfinished.parent.rmdir()

    @property
    def _unfinished(self) -> Path:
        """Folder of this owner's unfinished files."""
        return path_inside(self._root, self._unfinished_name)

    def _clear(self) -> None:
        """Remove unfinished files of this owner, and of processes that are no longer running."""
        own = self._unfinished
        if os.path.islink(own) or not own.is_dir():
            own.unlink(missing_ok=True)  # `rmtree` would wait for a pipe
        shutil.rmtree(own, ignore_errors=True)  # does not follow links
        with os.scandir(own.parent) as entries:
            folders = [Path(entry) for entry in entries if entry.is_dir(follow_symlinks=False)]
        for folder in folders:
            if lock := _try_lock(folder):
                shutil.rmtree(folder, ignore_errors=True)
                unlock(lock)

    def write(self, name: str, content: bytes) -> None:
        with self.create(name) as file:
            file.write(content)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        with self._output_errors(self.path / name):
            target, unfinished = self._path(name), self._unfinished / uuid.uuid4().hex
            try:
                with open(unfinished, "wb") as file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                with self._folder_lock:
                    if target.parent not in self._folders:
                        target.parent.mkdir(parents=True, exist_ok=True)
                        self._folders.add(target.parent)
                    os.replace(unfinished, target)  # a link is replaced, not followed
            finally:
                unfinished.unlink(missing_ok=True)

    def log(self, name: str) -> "LocalLog":
        with self._output_errors(self.path / name):
            path = self._path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            return LocalLog(path, self._output_errors)

    def exists(self, name: str) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self._path(name)).st_mode)
        except (DataError, OSError):
            return False

    def names(self, folder: str) -> list[str]:
        with self._output_errors(self.path / folder):
            path = self._path(f"{folder}/any").parent if folder else self._root
            try:
                return sorted(_below(folder, name) for name in os.listdir(path))
            except (FileNotFoundError, NotADirectoryError):
                return []

    def open(self, name: str) -> IO[bytes]:
        with self._output_errors(self.path / name):
            path = self._path(name)
            if not stat.S_ISREG(os.lstat(path).st_mode):  # a pipe may block, a link leads elsewhere
                text = (
                    f"{self.path / name}: is no regular file: remove it, or choose another folder"
                )
                raise OutputError(text, path=self.path / name)
            return open(path, "rb")

    def line_at(self, name: str, offset: int) -> bytes:
        if name not in self._open_files:
            if len(self._open_files) == _MAX_OPEN_FILES:
                self._open_files.pop(next(iter(self._open_files))).close()
            self._open_files[name] = self.open(name)
        self._open_files[name].seek(offset)
        return self._open_files[name].readline()

    def remove(self, name: str) -> None:
        """Remove a file, if it exists, and its folders if they are empty then."""
        with self._output_errors(self.path / name):
            path = self._path(name)
            if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path)):
                path.unlink(missing_ok=True)
            with self._folder_lock:
                for folder in path.parents:
                    if folder == self._root or not os.path.isdir(folder) or any(os.scandir(folder)):
                        return
                    folder.rmdir()
                    self._folders.discard(folder)

    def _path(self, name: str) -> Path:
        return path_inside(self._root, name)

    @contextmanager
    def _output_errors(self, path: Path) -> Iterator[None]:
        """Raise an `OutputError` for errors that would occur with every other file too."""
        try:
            yield
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "")
            if error.errno in _FATAL_ERRORS or path == self.path:
                if path == self.path and advice and error.filename:
                    path = Path(os.fsdecode(error.filename))
                text = f"{path}: results cannot be written: {error.strerror}{advice}"
                raise OutputError(text, path=path) from error
            text = f"{path}: cannot be written: {error.strerror or error}{advice}"
            raise KerasPartsError(text, path=path) from error


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def _try_lock(folder: Path) -> "BaseFileLock | None":
    """The lock on a folder of unfinished files, or None if another process has it."""
    return try_lock(f"{folder}.lock")


class LocalLog:
    """A log whose lines are written unbuffered, so that a killed process loses none.

    A truncated line (full disk, power failure) is one without a line feed.
    """

    def __init__(self, path: Path, output_errors: Any) -> None:
        self._path, self._output_errors = path, output_errors
        self._file = open(path, "xb", buffering=0)

    def append(self, line: bytes) -> None:
        with self._output_errors(self._path):
            rest = memoryview(line + b"\n")
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        with self._output_errors(self._path):
            os.fsync(self._file.fileno())
            self._file.close()


class RemoteOutput:
    """An output folder at an address; see `Output`. Object storage itself writes atomically."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        self._system, self._root = file_system(self.path)
        self._has_folders = self.path.partition("://")[0] not in _WITHOUT_FOLDERS
        self._contents: dict[str, bytes] = {}

    def prepare(self) -> None:
        self.write(f"{UNFINISHED}/probe", b"")
        self.remove(f"{UNFINISHED}/probe")

    def close(self) -> None:
        """Nothing to release."""

    def write(self, name: str, content: bytes) -> None:
        path = self._full_path(name)
        with self._errors(name):
            self._make_folder(path)
            self._system.pipe_file(path, content)

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        path = self._full_path(name)
        with self._errors(name):
            self._make_folder(path)
        with self._errors(name, but=DAMAGED_RECORDS):
            with self._system.transaction, self._system.open(path, "wb") as file:
                yield file

    def log(self, name: str) -> "RemoteLog":
        return RemoteLog(self, name)

    def exists(self, name: str) -> bool:
        """True for every valid name: a request for each would take longer than writing it."""
        try:
            check_name(name)
        except DataError:
            return False
        return True

    def names(self, folder: str) -> list[str]:
        with self._errors(folder, "listed"):
            self._system.invalidate_cache()
            try:
                found = self._system.ls(self._full_path(folder).rstrip("/"), detail=False)
            except FileNotFoundError:
                return []
        return sorted(_below(folder, path.rstrip("/").rpartition("/")[2]) for path in found)

    def open(self, name: str) -> IO[bytes]:
        return io.BytesIO(self._content(name))  # logs and run.json are small

    def line_at(self, name: str, offset: int) -> bytes:
        if name not in self._contents:
            if len(self._contents) == _MAX_OPEN_FILES:
                self._contents.pop(next(iter(self._contents)))
            self._contents[name] = self._content(name)
        content = self._contents[name]
        return content[offset : content.index(b"\n", offset) + 1]

    def remove(self, name: str) -> None:
        with self._errors(name, "removed"), suppress(FileNotFoundError):
            self._system.rm_file(self._full_path(name))

    def _content(self, name: str) -> bytes:
        with self._errors(name, "read"):
            return self._system.cat_file(self._full_path(name))

    @contextmanager
    def _errors(
        self, name: str, what: str = "written", but: tuple[type[Exception], ...] = ()
    ) -> Iterator[None]:
        """Raise an `OutputError` for any error of the storage: each kind of storage has others.

        Args:
            name: of the file or folder.
            what: is to be done with it.
            but: errors that pass.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, (KerasPartsError, *but)):
                raise
            place = f"{self.path}/{name}" if name else self.path
            reason = str(error) or type(error).__name__
            raise OutputError(f"{place}: results cannot be {what}: {reason}", path=place) from error

    def _make_folder(self, path: str) -> None:
        if self._has_folders:
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)

    def _full_path(self, name: str) -> str:
        if name:
            check_name(name)
        return f"{self._root}/{name}"


class RemoteLog:
    """A log in several files of some lines each: objects in a storage cannot be appended to.

    Each file begins with the first line of the log. A killed process loses the last few lines,
    whose images are segmented again.
    """

    LINES_PER_FILE = 64

    def __init__(self, output: RemoteOutput, name: str) -> None:
        self._output, (self._stem, self._suffix) = output, os.path.splitext(name)
        self._head = b""
        self._lines: list[bytes] = []
        self._files = 0

    def append(self, line: bytes) -> None:
        if not self._head:
            self._head = line + b"\n"
            return
        self._lines.append(line + b"\n")
        if len(self._lines) == self.LINES_PER_FILE:
            self._flush()

    def close(self) -> None:
        if self._lines:
            self._flush()

    def _flush(self) -> None:
        name = f"{self._stem}.{self._files:06d}{self._suffix}"
        self._output.write(name, b"".join([self._head, *self._lines]))
        self._lines, self._files = [], self._files + 1
