"""The output folder of a run: the finished images, and the files about the run.

run.json          settings, model, versions, counts, timing
labels.json       the parts' labels, names and colours
done/             the done log
failures.jsonl    images without results
FORMAT/...        results of each image
coco.json, ...    merged files: the results of all images
"""

import hashlib
import itertools
import json
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from functools import cached_property
from importlib import metadata
from typing import Annotated, Any, Protocol

import msgspec

from keras_parts import __version__
from keras_parts.addresses import is_address
from keras_parts.errors import ConfigError, DataError, KerasPartsError, hide_secrets
from keras_parts.files import check_name
from keras_parts.inference.done_log import FOLDER, DoneIndex, DoneLog, Failure, Outcome
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import DAMAGED_RECORDS, Output
from keras_parts.inference.writers import FORMATS, RunInfo, Writer, same_records
from keras_parts.inference.writers.base import Records
from keras_parts.results.palette import part_legend

_logger = logging.getLogger(__name__)

LABELS_FILE, FAILURES_FILE, RUN_FILE = "labels.json", "failures.jsonl", "run.json"
_RUN_FILES = re.compile(r"run(-\d+-of-\d+)?\.json")
_SHARD_FAILURES = re.compile(r"failures-\d+-of-\d+\.jsonl")
_FORMAT = 1
"""Format of run.json."""
_WITH_KERAS = {"runtime": "keras"}
"""What a configuration means that names no runtime."""
_MAX_RUN_BYTES = 2**24


