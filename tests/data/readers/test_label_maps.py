"""Readers of part labels return the labels of their files."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.readers.celebamask import write_label_maps
from keras_parts.data.readers.deepfashion import COLOURS
from keras_parts.data.readers.label_maps import in_fixed_test
from keras_parts.data.readers.pascal_part import PARTS
from keras_parts.data.sides import other_side
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn
from tests.data.contract import check_dataset


def test_colours_become_labels(tmp_path):
    dataset = load("deepfashion", "all", **drawn.deepfashion(tmp_path))
    assert dataset.info.part_names == tuple(COLOURS) and len(COLOURS) == 15
    for number, sample in enumerate(dataset):
        np.testing.assert_array_equal(sample.part_labels, drawn.labels(number, 15))


def test_the_id_of_a_photograph_without_a_suffix(tmp_path):
    options = drawn.deepfashion(tmp_path)
    folder = tmp_path / "In-shop/Anno/segmentation"
    path = folder / "DeepFashion_segmentation_gallery.json"
    path.write_text('{"images": [{"file_name": "img.d/front"}]}')
    drawn.save(folder / "img.d/front.png", drawn.photograph(0))
    (folder / "img.d/front.png").rename(folder / "img.d/front")
    drawn.save(folder / "img.d/front_segment.png", np.full((*drawn.SIZE, 3), 211, np.uint8))
    sample = load("deepfashion", "test", **options)[-1]
    assert sample.id == "img.d/front" and (sample.part_labels == 13).all()


def test_the_test_split_is_query_and_gallery(tmp_path):
    options = drawn.deepfashion(tmp_path)
    ids = load("deepfashion", "test", **options).ids()
    assert [name.split("/")[-2] for name in ids] == [f"id_{i:08d}" for i in (6, 7, 8, 9)]
    assert len(load("deepfashion", "train", **options)) == 6


def test_a_resized_segmentation_is_rejected(tmp_path):
    options = drawn.deepfashion(tmp_path)
    path = next(tmp_path.rglob("id_00000001/*_segment.png"))
    segmentation = Image.open(path).resize((16, 12)).resize((32, 24), Image.Resampling.BILINEAR)
    segmentation.save(path)
    with pytest.raises(DataError, match="pixels of colours that are not labels, the first is"):
        load("deepfashion", "train", **options)[1]


def test_the_first_listed_part_of_an_object_covers_the_others(tmp_path):
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


def test_the_minimum_size_is_a_tenth_of_the_image_in_train_and_a_fifth_in_test(tmp_path):
    voc = tmp_path / "VOCdevkit"
    boxes = [(8, 9), (10, 12), (12, 16)]  # 9.4, 15.6 and 25 % of 24 x 32 pixels
    masks = [np.zeros(drawn.SIZE, np.uint8) for _ in boxes]
    for mask, (height, width) in zip(masks, boxes, strict=True):
        mask[3 : 3 + height, 5 : 5 + width] = 1
    drawn.save(voc / "VOC2010/JPEGImages/2008_000000.jpg", drawn.photograph(0))
    objects = [("horse", mask, [("head", mask)]) for mask in masks]
    drawn.pascal_objects(voc / "Annotations_Part/2008_000000.mat", *objects)
    for which in ("train", "val"):
        drawn.pascal_list(voc, "horse", which, ["2008_000000 1"])
    chosen = {split: load("pascal_part", split, tmp_path).ids() for split in ("train", "test")}
    assert chosen == {"train": ["2008_000000#2", "2008_000000#3"], "test": ["2008_000000#3"]}


WORDS = set(
    "back body chainwheel door ear engine eye front handlebar head headlight hoof horn left leg "
    "lower mirror muzzle neck nose paw plate right roof saddle side stern tail torso upper wheel "
    "window wing".split()
)
"""All words in the readable names of parts."""


@pytest.mark.parametrize(("category", "count"), [
    ("sheep", 19), ("horse", 21), ("cow", 19), ("motorbike", 5), ("aeroplane", 7), ("bus", 13),
    ("car", 13), ("bicycle", 6), ("dog", 18), ("cat", 17),
])  # fmt: skip
def test_the_parts_of_every_class(category, count, tmp_path):
    voc, names = tmp_path / "VOCdevkit", PARTS[category]
    assert len(names) == len(set(names)) == count
    parts = []
    for column, name in enumerate(names):
        mask = np.zeros(drawn.SIZE, np.uint8)
        mask[2:22, column] = 1
        parts.append((f"{name}_1" if column % 2 else name, mask))
    whole = sum(mask for _, mask in parts)
    whole[2:22, :16] = 1  # a few parts alone would be too small an object
    drawn.save(voc / "VOC2010/JPEGImages/2008_000000.jpg", drawn.photograph(0))
    drawn.pascal_objects(voc / "Annotations_Part/2008_000000.mat", (category, whole, parts))
    for which in ("train", "val"):
        drawn.pascal_list(voc, category, which, ["2008_000000 1"])
    dataset = load("pascal_part", "test", tmp_path, category=category)
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset[0].part_labels[10, :count], np.arange(1, count + 1))
    readable = dataset.info.part_names
    assert {other_side(name) for name in readable} == set(readable)
    assert {word for name in readable for word in name.split()} <= WORDS
    assert dataset.info.name == f"pascal_part/{category}"


def test_later_parts_of_a_face_cover_earlier_ones(tmp_path):
    options = drawn.celebamask(tmp_path)
    eye = np.zeros((512, 512), np.uint8)
    eye[100:110, 100:110] = 255  # over skin
    drawn.save(tmp_path / "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_l_eye.png", eye)
    sample = load("celebamask", "train", **options)[0]
    assert sample.image.shape == (512, 512, 3)
    assert sample.part_labels[105, 105] == 4 and sample.part_labels[300, 5] == 1


def test_a_photograph_that_is_not_square_is_rejected(tmp_path):
    options = drawn.celebamask(tmp_path)
    path = tmp_path / "CelebAMask-HQ/CelebA-HQ-img/0.jpg"
    drawn.save(path, drawn.photograph(0, (218, 178)))
    with pytest.raises(DataError, match="0.jpg has 178 x 218 pixels, expected a square"):
        load("celebamask", "train", **options)[0]


def test_faces_have_the_splits_of_celeba(tmp_path):
    options = drawn.celebamask(tmp_path)
    ids = {split: load("celebamask", split, **options).ids() for split in ("fit", "validation")}
    assert ids["validation"] == ["3", "8"] and ids["fit"] == ["0", "1", "2", "5", "6", "7"]
    assert load("celebamask", "test", **options).ids() == ["4", "9"]


def test_prepared_faces_are_the_downsampled_official_ones(tmp_path):
    root = drawn.celebamask(tmp_path)["data_dir"] / "CelebAMask-HQ"
    output = tmp_path / "small"
    assert write_label_maps(root, output, size=64, progress=False) == 10
    (output / "masks" / "7.png").unlink()
    assert write_label_maps(root, output, size=64, progress=False) == 1  # the others exist
    for split in ("train", "test"):
        official, small = load("celebamask", split, root), load("celebamask", split, output)
        assert sorted(official.ids()) == sorted(small.ids())
    assert small[0].image.shape == (64, 64, 3)
    wanted = {sample.id: np.unique(sample.part_labels).tolist() for sample in official}
    assert {sample.id: np.unique(sample.part_labels).tolist() for sample in small} == wanted


def test_names_and_labels_of_clothes(tmp_path):
    dataset = load("clothing_co_parsing", "all", **drawn.clothing_co_parsing(tmp_path))
    assert dataset.info.part_names == ("hair", "skin", "dress", "boots") and len(dataset) == 30
    np.testing.assert_array_equal(dataset[0].part_labels, drawn.labels(1, 4))


def test_the_fixed_split_depends_on_names():
    chosen = [number for number in range(1, 31) if in_fixed_test(f"{number:04d}")]
    assert chosen == [6, 10, 11, 16, 21, 22, 24, 27]
