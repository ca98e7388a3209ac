"""Masks of a folder, such as predicted ones, instead of a data set's own."""

from os import PathLike

from keras_parts.data.dataset import Dataset, Subset
from keras_parts.data.readers.masks import WithMasks

_MAX_NAMED = 3
"""Maximum number of missing masks that a message names."""


def with_given_masks(
    folder: str | PathLike[str], dataset: Dataset, train: Dataset | None
) -> tuple[Dataset, Dataset | None]:
    """Both splits with the masks of a folder; `train` keeps its own if the folder lacks some.

    In that case its `masks_from` names the missing masks. Protocols that need masks of both splits
    from one source then do not run.

    Args:
        folder: contains a mask for each sample, see `keras_parts.data.readers.masks.WithMasks`.
        dataset: the split to measure on.
        train: the train split, or None.

    Raises:
        DataError: the folder does not exist.
    """
    dataset = WithMasks(dataset, folder)
    if train is None:
        return dataset, None
    train_with_masks = WithMasks(train, folder)
    missing = train_with_masks.ids_without_mask()
    if not missing:
        return dataset, train_with_masks
    own = Subset(train, range(len(train)))
    named = ", ".join(missing[:_MAX_NAMED]) + (", ..." if len(missing) > _MAX_NAMED else "")
    own.masks_from += f" (in {folder} {len(missing):,} of {len(train):,} are missing: {named})"
    return dataset, own