class ResultsFolder:
    """The output folder of a run.

    Args:
        output: the folder.
        configuration: everything that the results depend on, including the names of the parts and
            of the model, and "formats"; JSON values.
        writers: one for each format.
        shard: "I-of-N" for one shard of a run, else "".
        verify: whether to compare the contents of finished images, instead of sizes and dates.
        model_location: see `RunInfo`.

    Attributes:
        output, configuration, writers, shard: as given.
        digest: of the configuration without the formats, which a later run may add to.
    """

    def __init__(
        self,
        output: Output,
        configuration: Mapping[str, Any],
        writers: Sequence[Writer],
        shard: str = "",
        *,
        verify: bool = False,
        model_location: str = "",
    ) -> None:
        self.output, self.configuration, self.shard = output, configuration, shard
        self._model_location = model_location
        self.writers, self._verify = writers, verify
        self.digest = _digest(_without_formats(configuration))
        self._problems: set[str] = set()

    @cached_property
    def _accepted(self) -> dict[str, tuple[str, ...]]:
        """The configurations whose outcomes hold, see `DoneIndex`."""
        accepted: dict[str, tuple[str, ...]] = {self.digest: ()}
        # Earlier versions had the formats in the digest.
        own = _without_formats(self.configuration)
        for _, record in [("", {"configuration": self.configuration}), *run_records(self.output)]:
            earlier = record["configuration"]
            if _without_formats(earlier) == own:
                accepted[_digest(earlier)] = tuple(earlier.get("formats", ()))
        return accepted

    def check_configuration(self) -> None:
        """Raise ConfigError if the folder has results of another configuration.

        Other formats are no other configuration.
        """
        for name, record in run_records(self.output):
            previous = _WITH_KERAS | record["configuration"]
            different = {
                key: (previous.get(key), value)
                for key, value in (_WITH_KERAS | _without_formats(self.configuration)).items()
                if previous.get(key) != value
            }
            if different:
                raise ConfigError(
                    f"{self.output.path} has results of another run ({name}): "
                    f"{_difference(different)}. Choose another --output, or replace them "
                    "(--overwrite)",
                    path=self.output.path,
                )

    def remove_results(self) -> None:
        """Remove the files of previous runs, and no others.

        A folder without a run file has none. Of what the done log names, only files in the folder
        of a format are removed: somebody else may have written the log.
        """
        records = list(run_records(self.output))
        if not records:
            return
        index = self.index(any_configuration=True)
        for outcome in itertools.chain(index.superseded(), index.outcomes()):
            for name in filter(_is_result, outcome.files):
                self.output.remove(name)
        written = [LABELS_FILE, FAILURES_FILE, *index.log_names]
        for _, record in records:
            for known_format in set(record["configuration"]["formats"]) & set(FORMATS):
                written += FORMATS[known_format][0].merged
        run_files = [name for name, _ in records]  # the last ones: a killed process leaves them
        for name in [*written, *self._failures_of_shards(), *run_files]:
            self.output.remove(name)

    def missing(self, files: Iterable[ImageFile]) -> dict[ImageFile, tuple[str, ...]]:
        """The images that lack results, and the formats that each lacks.

        Images without results, and those that have changed since, lack all formats.
        """
        done, every = self.index(), tuple(writer.name for writer in self.writers)
        missing = {}
        for file in files:
            outcome = done.get(file)
            lacks = self._lacks(outcome) if self._is_done(file, outcome) else every
            if lacks:
                missing[file] = lacks
        return missing

    def _lacks(self, outcome: Outcome | None) -> tuple[str, ...]:
        """The formats that an image lacks, which cannot be written from records of others."""
        has = set(outcome.formats) if outcome else set()
        return tuple(each.name for each in self.writers if not same_records(each.name) & has)

    def _is_done(self, file: ImageFile, outcome: Outcome | None) -> bool:
        if outcome is None or outcome.failure or not self._owns(outcome, file):
            return False
        if not all(map(self.output.exists, outcome.files)):
            return False
        try:
            if not self._verify and outcome.version and file.version() == outcome.version:
                return True
            return hashlib.sha256(file.read()).hexdigest() == outcome.sha256
        except (DataError, ConfigError):
            return False

    def _owns(self, outcome: Outcome, file: ImageFile) -> bool:
        """Whether an outcome's files have the names that the image's results have now.

        The results of a.jpg get other names when a.png joins it.
        """
        return all(
            any(writer.owns(name, file) for writer in self.writers) for name in outcome.files
        )

    def withdraw(self, files: Sequence[ImageFile], missing: Iterable[ImageFile]) -> None:
        """Withdraw the outcomes that no longer hold, before their files are overwritten.

        They are those of images whose results get other names, of images that were removed, and of
        images that are not among the inputs and whose results have the name of another image's.
        Other images that are not among the inputs keep their results, and are counted in a warning.
        `finish` removes the files of withdrawn outcomes.

        Args:
            files: all images, of all shards.
            missing: the images to segment.
        """
        done = self.index()
        outcomes = [outcome for file in missing if (outcome := self._renamed(file, done))]
        roots = {record.get("root") for _, record in run_records(self.output)}
        results, kept = {file.result for file in files}, []
        for outcome in filter(lambda outcome: outcome.files, done.outcomes_of_others(files)):
            file = ImageFile(files[0].root, outcome.image, "")
            removed = not is_address(file.root) and not os.path.lexists(file.path)
            if (removed and hide_secrets(file.root) in roots) or _results(outcome) & results:
                outcomes.append(outcome)
            else:
                kept.append(outcome.image)
        if outcomes:
            with closing(DoneLog(self.output, self.digest)) as log:
                for outcome in outcomes:
                    log.append(replace(outcome, withdrawn=True))
        if kept:
            _logger.warning(
                "%s also has results of images that are not among the inputs (%d, such as %s): "
                "they are kept, and are not in the files with the results of all images.",
                *(hide_secrets(str(self.output.path)), len(kept), kept[0]),
            )

    def _renamed(self, file: ImageFile, done: DoneIndex) -> Outcome | None:
        """The outcome of an image if its results have got other names."""
        outcome = done.get(file)
        return outcome if outcome and not self._owns(outcome, file) else None

    def _remove_stale(self, done: DoneIndex) -> None:
        """Remove files of replaced and withdrawn outcomes that no outcome has any more."""
        stale = {name for outcome in done.superseded() for name in outcome.files}
        for outcome in done.outcomes() if stale else ():
            stale.difference_update(outcome.files)
        for name in filter(_is_result, sorted(stale)):
            self.output.remove(name)

    def index(self, *, any_configuration: bool = False) -> DoneIndex:
        """The done log, by default of this configuration; its problems are said once."""
        index = DoneIndex(self.output, None if any_configuration else self._accepted)
        for problem in index.problems:
            if problem not in self._problems:
                _logger.warning("%s", hide_secrets(problem))
                self._problems.add(problem)
        return index

    def outcomes(self, files: Iterable[ImageFile]) -> Iterator[Outcome]:
        """The outcomes, without records, of the images that have one."""
        done = self.index()
        return (outcome for file in files if (outcome := done.get(file)))

    def write_labels(self, names: Sequence[str]) -> None:
        """Write labels.json: `{"background": 0, "parts": [{"label": 1, "name": ...,
        "colour": "#rrggbb"}, ...]}`."""
        self.write_json(LABELS_FILE, {"background": 0, "parts": part_legend(names)})

    def finish(self, files: Sequence[ImageFile], *, merge: bool) -> bool:
        """Write the failures and, if every image has an outcome, the merged files.

        Then remove stale results too.

        Args:
            files: all images, of all shards.
            merge: whether to write the merged files; False after an error.

        Returns:
            Whether the run, with all shards, is complete.

        Raises:
            KerasPartsError: the done log's records are not those of the formats.
        """
        done = self.index()
        failures, is_complete = [], merge
        for outcome in map(done.get, files):  # each one is read from the log
            if outcome is not None and outcome.failure is not None:
                failures.append(outcome.failure)
            elif outcome is None or self._lacks(outcome):
                is_complete = False
        if not is_complete:
            suffix = f"-{self.shard}" if self.shard else ""
            self._write_failures(f"failures{suffix}.jsonl", failures)
            return False
        run = RunInfo(
            tuple(self.configuration["names"]),
            self.configuration["model"],
            self.configuration,
            failures,
            self._model_location,
        )
        for writer in self.writers:
            if writer.merged:
                self._merge(writer, _FormatRecords(done, files, writer.name), run)
        self._remove_stale(done)
        self._write_failures(FAILURES_FILE, failures)
        for name in self._failures_of_shards():
            self.output.remove(name)
        return True

    def _merge(self, writer: Writer, records: Records, run: RunInfo) -> None:
        try:
            writer.merge(records, run, self.output)
        except DAMAGED_RECORDS as error:
            raise KerasPartsError(
                f"{self.output.path}: {' and '.join(writer.merged)} cannot be written from the "
                f"records in {FOLDER}/ ({type(error).__name__}: {error}): they are damaged; "
                "segment the images again (--overwrite)",
                path=self.output.path,
            ) from error

    def write_json(self, name: str, value: object) -> None:
        """Write a JSON file."""
        self.output.write(name, (json.dumps(value, indent=2) + "\n").encode())

    def _write_failures(self, name: str, failures: Sequence[Failure]) -> None:
        lines = [json.dumps(asdict(failure)) + "\n" for failure in failures]
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
        root: of the images.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        arguments: Mapping[str, Any] | None,
        batch_size: int,
        root: str,
    ) -> None:
        self._folder = folder
        self._started, self._clock = time.time(), time.monotonic()
        self._head = {
            "format": _FORMAT,
            "configuration": folder.configuration,
            "batch_size": batch_size,
            "shard": folder.shard or None,
            "root": root,
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
        seconds = time.monotonic() - self._clock  # the time of day may go back
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
        self._folder.write_json(name, _without_secrets(self._head | rest))


def run_records(output: Output) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, content) of the run files in a folder.

    Raises:
        ConfigError: a file of this name has another format.
    """
    for name in filter(_RUN_FILES.fullmatch, output.names("")):
        with output.open(name) as file:
            content = file.read(_MAX_RUN_BYTES)
        try:
            record = json.loads(content)
            msgspec.convert(record, _RunFile)
        except (ValueError, RecursionError, msgspec.MsgspecError):
            raise ConfigError(
                f"{output.path}: {name} was not written by this version of keras-parts, or is "
                "damaged: choose another --output, or remove the file if the folder is yours",
                path=output.path,
            ) from None
        yield name, record


class _Configuration(msgspec.Struct):
    """What is read from the configuration in run.json."""

    formats: list[str]


class _RunFile(msgspec.Struct):
    """What is read from run.json."""

    format: Annotated[int, msgspec.Meta(ge=_FORMAT, le=_FORMAT)]
    configuration: _Configuration
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=2**16)]
    root: str | None = None


class _FormatRecords:
    """(image, record) of one format for all images with results; an iterable."""

    def __init__(self, done: DoneIndex, files: Iterable[ImageFile], name: str) -> None:
        self._done, self._files, self._name = done, files, name

    def __iter__(self) -> Iterator[tuple[ImageFile, Any]]:
        for file, outcome in self._done.outcomes_of(self._files):
            if not outcome.failure:
                names = sorted(same_records(self._name), key=lambda name: name != self._name)
                found = (name for name in names if name in outcome.records)
                yield file, outcome.records[next(found, self._name)]


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


def _is_result(name: str) -> bool:
    """Whether a name may be that of a result of one image; somebody else may have written it."""
    try:
        check_name(name)
    except DataError:
        return False
    return name.partition("/")[0] in FORMATS


def _results(outcome: Outcome) -> set[str]:
    """The names that an outcome's files have without folder of the format and suffix."""
    names = {name.partition("/")[2] for name in outcome.files}
    return {os.path.splitext(name)[0] for name in names} | {os.path.dirname(name) for name in names}


def _without_formats(configuration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in configuration.items() if name != "formats"}


def _digest(configuration: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(configuration, sort_keys=True).encode()).hexdigest()


def _difference(different: Mapping[str, tuple[object, object]]) -> str:
    """What differs between two configurations, (before, now) by setting. Another model has other
    part names and weights, which need not be said."""
    if "model" in different:
        before, now = map(_shown, different["model"])
        return f"they are of the model {before}, and this is {now}"
    if "model_sha256" in different:
        return "the model has changed since"
    return "; ".join(
        f"{key} was {_shown(before)}, is {_shown(now)}" for key, (before, now) in different.items()
    )


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _without_secrets(value: Any) -> Any:
    """A JSON value in whose texts the passwords of addresses are hidden."""
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_secrets(item) for item in value]
    return hide_secrets(value) if isinstance(value, str) else value
