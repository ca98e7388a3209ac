"""Data sets with part labels say what their files say."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.celebamask import prepare
from keras_parts.data.deepfashion import COLOURS
from keras_parts.data.label_maps import in_fixed_test
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn


def test_colours_become_labels(tmp_path):
    dataset = load("deepfashion", "all", **drawn.deepfashion(tmp_path))
    assert dataset.info.part_names == tuple(COLOURS) and len(COLOURS) == 15
    for number, sample in enumerate(dataset):
        np.testing.assert_array_equal(sample.part_labels, drawn.labels(number, 15))


def test_the_test_split_is_query_and_gallery(tmp_path):
    options = drawn.deepfashion(tmp_path)
    ids = load("deepfashion", "test", **options).ids()
    assert [name.split("/")[-2] for name in ids] == [f"id_{i:08d}" for i in (6, 7, 8, 9)]
    assert len(load("deepfashion", "train", **options)) == 6


def test_a_resized_segmentation_is_noticed(tmp_path):
    options = drawn.deepfashion(tmp_path)
    path = next(tmp_path.rglob("id_00000001/*_segment.png"))
    picture = Image.open(path).resize((16, 12)).resize((32, 24), Image.Resampling.BILINEAR)
    picture.save(path)
    with pytest.raises(DataError, match="pixels of colours that are no label, the first is"):
        load("deepfashion", "train", **options)[1]


def test_parts_of_an_object_and_which_lies_on_top(tmp_path):
    options = drawn.pascal_part(tmp_path)
    dataset = load("pascal_part", "train", **options)
    assert dataset.info.name == "pascal_part/horse"
    assert dataset.ids() == [f"2008_{number:06d}#2" for number in range(6)]
    sample, names = dataset[0], dataset.info.part_names
    head, tail = names.index("head") + 1, names.index("tail") + 1
    assert sample.part_labels[5, 5] == head and sample.part_labels[15, 20] == tail
    assert sample.part_labels[10, 12] == head  # the first of the file
    np.testing.assert_array_equal(sample.box, [3.5, 1.5, 27.5, 19.5])
    assert "left front upper leg" in names and dataset.info.regions["head"][0] == "head"


def test_small_objects_and_other_classes_are_left_out(tmp_path):
    options = drawn.pascal_part(tmp_path)
    assert load("pascal_part", "test", **options).ids() == ["2008_000006#2", "2008_000007#2"]
    with pytest.raises(ConfigError, match="sheep, horse, cow"):
        load("pascal_part", "train", **options, category="unicorn")


def test_masks_of_a_face_lie_on_each_other_in_order(tmp_path):
    options = drawn.celebamask(tmp_path)
    eye = np.zeros((512, 512), np.uint8)
    eye[100:110, 100:110] = 255  # over skin
    drawn.save(tmp_path / "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_l_eye.png", eye)
    sample = load("celebamask", "train", **options)[0]
    assert sample.image.shape == (512, 512, 3)
    assert sample.part_labels[105, 105] == 4 and sample.part_labels[300, 5] == 1


def test_faces_are_split_as_celeba_is(tmp_path):
    options = drawn.celebamask(tmp_path)
    ids = {split: load("celebamask", split, **options).ids() for split in ("fit", "validation")}
    assert ids["validation"] == ["3", "8"] and ids["fit"] == ["0", "1", "2", "5", "6", "7"]
    assert load("celebamask", "test", **options).ids() == ["4", "9"]


def test_prepared_faces_are_the_official_ones_made_smaller(tmp_path):
    root = drawn.celebamask(tmp_path)["data_dir"] / "CelebAMask-HQ"
    output = tmp_path / "small"
    assert prepare(root, output, size=64, progress=False) == 10
    (output / "masks" / "7.png").unlink()
    assert prepare(root, output, size=64, progress=False) == 1  # the rest is done
    for split in ("train", "test"):
        official, small = load("celebamask", split, root), load("celebamask", split, output)
        assert sorted(official.ids()) == sorted(small.ids())
    assert small[0].image.shape == (64, 64, 3)
    wanted = {sample.id: np.unique(sample.part_labels).tolist() for sample in official}
    assert {sample.id: np.unique(sample.part_labels).tolist() for sample in small} == wanted


def test_clothes_have_their_names(tmp_path):
    dataset = load("clothing_co_parsing", "all", **drawn.clothing_co_parsing(tmp_path))
    assert dataset.info.part_names == ("hair", "skin", "dress", "boots") and len(dataset) == 30
    np.testing.assert_array_equal(dataset[0].part_labels, drawn.labels(1, 4))


def test_the_fixed_split_goes_by_names():
    chosen = [number for number in range(1, 31) if in_fixed_test(f"{number:04d}")]
    assert chosen == [6, 10, 11, 16, 21, 22, 24, 27]
