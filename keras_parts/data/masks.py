"""Masks of somebody else: a data set whose foreground is read from a folder."""

from os import PathLike
from pathlib import Path

from keras_parts.data.dataset import Dataset
from keras_parts.data.problems import attempt
from keras_parts.data.readers.folder import Pictures
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.images.decoding import IMAGE_SUFFIXES, read_mask


class WithMasks(Dataset):
    """A data set with the masks of a folder, such as those that a supervised network predicted.

    Args:
        dataset: any.
        folder: a mask a sample, of the same relative name as its id up to the suffix.

    Raises:
        DataError: the folder is missing; later, when it is read, that a sample has no mask there
            or one of another size.
    """

    def __init__(self, dataset: Dataset, folder: str | PathLike):
        self.dataset, self.info = dataset, dataset.info
        self._pictures = Pictures(folder, "masks")
        self.masks_from = str(folder)

    def __len__(self):
        return len(self.dataset)

    def read(self, index):
        return Sample(**self.fields(index))

    def fields(self, index):
        fields = self.dataset.fields(index)
        return fields | {"foreground": attempt(self._mask, fields["id"], fields["image"])}

    def mask_file(self, index):
        return self._file(self.dataset.ids()[index])

    def _file(self, name):
        if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            name += ".png"
        return self._pictures.of(Path(name))

    def _mask(self, name, image):
        path = self._file(name)
        mask = read_mask(path)
        if image is not None and mask.shape != image.shape[:2]:
            raise DataError(
                f"{path}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels, its image "
                f"{image.shape[1]} x {image.shape[0]}"
            )
        return mask

    def ids(self):
        return self.dataset.ids()

    def categories(self):
        return self.dataset.categories()
