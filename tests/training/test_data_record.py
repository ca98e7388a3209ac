"""A run is resumed with the data that it began with; what may differ is said, once."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_parts import data
from keras_parts.data.dataset import Dataset, DatasetInfo, Subset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError
from keras_parts.training.data_record import check_same_data, measured_on, record_data
from tests.data import drawn


class Squares(Dataset):
    """White squares; `files` stands for sizes and times of files."""

    info = DatasetInfo("squares")

    def __init__(self, count=3, *, name="s", grey=255, bottom=6, files="1"):
        self.count, self.name, self.grey, self.bottom, self.files = count, name, grey, bottom, files

    def __len__(self):
        return self.count

    def read(self, index):
        mask = np.zeros((8, 8), bool)
        mask[2 : self.bottom, 2:6] = True
        image = np.repeat(mask[..., None], 3, axis=2) * np.uint8(self.grey)
        return Sample(f"{self.name}{index}", image, foreground=mask)

    def fingerprint(self):
        return self.files


BEGUN = record_data(Squares(), "train")


def test_the_same_data(caplog):
    check_same_data(BEGUN, record_data(Squares(), "train"), "runs/x")
    assert not caplog.text


@pytest.mark.parametrize(
    ("dataset", "split", "message"),
    [
        (Squares(), "fit", "split was 'train', is 'fit'"),
        (Squares(4, name="t"), "train", "images was 3, is 4; the samples have other names"),
        (Squares(name="t"), "train", "the samples have other names"),
        (Squares(bottom=5), "train", "the masks differ"),
        (Squares(bottom=5, grey=9, files="2"), "train", "the masks differ; the images differ"),
        (Squares(grey=9, files="2"), "train", "the images differ"),
    ],
)
def test_other_data_are_refused(dataset, split, message):
    with pytest.raises(ConfigError, match=f"runs/x cannot .* other data: {message}. Repeat --data"):
        check_same_data(BEGUN, record_data(dataset, split), "runs/x")


@pytest.mark.parametrize(
    ("stored", "dataset", "message"),
    [
        (BEGUN, Squares(files="2"), "files of the data have other sizes or times"),
        (BEGUN, Squares(grey=254), "decoded to slightly different pixels"),
        ({"dataset": "squares", "split": "train", "images": 3}, Squares(), "an earlier version"),
        ({}, Squares(), "an earlier version"),
    ],
)
def test_what_may_differ_is_said(stored, dataset, message, caplog):
    check_same_data(stored, record_data(dataset, "train"), "runs/x")
    (record,) = caplog.records
    assert message in record.getMessage()


def test_samples_without_a_mask_have_a_record():
    class Bare(Squares):
        def read(self, index):
            return replace(super().read(index), foreground=None)

    assert record_data(Bare(), "train")["masks"] != BEGUN["masks"]


def test_other_options_of_a_reader_are_noticed():
    """Of a real one: --data-option changes what the samples are."""
    begun = record_data(data.load("toy", "train", count=3, size=33), "train")
    for options in ({"count": 4, "size": 33}, {"count": 3, "size": 35}):
        with pytest.raises(ConfigError, match="other data"):
            check_same_data(begun, record_data(data.load("toy", "train", **options), "train"), "x")


SEEN = "These are images that mine was trained on: others will have lower values."
PERHAPS = "Some of these images may be among those that mine was trained on, which are of squares, "


@pytest.mark.parametrize(
    ("dataset", "split", "expected", "note"),
    [
        (Squares(), "train", "train", SEEN),
        (Squares(), "test", "train", SEEN),
        (Squares(files="2"), "test", "train", SEEN),
        (Subset(Squares(), [1]), "validation", "train", SEEN),
        (Squares(name="t"), "test", "test", ""),
        (Squares(4), "test", "test", ""),
        (Squares(grey=9, files="2"), "test", "test", ""),
        (Squares(name="t"), "validation", "validation", PERHAPS),
        (Squares(name="t"), "all", "all", PERHAPS),
    ],
)
def test_images_of_the_training_are_said_to_be_so(dataset, split, expected, note):
    measured = measured_on("mine", BEGUN, dataset, split)
    assert measured.split == expected and measured.note.startswith(note)
    assert bool(measured.note) == bool(note)


@pytest.mark.parametrize(
    ("trained", "split", "is_noted"),
    [("train", "train", True), ("fit", "train", True), ("fit", "validation", False)],
)
def test_a_card_tells_the_split_of_the_training(trained, split, is_noted):
    card = {"dataset": "squares", "split": trained}
    assert bool(measured_on("mine", card, Squares(), split).note) == is_noted
    assert not measured_on("mine", card | {"dataset": "circles"}, Squares(), split).note
    assert not measured_on("mine", {}, Squares(), split).note


def test_masks_and_labels_of_the_images_may_be_others(tmp_path):
    """A folder's images are those of the training in each split, with part labels too."""
    options = drawn.folder(tmp_path)
    record = record_data(data.load("folder", "train", **options), "train")
    labels = {"part_labels": options["masks"], "void_label": None}
    for split in ("train", "test", "validation"):
        other = data.load("folder", split, options["data_dir"], **labels)
        assert measured_on("mine", record, other, split) == ("train", SEEN)
    copied = data.load("folder", "test", **drawn.folder(tmp_path / "b"))
    assert measured_on("mine", record, copied, "test").note == SEEN
    Image.new("RGB", (40, 40)).save(options["data_dir"] / "new.png")
    more = data.load("folder", "test", options["data_dir"])
    assert measured_on("mine", record, more, "test") == ("test", "")
