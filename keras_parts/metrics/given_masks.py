"""Masks of a folder, such as predicted ones, in place of a data set's own."""

from os import PathLike
from pathlib import Path

from keras_parts.data.dataset import Dataset, Subset
from keras_parts.data.masks import WithMasks
from keras_parts.data.readers.folder import Pictures
from keras_parts.errors import DataError
from keras_parts.images.decoding import IMAGE_SUFFIXES

_MAX_NAMED = 3
"""Most missing files that are named."""


def with_given_masks(
    folder: str | PathLike[str], dataset: Dataset, train: Dataset | None
) -> tuple[Dataset, Dataset | None]:
    """Both splits with the masks of a folder; `train` with its own if the folder lacks some.

    Protocols that are fitted on given masks of one kind and tested on another are left out, by
    `masks_from`, which then names what is missing.

    Args:
        folder: holds a mask for each sample, see `keras_parts.data.masks.WithMasks`.
        dataset: the measured split.
        train: the train split, or None.

    Raises:
        DataError: the folder does not exist.
    """
    dataset = WithMasks(dataset, folder)
    if train is None:
        return dataset, None
    missing = _missing(folder, train.ids())
    if not missing:
        return dataset, WithMasks(train, folder)
    own = Subset(train, range(len(train)))
    named = ", ".join(missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
    own.masks_from += f" (in {folder} {len(missing):,} of {len(train):,} are missing: {named})"
    return dataset, own


def _missing(folder, ids):
    """The samples that `WithMasks` finds no mask for."""
    pictures, missing = Pictures(folder, "masks"), []
    for name in ids:
        suffix = "" if Path(name).suffix.lower() in IMAGE_SUFFIXES else ".png"
        try:
            pictures.of(Path(f"{name}{suffix}"))
        except DataError:
            missing.append(name)
    return missing
