"""Training batches that depend on nothing but the seed and the step.

A resumed run gets the same batches as an uninterrupted one: every random number is drawn from a
generator seeded with (seed, purpose, number of the draw), and threads only compute ahead.
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

_ORDER, _CROP = 0, 1  # the purposes of random numbers


class Batches:
    """Training batches of one shape; `batch(step)` is a pure function of the seed and the step.

    An epoch is a permutation of the samples. A batch at the end of an epoch is filled up from the
    next one; a data set smaller than a batch is repeated within the batch.

    Args:
        dataset: training samples with a foreground mask each.
        crops: how objects are cropped.
        batch_size: samples per batch.
        image_size: side of the square crops in pixels.
        seed: from 0.
        features: the teacher features of these crops; requires `crops.jitter == 0`.
        cache_bytes: maximum memory for decoded images, or for crops when jitter is 0; others are
            decoded again every time.
        workers: threads of `iterate`; None for `loader_threads()`. Their number changes no batch.

    Raises:
        ConfigError: a value is outside its range; there are no samples; the features are those of
            other crops.

    Example:
        >>> from keras_parts import data
        >>> toy = data.load("toy", "train", count=6)
        >>> batches = data.Batches(toy, data.CropSettings(), batch_size=4, image_size=65)
        >>> {name: array.shape for name, array in batches.batch(0).items()}
        {'image': (4, 65, 65, 3), 'foreground': (4, 65, 65, 1)}
    """

    def __init__(
        self,
        dataset: Dataset,
        crops: CropSettings,
        *,
        batch_size: int,
        image_size: int,
        seed: int = 0,
        features: FeatureCache | None = None,
        cache_bytes: int = 2 * 2**30,
        workers: int | None = None,
    ):
        workers = loader_threads() if workers is None else workers
        for name, value, minimum in (
            ("batch_size", batch_size, 1),
            ("image_size", image_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 1),
            ("samples of the data set", len(dataset), 1),
        ):
            if value < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, not {value}")
        if features is not None:
            features.check_matches(dataset, crops)
        self.dataset, self.crops = dataset, crops
        self.batch_size, self.image_size, self.seed = batch_size, image_size, seed
        self._features, self._workers = features, workers
        self._cache = _Cache(cache_bytes)

    @property
    def steps_per_epoch(self) -> float:
        """Batches per pass through the data set; a fraction where epochs share a batch."""
        return len(self.dataset) / self.batch_size

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The composition of a batch: (batch,) int64 indices into the data set, and (batch,) bool,
        whether each crop is mirrored."""
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = {
            epoch: self._rng(_ORDER, epoch).permutation(len(self.dataset))
            for epoch in {draw // len(self.dataset) for draw in draws}
        }
        indices = [epochs[draw // len(self.dataset)][draw % len(self.dataset)] for draw in draws]
        probability = self.crops.mirror
        mirrored = [self._rng(_CROP, draw).random() < probability for draw in draws]
        return np.array(indices, np.int64), np.array(mirrored)

    def batch(self, step: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        """The batch of a step, from 0.

        Args:
            step: number of the batch.
            rows: the samples of it to read, for one of several hosts.

        Returns:
            "image": (batch, image_size, image_size, 3) float32 RGB in [0, 1]; "foreground":
            (batch, image_size, image_size, 1) float32, 0 or 1; and, with a feature cache,
            "features": (batch, height, width, channels) float16.

        Raises:
            DataError: a sample has no foreground mask or cannot be read.
        """
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)[rows]
        indices, mirrored = (drawn[rows] for drawn in self.draw(step))
        crops = list(map(self._crop, indices, mirrored, draws))
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
        """The batches from step `start` on, without end, computed ahead in threads.

        Close the iterator, or delete it, to stop the threads. An error in a thread is raised when
        its batch is next.
        """
        return Stream(computed_ahead(partial(self.batch, rows=rows), count(start), self._workers))

    def _rng(self, purpose, number):
        return np.random.default_rng((self.seed, purpose, number))

    def _crop(self, index, mirrored, draw):
        """(image, foreground) of one crop, (height, width, 3) uint8 and (height, width) bool."""
        if self.crops.jitter:
            rng = self._rng(_CROP, draw)
            rng.random()  # the first number decides about mirroring, see `draw`
            sample = self._cache.get(index, self._bare_sample)
            sample = object_crop(sample, self.crops, self.image_size, rng)
        else:
            sample = self._cache.get(index, self._crop_without_jitter)
        step = -1 if mirrored else 1
        return sample.image[:, ::step], sample.foreground[:, ::step]

    def _crop_without_jitter(self, index):
        return object_crop(self._bare_sample(index), self.crops, self.image_size)

    def _bare_sample(self, index):
        """A sample with the fields that training uses."""
        sample = self.dataset[index]
        if sample.foreground is None:
            raise DataError(
                f"sample {sample.id!r} has no foreground mask, which training needs: see the "
                "option `masks` of the data set"
            )
        return Sample(sample.id, sample.image, foreground=sample.foreground, box=sample.box)


class _Cache:
    """Samples in memory, as many as fit."""

    def __init__(self, free_bytes: int):
        self._samples: dict[int, Sample] = {}
        self._free_bytes, self._lock = free_bytes, Lock()

    def get(self, index, read):
        sample = self._samples.get(index)
        if sample is None:
            sample = read(index)
            used = sample.image.nbytes + sample.foreground.nbytes
            with self._lock:
                if used <= self._free_bytes and index not in self._samples:
                    self._samples[index] = sample
                    self._free_bytes -= used
        return sample
