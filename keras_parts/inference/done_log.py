"""The done log: the outcome of each finished image of a run.

`done/NUMBER-ID.log` has a line for each image: two JSON values and the CRC-32 of their text,
separated by tabs. The first value is the outcome: the image, the version of its file, the formats
of its results, and the failure if there is one. The second has the records for the formats with
merged files. Each process appends to its own log, so that no process waits for another; a killed
process leaves at most one truncated line, which is ignored. The first line of a log is the
configuration; lines of another configuration are ignored. The number of a log is higher than those
before it: the order does not depend on the clock, which may go back.

Logs of version 0.1 have no checksums, and the time as their number.
"""

import json
import re
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import msgspec

from keras_parts.errors import DataError
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output

FOLDER = "done"
_LOG = re.compile(r"([0-9]{1,1024})-[0-9a-f]{8}(\.\d+)?\.log")
_MAX_LINE_BYTES = 2**28


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
        withdrawn: whether the image has no outcome any more, and `files` are to be removed.
        formats: the formats of its results.
    """

    image: str
    version: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    failure: Failure | None = None
    records: dict[str, Any] = field(default_factory=dict)
    withdrawn: bool = False
    formats: tuple[str, ...] = ()

    def with_more(self, more: "Outcome") -> "Outcome":
        """This outcome with the results in more formats; `more` alone if it is a failure, or if the
        image has changed."""
        if more.failure or more.sha256 != self.sha256:
            return more
        return replace(
            more,
            files=(*self.files, *more.files),
            records=self.records | more.records,
            formats=(*self.formats, *more.formats),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        failure = None if self.failure is None else vars(self.failure)
        return {**vars(self), "failure": failure}  # `asdict` would copy the records

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Outcome":
        """The inverse of `to_json`; "records" may be missing.

        Raises:
            msgspec.ValidationError: a value is missing or has another type.
        """
        return msgspec.convert(values, cls)


class DoneLog:
    """Appends outcomes to the log of one process.

    Args:
        output: the output folder.
        configuration: digest of everything that a result depends on.
    """

    def __init__(self, output: Output, configuration: str) -> None:
        number = max((_number(name) for name in _log_names(output)), default=0) + 1
        name = f"{FOLDER}/{number:06d}-{uuid.uuid4().hex[:8]}.log"
        self._log, self._lock = output.log(name), Lock()
        head = {"configuration": configuration, "checksums": True}
        self._log.append(json.dumps(head).encode())

    def append(self, outcome: Outcome) -> None:
        """Append an outcome whose files are all written; from any thread."""
        values = outcome.to_json()
        records = values.pop("records")
        line = f"{json.dumps(values)}\t{json.dumps(records)}".encode()
        with self._lock:
            self._log.append(b"%s\t%08x" % (line, zlib.crc32(line)))

    def close(self) -> None:
        """Flush the log to the disk."""
        self._log.close()


class DoneIndex:
    """The outcomes in all logs of an output folder.

    If several lines are about one image, the last line is valid, in the log with the highest
    number.

    Args:
        output: the output folder.
        configurations: digest of a configuration -> the formats of its outcomes that name none, as
            they did in earlier versions; None accepts any.

    Attributes:
        problems: for the user: the logs with unreadable lines, and other files in their folder.
    """

    def __init__(
        self, output: Output, configurations: Mapping[str, tuple[str, ...]] | None
    ) -> None:
        self._output, self._configurations = output, configurations
        self._logs, self._formats = _log_names(output), dict[int, tuple[str, ...]]()
        self._lines: dict[str, _Position] = {}
        self._superseded: list[_Position] = []
        self.problems: list[str] = []
        for index, name in enumerate(self._logs):
            for offset, outcome in self._read(index, name):
                if previous := self._lines.pop(outcome.image, None):
                    self._superseded.append(previous)
                if not outcome.withdrawn:
                    self._lines[outcome.image] = (index, offset)
        if foreign := sorted(set(output.names(FOLDER)) - set(self._logs)):
            self.problems.append(
                f"{output.path}: ignored what is no log of keras-parts: {', '.join(foreign[:3])}"
                f"{', ...' if foreign[3:] else ''}"
            )

    def get(self, file: ImageFile) -> Outcome | None:
        """The outcome of an image, without records, or None; its file may have changed since."""
        position = self._lines.get(file.relative)
        return self._outcome(position) if position else None

    def with_records(self, image: str) -> Outcome | None:
        """The outcome, with records, of the image with this relative path, or None."""
        position = self._lines.get(image)
        return self._outcome(position, with_records=True) if position else None

    def outcomes(self) -> Iterator[Outcome]:
        """All outcomes, without records, in no particular order."""
        return map(self._outcome, self._lines.values())

    def superseded(self) -> Iterator[Outcome]:
        """The outcomes, without records, that a later line has replaced or withdrawn."""
        return map(self._outcome, self._superseded)

    def outcomes_of_others(self, files: Iterable[ImageFile]) -> Iterator[Outcome]:
        """The outcomes, without records, of all images but these."""
        others = self._lines.keys() - {file.relative for file in files}
        return (self._outcome(self._lines[image]) for image in sorted(others))

    def outcomes_of(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, Outcome]]:
        """The outcomes, with records, of the images that have one, in the order of `files`."""
        for file in files:
            if outcome := self.with_records(file.relative):
                yield file, outcome

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def log_names(self) -> list[str]:
        """Names of the logs in the output folder."""
        return list(self._logs)

    def _outcome(self, position: "_Position", *, with_records: bool = False) -> Outcome:
        index, offset = position
        values, records = self._output.line_at(self._logs[index], offset).split(b"\t")[:2]
        outcome = json.loads(values)
        if with_records:
            outcome["records"] = json.loads(records)
        found = Outcome.from_json(outcome)
        return found if found.formats else replace(found, formats=self._formats.get(index, ()))

    def _read(self, index: int, name: str) -> Iterator[tuple[int, Outcome]]:
        """(offset, outcome) of the lines of the configurations in a log."""
        accepted = self._configurations
        matches, checksums, offset, unreadable = accepted is None, False, 0, 0
        with self._output.open(name) as file:
            while line := file.readline(_MAX_LINE_BYTES):
                if not line.endswith(b"\n"):  # truncated, because the process was killed
                    break
                try:
                    if b"\t" not in line:
                        head = json.loads(line)
                        digest = head["configuration"]
                        matches = accepted is None or digest in accepted
                        self._formats[index] = (accepted or {}).get(digest, ())
                        checksums = bool(head.get("checksums"))
                    elif matches:
                        yield offset, _parse(line, checksums)
                except _DAMAGE:
                    unreadable += 1
                offset += len(line)
        if unreadable:
            self.problems.append(
                f"{self._output.path}: ignored {unreadable} damaged lines of {name}, as if their "
                "images had not been segmented"
            )


_Position = tuple[int, int]
"""(index of a log, offset of a line in it)."""
_DAMAGE = (
    *(ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(DataError, msgspec.MsgspecError),
)
"""Errors from parsing what is no line of a log."""


def _log_names(output: Output) -> list[str]:
    """Names of the logs in an output folder, in the order in which they were started."""
    names = [name for name in output.names(FOLDER) if _LOG.fullmatch(name.rpartition("/")[2])]
    return sorted(names, key=lambda name: (_number(name), name))


def _number(name: str) -> int:
    return int(name.rpartition("/")[2].partition("-")[0])


def _parse(line: bytes, checksums: bool) -> Outcome:
    """The outcome in a line, without records."""
    text, _, checksum = line.rstrip(b"\n").rpartition(b"\t")
    if checksums and (b"\t" not in text or int(checksum, 16) != zlib.crc32(text)):
        raise DataError("the line differs from its checksum")
    return Outcome.from_json(json.loads(line.partition(b"\t")[0]))
