"""What every format of an export implements."""

import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_parts.errors import ConfigError

INPUT, OUTPUTS = "images", ("labels", "probabilities")
METADATA = "keras_parts"
"""Name of the metadata inside an export: a JSON text."""


class Format:
    """One format: how a graph is written, and how the result is run.

    Attributes:
        suffix: of the path.
        packages: {module: distribution} that must be installed.
        quantized: how `quantize` stores the weights; None where it would save nothing.
        exact: whether the format computes in float64 where that matters.
    """

    suffix: ClassVar[str] = ""
    packages: ClassVar[dict[str, str]] = {}
    quantized: ClassVar[str | None] = None
    exact: ClassVar[bool] = True

    def require(self, name: str) -> None:
        """Raise ConfigError unless all packages are installed."""
        missing = [pip for module, pip in self.packages.items() if not _is_installed(module)]
        if missing:
            raise ConfigError(
                f"format {name} needs {' and '.join(missing)}: pip install "
                f"'keras-parts[{name.replace('_', '-')}]'"
            )

    def write(self, graph: Any, path: Path, metadata: str, quantize: bool) -> None:
        """Write an `ImageToParts` to a path that does not exist."""
        raise NotImplementedError

    def load(self, path: Path) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
        """A function from images `(batch, height, width, 3)` uint8 to `{name: array}`."""
        raise NotImplementedError

    def metadata(self, path: Path) -> str:
        """The metadata inside an export."""
        raise NotImplementedError


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A new path, for a file, a folder or several files, that replaces `path` at the end of the
    block; nothing is left of it if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent / f".{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    try:
        yield folder / path.name
        for made in folder.iterdir():
            target = path.parent / made.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(made, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def folder_size(folder: Path) -> int:
    """Bytes of all files in a folder and its subfolders."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _is_installed(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
