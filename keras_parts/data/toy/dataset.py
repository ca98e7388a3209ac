"""`toy`: animals drawn by the program, with exact truth; nothing to download.

Every part has shapes and patterns of its own, while the colours are shared out evenly: what is the
head's colour in one species is the body's in another. Clustering colours therefore finds no parts.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from keras_parts.data.dataset import Dataset, DatasetInfo, hold_out
from keras_parts.data.sample import Sample
from keras_parts.data.toy import animals, painting
from keras_parts.errors import ConfigError

SPECIES = tuple(range(len(animals.PALETTE)))
COUNTS = {"train": 600, "test": 300}
_STREAMS = {"train": 0, "test": 1}  # the second word of every sample's seed
_LEAST_SIZE = 33


def load_toy(
    split: str,
    size: int = 161,
    count: int | None = None,
    seed: int = 0,
    species: Sequence[int] = SPECIES,
) -> Dataset:
    """The toy data set.

    Args:
        split: "train", "test", or "fit" and "validation", every fifth image of each species in
            "train" being validation.
        size: side of the square images in pixels.
        count: number of images, of "train" for "fit" and "validation"; by default 600 for "train",
            300 for "test".
        seed: another seed gives other pictures of the same species.
        species: indices of the species, one category each; any number from 0 is a species.

    Raises:
        ConfigError: an argument is outside its range.
    """
    if split in ("fit", "validation"):
        parts = hold_out(ToyDataset("train", size, count, seed, species))
        return parts[split == "validation"]
    return ToyDataset(split, size, count, seed, species)


class ToyDataset(Dataset):
    """Pictures that are drawn when they are asked for; for the arguments see `load_toy`.

    Sample i is a pure function of (seed, split, i, size, its species), and shows species i modulo
    their number. Keypoints that are not visible, hidden or outside the picture, are where they
    would be. The arrays are read-only: the last thousand samples are kept.
    """

    def __init__(self, split, size=161, count=None, seed=0, species=SPECIES):
        if split not in _STREAMS:
            raise ConfigError(
                f"toy has no split {split!r}: choose from train, test, fit, validation"
            )
        count = COUNTS[split] if count is None else count
        self.split = split
        self.size = _whole("size", size, _LEAST_SIZE)
        self.count = _whole("count", count, 1)
        self.seed = _whole("seed", seed, 0)
        self.species = tuple(_whole("species", index, 0) for index in species)
        if not self.species:
            raise ConfigError("toy: species is empty")
        self.info = DatasetInfo(
            name="toy",
            landmarks=animals.LANDMARKS,
            mirror=animals.MIRROR,
            part_names=animals.PARTS,
            categories=tuple(animals.species(index).name for index in self.species),
            licence="Apache-2.0",
            how_to_obtain="it is drawn by keras_parts itself",
        )

    def __len__(self):
        return self.count

    def read(self, index):
        category = index % len(self.species)
        return _sample(self.seed, self.split, index, self.size, self.species[category], category)

    def ids(self):
        return [_id(self.split, index) for index in range(self.count)]

    def categories(self):
        return np.arange(self.count, dtype=np.int64) % len(self.species)

    def fingerprint(self):
        """Of the drawing program and the settings: two runs draw the same if these agree."""
        settings = (self.split, self.size, self.count, self.seed, self.species, np.__version__)
        digest = hashlib.sha256(repr(settings).encode())
        for module in (animals.__file__, painting.__file__, __file__):
            digest.update(Path(module).read_bytes())
        return digest.hexdigest()


def _whole(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ConfigError(f"toy: {name} is {value!r}, expected a whole number >= {least}")
    return int(value)


def _id(split, index):
    return f"{split}-{index:05d}"


@lru_cache(maxsize=1024)
def _sample(seed, split, index, size, species, category):
    rng = np.random.default_rng([seed, _STREAMS[split], index])
    picture = painting.draw(animals.species(species), size, rng)
    foreground = picture.labels > 0
    rows, columns = (np.flatnonzero(foreground.any(axis)) for axis in (1, 0))
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)
    sample = Sample(
        id=_id(split, index),
        image=picture.image,
        foreground=foreground,
        keypoints=picture.landmarks,
        visible=picture.visible,
        box=box + np.float32([-0.5, -0.5, 0.5, 0.5]),
        part_labels=picture.labels,
        category=category,
    )
    for value in vars(sample).values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return sample
