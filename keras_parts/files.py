"""Atomic writes: an interrupted write leaves the previous file unchanged."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO, Any


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


def _flush_folder(path: Path) -> None:
    """Write a folder's entries to disk, so that a rename survives a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
