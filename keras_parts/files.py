"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import IO


@contextmanager
def atomic_path(path: str | PathLike) -> Iterator[Path]:
    """A new name beside `path`; what is written there takes the place of `path` at the end.

    A reader, or a run that is killed, finds the old file or the new one, never a part of it. The
    new name ends as the old one does, for libraries that go by the suffix. When the block raises,
    what it wrote is removed and `path` is as it was.
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
    with suppress(OSError):  # not every file system lets a folder be flushed
        _flush_folder(path.parent)


@contextmanager
def atomic_write(path: str | PathLike, mode: str = "wb") -> Iterator[IO]:
    """A file opened for writing that takes the place of `path` at the end of the block.

    Args:
        path: the file to write; its folder exists.
        mode: "wb" for bytes, "w" for text (UTF-8, lines end with a line feed).
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    with atomic_path(path) as unfinished, open(unfinished, mode, **text) as file:
        yield file


def _flush_folder(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
