"""From samples to training batches that depend on nothing but the seed and the step.

A resumed run sees the batches that an uninterrupted one would have seen: every random choice is
drawn anew from (seed, what it is for, which one it is), and threads only compute ahead.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from keras_parts.data.crops import crop, image_box, jitter_box, pad_box, square_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError

if TYPE_CHECKING:
    from keras_parts.data.features import FeatureCache

_ORDER, _CROP = 0, 1  # what a random choice is for


@dataclass(frozen=True)
class CropSettings:
    """How an object is cut out for training (Choudhury et al., section 4).

    Args:
        padding: each side of the box is moved outwards by this share of its width or height.
        jitter: then each by its own U(-jitter, jitter) of it; 0 for crops that never change.
        mirror: probability that a crop is mirrored.
        erode: pixels of the crop that are taken off the mask's border, where masks are least sure.

    Raises:
        ConfigError: a value outside its range.
    """

    padding: float = 0.05
    jitter: float = 0.05
    mirror: float = 0.5
    erode: int = 0

    def __post_init__(self):
        ranges = {
            "padding": (-0.5 < self.padding < 10, "between -0.5 and 10"),
            "jitter": (0 <= self.jitter < 0.5, "from 0 to less than 0.5"),
            "mirror": (0 <= self.mirror <= 1, "from 0 to 1"),
            "erode": (isinstance(self.erode, int) and self.erode >= 0, "a whole number from 0"),
        }
        for field, (good, wanted) in ranges.items():
            if not good:
                raise ConfigError(f"{field} must be {wanted}, not {getattr(self, field)!r}")


def object_crop(
    sample: Sample,
    settings: CropSettings,
    size: int,
    rng: np.random.Generator | None = None,
) -> Sample:
    """The square around a sample's object (around the image where it has no box), not mirrored.

    Args:
        sample: any sample.
        settings: padding, jitter and erosion.
        size: side of the crop in pixels.
        rng: draws the jitter; None for the crop without it.
    """
    box = image_box(*sample.size) if sample.box is None else sample.box
    box = pad_box(box, settings.padding)
    if rng is not None:
        box = jitter_box(box, settings.jitter, rng)
    result = crop(sample, square_box(box), size)
    if settings.erode and result.foreground is not None:
        result = replace(result, foreground=_eroded(result.foreground, settings.erode))
    return result


class Batches:
    """Training batches of one shape; `batch(step)` is a pure function of the seed and the step.

    An epoch is a permutation of the samples. Where it does not end with a batch, the batch goes
    on into the next epoch; a data set smaller than a batch is gone through several times.

    Args:
        dataset: training samples with a foreground each.
        crops: how objects are cut out.
        batch_size: samples a batch.
        image_size: side of the square crops in pixels.
        seed: from 0; with the step it determines a batch.
        features: the teacher's answers to these crops; needs `crops.jitter == 0`.
        cache_bytes: memory for what has been decoded (the crops themselves when jitter is 0);
            what does not fit is decoded again each time.
        workers: threads of `iterate`; None for `loader_threads()`. They change no batch.

    Raises:
        ConfigError: a value outside its range; no samples; features of other crops.
    """

    def __init__(
        self,
        dataset: Dataset,
        crops: CropSettings,
        batch_size: int,
        image_size: int,
        seed: int,
        features: "FeatureCache | None" = None,
        cache_bytes: int = 2 * 2**30,
        workers: int | None = None,
    ):
        workers = loader_threads() if workers is None else workers
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("image_size", image_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 1),
            ("samples of the data set", len(dataset), 1),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}, not {value}")
        if features is not None:
            features.check_fits(dataset, crops)
        self.dataset, self.crops = dataset, crops
        self.batch_size, self.image_size, self.seed = batch_size, image_size, seed
        self._features, self._workers = features, workers
        self._cache = _Cache(cache_bytes)

    @property
    def steps_per_epoch(self) -> float:
        """How many batches go through the data set once; not whole where the last is shared."""
        return len(self.dataset) / self.batch_size

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """What is in a batch: (batch,) int64 positions in the data set, (batch,) bool mirrored."""
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = {
            epoch: self._rng(_ORDER, epoch).permutation(len(self.dataset))
            for epoch in {draw // len(self.dataset) for draw in draws}
        }
        places = [epochs[draw // len(self.dataset)][draw % len(self.dataset)] for draw in draws]
        mirrored = [self._rng(_CROP, draw).random() < self.crops.mirror for draw in draws]
        return np.array(places, np.int64), np.array(mirrored)

    def batch(self, step: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """The batch of a step, from 0.

        Args:
            step: which batch.
            rows: only these of it are read, for one of several hosts.

        Returns:
            "image": (batch, size, size, 3) float32 RGB in [0, 1]; "foreground": (batch, size,
            size, 1) float32, 0 or 1; and, with a feature cache, "features": (batch, h, w,
            channels) float16.

        Raises:
            DataError: a sample has no foreground or cannot be read.
        """
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)[rows]
        indices, mirrored = (drawn[rows] for drawn in self.draw(step))
        crops = [self._crop(*one) for one in zip(indices, mirrored, draws, strict=True)]
        image = np.stack([image for image, _ in crops]).astype(np.float32)
        image /= 255
        batch = {
            "image": image,
            "foreground": np.stack([mask for _, mask in crops])[..., None].astype(np.float32),
        }
        if self._features is not None:
            batch["features"] = self._features.lookup(indices, mirrored)
        return batch

    def iterate(self, start: int = 0, rows: slice = slice(None)) -> "Stream":
        """The batches from a step on, without end, computed ahead in threads.

        Close the iterator (or let it go out of use) to stop the threads. What goes wrong in a
        thread is raised where its batch is asked for.
        """
        return Stream(computed_ahead(partial(self.batch, rows=rows), count(start), self._workers))

    def _rng(self, purpose, number):
        return np.random.default_rng((self.seed, purpose, number))

    def _crop(self, index, flipped, draw):
        """(image, foreground) of one crop, uint8 and bool."""
        if self.crops.jitter:
            rng = self._rng(_CROP, draw)
            rng.random()  # the first value tells whether it is mirrored
            sample = self._cache.get(index, self._bare_sample)
            sample = object_crop(sample, self.crops, self.image_size, rng)
        else:
            sample = self._cache.get(index, self._still_crop)
        step = -1 if flipped else 1
        return sample.image[:, ::step], sample.foreground[:, ::step]

    def _still_crop(self, index):
        return object_crop(self._bare_sample(index), self.crops, self.image_size)

    def _bare_sample(self, index):
        """A sample without what training does not use."""
        sample = self.dataset[index]
        if sample.foreground is None:
            raise DataError(
                f"sample {sample.id!r} has no foreground: training needs masks "
                "(see the option `masks` of the data set)"
            )
        return Sample(sample.id, sample.image, foreground=sample.foreground, box=sample.box)


def loader_threads() -> int:
    """One a processor that this process may use, at least 2 and at most 8.

    Two keep the next batch coming where a training takes the only processor; of more than eight
    the interpreter's lock leaves little.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(2, min(8, processors))


