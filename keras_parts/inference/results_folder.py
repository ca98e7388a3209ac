"""The output folder of a run: the finished images, and the files about the run.

run.json          settings, model, versions, counts, timing
labels.json       the parts' labels, names and colours
done/             the done log
failures.jsonl    images without results
FORMAT/...        results of each image
coco.json, ...    merged files: the results of all images
"""

import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from typing import Any, Protocol

from keras_parts import __version__
from keras_parts.errors import ConfigError, DataError
from keras_parts.inference.done_log import FOLDER, DoneIndex, Outcome
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers import FORMATS, RunInfo, Writer
from keras_parts.results.palette import part_legend

LABELS_FILE, FAILURES_FILE, RUN_FILE = "labels.json", "failures.jsonl", "run.json"
_RUN_FILES = re.compile(r"run(-\d+-of-\d+)?\.json")
_SHARD_FAILURES = re.compile(r"failures-\d+-of-\d+\.jsonl")
_FORMAT = 1
"""Format of run.json."""


class ResultsFolder:
    """The output folder of a run.

    Args:
        output: the folder.
        configuration: everything that the results depend on, including the names of the parts and
            of the model; JSON values.
        shard: "I-of-N" for one shard of a run, else "".

    Attributes:
        output, configuration, shard: as given.
        digest: of the configuration.
    """

    def __init__(self, output: Output, configuration: Mapping[str, Any], shard: str) -> None:
        self.output, self.configuration, self.shard = output, configuration, shard
        text = json.dumps(configuration, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def check_configuration(self) -> None:
        """Raise ConfigError if the folder has results of another configuration."""
        for name, record in run_records(self.output):
            previous = record["configuration"]
            different = [
                f"{key} was {json.dumps(previous.get(key))}, is {json.dumps(value)}"
                for key, value in self.configuration.items()
                if previous.get(key) != value
            ]
            if different:
                raise ConfigError(
                    f"{self.output.path} has results of another run ({name}): "
                    f"{'; '.join(different)}. Choose another --output, or replace them "
                    "(--overwrite)",
                    path=self.output.path,
                )

    def remove_results(self) -> None:
        """Remove the files of previous runs, and no others."""
        for outcome in DoneIndex(self.output, None).outcomes():
            for name in outcome.files:
                self.output.remove(name)
        written = [LABELS_FILE, FAILURES_FILE, *self.output.names(FOLDER)]
        for name, record in run_records(self.output):
            written.append(name)
            for known_format in set(record["configuration"]["formats"]) & set(FORMATS):
                written += FORMATS[known_format][0].merged
        for name in [*written, *self._failures_of_shards()]:
            self.output.remove(name)

    def missing(self, files: Iterable[ImageFile]) -> list[ImageFile]:
        """The images without results, and those whose files have changed since."""
        done = DoneIndex(self.output, self.digest)
        return [file for file in files if not self._is_done(file, done.get(file))]

    def _is_done(self, file: ImageFile, outcome: Outcome | None) -> bool:
        if outcome is None or outcome.failure or not all(map(self.output.exists, outcome.files)):
            return False
        try:
            if file.version() == outcome.version:
                return True
            return hashlib.sha256(file.read()).hexdigest() == outcome.sha256
        except DataError:
            return False

    def outcomes(self, files: Iterable[ImageFile]) -> Iterator[Outcome]:
        """The outcomes, without records, of the images that have one."""
        done = DoneIndex(self.output, self.digest)
        return (outcome for file in files if (outcome := done.get(file)))

    def write_labels(self, names: Sequence[str]) -> None:
        """Write labels.json: `{"background": 0, "parts": [{"label": 1, "name": ...,
        "colour": "#rrggbb"}, ...]}`."""
        self.write_json(LABELS_FILE, {"background": 0, "parts": part_legend(names)})

    def finish(self, files: Sequence[ImageFile], writers: Sequence[Writer], *, merge: bool) -> bool:
        """Write the failures, and the merged files if every image has an outcome.

        Args:
            files: all images, of all shards.
            writers: of the run.
            merge: whether to write the merged files; False after an error.

        Returns:
            Whether the run, with all shards, is complete.
        """
        done = DoneIndex(self.output, self.digest)
        if not merge or not done.has_all(files):
            suffix = f"-{self.shard}" if self.shard else ""
            self._write_failures(f"failures{suffix}.jsonl", done, files)
            return False
        run = RunInfo(tuple(self.configuration["names"]), self.configuration["model"])
        for writer in writers:
            if writer.merged:
                writer.merge(_FormatRecords(done, files, writer.name), run, self.output)
        self._write_failures(FAILURES_FILE, done, files)
        for name in self._failures_of_shards():
            self.output.remove(name)
        return True

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.output.write(name, (json.dumps(value, indent=2) + "\n").encode())

    def _write_failures(self, name: str, done: DoneIndex, files: Iterable[ImageFile]) -> None:
        lines = [
            json.dumps(asdict(outcome.failure)) + "\n"
            for outcome in map(done.get, files)
            if outcome and outcome.failure
        ]
        if lines:
            self.output.write(name, "".join(lines).encode())
        else:
            self.output.remove(name)

    def _failures_of_shards(self) -> list[str]:
        return [name for name in self.output.names("") if _SHARD_FAILURES.fullmatch(name)]


class Counts(Protocol):
    """Numbers of images of a run."""

    found: int
    done: int
    failed: int
    kept: int

    @property
    def remaining(self) -> int: ...


class RunRecord:
    """run.json: the arguments, configuration, versions, counts and timing of a run.

    Args:
        folder: of the results.
        arguments: of the user; JSON values.
        batch_size: of the predictor.
        started: time in seconds.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        arguments: Mapping[str, Any] | None,
        batch_size: int,
        started: float,
    ) -> None:
        self._folder, self._started = folder, started
        self._head = {
            "format": _FORMAT,
            "configuration": folder.configuration,
            "batch_size": batch_size,
            "shard": folder.shard or None,
            "arguments": dict(arguments or {}),
            "versions": _versions(),
            "platform": {"system": platform.system(), "machine": platform.machine()},
        }

    def write(self, status: str, counts: Counts, name: str | None = None) -> None:
        """Write the file.

        Args:
            status: "running", "complete", "stopped" or "interrupted".
            counts: of the images.
            name: of the file; by default that of this run or shard.
        """
        seconds = time.time() - self._started
        shard = self._folder.shard
        name = name or (f"run-{shard}.json" if shard else RUN_FILE)
        rest = {
            "status": status,
            "counts": {
                "found": counts.found,
                "done": counts.done,
                "failed": counts.failed,
                "kept": counts.kept,
                "remaining": counts.remaining,
            },
            "timing": {
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
                "seconds": round(seconds, 3),
                "images_per_second": round(counts.done / seconds, 3) if seconds else None,
            },
        }
        self._folder.write_json(name, self._head | rest)


def run_records(output: Output) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, content) of the run files in a folder.

    Raises:
        ConfigError: a file of this name has another format.
    """
    for name in filter(_RUN_FILES.fullmatch, output.names("")):
        with output.open(name) as file:
            content = file.read()
        try:
            record = json.loads(content)
            known = record["format"] == _FORMAT
        except (ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise ConfigError(
                f"{output.path}: {name} was not written by this version of keras-parts: choose "
                "another --output",
                path=output.path,
            )
        yield name, record


class _FormatRecords:
    """(image, record) of one format for all images with results; an iterable."""

    def __init__(self, done: DoneIndex, files: Iterable[ImageFile], name: str) -> None:
        self._done, self._files, self._name = done, files, name

    def __iter__(self) -> Iterator[tuple[ImageFile, Any]]:
        for file, outcome in self._done.outcomes_of(self._files):
            if not outcome.failure:
                yield file, outcome.records[self._name]


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "keras_parts": __version__,
        "python": platform.python_version(),
    }
    backend = sys.modules["keras"].config.backend() if "keras" in sys.modules else None
    for name in filter(None, ("numpy", "pillow", "keras", backend)):
        with suppress(metadata.PackageNotFoundError, ValueError):
            versions[name] = metadata.version(name)
    return versions | {"backend": backend}
