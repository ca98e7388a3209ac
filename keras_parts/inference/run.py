"""Segment image files into a folder, resuming a previous run of the same settings.

Finished images are kept when an interrupted run is started again. The last of several shards to
finish writes the merged files: those with the results of all images, such as coco.json.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from os import PathLike
from threading import Lock
from typing import Any

from tqdm import tqdm

from keras_parts.errors import ConfigError, KerasPartsError, hide_secrets
from keras_parts.images.opening import MAX_PIXELS
from keras_parts.inference.done_log import DoneLog, Failure, Outcome
from keras_parts.inference.engine import Engine, EngineFactory, ImageEngine
from keras_parts.inference.inputs import ImageFile, find_images, select_shard
from keras_parts.inference.output import open_output
from keras_parts.inference.results_folder import (
    RUN_FILE,
    ResultsFolder,
    RunRecord,
    run_records,
)
from keras_parts.inference.writers import DEFAULT_FORMATS, create_writers
from keras_parts.models.predictor import PartPredictor

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Summary:
    """The counts of a run.

    Attributes:
        found: number of images of this run, or of this shard.
        done, failed: numbers of images that this run segmented, and that failed.
        kept: number of images that a previous run segmented.
        complete: whether all shards are finished and the merged files are written.
        seconds: wall-clock time.
        output: the output folder.
        formats: the formats written.

    Example:
        >>> from keras_parts.inference import Summary
        >>> summary = Summary(8, 6, 0, 2, True, 3.0, "out", ("indexed",))
        >>> summary.images_per_second
        2.0
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
    def images_per_second(self) -> float:
        """Images that this run segmented, per second."""
        return self.done / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        values = asdict(self) | {"formats": list(self.formats)}
        return values | {"images_per_second": round(self.images_per_second, 3)}


def segment_files(
    predictor: PartPredictor,
    inputs: Iterable[ImageFile | str | PathLike[str]],
    output: str | PathLike[str],
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    model: str = "",
    shard: str | None = None,
    max_failures: int | None = None,
    overwrite: bool = False,
    verify: bool = False,
    dry_run: bool = False,
    threads: int | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = False,
    on_failure: Callable[[Failure], None] | None = None,
    on_remark: Callable[[str, str], None] | None = None,
    arguments: Mapping[str, Any] | None = None,
    engine: EngineFactory = Engine,
) -> Summary:
    """Segment image files into a folder.

    Every file is written atomically. An image that cannot be read, segmented or written is
    reported in `failures.jsonl`, and the run continues. If the folder has results of the same
    settings, only images that are missing, have changed or failed are segmented; other formats are
    added to those that are there, from their records or by segmenting the images again.

    Args:
        predictor: from `keras_parts.models.create_predictor`.
        inputs: images from `find_images`, or paths for it.
        output: a folder or an address, created if necessary.
        formats: names from `FORMATS`.
        model: name of the model in the results.
        shard: "i/n" for the i-th of n shards of the images.
        max_failures: stop after more failures than this; None never stops.
        overwrite: remove the results of another run first.
        verify: compare the content of finished images with what was segmented; by default only
            images whose size or date has changed are read.
        dry_run: count the images only.
        threads: number of decoding threads, and of writing threads; None for one per processor
            core, at most 8.
        max_pixels: images with more pixels fail.
        progress: show a progress bar on stderr.
        on_failure: called with each `Failure`.
        on_remark: called with (path, remark) for each remark about an image.
        arguments: of the user, for run.json; JSON values. "model" is what the commands take as
            the model, for the page.
        engine: creates the engine, as the class `Engine` does.

    Raises:
        ConfigError: a setting is out of range, or the folder has results of another run.
        DataError: an input path does not exist.
        KerasPartsError: no results can be written (disk full, no permission), another process is
            writing them, or there were too many failures.

    Example:
        >>> from PIL import Image
        >>> from keras_parts import data, inference, models, zoo
        >>> Image.fromarray(data.load("toy", "test", count=1)[0].image).save("animal.png")
        >>> predictor = models.create_predictor(zoo.load("toy"), batch_size=1)
        >>> inference.segment_files(predictor, ["animal.png"], "segmented", ["indexed"]).done
        1
    """
    started = time.monotonic()
    formats = check_settings(output, formats, shard=shard, overwrite=overwrite)
    writers = create_writers(formats)
    files = _image_files(inputs, output)
    chosen = select_shard(files, shard) if shard else files
    shard_name = shard.replace("/", "-of-") if shard else ""
    settings: dict[str, Any] = {"model": hide_secrets(model), "names": list(predictor.names)}
    settings |= {"formats": list(formats), "max_pixels": max_pixels} | {**predictor.settings}
    target = open_output(output, shard_name or "all")
    # An export has no names to be stored.
    given = "" if "export" in settings else (arguments or {}).get("model", "")
    location = hide_secrets(str(given))
    folder = ResultsFolder(
        target, settings, writers, shard_name, verify=verify, model_location=location
    )
    if not overwrite:
        folder.check_configuration()
    if dry_run:
        missing = dict.fromkeys(chosen, ()) if overwrite else folder.missing(chosen)
        return _summary(_Counts(chosen, missing), output, formats)

    def create_engine(names: Sequence[str]) -> ImageEngine:
        few = [writer for writer in writers if writer.name in names]
        return engine(predictor, few, folder.output, threads=threads, max_pixels=max_pixels)

    create_engine(formats)  # raises an error before anything is written
    folder.output.prepare()
    with closing(folder.output):
        if overwrite:
            folder.remove_results()
        missing = folder.missing(chosen)
        folder.withdraw(files, missing)
        counts = _Counts(chosen, missing, max_failures, on_failure, on_remark)
        root = files[0].root if files else ""
        record = RunRecord(folder, arguments, predictor.batch_size, root)
        record.write("running", counts)
        folder.write_labels(predictor.names)
        complete = _run(create_engine, folder, files, counts, record, progress=progress)
    return _summary(counts, output, formats, complete, time.monotonic() - started)


