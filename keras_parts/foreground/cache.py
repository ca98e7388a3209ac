"""The masks that were found in a set of photographs, kept in a file.

Masks of a set are found together, because the decoder learns what all photographs have in common.
They are kept as the lengths of their runs, which take about a kilobyte a mask.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import overload

import numpy as np

from keras_parts.errors import DataError
from keras_parts.files import atomic_path, locked
from keras_parts.foreground.found import FoundMask
from keras_parts.results.rle import mask_of_runs, run_lengths

_LOG = logging.getLogger(__name__)
_FORMAT = 1  # of the files; increase it when the meaning of their content changes
SUFFIX = ".npz"
"""Of the files of masks."""

Finder = Callable[[Callable[[int], np.ndarray], int], Iterator[FoundMask]]
"""Finds the objects of photographs: `finder(read, count)` yields a mask for each, in order;
`read(i)` is photograph i, `(height, width, 3)` uint8 RGB, upright."""


class FoundMasks(Sequence[FoundMask]):
    """The masks of a set of photographs, in their order; a mask is decoded when it is indexed.

    Args:
        masks: one for each photograph.

    Attributes:
        confidences: `(count,)` float32.
        areas: `(count,)` int64, the numbers of pixels of the masks; 0 where nothing was found.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground import FoundMask
        >>> from keras_parts.foreground.cache import FoundMasks
        >>> masks = FoundMasks([FoundMask(np.eye(2, dtype=bool), 0.8)])
        >>> masks[0].mask.tolist(), masks.areas.tolist()
        ([[True, False], [False, True]], [2])
    """

    def __init__(self, masks: Iterator[FoundMask] | Sequence[FoundMask]):
        runs, sizes, confidences = [], [], []
        for mask, confidence in masks:
            runs.append(run_lengths(mask).astype(np.int32))
            sizes.append(mask.shape)
            confidences.append(confidence)
        self._set(
            np.concatenate(runs) if runs else np.zeros(0, np.int32),
            np.cumsum([0, *map(len, runs)]),
            np.array(sizes, np.int32).reshape(-1, 2),
            np.array(confidences, np.float32),
        )

    def _set(
        self, runs: np.ndarray, starts: np.ndarray, sizes: np.ndarray, confidences: np.ndarray
    ) -> None:
        self._runs, self._starts, self._sizes, self.confidences = runs, starts, sizes, confidences
        self.areas = np.array([self._of(index)[1::2].sum() for index in range(len(self))], np.int64)

    def _of(self, index: int) -> np.ndarray:
        return self._runs[self._starts[index] : self._starts[index + 1]]

    def __len__(self) -> int:
        return len(self.confidences)

    @overload
    def __getitem__(self, index: int) -> FoundMask: ...

    @overload
    def __getitem__(self, index: slice) -> list[FoundMask]: ...

    def __getitem__(self, index: int | slice) -> FoundMask | list[FoundMask]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        index = range(len(self))[index]
        height, width = self._sizes[index].tolist()
        mask = mask_of_runs(self._of(index), (height, width))
        return FoundMask(mask, float(self.confidences[index]))

    def save(self, path: str | PathLike) -> None:
        """Write the masks to a file, atomically."""
        with atomic_path(path) as unfinished:
            np.savez_compressed(
                unfinished,
                runs=self._runs,
                starts=self._starts,
                sizes=self._sizes,
                confidences=self.confidences,
            )

    @classmethod
    def load(cls, path: str | PathLike) -> "FoundMasks":
        """The masks in a file.

        Raises:
            DataError: the file is missing or damaged.
        """
        masks = cls.__new__(cls)
        try:
            with np.load(path) as arrays:
                masks._set(*(arrays[name] for name in ("runs", "starts", "sizes", "confidences")))
            pixels = masks._sizes.prod(axis=1, dtype=np.int64)
            sums = [masks._of(index).sum() for index in range(len(masks))]
            is_whole = len(masks._starts) == len(masks) + 1 and (pixels == sums).all()
        except Exception as error:  # NumPy and zipfile raise errors of many types
            raise DataError(f"{path}: damaged: {error}", path=path) from error
        if not is_whole:
            raise DataError(f"{path}: damaged: lengths and sizes do not match", path=path)
        return masks


def masks_file(folder: str | PathLike, photographs: str, origin: str) -> Path:
    """The file that keeps the masks of a set of photographs.

    Args:
        folder: of the files.
        photographs: a text that identifies the photographs and their order.
        origin: what finds the masks: the method, its version and its settings.
    """
    key = hashlib.sha256(json.dumps([_FORMAT, photographs, origin]).encode()).hexdigest()
    return Path(folder, f"{key[:32]}{SUFFIX}")


def kept_masks(path: Path) -> FoundMasks | None:
    """The masks in a file of `masks_file`; None if there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        masks = FoundMasks.load(path)
    except DataError as error:
        _LOG.warning("%s; the objects are found again", error)
        return None
    with suppress(OSError):  # a cache that can only be read
        os.utime(path)  # marks the file as used
    return masks


def find_masks(
    finder: Finder, read: Callable[[int], np.ndarray], count: int, path: Path
) -> FoundMasks:
    """The masks of a set of photographs: from their file, or found and then kept there.

    Of several processes that need the same masks, one finds them.

    Args:
        finder: finds the masks.
        read: gives photograph i.
        count: number of photographs.
        path: from `masks_file`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = f"{path}: another process finds the same objects; waiting for it"
    with locked(f"{path}.lock", waiting):
        masks = kept_masks(path)
        if masks is None or len(masks) != count:
            masks = FoundMasks(finder(read, count))
            masks.save(path)
    return masks
