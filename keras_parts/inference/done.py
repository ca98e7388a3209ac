"""The done log: which pictures of a run are finished, what became of them, and their records.

`done/OWNER.log` holds lines of two JSON values with a tab between: first the picture, what its
file was and what is wrong with it, if anything; then the records of the formats that all pictures
share a file of. Each process appends to a file of its own, so that nobody waits and a killed one
leaves at most one line cut short, which does not count. The first line is the configuration: lines
of another one do not count either.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from threading import Lock

from keras_parts.inference.inputs import ImageFile

FOLDER = "done"


@dataclass(frozen=True)
class Failure:
    """A picture without results.

    Attributes:
        path: its file.
        stage: "read", "segment" or "write".
        error: the error's class.
        message: what is wrong.
    """

    path: str
    stage: str
    error: str
    message: str

    def __str__(self):
        return self.message if self.path in self.message else f"{self.path}: {self.message}"


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        image: its place, `ImageFile.relative`.
        version: what its file was, `ImageFile.version`; "" if it could not be told.
        sha256: of its content.
        files: names of the results in the output folder.
        remarks: of the decoder.
        failure: why there are no results, or None.
        records: format -> its record of this picture.
    """

    image: str
    version: str = ""
    sha256: str = ""
    files: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    failure: Failure | None = None
    records: dict = field(default_factory=dict)

    def to_json(self):
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values) -> "Outcome":
        """The inverse of `to_json`; "records" may be missing."""
        failure = values["failure"] and Failure(**values["failure"])
        lists = {name: tuple(values[name]) for name in ("files", "remarks")}
        return cls(**values | lists | {"failure": failure})


class DoneLog:
    """Appends outcomes; `configuration` is the digest of everything that results depend on."""

    def __init__(self, output, owner: str, configuration: str):
        self._log, self._lock = output.log(f"{FOLDER}/{owner}.log"), Lock()
        self._log.append(json.dumps({"configuration": configuration}).encode())

    def append(self, outcome: Outcome) -> None:
        """Remember an outcome, all of whose files are written; from any thread."""
        about = outcome.to_json()
        records = about.pop("records")
        with self._lock:
            self._log.append(f"{json.dumps(about)}\t{json.dumps(records)}".encode())

    def close(self):
        """Have all of it on the disk."""
        self._log.close()


class Done:
    """What the logs of an output folder know about a run. The later of two lines counts, and of
    two logs that of the process that was started later.

    Args:
        output: the folder.
        configuration: digest of the run; None for any.
    """

    def __init__(self, output, configuration: str | None):
        self._output, self._places = output, {}
        self._names = output.names(FOLDER)
        for index, name in enumerate(self._names):
            for offset, line in _lines(output, name, configuration):
                self._places[_about(line)["image"]] = (index, offset)

    def get(self, file: ImageFile) -> Outcome | None:
        """The outcome of a picture, without its records, or None; its file may have changed."""
        line = self._line(file.relative)
        return line and Outcome.from_json(_about(line))

    def outcomes(self) -> Iterator[Outcome]:
        """All outcomes, without records, in no particular order."""
        return (Outcome.from_json(_about(self._line(image))) for image in self._places)

    def outcomes_of(self, files: Iterable[ImageFile]) -> Iterator[tuple[ImageFile, Outcome]]:
        """The outcomes, with records, of those pictures that have one, in their order."""
        for file in files:
            if line := self._line(file.relative):
                records = json.loads(line.partition(b"\t")[2])
                yield file, Outcome.from_json(_about(line) | {"records": records})

    def knows_all(self, files: Iterable[ImageFile]) -> bool:
        """Whether every picture has an outcome."""
        return all(file.relative in self._places for file in files)

    def __len__(self):
        return len(self._places)

    def _line(self, image):
        if image not in self._places:
            return None
        index, offset = self._places[image]
        return self._output.line_at(self._names[index], offset)


def _about(line):
    return json.loads(line.partition(b"\t")[0])


def _lines(output, name, configuration):
    """(offset, whole line) of the outcomes in a log of this configuration."""
    wanted, offset = configuration is None, 0
    with output.open(name) as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            if b"\t" in line:
                if wanted:
                    yield offset, line
            else:
                wanted = configuration in (None, json.loads(line)["configuration"])
            offset += len(line)
