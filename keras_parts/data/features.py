"""The frozen teacher's features of every crop, computed once.

A teacher that does not learn gives the same answer to the same crop each time. Where crops do not
change (no jitter), there are two for each sample, the crop and its mirror image, and training
reads their features instead of running the teacher.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from os import PathLike
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.data.dataset import Dataset
from keras_parts.data.prefetch import computed_ahead
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_path

_FORMAT = 1  # of the files; to be raised when what they hold changes


class FeaturesTooLarge(ConfigError):
    """The features take more than they may; the teacher can be run in every step instead."""


class FeatureCache:
    """Features of each (sample, mirrored), float16, on disk or in memory.

    The files are named by a key of all that the features depend on, and are written whole or not
    at all: features of something else are never read, an interrupted computation is done again.
    Where the folder gets too full, what was not used for longest is removed.

    Args:
        dataset: training samples with a foreground each.
        crops: how objects are cut out, without jitter.
        image_size: side in pixels of the square crops that the teacher sees; the batches' own may
            differ.
        teacher: takes (batch, size, size, 3) float32 RGB in [0, 1], gives (batch, h, w, channels)
            that numpy can take.
        fingerprint: text that names the teacher and its weights.
        symmetric: the features of a mirrored crop are the mirrored features; half the work then.
        folder: where the features lie from one run to the next; None to keep them in memory.
        batch_size: samples that the teacher gets at once.
        memory_bytes: the most that is kept in memory without a folder.
        folder_bytes: the most that all features in the folder take.
        progress: show a progress bar.

    Attributes:
        key: hexadecimal sha256 of what the features depend on.
        shape: (h, w, channels).

    Raises:
        ConfigError: the crops have jitter.
        FeaturesTooLarge: the features do not fit into memory, or the folder, or on its disk.
        DataError: a sample has no foreground or cannot be read; features are beyond float16.
    """

    def __init__(
        self,
        dataset: Dataset,
        crops: CropSettings,
        image_size: int,
        teacher: Callable[[np.ndarray], np.ndarray],
        fingerprint: str,
        symmetric: bool = False,
        folder: str | PathLike | None = None,
        batch_size: int = 16,
        memory_bytes: int = 4 * 2**30,
        folder_bytes: int = 100 * 2**30,
        progress: bool = True,
    ):
        if crops.jitter:
            raise ConfigError(
                f"features can be kept only of crops that never change: jitter must be 0, "
                f"not {crops.jitter}"
            )
        self._dataset, self._crops, self._image_size = dataset, crops, image_size
        self._teacher, self._batch_size, self._symmetric = teacher, batch_size, symmetric
        self._memory_bytes, self._folder_bytes = memory_bytes, folder_bytes
        self._progress = progress
        self._content = self._describe(dataset.fingerprint(), crops, image_size)
        self.key = hashlib.sha256(
            json.dumps([self._content, fingerprint, self._variants]).encode()
        ).hexdigest()
        if folder is None:
            self._features = self._compute(self._in_memory)
        else:
            self._features = self._on_disk(Path(folder))
        self.shape = self._features.shape[2:]

    def lookup(self, indices: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """The features of some crops.

        Args:
            indices: (batch,) positions in the data set.
            mirrored: (batch,) bool.

        Returns:
            (batch, h, w, channels) float16.
        """
        mirrored = np.asarray(mirrored)
        if not self._symmetric:
            return np.array(self._features[indices, mirrored.astype(np.intp)])
        features = np.array(self._features[indices, 0])
        features[mirrored] = features[mirrored, :, ::-1]
        return features

    def check_fits(self, dataset: Dataset, crops: CropSettings) -> None:
        """Whether these are the features of such crops.

        Raises:
            ConfigError: they are of another data set or other crops.
        """
        same_data = dataset is self._dataset or dataset.fingerprint() == self._content["dataset"]
        settings = self._describe(self._content["dataset"], crops, self._image_size)
        if crops.jitter or not same_data or settings != self._content:
            raise ConfigError(
                "the features are of another data set or of other crops: "
                f"they are of {self._content}, jitter 0"
            )

    @property
    def _variants(self):
        return 2 if self._crops.mirror and not self._symmetric else 1

    @staticmethod
    def _describe(dataset_fingerprint, crops, image_size):
        return {
            "format": _FORMAT,
            "dataset": dataset_fingerprint,
            "image_size": image_size,
            "padding": crops.padding,
            "erode": crops.erode,
            "mirrored": crops.mirror > 0,
        }

    def _on_disk(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.key[:32]}.npy"
        # Of several processes that want the same features, one computes them.
        with FileLock(f"{path}.lock"):
            if not path.exists():
                with atomic_path(path) as unfinished:

                    def allocate(shape):
                        self._make_room(folder, 2 * int(np.prod(shape)))
                        return np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)

                    self._compute(allocate).flush()
            os.utime(path)  # used now
            return np.load(path, mmap_mode="r")

    def _make_room(self, folder, needed):
        """Remove the files that were not used for longest, until `needed` bytes fit."""
        kept = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        sizes = {path: path.stat().st_size for path in kept}
        free = shutil.disk_usage(folder).free + sum(sizes.values())
        most = min(self._folder_bytes, free)
        if needed > most:
            raise FeaturesTooLarge(
                f"the teacher's features take {needed / 2**30:.1f} GiB, of which "
                f"{most / 2**30:.1f} may be in {folder} or are free on its disk"
            )
        while sum(sizes.values()) + needed > most:
            oldest = kept.pop(0)
            oldest.unlink(missing_ok=True)
            del sizes[oldest]

    def _in_memory(self, shape):
        needed = 2 * int(np.prod(shape))
        if needed > self._memory_bytes:
            raise FeaturesTooLarge(
                f"the features take {needed / 2**30:.1f} GiB, more than memory_bytes: give a folder"
            )
        return np.empty(shape, np.float16)

    def _compute(self, allocate):
        """All features, in an array from `allocate`."""
        total = len(self._dataset)
        starts = range(0, total, self._batch_size)
        features = None
        bar = tqdm(total=total, desc="teacher", unit="image", disable=not self._progress)
        with bar, closing(computed_ahead(self._crops_from, starts)) as batches:
            for start, images in zip(starts, batches, strict=True):
                for variant, step in enumerate((1, -1)[: self._variants]):
                    answers = self._ask(images[:, :, ::step])[: total - start]
                    if features is None:
                        features = allocate((total, self._variants, *answers.shape[1:]))
                    features[start : start + len(answers), variant] = answers
                bar.update(len(answers))
        return features

    def _crops_from(self, start):
        """A batch of crops, filled up with the first samples so that all have one shape."""
        indices = np.arange(start, start + self._batch_size) % len(self._dataset)
        crops = [
            object_crop(self._dataset[index], self._crops, self._image_size) for index in indices
        ]
        return np.stack([crop.image for crop in crops]).astype(np.float32) / 255

    def _ask(self, images):
        answers = np.asarray(self._teacher(np.ascontiguousarray(images)), np.float32)
        if answers.ndim != 4 or len(answers) != len(images):
            raise ConfigError(
                f"the teacher gave {answers.shape} for {images.shape}, "
                "expected (batch, h, w, channels)"
            )
        largest = np.abs(answers).max()
        if not largest <= np.finfo(np.float16).max:
            raise DataError(f"the teacher's features reach {largest}, which is beyond float16")
        return answers
