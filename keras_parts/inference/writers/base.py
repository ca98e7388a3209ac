"""The interface of a format: files for each image, or merged files with the results of all."""

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keras_parts.errors import ConfigError
from keras_parts.inference.done_log import Failure
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.results.parts import Parts


@dataclass(frozen=True)
class RunInfo:
    """What is the same for all images of a run.

    Attributes:
        names: of the parts.
        model: its name.
        settings: all that the results depend on; JSON values.
        failures: of the images without results.
        model_location: the model as the commands take it, "" if unknown: a name or a folder.
    """

    names: tuple[str, ...]
    model: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    failures: Sequence[Failure] = ()
    model_location: str = ""


Records = Iterable[tuple[ImageFile, Any]]
"""(image, its record) in the order of the images; can be iterated several times."""


class Writer:
    """A format of results.

    The results depend on the parts and the image's name alone, so that a run writes the same
    bytes in any order of the images and on any number of machines.

    A subclass implements `files` and `owns`, or `record` and `merge`.

    Args:
        name: of the format.

    Attributes:
        description: one line for users.
        merged: names of the merged files, with the results of all images, such as "coco.json";
            empty if each image has its own files.
        needs_image: whether `parts` must have the image.
        needs_descriptors: whether `parts` must have descriptors.
        packages: packages that this format needs and keras-parts does not require.

    Raises:
        ConfigError: a required package is not installed.
    """

    description = ""
    merged: tuple[str, ...] = ()
    needs_image = False
    needs_descriptors = False
    packages: tuple[str, ...] = ()

    def __init__(self, name: str) -> None:
        self.name = name
        missing = [package for package in self.packages if not importlib.util.find_spec(package)]
        if missing:
            raise ConfigError(
                f"format {name} needs {' and '.join(missing)}: pip install 'keras-parts[formats]'"
            )

    def files(self, parts: Parts, file: ImageFile) -> dict[str, bytes]:
        """The image's own files: name in the output folder -> content."""
        return {}

    def owns(self, name: str, file: ImageFile) -> bool:
        """Whether `files` may give a file of this name to the image."""
        return False

    def record(self, parts: Parts, file: ImageFile) -> Any:
        """The image's record for the merged files; JSON values."""
        return None

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        """Write the files in `merged`.

        Args:
            records: of all images.
            run: names of the parts and of the model.
            output: the output folder.
        """


class PerImageWriter(Writer):
    """A format with one file for each image, in a folder of the format's name.

    A subclass implements `content`.

    Args:
        name: of the format.
        suffix: of its files.

    Example:
        >>> import numpy as np
        >>> from keras_parts import Parts
        >>> from keras_parts.inference import ImageFile
        >>> from keras_parts.inference.writers.base import PerImageWriter
        >>> class AreasWriter(PerImageWriter):
        ...     def content(self, parts):
        ...         return str(parts.areas.tolist()).encode()
        >>> logits = np.zeros((4, 6, 3), "float32")  # (height, width, 1 + parts)
        >>> logits[:, :2, 1] = logits[:, 2:, 0] = 9.0  # part 1 is the left third
        >>> writer = AreasWriter("areas", ".txt")
        >>> writer.files(Parts(logits), ImageFile("/photos", "a.jpg", "a"))
        {'areas/a.txt': b'[8, 0]'}
    """

    def __init__(self, name: str, suffix: str) -> None:
        super().__init__(name)
        self.suffix = suffix

    def files(self, parts: Parts, file: ImageFile) -> dict[str, bytes]:
        return {self.file_name(file): self.content(parts)}

    def owns(self, name: str, file: ImageFile) -> bool:
        return name == self.file_name(file)

    def content(self, parts: Parts) -> bytes:
        """The bytes of the file."""
        raise NotImplementedError

    def file_name(self, file: ImageFile) -> str:
        """The name of the image's file in the output folder."""
        # Not `with_suffix`: the name of a result may contain dots.
        return f"{self.name}/{file.result}{self.suffix}"


def valid_text(path: str) -> str:
    """A path as valid Unicode; other bytes become \\xNN."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def json_list(items: Iterable[Any]) -> Iterator[bytes]:
    """A JSON list of any length in pieces, with one item in each line."""
    separator = "[\n"
    for item in items:
        yield f"{separator}{json.dumps(item, separators=(',', ':'))}".encode()
        separator = ",\n"
    yield b"[]" if separator == "[\n" else b"\n]"
