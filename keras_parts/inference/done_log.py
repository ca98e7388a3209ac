"""The done log: the outcome of each finished image of a run.

`done/OWNER.log` has a line for each image: two JSON values, separated by a tab. The first is the
outcome: the image, the version of its file, and the failure if there is one. The second has the
records for the formats with merged files. Each process appends to its own log,
so that no process waits for another; a killed process leaves at most one truncated line, which is
ignored. The first line of a log is the configuration; lines of another configuration are ignored.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output

FOLDER = "done"


@dataclass(frozen=True)
class Failure:
    """An image without results.

    Attributes:
        path: of its file.
        stage: "read", "segment" or "write".
        error: class of the error.
        message: of the error.

    Example:
        >>> from keras_parts.inference import Failure
        >>> print(Failure("a.jpg", "read", "DataError", "the file is empty"))
        a.jpg: the file is empty
    """

    path: str
    stage: str
    error: str
    message: str

    def __str__(self) -> str:
        return self.message if self.path in self.message else f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one image.

    Attributes:
        image: `ImageFile.relative` of the image.
        version: `ImageFile.version` of its file; "" if it is unknown.
        sha256: of its content.
        files: names of the results in the output folder.
        remarks: of the decoder.
        failure: why there are no results, or None.
        records: format -> record of this image.
    """

    image: str
    version: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    failure: Failure | None = None
    records: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Outcome":
        """The inverse of `to_json`; "records" may be missing."""
        failure = values["failure"] and Failure(**values["failure"])
        tuples = {name: tuple(values[name]) for name in ("files", "remarks")}
        return cls(**{**values, **tuples, "failure": failure})


class DoneLog:
    """Appends outcomes to the log of one process.

    Args:
        output: the output folder.
        owner: name of the log.
        configuration: digest of everything that the results depend on.
    """

    def __init__(self, output: Output, owner: str, configuration: str) -> None:
        self._log, self._lock = output.log(f"{FOLDER}/{owner}.log"), Lock()
        self._log.append(json.dumps({"configuration": configuration}).encode())

    def append(self, outcome: Outcome) -> None:
        """Append an outcome whose files are all written; from any thread."""
        values = outcome.to_json()
        records = values.pop("records")
        with self._lock:
            self._log.append(f"{json.dumps(values)}\t{json.dumps(records)}".encode())

    def close(self) -> None:
        """Flush the log to the disk."""
        self._log.close()


class DoneIndex:
    """The outcomes in all logs of an output folder.

    If several lines are about one image, the last line is valid, in the log of the process that
    started last.

    Args:
        output: the output folder.
        configuration: digest of the run's configuration; None accepts any.
    """

    def __init__(self, output: Output, configuration: str | None) -> None:
        self._output = output
        self._logs = output.names(FOLDER)
        self._lines: dict[str, tuple[int, int]] = {}
        """Image -> (index of its log, offset of its line)."""
        for index, name in enumerate(self._logs):
            for offset, line in _lines(output, name, configuration):
                self._lines[_outcome_values(line)["image"]] = (index, offset)

    def get(self, file: ImageFile) -> Outcome | None:
        """The outcome of an image, without records, or None; its file may have changed since."""
        line = self._line(file.relative)
        return Outcome.from_json(_outcome_values(line)) if line else None

    def outcomes(self) -> Iterator[Outcome]:
        """All outcomes, without records, in no particular order."""
        for image in self._lines:
            if line := self._line(image):
                yield Outcome.from_json(_outcome_values(line))

    def outcomes_of(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, Outcome]]:
        """The outcomes, with records, of the images that have one, in the order of `files`."""
        for file in files:
            if line := self._line(file.relative):
                records = json.loads(line.partition(b"\t")[2])
                yield file, Outcome.from_json(_outcome_values(line) | {"records": records})

    def has_all(self, files: Iterable[ImageFile]) -> bool:
        """Whether every image has an outcome."""
        return all(file.relative in self._lines for file in files)

    def __len__(self) -> int:
        return len(self._lines)

    def _line(self, image: str) -> bytes | None:
        if image not in self._lines:
            return None
        index, offset = self._lines[image]
        return self._output.line_at(self._logs[index], offset)


def _outcome_values(line: bytes) -> dict[str, Any]:
    return json.loads(line.partition(b"\t")[0])


def _lines(output: Output, name: str, configuration: str | None) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of the outcomes of a configuration in a log, without a truncated line."""
    matches, offset = configuration is None, 0
    with output.open(name) as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            if b"\t" in line:
                if matches:
                    yield offset, line
            else:
                matches = configuration in (None, json.loads(line)["configuration"])
            offset += len(line)
