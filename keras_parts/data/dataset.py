"""`Dataset`: a lazy sequence of samples, with its description and its fixed splits."""

import hashlib
import textwrap
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from os import PathLike
from typing import Any, overload

import numpy as np

from keras_parts.data.problems import attempt, collect_problems, report
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

_LICENCE_WIDTH = 60  # characters of the licence in a representation

FIT_AND_VALIDATION = ("fit", "validation")
"""The two parts of "train" for choosing settings, see `hold_out`."""


@dataclass(frozen=True, repr=False)
class DatasetInfo:
    """The description of a data set: its names, licence and origin.

    Args:
        name: the data set's name.
        landmarks: names of the keypoints.
        mirror_order: landmark i of a mirrored image is landmark mirror_order[i] of the original
            (left and right are exchanged); empty if no landmark has a side.
        part_names: names of the part labels 1, 2, ...; the background is 0.
        categories: names of the classes.
        regions: groups of landmarks or part names, by name: {"head": ("beak", "crown", ...)}.
            A discovered part that covers a group gets the group's name.
        licence: the terms of the images and their annotations.
        how_to_obtain: instructions to obtain the data.

    Raises:
        ConfigError: `mirror_order` does not exchange pairs of landmarks.

    Example:
        >>> from keras_parts.data import DatasetInfo
        >>> DatasetInfo("cats", landmarks=("left ear", "right ear"), mirror_order=(1, 0))
        <DatasetInfo 'cats', landmarks: 2>
    """

    name: str
    _: KW_ONLY
    landmarks: tuple[str, ...] = ()
    mirror_order: tuple[int, ...] = ()
    part_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    licence: str = ""
    how_to_obtain: str = ""

    def __post_init__(self) -> None:
        order = self.mirror_order
        if not order:
            return
        indices = range(len(self.landmarks))
        permutation = sorted(order) == list(indices)
        if not permutation or any(order[order[index]] != index for index in indices):
            raise ConfigError(
                f"{self.name}: mirror_order must exchange pairs of the {len(indices)} landmarks, "
                f"not {order}"
            )

    def __repr__(self) -> str:
        counts = {
            "landmarks": len(self.landmarks),
            "parts": len(self.part_names),
            "categories": len(self.categories),
        }
        words = [f"{what}: {count}" for what, count in counts.items() if count]
        return f"<DatasetInfo {', '.join([repr(self.name), *words])}>"


class Dataset(Sequence[Sample]):
    """A sequence of samples, each read when it is indexed.

    `dataset[i]` counts from the end for negative i; `dataset[a:b]` is a `Subset`.

    A reader sets `info` and defines `__len__` and `read`. It may override `ids`, `categories` and
    `fingerprint`, which read every sample by default; `fields`, to report every damaged field of
    a sample; `image`, if images can be read without their annotations; and `mask_file`, if masks
    are stored in files.

    Attributes:
        info: the description of the data set.
        split: name of the split, or None.
        masks_from: source of the foreground masks, shown in tables.
        left_out: the problems for which `load(..., skip_bad=True)` left samples out.

    Example:
        >>> import numpy as np
        >>> from keras_parts.data import Dataset, DatasetInfo, Sample
        >>> class Greys(Dataset):
        ...     info = DatasetInfo("greys", licence="CC0")
        ...     def __len__(self):
        ...         return 3
        ...     def read(self, index):
        ...         return Sample(f"grey {index}", np.full((8, 8, 3), 80 * index, np.uint8))
        >>> Greys()
        <Greys 'greys', 3 samples, licence: CC0>
        >>> Greys()[-1].id
        'grey 2'
    """

    info: DatasetInfo
    split: str | None = None
    masks_from: str = "the data set's own"
    _notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks that are not problems, such as the classes that a partial copy lacks, or the
        masks that were read in an unusual way; complete when every sample has been read."""
        return (*self._notes, *self._notes_of_samples())

    @notes.setter
    def notes(self, notes: Iterable[str]) -> None:
        self._notes = tuple(notes)

    def _notes_of_samples(self) -> tuple[str, ...]:
        """Remarks about the samples that have been read."""
        return ()

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The sample at `index`, 0 <= index < len(self); the same one every time."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> "Subset": ...

    def __getitem__(self, index: int | slice) -> "Sample | Subset":
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        return self.read(range(len(self))[index])

    def __repr__(self) -> str:
        words = [repr(self.info.name)]
        words += [f"split {self.split!r}"] if self.split else []
        words.append(self._number_of_samples())
        licence = textwrap.shorten(self.info.licence, _LICENCE_WIDTH, placeholder="...")
        words += [f"licence: {licence}"] if licence else []
        return f"<{type(self).__name__} {', '.join(words)}>"

    def _number_of_samples(self) -> str:
        return f"{len(self):,} samples"

    def fields(self, index: int) -> dict[str, Any]:
        """The arguments of the `Sample` at `index`.

        Inside `collect_problems()` all problems of the sample are collected, and damaged fields
        are None.
        """
        return vars(self.read(index))

    def image(self, index: int) -> np.ndarray:
        """The image of the sample at `index`, `(height, width, 3)` uint8 RGB.

        Readers override it to read no annotation.
        """
        return self.read(index).image

    def mask_file(self, index: int) -> PathLike | str | None:
        """The file of the sample's mask, for messages; None if there is no such file."""
        return None

    def mask_origin(self, index: int) -> str:
        """Where the sample's mask comes from, for records: "the data set's own", for example."""
        return self.masks_from

    def problems(self, index: int) -> list[str]:
        """All problems of the sample at `index`, each with its file; empty if there are none."""
        return self.examine(index)[0]

    def examine(self, index: int) -> tuple[list[str], frozenset[str]]:
        """The problems of the sample at `index`, and the names of the fields that it has."""
        with collect_problems() as found:
            fields = attempt(self.fields, index) or {}
            if not found:
                attempt(Sample, **fields)
            foreground = fields.get("foreground")
            if foreground is not None and not foreground.any():
                report(self._empty_mask(fields["id"], self.mask_file(index)))
        return found, frozenset(name for name, value in fields.items() if value is not None)

    def _empty_mask(self, name: str, file: PathLike | str | None) -> str:
        where = "" if file is None else f" in {file}"
        # "folder" is the reader's name, and no word of the user's.
        of = "" if self.info.name == "folder" else f"{self.info.name}: "
        return f"{of}the mask of {name}{where} is empty: correct it, or remove it and its image"

    def ids(self) -> list[str]:
        """The id of every sample, in order."""
        return [sample.id for sample in self]

    def categories(self) -> np.ndarray:
        """(samples,) int64: the category of every sample, -1 for a sample without one."""
        found = (sample.category for sample in self)
        return np.array([-1 if category is None else category for category in found], np.int64)

    def fingerprint(self) -> str:
        """Hexadecimal sha256 of the content; data sets with equal content have the same."""
        digest = hashlib.sha256(self.info.name.encode())
        for sample in self:
            for name, value in vars(sample).items():
                shape = value.shape if isinstance(value, np.ndarray) else value
                digest.update(f"{name} {shape}\n".encode())
                if isinstance(value, np.ndarray):
                    digest.update(value.tobytes())
        return digest.hexdigest()

    def images_fingerprint(self) -> str:
        """As `fingerprint`, but it need not depend on the annotations."""
        return self.fingerprint()


