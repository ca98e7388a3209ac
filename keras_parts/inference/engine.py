"""From image files to results: decoding threads -> batches -> predictor -> writing threads.

Memory does not grow with the number or the size of the images: a few small images are in
memory, and a fixed number of pixels of large ones; others are read again for their second looks and
when their results are written.
"""

import hashlib
import math
import os
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, RLock
from typing import Any, Protocol

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError, DataError, KerasPartsError, hide_secrets
from keras_parts.images.decoding import DecodedImage, decode_image, decode_size
from keras_parts.images.opening import MAX_PIXELS
from keras_parts.inference.done_log import Failure, Outcome
from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output, OutputError
from keras_parts.inference.writers import Writer
from keras_parts.models.predictor import Outputs, PartPredictor, PreparedImage

_LARGE_IMAGE_PIXELS = 2**23
"""Images with this many pixels stay in memory until their results are written only if they have
together at most `_MAX_LARGE_PIXELS`; the others are read again."""
_MAX_LARGE_PIXELS = 2**27
_MAX_ACTIVE_PIXELS = 2**26
"""Maximum number of pixels that all threads process at a time; each takes about ten bytes."""

OnOutcome = Callable[[Outcome], None]
"""Called with each outcome as soon as its results are written, in any thread."""


class ImageEngine(Protocol):
    """Segments images and writes their results, as `Engine` and `RayEngine` do."""

    def run(
        self, files: Iterable[ImageFile], on_outcome: OnOutcome
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each image."""


class EngineFactory(Protocol):
    """Creates the engine of a run, as the class `Engine` does."""

    def __call__(
        self,
        predictor: PartPredictor,
        writers: Sequence[Writer],
        output: Output,
        *,
        threads: int | None,
        max_pixels: int,
    ) -> ImageEngine: ...


@dataclass(eq=False)
class _Item:
    """An image between reading and writing."""

    file: ImageFile
    version: str
    sha256: str
    remarks: tuple[str, ...]
    prepared: PreparedImage
    image: np.ndarray | None
    outputs: dict[int, Outputs] = field(default_factory=dict)
    failed: bool = False
    is_seen_again: bool = False

    @property
    def is_complete(self) -> bool:
        return len(self.outputs) == len(self.prepared.inputs)

    @property
    def ordered_outputs(self) -> list[Outputs]:
        return [self.outputs[index] for index in sorted(self.outputs)]


_Batch = list[tuple[_Item, int]]
"""Inputs of the network: the item of each, and the input's index in `item.prepared.inputs`."""


class Engine:
    """Segments images on this machine and writes their results.

    Args:
        predictor: from `keras_parts.models.create_predictor`.
        writers: one for each format.
        output: the output folder.
        threads: number of decoding threads, and of writing threads; None for one per processor
            core, at most 8.
        max_pixels: images with more pixels fail.

    Raises:
        ConfigError: fewer than one thread.
    """

    def __init__(
        self,
        predictor: PartPredictor,
        writers: Sequence[Writer],
        output: Output,
        *,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        threads = min(8, os.cpu_count() or 1) if threads is None else threads
        if threads < 1:
            raise ConfigError(
                f"threads is {threads}, expected at least 1", setting="threads", value=threads
            )
        self.predictor, self.writers, self.output = predictor, writers, output
        self.threads, self.max_pixels = threads, max_pixels
        self._needs_image = any(writer.needs_image for writer in writers)
        self._budget = _PixelBudget(_MAX_ACTIVE_PIXELS)
        self._large = _LargeImages(_MAX_LARGE_PIXELS)

    def run(
        self, files: Iterable[ImageFile], on_outcome: OnOutcome
    ) -> Generator[Outcome, None, None]:
        """Yield the outcome of each image.

        Args:
            files: the images.
            on_outcome: called with each outcome as soon as its results are written, in any thread;
                an outcome may be yielded later.

        Raises:
            OutputError: no results can be written.
        """
        Image.init()  # loads all formats; Pillow fails if several threads do it at the same time
        with ExitStack() as stack:
            stack.enter_context(_single_threaded_products())
            readers = stack.enter_context(_Pool(self.threads))
            writers = stack.enter_context(_Pool(self.threads))
            writing: deque[Future[Outcome]] = deque()
            for item in self._segmented(self._read(files, readers), readers):
                if isinstance(item, Outcome):
                    on_outcome(item)
                    yield item
                    continue
                writing.append(writers.submit(self._finish, item, on_outcome))
                while writing and (writing[0].done() or len(writing) > self._max_waiting):
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()

    @property
    def _max_waiting(self) -> int:
        """Maximum number of images that wait for the predictor, and for a writing thread."""
        # All tiles of an image have many more pixels than the downsampled image.
        return self.threads + (0 if self.predictor.tile else self.predictor.batch_size)

    def _read(self, files: Iterable[ImageFile], readers: "_Pool") -> Iterator[_Item | Outcome]:
        """Items, or outcomes of failed images, in order."""
        remaining, pending = iter(files), deque[Future[_Item | Outcome]]()
        while True:
            for file in islice(remaining, self._max_waiting - len(pending)):
                pending.append(readers.submit(self._read_item, file))
            if not pending:
                return
            yield pending.popleft().result()

    def _read_item(self, file: ImageFile) -> _Item | Outcome:
        version = sha256 = ""
        try:
            version, content = file.version(), file.read()
            sha256 = hashlib.sha256(content).hexdigest()
            pixels = math.prod(decode_size(content, file.path, self.max_pixels))
            with self._budget.reserve(pixels):
                decoded = decode_image(
                    content, file.path, self.max_pixels, enough=self.predictor.enough
                )
                prepared = self._prepared(decoded)
        except (KerasPartsError, OSError, MemoryError) as error:
            return _failed(file, version, sha256, "read", error)
        return _Item(file, version, sha256, decoded.remarks, prepared, self._kept(decoded, pixels))

    def _kept(self, decoded: DecodedImage, pixels: int) -> np.ndarray | None:
        """The image if it stays in memory, for second looks and for writers that need it."""
        if not (self._needs_image or self.predictor.looks != 1) or decoded.box is not None:
            return None
        if pixels < _LARGE_IMAGE_PIXELS or self._large.take(decoded.image):
            return decoded.image
        return None

    def _prepared(self, decoded: DecodedImage) -> PreparedImage:
        if decoded.box is None:
            return self.predictor.prepare(decoded.image)
        return self.predictor.prepare(decoded.image, size=decoded.size, box=decoded.box)

    def _segmented(
        self, items: Iterable[_Item | Outcome], readers: "_Pool"
    ) -> Iterator[_Item | Outcome]:
        """Items as soon as all their outputs are complete, and outcomes of failed images.

        Inputs of the same shape wait until they fill a batch, those of second looks too.
        """
        queue, looking = _Queue(self.predictor.batch_size), deque[Future[_Item | Outcome]]()

        def predicted(batch: _Batch) -> Iterator[_Item | Outcome]:
            for item in self._predicted(batch):
                if isinstance(item, Outcome) or item.is_seen_again or self.predictor.looks == 1:
                    yield item
                else:
                    looking.append(readers.submit(self._look_again, item))

        def seen_again(most: int) -> Iterator[_Item | Outcome]:
            """Take those who have been read again, and wait while there are more than `most`."""
            while looking and (looking[0].done() or len(looking) > most):
                item = looking.popleft().result()
                if isinstance(item, Outcome) or item.is_complete:
                    yield item
                else:
                    for batch in queue.put(item):
                        yield from predicted(batch)

        for item in items:
            if isinstance(item, Outcome):
                yield item
                continue
            for batch in queue.put(item):
                yield from predicted(batch)
            yield from seen_again(self._max_waiting)
        while queue or looking:
            yield from seen_again(0)
            if queue:
                yield from predicted(queue.pop())

    def _predicted(self, batch: _Batch) -> Iterator[_Item | Outcome]:
        """Predict a batch, and yield the items whose outputs are then complete.

        If the predictor fails, each input is predicted alone, and the failing ones are reported.
        """
        batch = [(item, index) for item, index in batch if not item.failed]
        if not batch:
            return
        try:
            outputs = self.predictor.predict([item.prepared.inputs[i] for item, i in batch])
        except Exception as error:  # each backend raises other errors
            if len(batch) > 1:
                for single in batch:
                    yield from self._predicted([single])
                return
            item = batch[0][0]
            item.failed = True
            yield _failed(item.file, item.version, item.sha256, "segment", error)
            return
        for (item, index), output in zip(batch, outputs, strict=True):
            item.outputs[index] = output
            item.prepared.inputs[index] = np.empty(0)  # frees memory
            if item.is_complete:
                yield item

    def _look_again(self, item: _Item) -> _Item | Outcome:
        """Add the inputs of an item's second looks."""

        def read(enough: int | None) -> tuple[np.ndarray, Any]:
            if item.image is not None:
                return item.image, None
            with self._budget.reserve(math.prod(item.prepared.size)):
                decoded = self._decode_again(item, enough)
            return decoded.image, decoded.box

        try:
            item.prepared = self.predictor.look_again(item.prepared, item.ordered_outputs, read)
        except Exception as error:
            is_unread = isinstance(error, (KerasPartsError, OSError, MemoryError))
            stage = "read" if is_unread else "segment"
            return _failed(item.file, item.version, item.sha256, stage, error)
        item.remarks += item.prepared.remarks
        item.is_seen_again = True
        if not self._needs_image:
            item.image = None  # frees memory
        return item

    def _decode_again(self, item: _Item, enough: int | None = None) -> DecodedImage:
        """Decode an image a second time, as it is not kept."""
        content = item.file.read()
        if hashlib.sha256(content).hexdigest() != item.sha256:
            path = item.file.path
            raise DataError(f"{path}: changed while it was segmented", path=path)
        return decode_image(content, item.file.path, self.max_pixels, enough=enough)

    def _finish(self, item: _Item, on_outcome: OnOutcome) -> Outcome:
        outcome = self._write(item)
        on_outcome(outcome)
        return outcome

    def _write(self, item: _Item) -> Outcome:
        """Write all results of an item."""
        written: list[str] = []
        records: dict[str, Any] = {}
        try:
            with self._image(item) as image:
                parts = self.predictor.combine(item.prepared, item.ordered_outputs, image)
                for writer in self.writers:
                    for name, content in writer.files(parts, item.file).items():
                        self.output.write(name, content)
                        written.append(name)
                    if writer.merged:
                        records[writer.name] = writer.record(parts, item.file)
        except OutputError:
            raise
        except Exception as error:  # of an encoder, such as an image too large for JPEG
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
            formats=tuple(writer.name for writer in self.writers),
        )

    @contextmanager
    def _image(self, item: _Item) -> Iterator[np.ndarray | None]:
        """The image, if a writer needs it; a large one is read again."""
        with self._budget.reserve(math.prod(item.prepared.size)):
            if item.image is None and self._needs_image:
                yield self._decode_again(item).image
            else:
                yield item.image


class _Queue:
    """Inputs that wait for the predictor, by their shapes.

    Args:
        size: number of inputs in a full batch.
    """

    def __init__(self, size: int) -> None:
        self._size, self._waiting = size, 0
        self._by_shape: dict[tuple[int, ...], _Batch] = {}

    def __bool__(self) -> bool:
        return bool(self._by_shape)

    def put(self, item: _Item) -> Iterator[_Batch]:
        """Add the inputs of an item that have no outputs; yield the batches that become full."""
        for index in range(len(item.outputs), len(item.prepared.inputs)):
            shape = item.prepared.inputs[index].shape
            self._by_shape.setdefault(shape, []).append((item, index))
            self._waiting += 1
            # Inputs of rare shapes must not wait until the end of the run.
            if len(self._by_shape[shape]) == self._size or self._waiting > 4 * self._size:
                yield self.pop()

    def pop(self) -> _Batch:
        """The fullest batch."""
        fullest = max(self._by_shape, key=lambda shape: len(self._by_shape[shape]))
        batch = self._by_shape.pop(fullest)
        self._waiting -= len(batch)
        return batch


class _PixelBudget:
    """Limits the pixels that all threads process at a time; a larger image is processed alone."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels, self._reserved, self._change = max_pixels, 0, Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until the pixels of an image are available; the block then has them."""
        with self._change:
            self._change.wait_for(
                lambda: not self._reserved or self._reserved + pixels <= self._max_pixels
            )
            self._reserved += pixels
        try:
            yield
        finally:
            with self._change:
                self._reserved -= pixels
                self._change.notify_all()


class _LargeImages:
    """Counts the pixels of the large images in memory, as long as these exist."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels, self._taken, self._lock = max_pixels, 0, RLock()

    def take(self, image: np.ndarray) -> bool:
        """Whether the image may stay in memory; it is then counted until it is freed."""
        pixels = image.shape[0] * image.shape[1]
        with self._lock:
            if self._taken + pixels > self._max_pixels:
                return False
            self._taken += pixels
        weakref.finalize(image, self._give_back, pixels)
        return True

    def _give_back(self, pixels: int) -> None:
        with self._lock:  # reentrant: the garbage collector may call this at any time
            self._taken -= pixels


class _Pool(ThreadPoolExecutor):
    """Threads which, after an error, finish their current tasks and discard the others."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


def _failed(
    file: ImageFile, version: str, sha256: str, stage: str, error: BaseException
) -> Outcome:
    text = hide_secrets(str(error) or type(error).__name__)  # a `MemoryError` says nothing
    failure = Failure(hide_secrets(file.path), stage, type(error).__name__, text)
    return Outcome(file.relative, version, sha256, failure=failure)


def _single_threaded_products() -> AbstractContextManager[Any]:
    """Restrict products of matrices to the thread that computes them: each writing thread computes
    small ones, which would compete for OpenBLAS' own threads."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas").limit(limits=1)
