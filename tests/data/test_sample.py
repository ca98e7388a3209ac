"""`Sample` checks its fields; data sets have subsets, fixed splits and fingerprints."""

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample, Subset, hold_out, load
from keras_parts.errors import ConfigError, DataError


def _fields(**changes):
    fields = {
        "id": "bird",
        "image": np.zeros((4, 6, 3), np.uint8),
        "foreground": np.ones((4, 6), bool),
        "keypoints": np.zeros((2, 2), np.float32),
        "visible": np.array([True, False]),
        "box": np.array([-0.5, 0, 5.5, 3], np.float32),
        "part_labels": np.zeros((4, 6), np.uint8),
        "category": 3,
    }
    return fields | changes


class Colours(Dataset):
    """Samples of one grey pixel, with the given categories."""

    def __init__(self, categories):
        self.info = DatasetInfo("colours")
        self._categories = categories

    def __len__(self):
        return len(self._categories)

    def read(self, index):
        image = np.full((1, 1, 3), index, np.uint8)
        return Sample(f"colour {index}", image, category=self._categories[index])


def test_samples_with_all_and_without_annotations():
    assert Sample(**_fields()).size == (4, 6)
    assert Sample("a", np.zeros((1, 1, 3), np.uint8)).foreground is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": ""}, "id must be a non-empty string"),
        ({"id": 7}, "id must be a non-empty string"),
        ({"image": [[0]]}, "image must be a numpy array, not list"),
        ({"image": None}, "image must be a numpy array"),
        ({"image": np.zeros((4, 6, 3), np.float32)}, "image must be uint8, not float32"),
        ({"image": np.zeros((4, 6, 4), np.uint8)}, r"image must have the shape \(\*, \*, 3\)"),
        ({"image": np.zeros((4, 0, 3), np.uint8)}, "image is empty"),
        ({"foreground": np.ones((4, 6), np.uint8)}, "foreground must be bool, not uint8"),
        ({"foreground": np.ones((6, 4), bool)}, r"foreground must have the shape \(4, 6\)"),
        ({"part_labels": np.ones((4, 6, 1), np.uint8)}, "part_labels must have the shape"),
        ({"keypoints": None}, "together"),
        ({"visible": None}, "together"),
        ({"keypoints": np.zeros((2, 2))}, "keypoints must be float32, not float64"),
        ({"keypoints": np.zeros((2, 3), np.float32)}, "keypoints must have the shape"),
        ({"keypoints": np.full((2, 2), np.nan, np.float32)}, "keypoints must be finite"),
        ({"visible": np.array([True])}, r"visible must have the shape \(2\)"),
        ({"box": np.array([0, 0, 0, 3], np.float32)}, "box must be finite with x0 < x1"),
        ({"box": np.array([0, 0, np.inf, 3], np.float32)}, "box must be finite with x0 < x1"),
        ({"category": -1}, "category"),
        ({"category": 1.0}, "category"),
        ({"category": True}, "category"),
    ],
)
def test_each_wrong_field_has_its_own_error(changes, message):
    with pytest.raises(DataError, match=message):
        Sample(**_fields(**changes))


def test_errors_name_the_sample():
    with pytest.raises(DataError, match="sample 'bird'"):
        Sample(**_fields(category=-1))


@pytest.mark.parametrize("order", [(0, 1), (1, 2, 0), (0, 0, 2), (0, 1, 3)])
def test_mirror_order_must_exchange_pairs(order):
    with pytest.raises(ConfigError, match="mirror_order must exchange pairs"):
        DatasetInfo("birds", landmarks=("left", "right", "tail"), mirror_order=order)


def test_subsets_of_data_sets_and_of_subsets():
    colours = Colours([0, None, 1, 0, 1, 1])
    subset = Subset(colours, [5, 1, 1])
    assert [sample.image[0, 0, 0] for sample in subset] == [5, 1, 1]
    assert subset.ids() == ["colour 5", "colour 1", "colour 1"]
    np.testing.assert_array_equal(subset.categories(), [1, -1, -1])
    assert subset[1:][0].id == "colour 1" and subset[-1].id == "colour 1"
    with pytest.raises(IndexError):
        Subset(colours, [6])


def test_fingerprints_depend_on_content_and_order():
    one, other = Colours([0, 1, 0]), Colours([0, 1, 1])
    assert one.fingerprint() == Colours([0, 1, 0]).fingerprint() != other.fingerprint()
    assert one[1:].fingerprint() not in (one.fingerprint(), one[:2].fingerprint())


def test_every_fifth_sample_of_a_category_is_held_out():
    categories = [0, 1] * 6 + [2] * 4 + [None] * 10
    fit, validation = hold_out(Colours(categories))
    np.testing.assert_array_equal(validation.indices, [8, 9, 20, 25])
    assert sorted([*fit.indices, *validation.indices]) == list(range(26))
    assert list(fit.indices) == sorted(fit.indices)
    assert len(hold_out(Colours([0] * 10), every=2)[1]) == 5
    with pytest.raises(ConfigError, match="every >= 2"):
        hold_out(Colours([0]), every=1)


def test_errors_name_unknown_data_sets_and_options():
    with pytest.raises(ConfigError, match="'cubs'.*toy, cub, cub_parts, folder"):
        load("cubs", "train")
    with pytest.raises(ConfigError, match="cub: .*'colour'; the options are data_dir, classes"):
        load("cub", "train", "somewhere", colour="red")
    with pytest.raises(ConfigError, match="folder: .*'data_dir'"):
        load("folder", "train")


def test_repr_is_one_line():
    toy = load("toy", "train", count=10)
    assert repr(toy) == "<ToyDataset 'toy', split 'train', 10 samples, licence: Apache-2.0>"
    assert repr(toy[2:5]) == "<Subset 'toy', split 'train', 3 of 10 samples, licence: Apache-2.0>"
    assert load("toy", "fit", count=60).split == "fit"
    assert repr(Colours([0, 1])) == "<Colours 'colours', 2 samples>"
    assert repr(DatasetInfo("birds", landmarks=("beak",))) == "<DatasetInfo 'birds', landmarks: 1>"
    assert repr(Colours([1])[0]).endswith("pixels, category 1>")
