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
from keras_parts.data.problems import are_collected, attempt, report
from keras_parts.data.readers.sources import read_picture
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError


@dataclass(frozen=True)
class Entry:
    """A picture, the files that its label map is made from, and what names it, for messages."""

    id: str
    image: Path
    labels: tuple[Path, ...]
    listed: str


class LabelMaps(Dataset):
    """Pictures of one object each; the object is where a part is labelled.

    A subclass defines `label_map`, and `picture` where it is not the file as it is. Entries whose
    files are missing, or whose id was there before, are problems.

    Args:
        info: of the data set; `part_names` are those of the labels 1, 2, ..., or none where they
            are not known because their table is damaged.
        entries: the pictures of the split.
        root: where they lie, for messages.

    Raises:
        DataError: the split has no pictures.
    """

    def __init__(self, info: DatasetInfo, entries: Iterable[Entry], root: Path):
        self.info = info
        self._entries = _checked(info.name, entries)
        if not self._entries:
            raise DataError(
                f"{info.name}: {root} has no images of this split. To obtain the data set, "
                f"{info.how_to_obtain}"
            )

    @abstractmethod
    def label_map(self, entry: Entry) -> np.ndarray | None:
        """(height, width) uint8 labels, 0 for the background; None where damage was noted."""

    def picture(self, entry: Entry) -> tuple[np.ndarray | None, tuple[int, int] | None]:
        """(height, width, 3) uint8 RGB and (height, width), as `read_picture` gives them."""
        return read_picture(entry.image)

    def __len__(self):
        return len(self._entries)

    def read(self, index):
        return Sample(**self.fields(index))

    def fields(self, index):
        entry = self._entries[index]
        image, size = self.picture(entry)
        fields = {"id": entry.id, "image": image}
        labels = attempt(self._labels, entry, size)
        if labels is None:
            return fields
        foreground = labels > 0
        box = mask_box(foreground)
        box = image_box(*labels.shape) if box is None else box
        return fields | {"foreground": foreground, "box": box, "part_labels": labels}

    def mask_file(self, index):
        return self._entries[index].labels[0]

    def _labels(self, entry, size):
        """The label map, if it has names for all labels and the image's size, where it is known."""
        labels = self.label_map(entry)
        if labels is None:
            return None
        names, file = self.info.part_names, entry.labels[0]
        if names and labels.max() > len(names):
            report(
                f"{self.info.name}: {file} has the label {labels.max()}, the largest known is "
                f"{len(names)}"
            )
        if size is not None and labels.shape != size:
            raise DataError(
                f"{self.info.name}: the labels of {entry.id} in {file} have {labels.shape[1]} x "
                f"{labels.shape[0]} pixels, the image {size[1]} x {size[0]}"
            )
        return labels

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


def _checked(name, entries):
    """The entries of different ids, whose files are all there."""
    checked = {}
    for entry in entries:
        first = checked.setdefault(entry.id, entry)
        if first is not entry:
            report(f"{name}: {entry.id} is listed twice, in {first.listed} and {entry.listed}")
    if not are_collected():  # otherwise reading them tells, and of all else that is wrong
        for entry in checked.values():
            for path in (entry.image, *entry.labels):
                if not path.is_file():
                    report(f"{name}: {path} is missing, which {entry.id} needs: unpack it again")
    return list(checked.values())
