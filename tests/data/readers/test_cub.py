"""The official layout of CUB-200-2011: samples, splits, subsets, and an error for each damage."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.crops import mirror
from keras_parts.errors import ConfigError, DataError
from tests.data.contract import check_dataset
from tests.data.drawn import BIRD_LANDMARKS as LANDMARKS
from tests.data.drawn import BIRDS as IMAGES
from tests.data.drawn import bird_mask, cub


@pytest.fixture
def copy(drawn, tmp_path):
    """A copy of the data set that a test may damage."""
    return shutil.copytree(drawn, tmp_path / "CUB_200_2011")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return cub(tmp_path_factory.mktemp("drawn"))["data_dir"]


@pytest.mark.parametrize("split", ["train", "test", "all", "fit", "validation"])
def test_contract_on_a_drawn_copy(copy, split):
    check_dataset(load("cub", split, copy))


@pytest.mark.parametrize("split", ["train", "test"])
def test_contract_on_real_birds(test_data, split):
    dataset = load("cub", split, test_data / "CUB_200_2011")
    check_dataset(dataset, num_samples=8, box_slack=50)  # a predicted mask may exceed the box
    assert len(dataset.info.categories) == 40 and dataset.info.categories[13] == "Indigo Bunting"
    assert len(dataset) == {"train": 1200, "test": 1090}[split]
    on_the_bird, visible = 0, 0
    for sample in dataset[::60]:
        x, y = np.rint(sample.keypoints[sample.visible]).astype(int).T
        on_the_bird += sample.foreground[y, x].sum()
        visible += len(x)
    assert on_the_bird > 0.9 * visible


def test_samples_contain_the_values_of_the_files(copy):
    dataset = load("cub", "all", copy)
    sample = dataset[10]
    assert sample.id == "002.Blue_Tit/bird 10" and sample.category == 1
    assert dataset.info.categories == ("Red Robin", "Blue Tit", "Jay")
    np.testing.assert_array_equal(sample.foreground, bird_mask(10))
    np.testing.assert_array_equal(sample.box, [3.5, 6.5, 23.5, 18.5])
    assert sample.image[12, 12].tolist() == pytest.approx([200, 90, 40], abs=8)
    np.testing.assert_array_equal(sample.visible, np.arange(1, 16) % 4 > 0)
    np.testing.assert_array_equal(sample.keypoints[4], [10, 10.5])


def test_the_splits_divide_the_data_set(copy):
    ids = {split: load("cub", split, copy).ids() for split in ("train", "test", "all")}
    assert sorted(ids["train"] + ids["test"]) == sorted(ids["all"])
    assert [name[-1] for name in ids["test"][:2]] == ["0", "3"]
    fit, validation = (load("cub", split, copy).ids() for split in ("fit", "validation"))
    assert sorted(fit + validation) == sorted(ids["train"])
    assert validation == [] or set(validation).isdisjoint(fit)


def test_validation_is_the_fifth_training_bird_of_each_drawn_class(copy):
    train, validation = load("cub", "train", copy), load("cub", "validation", copy)
    wanted = [
        np.flatnonzero(np.asarray(train.categories()) == category)[4] for category in range(3)
    ]
    assert validation.ids() == [train.ids()[index] for index in wanted]


def test_validation_is_every_fifth_training_bird_of_a_class(test_data):
    root = test_data / "CUB_200_2011"
    validation = load("cub", "validation", root)
    train, fit = load("cub", "train", root), load("cub", "fit", root)
    assert len(validation) == 240 and len(fit) == 960
    assert set(fit.ids()) | set(validation.ids()) == set(train.ids())
    np.testing.assert_array_equal(np.bincount(validation.categories()), np.full(40, 6))
    assert validation.ids()[0] == train.ids()[4]


def test_mirror_exchanges_the_landmark_pairs_of_the_paper(copy):
    swaps = {7: 11, 8: 12, 9: 13}  # 1-based
    wanted = [swaps.get(i, {b: a for a, b in swaps.items()}.get(i, i)) - 1 for i in range(1, 16)]
    info = load("cub", "all", copy).info
    assert info.mirror_order == tuple(wanted) and info.landmarks == LANDMARKS
    sample = load("cub", "all", copy)[0]
    assert mirror(sample, info).keypoints[6, 0] == 31 - sample.keypoints[10, 0]


def test_choosing_classes_keeps_their_categories(copy):
    dataset = load("cub", "all", copy, classes=[7, 1])
    assert set(dataset.categories()) == {0, 2} and len(dataset) == 16
    assert dataset.fingerprint() != load("cub", "all", copy, classes=[7]).fingerprint()
    with pytest.raises(ConfigError, match="no class 3: it lists 3 classes, 1 to 7"):
        load("cub", "all", copy, classes=[1, 3])


SUBSETS = {
    "001": ("001.Red_Robin", "001.Black_footed_Albatross"),
    "002": ("002.Blue_Tit", "002.Laysan_Albatross"),
    "003": ("007.Jay", "003.Sooty_Albatross"),
}


def test_the_classes_of_landmark_regression(copy):
    with pytest.raises(DataError, match="classes.txt has no 002.Laysan_Albatross .CUB-002"):
        load("cub", "all", copy, subset="002")
    for name in ("images.txt", "classes.txt"):
        text = (copy / name).read_text()
        for old, new in SUBSETS.values():
            text = text.replace(old, new)
        (copy / name).write_text(text)
    for old, new in SUBSETS.values():
        for folder in ("images", "segmentations"):
            (copy / folder / old).rename(copy / folder / new)
    for category, (subset, (_, name)) in enumerate(SUBSETS.items()):
        dataset = load("cub", "all", copy, subset=subset)
        assert len(dataset) == 8 and set(dataset.categories()) == {category}
        assert all(one.startswith(f"{name}/") for one in dataset.ids())


@pytest.mark.parametrize(
    ("subset", "train", "test"), [("001", 30, 30), ("002", 30, 30), ("003", 30, 28)]
)
def test_the_real_classes_of_landmark_regression(test_data, subset, train, test):
    root = test_data / "CUB_200_2011"
    for split, count in (("train", train), ("test", test)):
        ids = load("cub", split, root, subset=subset).ids()
        assert len(ids) == count and all(SUBSETS[subset][1] in name for name in ids)


def test_the_folder_of_masks_is_optional(copy):
    (copy / "segmentations").rename(copy / "hidden")
    with pytest.raises(DataError, match="no folder segmentations: to have masks, unpack segm"):
        load("cub", "all", copy, masks=True)
    assert load("cub", "all", copy, masks=False).notes == ()
    dataset = load("cub", "all", copy)
    check_dataset(dataset)
    assert dataset[0].foreground is None
    assert "no folder segmentations, so its samples have no masks. To have" in dataset.notes[0]


def test_the_folder_of_masks_may_lie_beside_the_data_set(copy):
    with_masks = load("cub", "all", copy).fingerprint()
    (copy / "segmentations").rename(copy.parent / "segmentations")
    dataset = load("cub", "all", copy.parent)
    assert dataset[3].foreground.any() and dataset.fingerprint() == with_masks


def test_one_bit_masks(copy):
    path = copy / "segmentations/001.Red_Robin/bird 0.png"
    Image.fromarray(bird_mask(0)).save(path)
    np.testing.assert_array_equal(load("cub", "all", copy)[0].foreground, bird_mask(0))


def test_the_default_folder(copy, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_DATA", str(copy.parent))
    assert len(load("cub", "all")) == IMAGES
    monkeypatch.delenv("KERAS_PARTS_DATA")
    with pytest.raises(DataError, match="KERAS_PARTS_DATA is not set.*CUB_200_2011.tgz.*non-comm"):
        load("cub", "all")


@pytest.mark.parametrize("where", [".", "datasets", "cache/datasets"])
def test_the_folder_is_found_and_named(copy, monkeypatch, tmp_path_factory, caplog, where):
    desk = tmp_path_factory.mktemp("desk")
    monkeypatch.chdir(desk)
    monkeypatch.setenv("KERAS_PARTS_HOME", str(desk / "cache"))
    monkeypatch.delenv("KERAS_PARTS_DATA", raising=False)
    with pytest.raises(DataError, match=f"working folder, data, datasets, {desk}/cache/datasets,"):
        load("cub", "all")
    (desk / where).mkdir(parents=True, exist_ok=True)
    (desk / where / "CUB_200_2011").symlink_to(copy)
    assert len(load("cub", "all")) == len(load("cub", "train")) + len(load("cub", "test"))
    (message,) = [one for one in caplog.messages if "read from" in one]
    assert "CUB_200_2011, because no other folder was named" in message


def test_a_copy_that_lacks_classes_is_read(copy):
    for file in (copy / "images/002.Blue_Tit").iterdir():
        file.unlink()
    (copy / "images/002.Blue_Tit").rmdir()
    dataset = load("cub", "all", copy)
    assert len(dataset) == 16 and set(dataset.categories()) == {0, 2}


def test_lines_in_any_order_and_of_other_images(copy):
    names = ("parts/part_locs.txt", "bounding_boxes.txt", "train_test_split.txt")
    before = [vars(sample) for sample in load("cub", "all", copy)]
    for name in names:
        lines = (copy / name).read_text().splitlines()[::-1]
        width = len(lines[0].split())
        other = " ".join(["9999", "1", "1", "1", "1"][:width])
        (copy / name).write_text("\n".join([other, *lines]))
    for one, other in zip(before, load("cub", "all", copy), strict=True):
        for field, value in one.items():
            np.testing.assert_array_equal(getattr(other, field), value)


def test_boxes_are_clipped_and_keypoints_outside_are_not_visible(copy):
    _replace_line(copy, "bounding_boxes.txt", 1, "11 -2 3 400.0 10")
    _replace_line(copy, "parts/part_locs.txt", 2, "11 2 31.6 4 1")
    sample = load("cub", "all", copy)[0]
    np.testing.assert_array_equal(sample.box, [-0.5, 2.5, 31.5, 12.5])
    assert not sample.visible[1] and sample.visible[2]


def _replace_line(root, name, line, text):
    lines = (root / name).read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    (root / name).write_text("\n".join(lines) + "\n")


TABLE_DAMAGES = {
    "column": ("parts/part_locs.txt", 12, "11 12 3",
               r"parts/part_locs.txt has 3 columns in line 12, expected 5"),
    "blank": ("bounding_boxes.txt", 2, "", "bounding_boxes.txt has 0 columns in line 2"),
    "word": ("bounding_boxes.txt", 3, "17 a 2 3 4",
             "bounding_boxes.txt has 'a' in line 3, expected a number"),
    "nan": ("bounding_boxes.txt", 3, "17 nan 2 3 4", "has 'nan' in line 3"),
    "no line": ("bounding_boxes.txt", 3, None, "bounding_boxes.txt has no line for image 17"),
    "no part": ("parts/part_locs.txt", 17, None, "part_locs.txt has no line for image 14, part 2"),
    "two lines": ("train_test_split.txt", 3, "11 1",
                  "train_test_split.txt has (no|more than one) line for image 1[17]"),
    "unknown part": ("parts/part_locs.txt", 1, "11 16 0 0 0",
                     "has part 16 in line 1, which parts.txt"),
    "unknown class": ("image_class_labels.txt", 1, "11 5", "class 5 in line 1, which classes.txt"),
    "image id": ("images.txt", 2, "x 001.Red_Robin/a.jpg", "images.txt has 'x' in line 2"),
    "image twice": ("images.txt", 2, "11 001.Red_Robin/a.jpg",
                    "lists image 11 twice, in lines 1 and 2"),
    "path twice": ("images.txt", 2, "14 001.Red_Robin/bird 0.jpg",
                   "lists 001.Red_Robin/bird 0.jpg twice, in lines 1 and 2"),
    "class twice": ("classes.txt", 2, "1 200.Other", "lists class 1 twice, in lines 1 and 2"),
    "part twice": ("parts/parts.txt", 3, "2 tusk", "lists part 2 twice, in lines 2 and 3"),
    "name twice": ("parts/parts.txt", 3, "3 beak", "lists beak twice, in lines 2 and 3"),
    "flag": ("train_test_split.txt", 1, "11 2", "has 2 in line 1, expected 0 or 1"),
    "seen": ("parts/part_locs.txt", 3, "11 3 4 5 -1", "has -1 in line 3, expected 0 or 1"),
    "no path": ("images.txt", 2, "14", "images.txt has 1 columns in line 2, expected 2"),
}  # fmt: skip


@pytest.mark.parametrize("damage", TABLE_DAMAGES)
def test_damaged_tables_are_reported_with_their_line(copy, damage):
    name, line, text, words = TABLE_DAMAGES[damage]
    _replace_line(copy, name, line, text)
    with pytest.raises(DataError, match=f"^cub: .*{words}"):
        load("cub", "all", copy)


@pytest.mark.parametrize(
    "name",
    ["image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt"]
    + ["parts/parts.txt", "parts/part_locs.txt"],
)
def test_missing_empty_and_binary_tables(copy, name):
    (copy / name).write_text("")
    with pytest.raises(DataError, match=f"cub: {name} is empty"):
        load("cub", "all", copy)
    (copy / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=f"cub: {name} cannot be read as text"):
        load("cub", "all", copy)
    (copy / name).unlink()
    with pytest.raises(DataError, match=f"cub: {name} is missing.*caltech"):
        load("cub", "all", copy)


def test_a_folder_of_other_files(tmp_path):
    with pytest.raises(DataError, match="no images.txt.*caltech.edu"):
        load("cub", "train", tmp_path)


def test_no_images_at_all(copy):
    (copy / "images").rename(copy / "elsewhere")
    with pytest.raises(DataError, match="none of the folders"):
        load("cub", "train", copy)


@pytest.mark.parametrize("folder", ["images", "segmentations"])
def test_missing_files_are_found_when_loading(copy, folder):
    files = sorted((copy / folder / "007.Jay").iterdir())
    for file in files[:2]:
        file.unlink()
    with pytest.raises(
        DataError, match=f"2 of 48 files are missing, the first is .*{files[0].name}"
    ):
        load("cub", "all", copy)


def test_a_mask_of_another_size(copy):
    path = copy / "segmentations/001.Red_Robin/bird 0.png"
    Image.new("L", (5, 4)).save(path)
    with pytest.raises(DataError, match=r"bird 0.png has 5 x 4 pixels, its image 32 x 24"):
        load("cub", "all", copy)[0]


def test_an_empty_box(copy):
    _replace_line(copy, "bounding_boxes.txt", 1, "11 40 2 3 4")
    with pytest.raises(
        DataError, match=r"boxes.txt, line 1: .*\[40.0, 2.0, 3.0, 4.0\].*bird 0.jpg is"
    ):
        load("cub", "all", copy)[0]


def test_unknown_split(copy):
    with pytest.raises(ConfigError, match="train, test, fit, validation, all"):
        load("cub", "val", Path(copy))
