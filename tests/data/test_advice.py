"""Each finding has its sentence, and good photographs have none."""

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample
from keras_parts.data.advice import advice
from keras_parts.errors import DataError


class Drawn(Dataset):
    """Noise, whose object is a rectangle; `change(index, fields)` changes a sample's fields."""

    info = DatasetInfo("drawn")

    def __init__(
        self, count=40, size=(120, 160), inside=(slice(20, 100), slice(30, 130)), **change
    ):
        self.count, self.size, self.inside, self.change = count, size, inside, change

    def __len__(self):
        return self.count

    def read(self, index):
        seed = self.change.get("seed", lambda index: index)(index)
        # As coarse as an object, so that thumbnails differ.
        noise = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
        rows, columns = (
            np.arange(side) * cells // side for side, cells in zip(self.size, (48, 64), strict=True)
        )
        mask = np.zeros(self.size, bool)
        mask[self.inside] = self.change.get("object", lambda index: True)(index)
        if self.change.get("damaged", lambda index: False)(index):
            raise DataError("damaged")
        return Sample(f"{index}", noise[np.ix_(rows, columns)], foreground=mask)


@pytest.mark.parametrize(
    "dataset, sentence",
    [
        (Drawn(), None),
        (Drawn(damaged=lambda index: index < 5), None),
        (Drawn(29), "There are only 29 images"),
        (Drawn(seed=lambda index: 0), "Only 1 of the 40 images differ from the others"),
        (Drawn(seed=lambda index: index // 2), "Only 20 of the 40 images differ"),
        (Drawn(seed=lambda index: min(index, 35)), None),
        (Drawn(object=lambda index: index > 1), "2 of the 40 images have an empty mask"),
        (Drawn(inside=np.s_[10:]), "the mask covers most of three sides of the image"),
        (Drawn(inside=np.s_[10:, 90:]), None),
        (Drawn(inside=np.s_[:40, :50]), "the object is smaller than 64 pixels"),
        (
            Drawn(size=(700, 900), inside=np.s_[:80, :80]),
            "the object takes less than a tenth of the image's side",
        ),
        (
            Drawn(size=(100, 1000), inside=np.s_[:, :200]),
            "40 of the 40 images are more than 4 times as long as high",
        ),
    ],
)
def test_each_finding_is_said_alone(dataset, sentence):
    said = advice(dataset)
    assert len(said) == (sentence is not None)
    assert sentence is None or sentence in said[0]


def test_of_a_large_data_set_some_images_are_read():
    read = []
    dataset = Drawn(1000, seed=lambda index: read.append(index) or index % 10)
    (sentence,) = advice(dataset, max_samples=50)
    assert len(read) == 50 and {0, 999} <= set(read)
    assert "of the 50 images looked at (1,000 in all) differ" in sentence
