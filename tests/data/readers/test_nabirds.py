"""NABirds differs from CUB: ids are words, classes.txt lists groups too, and there are no masks."""

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn


@pytest.fixture
def root(tmp_path):
    return drawn.nabirds(tmp_path)["data_dir"]


def test_samples_contain_the_values_of_the_files(root):
    dataset = load("nabirds", "all", root.parent)
    sample = dataset[9]
    assert sample.id == "0313/000000094d0cbfe14cae3c85c829" and sample.foreground is None
    np.testing.assert_array_equal(sample.box, [3.5, 5.5, 23.5, 17.5])
    np.testing.assert_array_equal(sample.keypoints[2], [7, 10])
    np.testing.assert_array_equal(sample.visible, np.arange(11) % 4 > 0)
    assert dataset.info.landmarks == drawn.NABIRDS_LANDMARKS
    assert dataset.info.mirror_order == (0, 1, 2, 4, 3, 5, 6, 7, 8, 10, 9)
    assert dataset.info.regions["head"] == ("bill", "crown", "nape", "left eye", "right eye")
    assert dataset.number(9) == "00000009-4d0c-bfe1-4cae3c85c829"


def test_categories_are_the_classes_with_images(root):
    dataset = load("nabirds", "all", root)
    assert dataset.info.categories == (
        "Ruddy Duck (Winter/juvenile)", "American Coot (313)", "American Coot (817)",
    )  # fmt: skip
    np.testing.assert_array_equal(np.bincount(dataset.categories()), [8, 8, 8])
    chosen = load("nabirds", "all", root, classes=[817])
    assert len(chosen) == 8 and set(chosen.categories()) == {2}
    with pytest.raises(ConfigError, match="no class 1: it lists 3 classes, 295 to 817"):
        load("nabirds", "all", root, classes=[1])


def test_a_copy_that_lacks_classes_is_read(root):
    (root / "images/0295").rename(root / "elsewhere")
    dataset = load("nabirds", "all", root)
    assert len(dataset) == 16 and "1 of 3 classes: 8 images" in dataset.notes[0]


@pytest.mark.parametrize(
    ("table", "old", "new", "message"),
    [
        ("bounding_boxes.txt", "00000002-4d0c", "0000000x-4d0c", "no line for image 00000002-"),
        ("bounding_boxes.txt", " 4 6 20", " 4 wide 20", "has 'wide' in line 1, expected a number"),
        ("images.txt", "00000001-", "00000000-", "lists image 00000000-.* in lines 1 and 2"),
        ("classes.txt", "313 Am", "295 Am", "lists class 295 twice, in lines 3 and 4"),
        ("image_class_labels.txt", " 313", " 314", "class 314 in line 9, which classes.txt"),
    ],
)
def test_damaged_tables_are_reported_with_their_line(root, table, old, new, message):
    text = (root / table).read_text()
    assert old in text
    (root / table).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=f"^nabirds: {table}.* {message}"):
        load("nabirds", "all", root)
