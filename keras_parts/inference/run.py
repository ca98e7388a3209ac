"""A run: which pictures are still to be segmented, what became of each, and the files of all.

    run.json          settings, model, versions, counts, timing
    labels.json       what labels mean
    done/             the done log
    failures.jsonl    pictures without results
    FORMAT/...        results of each picture
    coco.json, ...    results of all pictures

A run that ended early, however, is gone on with by starting it again: what is finished stays.
Of several shards, the one that finds everything finished writes the files of all.
"""

import hashlib
import json
import platform
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from os import PathLike

from tqdm import tqdm

from keras_parts import __version__
from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.images.decoding import MAX_PIXELS
from keras_parts.inference.done import FOLDER, Done, DoneLog, Failure
from keras_parts.inference.engine import Engine
from keras_parts.inference.inputs import ImageFile, find_images, shard
from keras_parts.inference.output import Unwritable, open_output
from keras_parts.inference.writers import FORMATS, Labels, create_writers
from keras_parts.models.predictor import PartPredictor
from keras_parts.results.palette import part_legend

LABELS_FILE, FAILURES_FILE, RUN_FILE = "labels.json", "failures.jsonl", "run.json"
_RUN_FILES = re.compile(r"run(-\d+-of-\d+)?\.json")
_SHARD_FAILURES = re.compile(r"failures-\d+-of-\d+\.jsonl")
_FORMAT = 1


@dataclass(frozen=True)
class Summary:
    """What became of a run.

    Attributes:
        found: pictures of this run, or of this shard.
        done, failed: of these, numbers of pictures that were segmented now, and that were not.
        kept: pictures that had been segmented before.
        complete: whether the whole run, all shards, is finished and its files of all pictures
            written.
        seconds: wall-clock time.
        output: the folder of the results.
        formats: the formats written.
    """

    found: int
    done: int
    failed: int
    kept: int
    complete: bool
    seconds: float
    output: str
    formats: tuple[str, ...]

    @property
    def images_per_second(self):
        return self.done / self.seconds if self.seconds else 0.0

    def to_json(self):
        """Plain JSON values."""
        values = asdict(self) | {"formats": list(self.formats)}
        return values | {"images_per_second": round(self.images_per_second, 3)}


def segment_files(
    network: PartPredictor,
    inputs: Iterable[ImageFile | str | PathLike],
    output: str | PathLike,
    formats: Sequence[str] = ("indexed", "overlay"),
    *,
    model: str = "",
    which_shard: str | None = None,
    max_failures: int | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
    on_failure: Callable[[Failure], None] | None = None,
    on_remark: Callable[[str, str], None] | None = None,
    arguments: Mapping | None = None,
    engine: Callable = Engine,
) -> Summary:
    """Segment picture files into a folder.

    Every file is written whole or not at all. A picture that cannot be read, segmented or written
    is a line of `failures.jsonl` and stops nothing. When the folder holds results of the same run,
    only what is missing, has changed or had failed is done.

    Args:
        network: from `create_predictor(segmenter)`.
        inputs: what `find_images` gave, or paths for it.
        output: a folder or an address, made if need be.
        formats: names out of `FORMATS`.
        model: what the network is called in the results.
        which_shard: "i/n" for the i-th of n shares of the pictures.
        max_failures: stop when there are more; None never stops.
        overwrite: remove the results of another run that are there.
        dry_run: do nothing but count.
        threads: for decoding, and as many for writing; None for one a core, 8 at most.
        max_pixels: larger pictures fail.
        progress: show a bar with the time left on stderr.
        on_failure: called with each `Failure` as it happens.
        on_remark: called with (path, remark) of pictures that there is something to say about.
        arguments: what the user asked for, for run.json; JSON values.
        engine: what does the work, made as `Engine` is.

    Raises:
        ConfigError: a setting is out of range, or the folder holds results of another run.
        DataError: a path among the inputs does not exist.
        KerasPartsError: results cannot be written at all (disk full, no permission), another
            process is writing them, or there were too many failures.
    """
    started = time.time()
    writers = create_writers(formats)
    files = list(inputs)
    if not all(isinstance(file, ImageFile) for file in files):
        files = find_images(files, exclude=[output])
    chosen = shard(files, which_shard) if which_shard else files
    if overwrite and which_shard:
        raise ConfigError("one shard must not overwrite what the others write: remove the folder")
    share = which_shard.replace("/", "-of-") if which_shard else ""
    folder = open_output(output, share or "all")
    settings = {"model": model, "names": list(network.names), "formats": list(formats)}
    run = _Run(folder, settings | {"max_pixels": max_pixels} | network.settings, share)
    if not overwrite:
        run.check()
    if dry_run:
        missing = chosen if overwrite else run.missing(chosen)
        return _summary(_Tally(chosen, missing), output, formats)
    work = engine(network, writers, folder, threads, max_pixels)
    folder.prepare()
    with closing(folder):
        if overwrite:
            run.forget()
        tally = _Tally(chosen, run.missing(chosen), max_failures, on_failure, on_remark)
        record = _Record(run, arguments, network.batch_size, started)
        record.write("running", tally)
        run.write_labels(network.names)
        complete, status = False, "interrupted"
        try:
            run.work(work, tally, progress)
            status = "complete"
        except KerasPartsError:
            status = "stopped"
            raise
        finally:
            with suppress(Unwritable):  # there is an error to be told already
                complete = run.end(files, writers, model, merge=status == "complete")
                record.write(status, tally)
                if complete and share:
                    record.write(status, run.tally(files), RUN_FILE)
    return _summary(tally, output, formats, complete, time.time() - started)