class Subset(Dataset):
    """Some samples of a data set, in the order of `indices`.

    Args:
        dataset: the data set to choose from.
        indices: indices of the samples; they may repeat.

    Raises:
        IndexError: an index lies outside the data set.

    Example:
        >>> from keras_parts import data
        >>> toy = data.load("toy", "train", count=10)
        >>> data.Subset(toy, [7, 2])
        <Subset 'toy', split 'train', 2 of 10 samples, licence: Apache-2.0>
        >>> data.Subset(toy, [7, 2]).ids()
        ['train-00007', 'train-00002']
    """

    def __init__(self, dataset: Dataset, indices: Iterable[int]):
        self.dataset = dataset
        self.info = dataset.info
        self.split = dataset.split
        self.masks_from = dataset.masks_from
        self.left_out = dataset.left_out
        known = range(len(dataset))
        self.indices = np.array([known[index] for index in indices], np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def _notes_of_samples(self) -> tuple[str, ...]:
        return self.dataset.notes

    def _number_of_samples(self) -> str:
        return f"{len(self):,} of {len(self.dataset):,} samples"

    def read(self, index: int) -> Sample:
        return self.dataset[int(self.indices[index])]

    def fields(self, index: int) -> dict[str, Any]:
        return self.dataset.fields(int(self.indices[index]))

    def image(self, index: int) -> np.ndarray:
        return self.dataset.image(int(self.indices[index]))

    def images_fingerprint(self) -> str:
        return self._with_indices(self.dataset.images_fingerprint())

    def mask_file(self, index: int) -> PathLike | str | None:
        return self.dataset.mask_file(int(self.indices[index]))

    def mask_origin(self, index: int) -> str:
        return self.dataset.mask_origin(int(self.indices[index]))

    def ids(self) -> list[str]:
        ids = self.dataset.ids()
        return [ids[index] for index in self.indices]

    def categories(self) -> np.ndarray:
        return self.dataset.categories()[self.indices]

    def fingerprint(self) -> str:
        return self._with_indices(self.dataset.fingerprint())

    def _with_indices(self, fingerprint: str) -> str:
        digest = hashlib.sha256(fingerprint.encode())
        digest.update(self.indices.astype("<i8").tobytes())
        return digest.hexdigest()


def hold_out(dataset: Dataset, every: int = 5) -> tuple[Subset, Subset]:
    """Hold out every `every`-th image of each category for choosing settings.

    Args:
        dataset: training data; samples without a category count as one category.
        every: 5 holds out the 5th, 10th, ... image of a category.

    Returns:
        (fit, validation), both in the data set's order and always the same.

    Raises:
        ConfigError: `every` is less than 2.

    Example:
        >>> from keras_parts import data
        >>> fit, validation = data.hold_out(data.load("toy", "train", count=60))
        >>> len(fit), len(validation)
        (48, 12)
    """
    if every < 2:
        raise ConfigError(f"hold_out needs every >= 2, not {every}")
    categories = dataset.categories()
    held_out = np.zeros(len(dataset), bool)
    for category in np.unique(categories):
        held_out[np.flatnonzero(categories == category)[every - 1 :: every]] = True
    return (
        Subset(dataset, np.flatnonzero(~held_out)),
        Subset(dataset, np.flatnonzero(held_out)),
    )


def split_of(dataset: Dataset, split: str) -> Dataset:
    """The split "fit" or "validation" of training data, see `hold_out`; for other splits, all of
    the data set."""
    if split not in FIT_AND_VALIDATION:
        return dataset
    fit, validation = hold_out(dataset)
    return fit if split == "fit" else validation
