"""Data sets whose objects are found in the photographs; no annotation of theirs is read."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, Subset
from keras_parts.data.problems import attempt, is_collecting, way_out
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.foreground.discovered import (
    discovered_before,
    discovered_masks,
    discovery_origin,
)

DISCOVER = "discover"
"""The value of the option `masks` for objects that are found."""
_MAX_NAMED = 3
"""Maximum number of photographs that a note names."""


class Photographs(Dataset):
    """The images of a data set, without any of its annotations.

    Args:
        dataset: whose `image` reads the image alone.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.discovered import Photographs
        >>> Photographs(data.load("toy", "train", count=3))[0]
        <Sample 'train-00000', 161 x 161 pixels>
    """

    masks_from = "none"

    def __init__(self, dataset: Dataset):
        self.dataset, self.info, self.split = dataset, dataset.info, dataset.split

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        return {"id": self._ids[index], "image": attempt(self.dataset.image, index)}

    def image(self, index: int) -> np.ndarray:
        return self.dataset.image(index)

    def ids(self) -> list[str]:
        return list(self._ids)

    @cached_property
    def _ids(self) -> list[str]:
        return self.dataset.ids()

    def categories(self) -> np.ndarray:
        return np.full(len(self), -1, np.int64)

    def fingerprint(self) -> str:
        return self.dataset.images_fingerprint()

    def _notes_of_samples(self) -> tuple[str, ...]:
        return self.dataset.notes


class WithDiscoveredMasks(Subset):
    """Photographs with the masks of the objects that are found in them.

    Each sample is one photograph; if several objects are found in it, its mask and its box have all
    of them. Photographs in which nothing is found are left out, and `notes` counts them.

    Args:
        photographs: images alone, see `Photographs`.
        seed: of the search.
        progress: show progress bars while objects are found.

    Raises:
        DataError: a photograph cannot be read, or no object is found in any.
    """

    def __init__(self, photographs: Dataset, *, seed: int = 0, progress: bool = True):
        with way_out():
            self._masks = discovered_masks(
                photographs.image,
                len(photographs),
                photographs.images_fingerprint(),
                seed=seed,
                progress=progress,
            )
        super().__init__(photographs, np.flatnonzero(self._masks.areas))
        self.masks_from = discovery_origin(seed)
        self._notes = without_object(photographs.ids(), self._masks.areas.tolist())

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        row = int(self.indices[index])
        mask = self._masks[row].mask
        box = mask_box(mask)
        found = {"foreground": mask, "box": image_box(*mask.shape) if box is None else box}
        return super().fields(index) | found

    def mask_origin(self, index: int) -> str:
        return self.masks_from

    def fingerprint(self) -> str:
        text = f"{self.masks_from} {self.dataset.fingerprint()}"
        return hashlib.sha256(text.encode()).hexdigest()

    def images_fingerprint(self) -> str:
        return self.fingerprint()


def found_before(photographs: Dataset, *, seed: int = 0) -> bool:
    """Whether the cache has the objects of some photographs.

    Args:
        photographs: images, of which nothing is read.
        seed: of the search.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.discovered import found_before
        >>> found_before(data.load("toy", "train", count=2), seed=12345)
        False
    """
    return discovered_before(photographs.images_fingerprint(), seed=seed) is not None


def without_object(names: Sequence[str], areas: Sequence[int]) -> tuple[str, ...]:
    """The note about photographs in which no object was found, if there are any.

    Args:
        names: of the photographs.
        areas: the numbers of pixels of their objects.

    Raises:
        DataError: no object was found in any of them.
    """
    empty = [name for name, area in zip(names, areas, strict=True) if not area]
    if not empty:
        return ()
    if len(empty) == len(names) and not is_collecting():
        raise DataError(
            f"no object was found in any of the {len(names)} photographs, such as {empty[0]}: "
            "give masks of the objects (--masks DIR)"
        )
    named = ", ".join(empty[:_MAX_NAMED]) + (", ..." if len(empty) > _MAX_NAMED else "")
    photographs = "1 photograph" if len(empty) == 1 else f"{len(empty):,} photographs"
    return (f"No object was found in {photographs}, which are left out: {named}",)