def recorded_batch_size(output: str | PathLike) -> int | None:
    """The batch size of the run in a folder, if there is one: with another, the last digits of
    results may differ."""
    return next((record["batch_size"] for _, record in _records(open_output(output, ""))), None)


class _Run:
    """A run as its folder knows it."""

    def __init__(self, output, configuration, share):
        self.output, self.configuration, self.share = output, configuration, share
        text = json.dumps(configuration, sort_keys=True)
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def check(self):
        """Raise ConfigError if the folder holds results of another run."""
        for name, record in _records(self.output):
            earlier = record["configuration"]
            differing = [
                f"{key} was {json.dumps(earlier.get(key))}, is {json.dumps(value)}"
                for key, value in self.configuration.items()
                if earlier.get(key) != value
            ]
            if differing:
                raise ConfigError(
                    f"{self.output.path} holds results of another run ({name}): "
                    f"{'; '.join(differing)}. Choose another --output, or replace them "
                    "(--overwrite)"
                )

    def forget(self):
        """Remove what earlier runs wrote, and nothing else."""
        for outcome in Done(self.output, None).outcomes():
            for name in outcome.files:
                self.output.remove(name)
        written = [LABELS_FILE, FAILURES_FILE, *self.output.names(FOLDER)]
        for name, record in _records(self.output):
            written.append(name)
            for known in set(record["configuration"]["formats"]) & set(FORMATS):
                written += FORMATS[known][0].merged
        for name in [*written, *self._failures_of_shards()]:
            self.output.remove(name)

    def missing(self, files):
        """The pictures that have no results, or whose files have changed since."""
        done = Done(self.output, self.digest)
        return [file for file in files if not self._is_done(file, done.get(file))]

    def _is_done(self, file, outcome):
        if outcome is None or outcome.failure or not all(map(self.output.exists, outcome.files)):
            return False
        try:
            if file.version() == outcome.version:
                return True
            return hashlib.sha256(file.read()).hexdigest() == outcome.sha256
        except DataError:
            return False

    def write_labels(self, names):
        """Write what labels mean: `{"background": 0, "parts": [{"label": 1, "name": ...,
        "colour": "#rrggbb"}, ...]}`."""
        self._write_json(LABELS_FILE, {"background": 0, "parts": part_legend(names)})

    def work(self, engine, tally, progress):
        """Segment what is missing and remember what became of each picture."""
        log = DoneLog(self.output, f"{time.time_ns()}-{uuid.uuid4().hex[:8]}", self.digest)
        bar = tqdm(
            total=tally.found, initial=tally.kept, unit="image", disable=not progress, smoothing=0.1
        )
        with closing(log), bar, closing(engine.run(tally.missing, log.append)) as outcomes:
            for outcome in outcomes:
                bar.update()
                tally.add(outcome)

    def end(self, files, writers, model, merge):
        """Write what is known of all pictures; returns whether the whole run is finished."""
        done = Done(self.output, self.digest)
        if not merge or not done.knows_all(files):
            suffix = f"-{self.share}" if self.share else ""
            self._write_failures(f"failures{suffix}.jsonl", done, files)
            return False
        labels = Labels(tuple(self.configuration["names"]), model)
        for writer in writers:
            if writer.merged:
                writer.merge(_Records(done, files, writer.name), labels, self.output)
        self._write_failures(FAILURES_FILE, done, files)
        for name in self._failures_of_shards():
            self.output.remove(name)
        return True

    def tally(self, files):
        """The counts of all shards together."""
        done = Done(self.output, self.digest)
        tally = _Tally(files, files)
        for file in files:
            tally.count(done.get(file))
        return tally

    def _write_failures(self, name, done, files):
        lines = [
            json.dumps(asdict(outcome.failure)) + "\n"
            for outcome in map(done.get, files)
            if outcome and outcome.failure
        ]
        if lines:
            self.output.write(name, "".join(lines).encode())
        else:
            self.output.remove(name)

    def _failures_of_shards(self):
        return [name for name in self.output.names("") if _SHARD_FAILURES.fullmatch(name)]

    def _write_json(self, name, value):
        self.output.write(name, (json.dumps(value, indent=2) + "\n").encode())