def check_settings(
    output: str | PathLike[str],
    formats: Sequence[str] = DEFAULT_FORMATS,
    *,
    shard: str | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Check settings of a run that need no model.

    Args:
        output, formats, shard, overwrite: of `segment_files`.

    Returns:
        The formats that are written: with those of the earlier results in the folder, which are
        completed.

    Raises:
        ConfigError: a format or the shard is not valid, or a shard would remove all results.

    Example:
        >>> from keras_parts.inference.run import check_settings
        >>> check_settings("no such folder", ["csv"], shard="1/4")
        ('csv',)
    """
    if overwrite and shard:
        raise ConfigError(
            f"overwrite is set with shard {shard}, but a shard must not remove the results of the "
            "other shards: remove the folder before the first shard starts",
            setting="overwrite",
        )
    if shard:
        select_shard((), shard)
    earlier = () if overwrite else recorded_formats(output)
    formats = (*earlier, *(name for name in formats if name not in earlier))
    create_writers(formats)
    return formats


def recorded_batch_size(output: str | PathLike[str]) -> int | None:
    """The batch size of the previous run in a folder; None if there is none.

    With another batch size, results may differ in their last digits.

    Args:
        output: a folder or an address.

    Example:
        >>> from keras_parts.inference import recorded_batch_size
        >>> recorded_batch_size("no such folder") is None
        True
    """
    record = _first_record(output)
    return record["batch_size"] if record else None


def recorded_model(output: str | PathLike[str]) -> str | None:
    """The name of the model of the previous run in a folder; None if there is none.

    Args:
        output: a folder or an address.

    Example:
        >>> from keras_parts.inference import recorded_model
        >>> recorded_model("no such folder") is None
        True
    """
    record = _first_record(output)
    return record["configuration"].get("model") if record else None


def recorded_runtime(output: str | PathLike[str]) -> str | None:
    """What ran the model of the previous run in a folder, "keras" or "onnx"; None if there is none.

    Args:
        output: a folder or an address.

    Example:
        >>> from keras_parts.inference import recorded_runtime
        >>> recorded_runtime("no such folder") is None
        True
    """
    record = _first_record(output)
    return record["configuration"].get("runtime", "keras") if record else None


def _first_record(output: str | PathLike[str]) -> dict[str, Any] | None:
    """The content of the first run file in a folder; None if there is none."""
    return next((record for _, record in run_records(open_output(output, ""))), None)


def recorded_formats(output: str | PathLike[str]) -> tuple[str, ...]:
    """The formats of the previous runs in a folder; a later run adds its own to them.

    Args:
        output: a folder or an address.

    Example:
        >>> from keras_parts.inference import recorded_formats
        >>> recorded_formats("no such folder")
        ()
    """
    records = run_records(open_output(output, ""))
    return tuple(
        dict.fromkeys(name for _, record in records for name in record["configuration"]["formats"])
    )


def _image_files(
    inputs: Iterable[ImageFile | str | PathLike[str]], output: str | PathLike[str]
) -> list[ImageFile]:
    given = list(inputs)
    files = [each for each in given if isinstance(each, ImageFile)]
    if len(files) == len(given):
        return files
    paths = [each.path if isinstance(each, ImageFile) else each for each in given]
    return find_images(paths, exclude=[output])


class _Counts:
    """Counts images, reports failures and remarks, and stops after too many failures."""

    def __init__(
        self,
        files: Sequence[ImageFile],
        missing: Mapping[ImageFile, tuple[str, ...]],
        max_failures: int | None = None,
        on_failure: Callable[[Failure], None] | None = None,
        on_remark: Callable[[str, str], None] | None = None,
    ) -> None:
        self.found, self.missing, self.kept = len(files), missing, len(files) - len(missing)
        self.done = self.failed = 0
        self._max_failures = max_failures
        self._on_failure, self._on_remark = on_failure, on_remark

    @property
    def remaining(self) -> int:
        return self.found - self.kept - self.done - self.failed

    def count(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome.failure:
            self.failed += 1
        else:
            self.done += 1

    def report(self, outcome: Outcome) -> None:
        """Count an outcome and report it; raise KerasPartsError after too many failures."""
        self.count(outcome)
        if self._on_remark:
            for remark in outcome.remarks:
                self._on_remark(outcome.image, remark)
        if outcome.failure and self._on_failure:
            self._on_failure(outcome.failure)
        if self._max_failures is not None and self.failed > self._max_failures:
            raise KerasPartsError(
                f"stopped after {self.failed} failed images, of which {self._max_failures} are "
                f"allowed; the last one: {outcome.failure}"
            )


def _total_counts(folder: ResultsFolder, files: Sequence[ImageFile]) -> _Counts:
    """The counts of all shards together."""
    counts = _Counts(files, dict.fromkeys(files, ()))
    for outcome in folder.outcomes(files):
        counts.count(outcome)
    return counts


def _run(
    create_engine: Callable[[Sequence[str]], ImageEngine],
    folder: ResultsFolder,
    files: Sequence[ImageFile],
    counts: _Counts,
    record: RunRecord,
    *,
    progress: bool,
) -> bool:
    """Segment the missing images and finish the folder, after an error too.

    Returns:
        Whether the run, with all shards, is complete.
    """
    try:
        _segment_missing(create_engine, folder, counts, progress)
        complete = folder.finish(files, merge=True)
    except BaseException as error:
        # The error that stopped the run is raised, not one of these.
        with suppress(KerasPartsError, OSError):
            folder.finish(files, merge=False)
        with suppress(KerasPartsError, OSError):
            record.write("stopped" if isinstance(error, Exception) else "interrupted", counts)
        raise
    record.write("complete", counts)
    if complete and folder.shard:
        record.write("complete", _total_counts(folder, files), RUN_FILE)
    return complete


def _segment_missing(
    create_engine: Callable[[Sequence[str]], ImageEngine],
    folder: ResultsFolder,
    counts: _Counts,
    progress: bool,
) -> None:
    """Segment the missing images and log the outcome of each.

    Of images that lack some formats only, nothing else is written.
    """
    log = DoneLog(folder.output, folder.digest)
    bar = tqdm(
        total=counts.found, initial=counts.kept, unit="image", disable=not progress, smoothing=0.1
    )
    by_formats: dict[tuple[str, ...], list[ImageFile]] = {}
    for file, formats in counts.missing.items():
        by_formats.setdefault(formats, []).append(file)
    every = tuple(writer.name for writer in folder.writers)
    with closing(log), bar:
        for formats, files in by_formats.items():
            on_outcome: Callable[[Outcome], None] = log.append
            if formats != every:
                _LOG.warning(
                    "%s cannot be written from the results in %s: %d images are segmented again.",
                    *(", ".join(formats), hide_secrets(str(folder.output.path)), len(files)),
                )
                on_outcome = _adding(folder, log)
            with closing(create_engine(formats).run(files, on_outcome)) as outcomes:
                for outcome in outcomes:
                    bar.update()
                    counts.report(outcome)


def _adding(folder: ResultsFolder, log: DoneLog) -> Callable[[Outcome], None]:
    """A function that logs the outcomes of images together with their earlier results."""
    earlier, lock = folder.index(), Lock()

    def append(outcome: Outcome) -> None:
        with lock:
            found = earlier.with_records(outcome.image)
        log.append(found.with_more(outcome) if found else outcome)

    return append


def _summary(
    counts: _Counts,
    output: str | PathLike[str],
    formats: Sequence[str],
    complete: bool = False,
    seconds: float = 0.0,
) -> Summary:
    numbers = (counts.found, counts.done, counts.failed, counts.kept)
    return Summary(*numbers, complete, seconds, hide_secrets(str(output)), tuple(formats))
