"""What every format of an export is."""

import importlib.util
import os
import shutil
import uuid
from contextlib import contextmanager
from pathlib import Path

from keras_parts.errors import ConfigError

INPUT, OUTPUTS = "images", ("labels", "probabilities")
METADATA = "keras_parts"
"""What the metadata is called inside an export: a JSON text."""


class Format:
    """One format: how a graph is written, and how the result is run.

    Attributes:
        suffix: of the path.
        packages: {module: distribution} to be installed for it.
        quantized: what `quantize` makes of the weights; None where nothing would shrink.
        exact: whether it computes in float64 where that matters.
    """

    suffix = ""
    packages: dict[str, str] = {}
    quantized: str | None = None
    exact = True

    def require(self, name):
        """Raise ConfigError unless everything is installed."""
        missing = [pip for module, pip in self.packages.items() if not _is_there(module)]
        if missing:
            raise ConfigError(
                f"format {name} needs {' and '.join(missing)}: pip install "
                f"'keras-parts[{name.replace('_', '-')}]'"
            )

    def write(self, graph, path: Path, metadata: str, quantize: bool) -> None:
        """Write an `ImageToParts` to a path that does not exist."""
        raise NotImplementedError

    def load(self, path: Path):
        """A function from images `(batch, height, width, 3)` uint8 to `{name: array}`."""
        raise NotImplementedError

    def metadata(self, path: Path) -> str:
        """The metadata inside."""
        raise NotImplementedError


@contextmanager
def whole_or_not(path: Path):
    """A new path beside `path`, file or folder, that takes its place at the end of the block."""
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


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder and below."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _is_there(module):
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
