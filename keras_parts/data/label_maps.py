"""What the data sets of pictures with a map of part labels have in common."""

import hashlib
import zlib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo
from keras_parts.data.problems import report
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.images import read_image


@dataclass(frozen=True)
class Entry:
    """A picture and the files that its label map is made from."""

    id: str
    image: Path
    labels: tuple[Path, ...]


class LabelMaps(Dataset):
    """Pictures of one object each; the object is where a part is labelled.

    A subclass defines `label_map`, and `picture` where it is not the file as it is. Entries whose
    files are missing, or whose id was there before, are problems and left out.

    Args:
        info: of the data set; `part_names` are those of the labels 1, 2, ...
        entries: the pictures of the split.
    """

    def __init__(self, info: DatasetInfo, entries: Iterable[Entry]):
        self.info = info
        self._entries = _usable(info.name, entries)
        if not self._entries:
            raise DataError(f"{info.name}: this split has no images here. {info.how_to_obtain}")

    @abstractmethod
    def label_map(self, entry: Entry, size: tuple[int, int]) -> np.ndarray:
        """(height, width) uint8 labels for an image of a size, 0 for the background."""

    def picture(self, entry: Entry) -> np.ndarray:
        """(height, width, 3) uint8 RGB."""
        return read_image(entry.image)

    def __len__(self):
        return len(self._entries)

    def read(self, index):
        entry = self._entries[index]
        image = self.picture(entry)
        size = image.shape[:2]
        labels = self.label_map(entry, size)
        if labels.shape != size:
            raise DataError(
                f"{self.info.name}: the labels of {entry.id} in {entry.labels[0]} have "
                f"{labels.shape[1]} x {labels.shape[0]} pixels, the image {size[1]} x {size[0]}"
            )
        if labels.max() > len(self.info.part_names):
            raise DataError(
                f"{self.info.name}: {entry.labels[0]} has the label {labels.max()}, the largest "
                f"known is {len(self.info.part_names)}"
            )
        foreground = labels > 0
        box = mask_box(foreground)
        return Sample(
            id=entry.id,
            image=image,
            foreground=foreground,
            box=image_box(*size) if box is None else box,
            part_labels=labels,
        )

    def ids(self):
        return [entry.id for entry in self._entries]

    def categories(self):
        return np.full(len(self), -1, np.int64)

    def fingerprint(self):
        """Goes by names, sizes and times of the files, not by their content."""
        digest = hashlib.sha256(f"{self.info.name} {self.info.part_names}".encode())
        for entry in self._entries:
            stats = [path.stat() for path in (entry.image, *entry.labels)]
            marks = [(one.st_size, one.st_mtime_ns) for one in stats]
            digest.update(f"\n{entry.id} {marks}".encode())
        return digest.hexdigest()


def in_fixed_test(name: str) -> bool:
    """Whether an image belongs to the test split of a data set that comes without one.

    About a fifth does: where the CRC-32 of the image's name (its file name without suffix) is a
    multiple of 5. So the split of a partial copy is that of the whole.
    """
    return zlib.crc32(name.encode()) % 5 == 0


def first_folder(root: Path, names: Sequence[str]) -> Path | None:
    """The first of some folders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def _usable(name, entries):
    seen, usable = set(), []
    for entry in entries:
        missing = [path for path in (entry.image, *entry.labels) if not path.is_file()]
        if entry.id in seen:
            report(f"{name}: {entry.id} is listed twice")
        elif missing:
            report(f"{name}: {missing[0]} is missing, which {entry.id} needs: unpack it again")
        else:
            usable.append(entry)
        seen.add(entry.id)
    return usable