def computed_ahead(
    function: Callable,
    arguments: Iterable,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator:
    """`map(function, arguments)` in threads, at most `ahead` results before they are asked for.

    Args:
        function: may be called in any thread.
        arguments: taken one after the other, also without end.
        workers: threads; None for `loader_threads()`.
        ahead: results that wait or are being computed; None for two more than workers.
    """
    workers = workers or loader_threads()
    arguments = iter(arguments)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="keras-parts-data")
    try:
        coming = deque(
            pool.submit(function, argument) for argument in islice(arguments, ahead or workers + 2)
        )
        while coming:
            result = coming.popleft().result()
            coming.extend(pool.submit(function, argument) for argument in islice(arguments, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Stream:
    """A generator that may be closed while another thread asks for its next value.

    TensorFlow reads ahead in a thread of its own, and keeps what it reads from for ever.
    """

    def __init__(self, generator: Generator):
        self._generator, self._lock = generator, Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self._lock:
            return next(self._generator)

    def close(self) -> None:
        with self._lock:
            self._generator.close()


class _Cache:
    """Samples in memory until it is full."""

    def __init__(self, free_bytes):
        self._samples, self._free, self._lock = {}, free_bytes, Lock()

    def get(self, index, read):
        sample = self._samples.get(index)
        if sample is None:
            sample = read(index)
            used = sample.image.nbytes + sample.foreground.nbytes
            with self._lock:
                if used <= self._free and index not in self._samples:
                    self._samples[index] = sample
                    self._free -= used
        return sample


def _eroded(mask, pixels):
    """A mask without its border; a mask that is all border is left as it is."""
    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    eroded = np.asarray(picture.filter(ImageFilter.MinFilter(2 * pixels + 1))) > 0
    return eroded if eroded.any() else mask
