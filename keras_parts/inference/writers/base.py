"""What a format is: files for each picture, or a record for each and one file for all."""

import importlib.util
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keras_parts.errors import ConfigError
from keras_parts.inference.inputs import ImageFile
from keras_parts.results.parts import Parts


@dataclass(frozen=True)
class Labels:
    """What all pictures of a run share: the parts' names and the model's."""

    names: tuple[str, ...]
    model: str = ""


class Writer:
    """A format of results. Everything it makes depends on the parts and the picture's name only,
    so that the same run gives the same bytes in whatever order and on however many machines.

    Attributes:
        about: one line for users.
        merged: the files of all pictures together, such as "coco.json"; none if each has its own.
        needs_image: whether parts must come with their image.
        needs_descriptors: whether they must come with descriptors.
        packages: what has to be installed, beside the package's own dependencies.
    """

    about = ""
    merged: tuple[str, ...] = ()
    needs_image = False
    needs_descriptors = False
    packages: tuple[str, ...] = ()

    def __init__(self, name: str):
        self.name = name
        missing = [package for package in self.packages if not importlib.util.find_spec(package)]
        if missing:
            raise ConfigError(
                f"format {name} needs {' and '.join(missing)}: pip install 'keras-parts[formats]'"
            )

    def files(self, parts: Parts, file: ImageFile) -> dict[str, bytes]:
        """Name in the output folder -> content, of the picture's own files."""
        return {}

    def record(self, parts: Parts, file: ImageFile):
        """What the file of all pictures is to know of this one; JSON values."""
        return None

    def merge(self, records: Iterable[tuple[ImageFile, object]], labels: Labels, output) -> None:
        """Write the files of all pictures.

        Args:
            records: (picture, its record) in the order of the pictures; may be iterated again.
            labels: of the run.
            output: the folder, see `keras_parts.inference.output`.
        """


class PictureWriter(Writer):
    """One file a picture, in a folder of the format's name."""

    def __init__(self, name, suffix):
        super().__init__(name)
        self.suffix = suffix

    def files(self, parts, file):
        # Appended: a result's own name may hold dots.
        return {f"{self.name}/{file.result}{self.suffix}": self.content(parts)}

    def content(self, parts: Parts) -> bytes:
        """The bytes of the file."""
        raise NotImplementedError


def written_text(path: str) -> str:
    """A path as valid Unicode: bytes that are none are written \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def json_list(items: Iterable) -> Iterator[bytes]:
    """A JSON list in pieces, one item a line, of any length."""
    separator = "[\n"
    for item in items:
        yield f"{separator}{json.dumps(item, separators=(',', ':'))}".encode()
        separator = ",\n"
    yield b"[]" if separator == "[\n" else b"\n]"
