"""Training batches that depend only on the seed and the step.

A resumed run gets the same batches as an uninterrupted one: every random number is drawn from a
generator seeded with (seed, purpose, number of the draw), so the order of threads does not matter.
"""

from dataclasses import dataclass
from functools import partial
from itertools import count
from threading import Lock

import numpy as np

from keras_parts.data.crops import (
    CropSettings,
    crop,
    image_box,
    object_crop,
    object_square,
    square_crop,
)
from keras_parts.data.dataset import Dataset
from keras_parts.data.features import FeatureCache
from keras_parts.data.prefetch import Stream, computed_ahead, loader_threads
from keras_parts.data.problems import way_out
from keras_parts.data.sample import Sample
from keras_parts.data.scenes import SceneSettings, draw_scene, relative_square
from keras_parts.errors import ConfigError, DataError

_ORDER, _CROP, _SCENE = 0, 1, 2  # the purposes of random numbers
_PHOTOGRAPH_SIDES = 4
"""Maximum longer side of a photograph in memory, in sides of a crop."""


class Batches:
    """Training batches of equal shape; `batch(step)` is a pure function of the seed and the step.

    An epoch is a permutation of the samples. A batch at the end of an epoch is filled up from the
    next one; a data set smaller than a batch is repeated within the batch.

    Args:
        dataset: training samples, each with a foreground mask.
        crops: how objects are cropped.
        batch_size: samples per batch.
        image_size: side of the square crops in pixels.
        seed: a whole number from 0.
        features: cached teacher features of the same crops; they require `crops.jitter == 0`.
        scenes: how scenes are drawn, see `SceneSettings`; None for batches without scenes.
        cache_bytes: maximum memory for decoded images, or for crops when jitter is 0 and there are
            no scenes; further images are decoded anew each time.
        workers: threads of `iterate`; None for `loader_threads()`. The batches do not depend on it.

    Raises:
        ConfigError: a value is outside its range; there are no samples; the features belong to
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
        scenes: SceneSettings | None = None,
        cache_bytes: int = 2 * 2**30,
        workers: int | None = None,
    ):
        workers = loader_threads() if workers is None else workers
        for name, value, minimum in (
            ("batch_size", batch_size, 1),
            ("image_size", image_size, 1),
            ("seed", seed, 0),
            ("workers", workers, 1),
            ("the number of samples", len(dataset), 1),
        ):
            if value < minimum:
                raise ConfigError(f"{name} must be at least {minimum}, not {value}")
        if features is not None:
            features.check_matches(dataset, crops)
        self.dataset, self.crops = dataset, crops
        self.batch_size, self.image_size, self.seed = batch_size, image_size, seed
        self.scenes = scenes if scenes is not None and scenes.share else None
        self._features, self._workers = features, workers
        self._cache = _Cache(cache_bytes)

    @property
    def features(self) -> FeatureCache | None:
        """The cached teacher features of the crops, if there are any."""
        return self._features

    @property
    def steps_per_epoch(self) -> float:
        """Batches per epoch; not a whole number if epochs share a batch."""
        return len(self.dataset) / self.batch_size

    def draw(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Which crops a batch contains.

        Returns:
            (batch,) int64 indices of the samples, and (batch,) bool, whether each crop is mirrored.
        """
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
        """The batch of a step.

        Args:
            step: number of the batch, from 0.
            rows: which samples of the batch to read; each of several hosts reads its own.

        Returns:
            "image": (batch, image_size, image_size, 3) uint8 RGB; "foreground":
            (batch, image_size, image_size, 1) float32, 0 or 1; with a feature cache, "features":
            (batch, height, width, channels) float16; and with scenes, "scene" and
            "scene_foreground", as "image" and "foreground", and "scene_to_crop", (batch, 3)
            float32, see `keras_parts.data.scenes.relative_square`.

        Raises:
            DataError: a sample has no foreground mask or cannot be read.
        """
        draws = range(step * self.batch_size, (step + 1) * self.batch_size)[rows]
        indices, mirrored = (drawn[rows] for drawn in self.draw(step))
        crops = list(map(self._views, indices, mirrored, draws))
        batch = {name: np.stack([views[name] for views in crops]) for name in crops[0]}
        if self._features is not None:
            batch["features"] = self._features.lookup(indices, mirrored)
        return batch

    def iterate(self, first_step: int = 0, rows: slice = slice(None)) -> Stream:
        """An endless iterator of batches from `first_step` on, computed ahead in threads.

        Close or delete the iterator to stop the threads. An error in a thread is raised when the
        iterator reaches its batch.
        """
        batches = computed_ahead(partial(self.batch, rows=rows), count(first_step), self._workers)
        return Stream(batches)

    def _rng(self, purpose, number):
        return np.random.default_rng((self.seed, purpose, number))

    def _views(self, index, mirrored, draw):
        """The arrays of one sample in a batch."""
        stored = self._cache.get(index, self._read)
        if stored.photograph is None:
            return _arrays(stored.crop, mirrored)
        rng = None
        if self.crops.jitter:
            rng = self._rng(_CROP, draw)
            rng.random()  # `draw` uses the first number to decide on mirroring
        square = object_square(stored.photograph, self.crops, rng)
        cropped = stored.crop or square_crop(stored.photograph, square, self.crops, self.image_size)
        views = _arrays(cropped, mirrored)
        if self.scenes is not None:
            rng = self._rng(_SCENE, draw)
            scene = draw_scene(stored.photograph, square, self.scenes, rng)
            views |= self._scene(stored.photograph, scene, square, mirrored)
        return views

    def _scene(self, photograph, scene, square, mirrored):
        """The arrays of a scene, and how its coordinates map to those of the crop."""
        arrays = _arrays(crop(photograph, scene, self.image_size), mirrored)
        to_crop = relative_square(scene, square, self.image_size)
        if mirrored:
            to_crop[1] = -to_crop[1]
        return {
            "scene": arrays["image"],
            "scene_foreground": arrays["foreground"],
            "scene_to_crop": to_crop,
        }

    def _read(self, index):
        sample = self._training_sample(index)
        if self.crops.jitter:
            return _Stored(crop=None, photograph=sample)
        cropped = object_crop(sample, self.crops, self.image_size)
        return _Stored(cropped, self._reduced(sample) if self.scenes else None)

    def _reduced(self, sample):
        """The photograph, no larger than its scenes need: in the finest the crop is as large as a
        crop of the batch."""
        square = object_square(sample, self.crops)
        factor = max(
            (square[2] - square[0]) / self.image_size,
            max(sample.size) / (_PHOTOGRAPH_SIDES * self.image_size),
        )
        if factor <= 1:
            return sample
        height, width = (max(1, round(side / factor)) for side in sample.size)
        return crop(sample, image_box(*sample.size), (height, width))

    def _training_sample(self, index):
        """A sample with only the fields that training uses, to save memory."""
        with way_out():
            sample = self.dataset[index]
        if sample.foreground is None:
            raise DataError(
                f"sample {sample.id!r} has no foreground mask, which training needs: see --masks "
                "(in Python: the option masks of the data set)"
            )
        return Sample(sample.id, sample.image, foreground=sample.foreground, box=sample.box)


def _arrays(sample, mirrored):
    """Image (height, width, 3) uint8 and foreground (height, width, 1) float32, maybe mirrored."""
    step = -1 if mirrored else 1
    foreground = sample.foreground[:, ::step, None].astype(np.float32)
    return {"image": sample.image[:, ::step], "foreground": foreground}


@dataclass(frozen=True, eq=False)
class _Stored:
    """What is kept in memory of a sample: its crop, its photograph, or both."""

    crop: Sample | None
    photograph: Sample | None

    @property
    def nbytes(self) -> int:
        """Memory of the images and masks."""
        return sum(_nbytes(sample) for sample in (self.crop, self.photograph) if sample)


def _nbytes(sample):
    return sample.image.nbytes + sample.foreground.nbytes


class _Cache:
    """Samples kept in memory, up to a number of bytes."""

    def __init__(self, free_bytes: int):
        self._samples: dict[int, _Stored] = {}
        self._free_bytes, self._lock = free_bytes, Lock()

    def get(self, index, read):
        sample = self._samples.get(index)
        if sample is None:
            sample = read(index)
            used = sample.nbytes
            with self._lock:
                if used <= self._free_bytes and index not in self._samples:
                    self._samples[index] = sample
                    self._free_bytes -= used
        return sample
