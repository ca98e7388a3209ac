"""`WithMasks`: a data set whose foreground masks are replaced by those of a folder."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.problems import attempt
from keras_parts.data.readers.mask_sources import sizes_differ
from keras_parts.data.readers.matching_files import MatchingFiles
from keras_parts.data.readers.remarks import Remarks
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.images.formats import IMAGE_SUFFIXES
from keras_parts.images.masks import decode_mask


class WithMasks(Dataset):
    """A data set with masks from a folder, such as predictions of a segmentation network.

    Args:
        dataset: the data set.
        folder: folder with one mask file per sample: the sample's id with any image suffix.

    Raises:
        DataError: the folder is missing; or, when a sample is read, its mask is missing, is
            damaged or has another size.
    """

    def __init__(self, dataset: Dataset, folder: str | PathLike):
        self.dataset, self.info = dataset, dataset.info
        self.split, self._remarks = dataset.split, Remarks("masks")
        self._files = MatchingFiles(folder, "mask")
        self.masks_from = str(folder)

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        fields = self.dataset.fields(index)
        return fields | {"foreground": attempt(self._mask, fields["id"], fields["image"])}

    def mask_file(self, index: int) -> Path:
        return self._file(self.dataset.ids()[index])

    def ids_without_mask(self) -> list[str]:
        """The ids of samples for which the folder has no mask file, or more than one."""
        return [name for name in self.dataset.ids() if not self._has_file(name)]

    def _has_file(self, name):
        try:
            self._file(name)
        except DataError:
            return False
        return True

    def _file(self, name: str) -> Path:
        if Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            name += ".png"
        return self._files.of(Path(name))

    def _mask(self, name: str, image: np.ndarray | None) -> np.ndarray:
        path = self._file(name)
        decoded = decode_mask(path)
        for remark in decoded.remarks:
            self._remarks.add(remark, name, path)
        mask = decoded.mask
        if image is not None and mask.shape != image.shape[:2]:
            raise DataError(sizes_differ(image.shape[:2], mask.shape, path))
        return mask

    def _notes_of_samples(self) -> tuple[str, ...]:
        return (*self.dataset.notes, *self._remarks.notes(len(self)))

    def ids(self) -> list[str]:
        return self.dataset.ids()

    def categories(self) -> np.ndarray:
        return self.dataset.categories()
