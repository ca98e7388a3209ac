"""From samples to training batches that depend on nothing but the seed and the step.

A resumed run sees the batches that an uninterrupted one would have seen: every random choice is
drawn anew from (seed, what it is for, which one it is), and threads only compute ahead.
"""

from functools import partial
from itertools import count
from threading import Lock

import numpy as np

from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.data.dataset import Dataset
from keras_parts.data.features import FeatureCache
from keras_parts.data.prefetch import Stream, computed_ahead, loader_threads
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError

_ORDER, _CROP = 0, 1  # what a random choice is for


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
        features: FeatureCache | None = None,
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

    def iterate(self, start: int = 0, rows: slice = slice(None)) -> Stream:
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
