"""`toy`: imaginary animals, drawn by the program with exact annotations; nothing to download.

Each part has its own shapes and patterns, but all parts share the same colours: the colour of the
head in one species is the colour of the body in another. Therefore clusters of colours are not
parts.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from keras_parts.data.crops import mask_box
from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, DatasetInfo, split_of
from keras_parts.data.readers.sources import DatasetSource
from keras_parts.data.sample import Sample
from keras_parts.data.toy import animals, painting, poses
from keras_parts.errors import ConfigError

SOURCE = DatasetSource(
    name="toy",
    annotations="masks, part labels, keypoints",
    licence="Apache-2.0",
    how_to_obtain="no download: keras_parts draws it",
    splits=("train", "test", *FIT_AND_VALIDATION),
)
SPECIES = tuple(range(len(animals.PALETTE)))
COUNTS = {"train": 600, "test": 300}
_STREAMS = {"train": 0, "test": 1}  # the second number in the seed of a sample
_MIN_SIZE = 33


def load_toy(
    split: str,
    *,
    size: int = 161,
    count: int | None = None,
    seed: int = 0,
    species: Sequence[int] = SPECIES,
) -> Dataset:
    """Load the toy data set.

    Args:
        split: "train", "test", or "fit" and "validation", two parts of "train": every fifth image
            of each species is in "validation".
        size: side of the square images in pixels.
        count: number of images of "train" (which "fit" and "validation" divide) or "test"; by
            default 600 and 300.
        seed: a whole number from 0; another seed gives other images of the same species.
        species: indices of the species, from 0; each is a category.

    Raises:
        ConfigError: an argument is outside its range.

    Example:
        >>> from keras_parts.data.toy.dataset import load_toy
        >>> load_toy("test", size=65, count=2)[0].id
        'test-00000'
    """
    SOURCE.check_split(split)
    drawn = "test" if split == "test" else "train"
    dataset = ToyDataset(drawn, size=size, count=count, seed=seed, species=species)
    return split_of(dataset, split)


class ToyDataset(Dataset):
    """Images that are drawn when they are read; see `load_toy` for the arguments.

    Sample i is a pure function of (seed, split, i, size, its species); its species is
    `species[i % len(species)]`. Keypoints that are hidden or outside the image have their true
    coordinates, but are not visible. The arrays are read-only, because samples are cached.
    """

    def __init__(
        self,
        split: str,
        *,
        size: int = 161,
        count: int | None = None,
        seed: int = 0,
        species: Sequence[int] = SPECIES,
    ):
        if split not in _STREAMS:
            raise ConfigError(f"ToyDataset has the splits train, test, not {split!r}")
        self._stream = split  # of random numbers; unlike `split`, it never changes
        self.split = split
        self.size = _whole("size", size, _MIN_SIZE)
        self._count = _whole("count", COUNTS[split] if count is None else count, 1)
        self.seed = _whole("seed", seed, 0)
        self.species = tuple(_whole("species", index, 0) for index in species)
        if not self.species:
            raise ConfigError("toy: species is empty")
        self.info = DatasetInfo(
            name=SOURCE.name,
            landmarks=animals.LANDMARKS,
            mirror_order=animals.MIRROR_ORDER,
            part_names=animals.PARTS,
            categories=tuple(animals.species(index).name for index in self.species),
            licence=SOURCE.licence,
            how_to_obtain=SOURCE.how_to_obtain,
        )

    def __len__(self) -> int:
        return self._count

    def read(self, index: int) -> Sample:
        category = index % len(self.species)
        return _sample(self.seed, self._stream, index, self.size, self.species[category], category)

    def ids(self) -> list[str]:
        return [_id(self._stream, index) for index in range(self._count)]

    def categories(self) -> np.ndarray:
        return np.arange(self._count, dtype=np.int64) % len(self.species)

    def fingerprint(self) -> str:
        """A hash of the drawing program and the settings, which determine the samples."""
        settings = (self._stream, self.size, self._count, self.seed, self.species, np.__version__)
        digest = hashlib.sha256(repr(settings).encode())
        for file in (animals.__file__, poses.__file__, painting.__file__, __file__):
            digest.update(Path(file).read_bytes())
        return digest.hexdigest()


def _whole(name, value, minimum):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise ConfigError(f"toy: {name} is {value!r}, expected a whole number >= {minimum}")
    return int(value)


def _id(split, index):
    return f"{split}-{index:05d}"


@lru_cache(maxsize=1024)
def _sample(seed, split, index, size, species, category):
    rng = np.random.default_rng([seed, _STREAMS[split], index])
    drawing = painting.draw(animals.species(species), size, rng)
    foreground = drawing.labels > 0
    sample = Sample(
        id=_id(split, index),
        image=drawing.image,
        foreground=foreground,
        keypoints=drawing.landmarks,
        visible=drawing.visible,
        box=mask_box(foreground),
        part_labels=drawing.labels,
        category=category,
    )
    for value in vars(sample).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return sample
