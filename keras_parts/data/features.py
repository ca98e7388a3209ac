"""The teacher features of every crop, computed once.

The frozen teacher computes the same features whenever it gets the same crop. Without jitter each
sample has only two crops, the plain one and its mirror image, so training reads their cached
features instead of running the teacher.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import ArrayLike
from tqdm import tqdm

from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.data.dataset import Dataset
from keras_parts.data.prefetch import computed_ahead
from keras_parts.data.problems import way_out
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_path
from keras_parts.images.inputs import host_array

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # of the files; increase it when the meaning of their content changes


class FeaturesTooLarge(ConfigError):
    """The features exceed the memory or disk limit; run the teacher in every step instead."""


class FeatureCache:
    """The teacher features of all crops, float16, on disk or in memory.

    A file's name is a hash of everything that the features depend on, so features of other data are
    never read. Files are written atomically, so an interrupted computation is repeated. When the
    folder is full, the least recently used files are removed.

    Args:
        dataset: training samples, each with a foreground mask.
        crops: how objects are cropped, without jitter.
        image_size: side in pixels of the teacher's square crops; the batches' may differ.
        teacher: function of (batch, image_size, image_size, 3) uint8 RGB that returns
            (batch, height, width, channels), convertible to a numpy array.
        fingerprint: string that identifies the teacher and its weights.
        symmetric: True if the teacher's features of a mirrored crop are the mirrored features of
            the crop; only half of the features are then computed and stored.
        folder: folder of the files; None to keep the features in memory.
        batch_size: crops per call of the teacher.
        memory_bytes: maximum size of the features if there is no folder.
        folder_bytes: maximum size of all files in the folder.
        progress: show a progress bar.

    Attributes:
        key: hexadecimal sha256 of everything that the features depend on.
        shape: (height, width, channels).

    Raises:
        ConfigError: the crops have jitter.
        FeaturesTooLarge: the features do not fit into memory, the folder, or its disk.
        DataError: a sample has no foreground mask or cannot be read; a feature exceeds float16.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.features import FeatureCache
        >>> toy = data.load("toy", "train", count=3)
        >>> cache = FeatureCache(
        ...     toy,
        ...     data.CropSettings(jitter=0.0),
        ...     image_size=65,
        ...     teacher=lambda images: images[:, ::8, ::8],
        ...     fingerprint="every 8th pixel",
        ...     progress=False,
        ... )
        >>> cache.lookup([2, 0], [False, True]).shape
        (2, 9, 9, 3)
    """

    def __init__(
        self,
        dataset: Dataset,
        crops: CropSettings,
        *,
        image_size: int,
        teacher: Callable[[np.ndarray], Any],
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
                "teacher features can be cached only for crops without jitter: crops.jitter must "
                f"be 0, not {crops.jitter}"
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

    def lookup(self, indices: ArrayLike, mirrored: ArrayLike) -> np.ndarray:
        """The features of some crops.

        Args:
            indices: (batch,) int, indices of the samples in the data set.
            mirrored: (batch,) bool, whether each crop is mirrored.

        Returns:
            (batch, height, width, channels) float16.
        """
        indices = np.asarray(indices)
        mirrored = np.asarray(mirrored)
        if not self._symmetric:
            return np.array(self._features[indices, mirrored.astype(np.intp)])
        features = np.array(self._features[indices, 0])
        features[mirrored] = features[mirrored, :, ::-1]
        return features

    def check_matches(self, dataset: Dataset, crops: CropSettings) -> None:
        """Check that these are the features of these crops of the data set.

        Raises:
            ConfigError: they belong to another data set or to other crops.
        """
        same_data = dataset is self._dataset or dataset.fingerprint() == self._content["dataset"]
        settings = self._describe(self._content["dataset"], crops, self._image_size)
        if crops.jitter or not same_data or settings != self._content:
            raise ConfigError(
                "the cached features belong to another data set or to other crops: compute them "
                f"anew. They were computed for {self._content} without jitter"
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
        # Of several processes that need the same features, one computes them.
        with FileLock(f"{path}.lock"):
            features = self._stored(path)
            if features is None:
                with atomic_path(path) as unfinished:

                    def allocate(shape):
                        self._make_room(folder, 2 * int(np.prod(shape)))
                        return np.lib.format.open_memmap(unfinished, "w+", np.float16, shape)

                    self._compute(allocate).flush()
                features = np.load(path, mmap_mode="r")
            os.utime(path)  # marks the file as used
            return features

    def _stored(self, path):
        """The features in a file, or None if there is none or it is damaged."""
        if not path.exists():
            return None
        try:
            features = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            problem = str(error)
        else:
            if features.dtype == np.float16 and features.ndim == 5:
                return features
            problem = f"it has the shape {features.shape} and the type {features.dtype}"
        _LOG.warning("%s: damaged (%s), so the teacher features are computed again", path, problem)
        return None

    def _sample(self, index):
        with way_out():
            return self._dataset[index]

    def _make_room(self, folder, needed):
        """Remove the least recently used files until `needed` bytes fit."""
        files = sorted(folder.glob("*.npy"), key=lambda path: path.stat().st_mtime)
        sizes = {path: path.stat().st_size for path in files}
        free = shutil.disk_usage(folder).free + sum(sizes.values())
        maximum = min(self._folder_bytes, free)
        if needed > maximum:
            raise FeaturesTooLarge(
                f"the teacher features take {needed / 2**30:.1f} GiB, more than the "
                f"{maximum / 2**30:.1f} GiB that are allowed or free in {folder}"
            )
        while sum(sizes.values()) + needed > maximum:
            oldest = files.pop(0)
            oldest.unlink(missing_ok=True)
            del sizes[oldest]

    def _in_memory(self, shape):
        needed = 2 * int(np.prod(shape))
        if needed > self._memory_bytes:
            raise FeaturesTooLarge(
                f"the teacher features take {needed / 2**30:.1f} GiB, more than memory_bytes "
                f"({self._memory_bytes / 2**30:.1f} GiB): give a folder"
            )
        return np.empty(shape, np.float16)

    def _compute(self, allocate):
        """Compute all features, in an array that `allocate(shape)` creates."""
        total = len(self._dataset)
        starts = range(0, total, self._batch_size)
        features: Any = None
        bar = tqdm(total=total, desc="teacher", unit="image", disable=not self._progress)
        with bar, closing(computed_ahead(self._crops_from, starts)) as batches:
            for start, images in zip(starts, batches, strict=True):
                for variant, step in enumerate((1, -1)[: self._variants]):
                    computed = self._run_teacher(images[:, :, ::step])[: total - start]
                    if features is None:
                        features = allocate((total, self._variants, *computed.shape[1:]))
                    features[start : start + len(computed), variant] = computed
                bar.update(min(self._batch_size, total - start))
        return features

    def _crops_from(self, start):
        """A batch of crops; the first samples complete the last batch, to keep its shape."""
        indices = np.arange(start, start + self._batch_size) % len(self._dataset)
        crops = [
            object_crop(self._sample(index), self._crops, self._image_size) for index in indices
        ]
        return np.stack([crop.image for crop in crops])

    def _run_teacher(self, images):
        features = host_array(self._teacher(np.ascontiguousarray(images))).astype(np.float32)
        if features.ndim != 4 or len(features) != len(images):
            raise ConfigError(
                f"the teacher returned the shape {features.shape} for images of shape "
                f"{images.shape}, expected (batch, height, width, channels)"
            )
        largest = np.abs(features).max()
        if not largest <= np.finfo(np.float16).max:
            raise DataError(
                f"the largest teacher feature is {largest}, beyond float16, whose maximum is 65504"
            )
        return features
