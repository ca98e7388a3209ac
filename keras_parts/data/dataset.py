"""`Dataset`: a lazy sequence of samples, what is known of it, and its fixed partitions."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np

from keras_parts.data.problems import attempt, collected, report
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a data set as a whole.

    Args:
        name: the data set's name.
        landmarks: names of the keypoints.
        mirror: landmark i of a mirrored image is landmark mirror[i] of the original (left and
            right change places); empty where no landmark has a side.
        part_names: names of the part labels 1, 2, ...; the background, 0, has none.
        categories: names of the classes.
        regions: names for groups of landmarks or part names: {"head": ("beak", "crown", ...)}.
            Parts that cover such a group are called by it.
        licence: the terms of the images and their truth.
        how_to_obtain: what a user does to get the data.

    Raises:
        ConfigError: `mirror` is not a swap of landmarks.
    """

    name: str
    landmarks: tuple[str, ...] = ()
    mirror: tuple[int, ...] = ()
    part_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    licence: str = ""
    how_to_obtain: str = ""

    def __post_init__(self):
        if not self.mirror:
            return
        places = range(len(self.landmarks))
        swaps = sorted(self.mirror) == list(places)
        if not swaps or any(self.mirror[self.mirror[place]] != place for place in places):
            raise ConfigError(
                f"{self.name}: mirror must swap pairs of the {len(places)} landmarks, "
                f"not {self.mirror}"
            )


class Dataset(Sequence[Sample]):
    """A sequence of samples that are read when they are asked for.

    A reader sets `info` and defines `__len__` and `read`; it overrides `ids`, `categories` and
    `fingerprint` where it can answer without reading every sample, `fields` where a sample can be
    damaged in more than one place, and `mask_file` where masks stand in files. `dataset[i]` counts
    from the end for negative i, `dataset[a:b]` is a `Subset`.
    """

    info: DatasetInfo
    masks_from: str = "the data set's own"
    """Where the masks come from, for tables."""
    notes: tuple[str, ...] = ()
    """What is worth telling and yet no problem, such as what a partial copy lacks."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def read(self, index: int) -> Sample:
        """The sample at `index`, 0 <= index < len(self); the same each time."""

    def __getitem__(self, index):
        if isinstance(index, slice):
            return Subset(self, range(len(self))[index])
        return self.read(range(len(self))[index])

    def fields(self, index: int) -> dict:
        """The arguments of the sample at `index`.

        Inside `problems.collected()` every problem of the sample is noted, not the first alone,
        and what is damaged is None.
        """
        return vars(self.read(index))

    def mask_file(self, index: int) -> PathLike | str | None:
        """Where the mask of the sample at `index` stands, for messages; None if in no file."""

    def problems(self, index: int) -> list[str]:
        """All that is wrong with a sample, each with its file; nothing where all is well."""
        with collected() as found:
            fields = attempt(self.fields, index) or {}
            if not found:
                attempt(Sample, **fields)
            foreground = fields.get("foreground")
            if foreground is not None and not foreground.any():
                report(self._empty_mask(index, fields["id"]))
        return found

    def _empty_mask(self, index, name):
        file = self.mask_file(index)
        where = "" if file is None else f" in {file}"
        return (
            f"{self.info.name}: the mask of {name}{where} is empty: mend it, or remove it and its "
            "image"
        )

    def ids(self) -> list[str]:
        """Every sample's id, in order."""
        return [sample.id for sample in self]

    def categories(self) -> np.ndarray:
        """(samples,) int64: every sample's category, -1 where it has none."""
        found = (sample.category for sample in self)
        return np.array([-1 if one is None else one for one in found], np.int64)

    def fingerprint(self) -> str:
        """Hexadecimal sha256 of the content: what is computed from equal ones is equal."""
        digest = hashlib.sha256(self.info.name.encode())
        for sample in self:
            for name, value in vars(sample).items():
                shape = value.shape if isinstance(value, np.ndarray) else value
                digest.update(f"{name} {shape}\n".encode())
                if isinstance(value, np.ndarray):
                    digest.update(np.ascontiguousarray(value))
        return digest.hexdigest()


class Subset(Dataset):
    """Some samples of a data set, in the order of `indices`.

    Args:
        dataset: the data set to choose from.
        indices: positions in it; repeats are allowed.

    Raises:
        IndexError: an index lies outside the data set.
    """

    def __init__(self, dataset: Dataset, indices: Iterable[int]):
        self.dataset = dataset
        self.info = dataset.info
        self.masks_from = dataset.masks_from
        self.notes = dataset.notes
        places = range(len(dataset))
        self.indices = np.array([places[index] for index in indices], np.int64)

    def __len__(self):
        return len(self.indices)

    def read(self, index):
        return self.dataset[self.indices[index]]

    def fields(self, index):
        return self.dataset.fields(int(self.indices[index]))

    def mask_file(self, index):
        return self.dataset.mask_file(int(self.indices[index]))

    def ids(self):
        ids = self.dataset.ids()
        return [ids[index] for index in self.indices]

    def categories(self):
        return self.dataset.categories()[self.indices]

    def fingerprint(self):
        digest = hashlib.sha256(self.dataset.fingerprint().encode())
        digest.update(self.indices.astype("<i8"))
        return digest.hexdigest()


def hold_out(dataset: Dataset, every: int = 5) -> tuple[Subset, Subset]:
    """A fixed partition for choosing settings: every `every`-th image of each category, in order.

    Args:
        dataset: training data; samples without a category count as one category.
        every: the 5th, 10th, ... image of a category is held out when this is 5.

    Returns:
        (fit, validation), both in the data set's order.

    Raises:
        ConfigError: `every` is less than 2.
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


def split_of(train: Dataset, split: str) -> Dataset:
    """What "train", "fit" or "validation" is of a train split, see `hold_out`."""
    if split == "train":
        return train
    fit, validation = hold_out(train)
    return fit if split == "fit" else validation


def check_split(name: str, split: str, splits: tuple[str, ...]) -> None:
    """Raise `ConfigError` unless a data set has a split."""
    if split not in splits:
        raise ConfigError(f"{name} has the splits {', '.join(splits)}, not {split!r}")
