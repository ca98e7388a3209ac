"""PartImageNet: labels of overlapping parts, versions, super-categories and damage."""

import json

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn

pytest.importorskip("pycocotools", reason="polygons need pycocotools")


def test_the_first_listed_part_covers_the_others(tmp_path):
    dataset = load("part_imagenet", "train", **drawn.part_imagenet(tmp_path))
    assert dataset.info.name == "part_imagenet/seg" and len(dataset) == 12
    assert dataset.info.part_names == drawn.PART_IMAGENET_PARTS
    assert dataset.info.categories == ("Quadruped", "Bird")
    assert dataset.info.regions["Bird"] == ("Bird Head", "Bird Wing")
    labels = dataset[1].part_labels
    assert labels[12, 15] == 3 and labels[18, 25] == 4 and labels[2, 2] == 0
    assert dataset[1].id == "n01_1" and dataset.categories()[:3].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(dataset[1].box, [3.5, 4.5, 27.5, 19.5])


def test_a_super_category_has_its_own_parts(tmp_path):
    options = drawn.part_imagenet(tmp_path)
    birds = load("part_imagenet", "train", **options, category="Bird")
    assert birds.info.name == "part_imagenet/seg/Bird" and len(birds) == 6
    assert birds.info.part_names == ("Bird Head", "Bird Wing")
    assert set(np.unique(birds[0].part_labels)) == {0, 1, 2} and birds[0].category == 1
    with pytest.raises(ConfigError, match="super-categories Quadruped, Bird, not 'Fish'"):
        load("part_imagenet", "train", **options, category="Fish")


def test_versions(tmp_path):
    options = drawn.part_imagenet_ood(tmp_path)
    test = load("part_imagenet", "test", **options)
    assert test.ids() == ["n00_0", "n01_4", "n02_8"]
    assert test.info.name == "part_imagenet/ood_pdiscoformer"
    official = load("part_imagenet", "test", tmp_path / "PartImageNet_OOD", version="ood")
    assert len(official) == 4 and official.ids()[0] == "n00_12"
    assert len(load("part_imagenet", "official_val", tmp_path, version="ood")) == 2
    with pytest.raises(ConfigError, match="versions seg, ood, ood_pdiscoformer, not 'all'"):
        load("part_imagenet", "test", tmp_path, version="all")
    with pytest.raises(DataError, match=r"no annotations/train/train.json.*TACJu/PartImageNet"):
        load("part_imagenet", "test", tmp_path / "PartImageNet_OOD")
    path = tmp_path / "PartImageNet_OOD/train_test_split_pimagenet_ood.txt"
    path.write_text(path.read_text().replace("3\t0", "3 0", 1))
    with pytest.raises(DataError, match=r"has '3 0.*' in line 4, expected an image id and 0 or 1"):
        load("part_imagenet", "test", **options)


def _edit(root, change):
    path = root / "PartImageNet/annotations/train/train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_what_is_left_out_is_counted(tmp_path):
    options = drawn.part_imagenet(tmp_path)

    def change(content):
        content["annotations"][0]["segmentation"] = [[4, 5, 6, 7]]
        content["annotations"][2]["iscrowd"] = 1
        content["images"].append(content["images"][0] | {"id": 99, "file_name": "n00_99.JPEG"})

    _edit(tmp_path, change)
    dataset = load("part_imagenet", "train", **options)
    assert dataset.notes == (
        "train.json: left out 1 objects with iscrowd 1",
        "train.json: left out 1 polygons of fewer than three points, which have no area",
        "train.json: left out 1 images without parts",
    )
    assert set(np.unique(dataset[0].part_labels)) == {0, 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][3].update(segmentation=[[1, 2, "a", 4, 5, 6]]),
         r"train.json: the segmentation of annotation 3 is damaged: .*is not a polygon"),
        (lambda c: c["annotations"][3].update(category_id=9),
         r"train.json: annotation 3 has the category_id 9, which is not listed"),
        (lambda c: c["images"][1].update(height=9),
         r"labels of n01_1 in .*train.json have 32 x 9 pixels, the image 32 x 24"),
        (lambda c: c["categories"][1].update(id=0), "two categories have the same id"),
        (lambda c: c["categories"][1].update(name="Bird Head"), "lists 4 parts, 3 of them diff"),
    ],
)  # fmt: skip
def test_damage_is_reported_with_its_file(tmp_path, change, message):
    options = drawn.part_imagenet(tmp_path)
    _edit(tmp_path, change)
    with pytest.raises(DataError, match=message):
        load("part_imagenet", "train", **options)[1]