class _Tally:
    """Counts pictures, tells of what is remarkable, and stops after too many failures."""

    def __init__(self, files, missing, max_failures=None, on_failure=None, on_remark=None):
        self.found, self.missing, self.kept = len(files), missing, len(files) - len(missing)
        self.done = self.failed = 0
        self._max_failures = max_failures
        self._on_failure, self._on_remark = on_failure, on_remark

    @property
    def remaining(self):
        return self.found - self.kept - self.done - self.failed

    def count(self, outcome):
        """Count an outcome."""
        if outcome.failure:
            self.failed += 1
        else:
            self.done += 1

    def add(self, outcome):
        """Count an outcome and tell of it; raises KerasPartsError after too many failures."""
        self.count(outcome)
        if self._on_remark:
            for remark in outcome.remarks:
                self._on_remark(outcome.image, remark)
        if outcome.failure and self._on_failure:
            self._on_failure(outcome.failure)
        if self._max_failures is not None and self.failed > self._max_failures:
            raise KerasPartsError(
                f"stopped after {self.failed} failed pictures, of which {self._max_failures} are "
                f"allowed; the last one: {outcome.failure}"
            )


class _Record:
    """run.json: what was asked for, with what, and how far it came."""

    def __init__(self, run, arguments, batch_size, started):
        self._run, self._started = run, started
        self._head = {
            "format": _FORMAT,
            "configuration": run.configuration,
            "batch_size": batch_size,
            "shard": run.share or None,
            "arguments": dict(arguments or {}),
            "versions": _versions(),
            "platform": {"system": platform.system(), "machine": platform.machine()},
        }

    def write(self, status, tally, name=None):
        """Write it: "running", "complete", "stopped" or "interrupted"."""
        seconds = time.time() - self._started
        counts = {
            "found": tally.found,
            "done": tally.done,
            "failed": tally.failed,
            "kept": tally.kept,
            "remaining": tally.remaining,
        }
        timing = {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(seconds, 3),
            "images_per_second": round(tally.done / seconds, 3) if seconds else None,
        }
        name = name or (f"run-{self._run.share}.json" if self._run.share else RUN_FILE)
        rest = {"status": status, "counts": counts, "timing": timing}
        self._run._write_json(name, self._head | rest)


class _Records:
    """(picture, record of one format) of all pictures with results, as often as one asks."""

    def __init__(self, done, files, name):
        self._done, self._files, self._name = done, files, name

    def __iter__(self):
        for file, outcome in self._done.outcomes_of(self._files):
            if not outcome.failure:
                yield file, outcome.records[self._name]


def _records(output):
    """(name, content) of the run files in a folder."""
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
                f"{output.path}: {name} is not from this version of keras-parts: choose another "
                "--output"
            )
        yield name, record


def _summary(tally, output, formats, complete=False, seconds=0.0):
    counts = (tally.found, tally.done, tally.failed, tally.kept)
    return Summary(*counts, complete, seconds, str(output), tuple(formats))


def _versions():
    versions = {"keras_parts": __version__, "python": platform.python_version()}
    backend = sys.modules["keras"].config.backend() if "keras" in sys.modules else None
    for name in ("numpy", "pillow", "keras", backend):
        with suppress(metadata.PackageNotFoundError, TypeError, ValueError):
            versions[name] = metadata.version(name)
    return versions | {"backend": backend}
