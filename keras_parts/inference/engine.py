"""From picture files to results: decoding threads -> batches -> the network -> writing threads.

What is held at a time does not grow with the number of pictures or their size: a few small
pictures, and a fixed number of pixels of large ones, which are read again to write their results.
"""

import hashlib
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.images.decoding import MAX_PIXELS, decode_picture, decode_size
from keras_parts.inference.done import Failure, Outcome
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Unwritable
from keras_parts.inference.writers import Writer
from keras_parts.models.predictor import PartPredictor, PreparedImage

_LARGE = 2**23
"""Pixels of a picture that is held no longer than it takes to look at it."""
_AT_ONCE = 2**26
"""Pixels that all threads together look at: some ten bytes each."""


@dataclass(eq=False)
class _Item:
    """One picture between reading and writing."""

    file: ImageFile
    version: str
    sha256: str
    remarks: tuple[str, ...]
    prepared: PreparedImage
    image: np.ndarray | None
    answers: dict[int, Mapping] = field(default_factory=dict)
    failed: bool = False

    @property
    def is_complete(self):
        return len(self.answers) == len(self.prepared.inputs)


class Engine:
    """Segments pictures and writes their results.

    Args:
        network: the segmenter.
        writers: one a format, of the same output.
        output: the folder of the results, see `keras_parts.inference.output`.
        threads: for decoding, and as many for writing; None for one a core, 8 at most.
        max_pixels: larger pictures are refused.

    Raises:
        ConfigError: fewer than one thread.
    """

    def __init__(
        self,
        network: PartPredictor,
        writers: list[Writer],
        output,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        threads = min(8, os.cpu_count() or 1) if threads is None else threads
        if threads < 1:
            raise ConfigError(f"threads is {threads}, expected at least 1")
        self.network, self.writers, self.output = network, writers, output
        self.threads, self.max_pixels = threads, max_pixels
        self._needs_image = any(writer.needs_image for writer in writers)
        self._budget = _Budget(_AT_ONCE)

    def run(
        self, files: Iterable[ImageFile], remember: Callable[[Outcome], None]
    ) -> Iterator[Outcome]:
        """What became of each picture.

        Args:
            files: the pictures.
            remember: called with each outcome as soon as its results are whole, in any thread:
                what waits here to be yielded is already safe.

        Raises:
            Unwritable: results cannot be written at all.
        """
        Image.init()  # loads all formats: begun in several threads at once, it fails in some
        with ExitStack() as stack:
            stack.enter_context(_one_thread_a_product())
            readers, writers = (
                stack.enter_context(_Pool(self.threads)) for _ in ("reading", "writing")
            )
            writing: deque[Future] = deque()
            for item in self._segmented(self._read(files, readers)):
                if isinstance(item, Outcome):
                    remember(item)
                    yield item
                    continue
                writing.append(writers.submit(self._finish, item, remember))
                while writing and (writing[0].done() or len(writing) > self._ahead):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()

    @property
    def _ahead(self):
        """Pictures read before they are needed, and written behind, at most."""
        # The tiles of a picture are many times what the picture itself is brought down to.
        return self.threads + (0 if self.network.tile else self.network.batch_size)

    def _read(self, files, readers):
        """Items, or outcomes of failed pictures, in order."""
        files, pending = iter(files), deque()
        while True:
            for file in islice(files, self._ahead - len(pending)):
                pending.append(readers.submit(self._item, file))
            if not pending:
                return
            yield pending.popleft().result()

    def _item(self, file):
        version = sha256 = ""
        try:
            version, content = file.version(), file.read()
            sha256 = hashlib.sha256(content).hexdigest()
            pixels = math.prod(decode_size(content, file.path, self.max_pixels))
            with self._budget.of(pixels):
                picture = decode_picture(content, file.path, self.max_pixels)
                prepared = self.network.prepare(picture.image)
        except (KerasPartsError, OSError, MemoryError) as error:
            return _failed(file, version, sha256, "read", error)
        kept = picture.image if self._needs_image and pixels < _LARGE else None
        return _Item(file, version, sha256, picture.remarks, prepared, kept)

    def _segmented(self, items):
        """Items with all their answers, as soon as these are there, and outcomes as they come.

        Inputs wait in a bucket a shape until a batch is full.
        """
        buckets, waiting, size = {}, 0, self.network.batch_size
        for item in items:
            if isinstance(item, Outcome):
                yield item
                continue
            for index, given in enumerate(item.prepared.inputs):
                buckets.setdefault(given.shape, []).append((item, index))
                waiting += 1
                fullest = max(buckets, key=lambda shape: len(buckets[shape]))
                # With inputs of many shapes, none may wait for ever.
                if len(buckets[fullest]) == size or waiting > 4 * size:
                    batch = buckets.pop(fullest)
                    waiting -= len(batch)
                    yield from self._answered(batch)
        for batch in buckets.values():
            yield from self._answered(batch)

    def _answered(self, batch):
        """The items of a batch that lack no answer any more; when the network fails, its inputs
        are tried one by one."""
        batch = [(item, index) for item, index in batch if not item.failed]
        if not batch:
            return
        try:
            answers = self.network.predict([item.prepared.inputs[i] for item, i in batch])
        except Exception as error:  # whatever the network's library raises
            if len(batch) > 1:
                for one in batch:
                    yield from self._answered([one])
                return
            item = batch[0][0]
            item.failed = True
            yield _failed(item.file, item.version, item.sha256, "segment", error)
            return
        for (item, index), answer in zip(batch, answers, strict=True):
            item.answers[index], item.prepared.inputs[index] = answer, None
            if item.is_complete:
                yield item

    def _finish(self, item, remember):
        outcome = self._write(item)
        remember(outcome)
        return outcome

    def _write(self, item):
        """The outcome of an item, all of whose results are written."""
        written, records = [], {}
        try:
            with self._image(item) as image:
                answers = [item.answers[index] for index in sorted(item.answers)]
                parts = self.network.combine(item.prepared, answers, image)
                for writer in self.writers:
                    for name, content in writer.files(parts, item.file).items():
                        self.output.write(name, content)
                        written.append(name)
                    if writer.merged:
                        records[writer.name] = writer.record(parts, item.file)
        except Unwritable:
            raise
        except Exception as error:  # an encoder's own, such as a picture too large for JPEG
            for name in written:
                self.output.remove(name)
            return _failed(item.file, item.version, item.sha256, "write", error)
        return Outcome(
            item.file.relative,
            item.version,
            item.sha256,
            tuple(written),
            item.remarks,
            records=records,
        )

    @contextmanager
    def _image(self, item):
        """The image to make results with, if they need one."""
        with self._budget.of(math.prod(item.prepared.size)):
            if item.image is None and self._needs_image:
                content = item.file.read()
                if hashlib.sha256(content).hexdigest() != item.sha256:
                    raise DataError(f"{item.file.path}: changed while it was segmented")
                yield decode_picture(content, item.file.path, self.max_pixels).image
            else:
                yield item.image


class _Budget:
    """Lets threads look at so many pixels at a time, or at a single picture that has more."""

    def __init__(self, pixels):
        self._pixels, self._used, self._change = pixels, 0, Condition()

    @contextmanager
    def of(self, pixels):
        """Wait until a picture of so many pixels has its turn, which ends with the block."""
        with self._change:
            self._change.wait_for(lambda: not self._used or self._used + pixels <= self._pixels)
            self._used += pixels
        try:
            yield
        finally:
            with self._change:
                self._used -= pixels
                self._change.notify_all()


class _Pool(ThreadPoolExecutor):
    """Threads that, when something goes wrong, end what they have begun and begin nothing more."""

    def __exit__(self, kind, *_):
        self.shutdown(cancel_futures=kind is not None)
        return False


def _failed(file, version, sha256, stage, error):
    failure = Failure(file.path, stage, type(error).__name__, str(error))
    return Outcome(file.relative, version, sha256, failure=failure)


def _one_thread_a_product():
    """Products of small matrices, one in each writing thread, must not share their threads."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas").limit(limits=1)
