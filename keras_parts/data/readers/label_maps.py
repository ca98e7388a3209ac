"""Base of the readers whose images have label maps, and their fixed split."""

import hashlib
import zlib
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo
from keras_parts.data.problems import attempt, collect_problems, is_collecting, report
from keras_parts.data.readers.sources import read_image_and_size, size_and_time
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError


@dataclass(frozen=True)
class LabelledImage:
    """An image and the files of its label map.

    Attributes:
        id: of the sample.
        image: the image file.
        labels: the files that the label map is made from.
        listed: file and line that list the image, for messages.
    """

    id: str
    image: Path
    labels: tuple[Path, ...]
    listed: str


class LabelMaps(Dataset):
    """Images of one object each; the pixels with a part label are the foreground.

    A subclass defines `label_map`, and overrides `read_image` if it changes the image. Missing
    files and repeated ids are problems.

    Args:
        info: the description of the data set; `part_names` is empty if their table is damaged.
        images: the images of the split.
        root: folder of the data set, for messages.

    Raises:
        DataError: the split has no images.
    """

    def __init__(self, info: DatasetInfo, images: Iterable[LabelledImage], root: Path):
        self.info = info
        self._images = _checked_images(info.name, images)
        if not self._images:
            raise DataError(
                f"{info.name}: {root} has no images of this split. To obtain the data set, "
                f"{info.how_to_obtain}"
            )

    @abstractmethod
    def label_map(self, image: Any) -> np.ndarray | None:
        """The label map of a `LabelledImage`.

        Returns:
            (height, width) uint8 labels, 0 for the background; None if damage has been reported.
        """

    def read_image(self, image: LabelledImage) -> tuple[np.ndarray | None, tuple[int, int] | None]:
        """(height, width, 3) uint8 RGB and (height, width), see `read_image_and_size`."""
        return read_image_and_size(image.image)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        labelled = self._images[index]
        image, size = self.read_image(labelled)
        fields = {"id": labelled.id, "image": image}
        labels = attempt(self._labels, labelled, size)
        if labels is None:
            return fields
        foreground = labels > 0
        box = mask_box(foreground)
        box = image_box(*labels.shape) if box is None else box
        return fields | {"foreground": foreground, "box": box, "part_labels": labels}

    def image(self, index: int) -> np.ndarray:
        with collect_problems() as problems:
            pixels, _ = self.read_image(self._images[index])
        if pixels is None or problems:
            raise DataError(problems[0])
        return pixels

    def mask_file(self, index: int) -> Path:
        return self._images[index].labels[0]

    def _labels(self, image, size):
        """The label map, after comparing its labels with the part names and its size with the
        image's, if these are known."""
        labels = self.label_map(image)
        if labels is None:
            return None
        names, file = self.info.part_names, image.labels[0]
        if names and labels.max() > len(names):
            report(
                f"{self.info.name}: {file} has the label {labels.max()}, expected 0 to {len(names)}"
            )
        if size is not None and labels.shape != size:
            raise DataError(
                f"{self.info.name}: the labels of {image.id} in {file} have {labels.shape[1]} x "
                f"{labels.shape[0]} pixels, the image {size[1]} x {size[0]}"
            )
        return labels

    def ids(self) -> list[str]:
        return [image.id for image in self._images]

    def categories(self) -> np.ndarray:
        return np.full(len(self), -1, np.int64)

    def fingerprint(self) -> str:
        """A hash of the names, sizes and modification times of the files, not of their content."""
        digest = hashlib.sha256(f"{self.info.name} {self.info.part_names}".encode())
        for image in self._images:
            sizes_and_times = [size_and_time(path) for path in (image.image, *image.labels)]
            digest.update(f"\n{image.id} {sizes_and_times}".encode())
        return digest.hexdigest()


def in_fixed_test(name: str) -> bool:
    """Whether an image is in the test split of a data set without an official one.

    It is if the CRC-32 of its name (the file name without suffix) is a multiple of 5; about a fifth
    are. The split of an image is therefore the same in a partial copy.
    """
    return zlib.crc32(name.encode()) % 5 == 0


def _checked_images(name, images):
    """The images without repeated ids, after reporting these and missing files."""
    checked: dict[str, LabelledImage] = {}
    for image in images:
        first = checked.setdefault(image.id, image)
        if first is not image:
            report(f"{name}: {image.id} is listed twice, in {first.listed} and {image.listed}")
    if not is_collecting():  # a check finds missing files when it reads them
        for image in checked.values():
            for path in (image.image, *image.labels):
                if not path.is_file():
                    report(f"{name}: {path}, a file of {image.id}, is missing: unpack it again")
    return list(checked.values())
