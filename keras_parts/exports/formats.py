"""The base class of export formats, and what all formats share."""

import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from keras_parts.errors import ConfigError

INPUT, OUTPUTS = "images", ("labels", "probabilities")
METADATA = "keras_parts"
"""Name of the entry inside an export that contains the metadata, as JSON."""


@dataclass(frozen=True)
class Opened:
    """An export that its runtime has loaded.

    Attributes:
        run: function from images `(batch, height, width, 3)` uint8 RGB to
            `{"labels": array, "probabilities": array}`.
        metadata: inside the export, JSON.
    """

    run: Callable[[np.ndarray], Mapping[str, np.ndarray]]
    metadata: str


class Format:
    """A format of exports: how to write, load and describe one.

    Attributes:
        suffix: of the export's path.
        packages: `{module: distribution}` that must be installed to write an export.
        runtime: the module that loads an export.
        quantized: how `quantize` stores the weights; None if the format cannot be quantised.
        exact: whether images are resized in float64, to the same input as the Keras model's.
    """

    suffix: ClassVar[str] = ""
    packages: ClassVar[dict[str, str]] = {}
    runtime: ClassVar[str] = "tensorflow"
    quantized: ClassVar[str | None] = None
    exact: ClassVar[bool] = True

    def require(self, name: str) -> None:
        """Raise a ConfigError if a package is not installed.

        Args:
            name: of the format.
        """
        self._require(self.packages, name, f"keras-parts[{name.replace('_', '-')}]")

    def require_runtime(self, name: str) -> None:
        """Raise a ConfigError if the runtime is not installed.

        Args:
            name: of the format.
        """
        distribution = self.packages.get(self.runtime, self.runtime)
        self._require({self.runtime: distribution}, name, distribution)

    @staticmethod
    def _require(packages: Mapping[str, str], name: str, to_install: str) -> None:
        missing = [pip for module, pip in packages.items() if not _is_installed(module)]
        if missing:
            raise ConfigError(
                f"format {name} needs {' and '.join(missing)}, not installed here: pip install "
                f"'{to_install}'"
            )

    def write(self, graph: Any, path: Path, metadata: str, quantize: bool) -> None:
        """Write an `ImageToParts` with its metadata, JSON, to a path that does not exist yet."""
        raise NotImplementedError

    def open(self, path: Path) -> Opened:
        """Load an export, which is read once."""
        raise NotImplementedError

    def metadata(self, path: Path) -> str:
        """The metadata inside an export, JSON; quicker than `open` where that matters."""
        return self.open(path).metadata


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """A temporary path to write `path` to: a file, a folder, or several files side by side.

    At the end of the block they replace those at `path`; if the block raises, they are deleted.
    """
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
