"""Segment many pictures: decoding threads -> batches -> the segmenter -> writing threads."""

import errno
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from os import PathLike
from pathlib import Path

from tqdm import tqdm

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.images import read_image
from keras_parts.inference.inputs import ImageFile, find_images
from keras_parts.inference.writers import FORMATS, write_labels, write_result
from keras_parts.parts import Parts, numbered_names

LABELS_FILE, FAILURES_FILE = "labels.json", "failures.jsonl"

_BATCH_BYTES = 256 * 2**20
"""Logits of a batch at full resolution: a batch of large pictures holds fewer of them."""
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
"""Errors that the next picture would meet as well."""


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
class Summary:
    """What became of a job.

    Attributes:
        done, failed: numbers of pictures with results, and of those without.
        seconds: wall-clock time.
        output: the folder of the results.
        formats: the formats written.
    """

    done: int
    failed: int
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
    segmenter,
    inputs: Iterable[ImageFile | str | PathLike],
    output: str | PathLike,
    formats: Sequence[str] = ("indexed", "overlay"),
    batch_size: int = 8,
    threads: int | None = None,
    progress: bool = False,
    on_failure: Callable[[Failure], None] | None = None,
) -> Summary:
    """Segment picture files into `output/FORMAT/RESULT.suffix`.

    Every file is written whole or not at all, and replaces an older one. A picture that cannot be
    read, segmented or written is a line of `output/failures.jsonl` and stops nothing.
    `output/labels.json` says what the labels mean. Memory does not grow with the number of files:
    two batches of results and a few decoded pictures are held at a time.

    Args:
        segmenter: has `maps(images)`, `parts` and `part_names`, as a `PartSegmenter`.
        inputs: what `find_images` gave, or paths for it.
        output: a folder, made if need be.
        formats: names out of `FORMATS`.
        batch_size: pictures a batch, fewer where they are large.
        threads: for decoding, and as many for writing; None for one a core, 8 at most.
        progress: show a bar with the time left on stderr.
        on_failure: called with each `Failure` as it happens.

    Raises:
        ConfigError: an unknown format, or a number below 1.
        DataError: a path among the inputs does not exist.
        KerasPartsError: results cannot be written at all (disk full, no permission).
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigError(
            f"formats: {', '.join(unknown) or 'none given'}; choose from {', '.join(FORMATS)}"
        )
    threads = min(8, os.cpu_count() or 1) if threads is None else threads
    if batch_size < 1 or threads < 1:
        raise ConfigError(f"batch_size {batch_size} and threads {threads} must be at least 1")
    inputs = list(inputs)
    if not all(isinstance(file, ImageFile) for file in inputs):
        inputs = find_images(inputs, exclude=[output])
    names = tuple(segmenter.part_names) or numbered_names(segmenter.parts)
    output = Path(output)
    with _must_be_writable(output):
        output.mkdir(parents=True, exist_ok=True)
        write_labels(output / LABELS_FILE, names)
        (output / FAILURES_FILE).unlink(missing_ok=True)

    def write(file, image, logits):
        write_result(Parts(logits, image, names), output, file.result, formats)

    start = time.perf_counter()
    with ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(inputs), unit="image", disable=not progress))
        readers, writers = (stack.enter_context(ThreadPoolExecutor(threads)) for _ in range(2))
        tally = _Tally(output / FAILURES_FILE, bar, on_failure)
        values = _BATCH_BYTES // (4 * (1 + segmenter.parts))
        writing = []
        for batch in _batches(_read(inputs, readers, threads, tally), batch_size, values):
            results = _segment(segmenter, batch, tally)
            _settle(writing, tally)
            writing = [(result[0], writers.submit(write, *result)) for result in results]
        _settle(writing, tally)
    seconds = time.perf_counter() - start
    return Summary(tally.done, tally.failed, seconds, str(output), tuple(formats))


class _Tally:
    """Counts pictures, and keeps the reason of each failure."""

    def __init__(self, log, bar, on_failure):
        self.log, self.bar, self.on_failure = log, bar, on_failure
        self.done = self.failed = 0

    def succeed(self):
        self.done += 1
        self.bar.update()

    def fail(self, file, stage, error):
        failure = Failure(str(file.path), stage, type(error).__name__, str(error))
        with _must_be_writable(self.log), open(self.log, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(asdict(failure)) + "\n")
        self.failed += 1
        self.bar.update()
        if self.on_failure:
            self.on_failure(failure)


def _read(files, readers, ahead, tally):
    """(file, image) in order, a few files decoded ahead."""
    files, pending = iter(files), deque()
    while True:
        for file in islice(files, ahead + 1 - len(pending)):
            pending.append((file, readers.submit(read_image, file.path)))
        if not pending:
            return
        file, image = pending.popleft()
        try:
            yield file, image.result()
        except (KerasPartsError, OSError, MemoryError) as error:
            tally.fail(file, "read", error)


def _batches(pairs, size, pixels):
    """Lists of at most `size` pairs (file, image) with at most `pixels` pixels together, or one."""
    batch, held = [], 0
    for file, image in pairs:
        area = image.shape[0] * image.shape[1]
        if batch and (len(batch) == size or held + area > pixels):
            yield batch
            batch, held = [], 0
        batch.append((file, image))
        held += area
    if batch:
        yield batch


def _segment(segmenter, batch, tally):
    """[(file, image, logits)]; when a batch fails, its pictures are tried one by one."""
    try:
        maps = segmenter.maps([image for _, image in batch])
        return [(*pair, logits) for pair, logits in zip(batch, maps, strict=True)]
    except Exception as error:  # whatever the network's library raises
        if len(batch) == 1:
            tally.fail(batch[0][0], "segment", error)
            return []
    return [result for pair in batch for result in _segment(segmenter, [pair], tally)]


def _settle(writing, tally):
    """Wait until the results of a batch are on the disk."""
    for file, written in writing:
        try:
            written.result()
        except Exception as error:  # an encoder's own, such as a picture too large for JPEG
            if isinstance(error, OSError) and error.errno in _UNWRITABLE:
                raise KerasPartsError(f"results cannot be written: {error}") from error
            tally.fail(file, "write", error)
        else:
            tally.succeed()


@contextmanager
def _must_be_writable(path):
    try:
        yield
    except OSError as error:
        raise KerasPartsError(f"{path}: results cannot be written: {error.strerror}") from error
