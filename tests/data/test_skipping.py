"""`skip_bad` leaves out each sample with a problem, with every reader, and counts them."""

import json
import re
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.errors import DataError
from tests.data import drawn
from tests.data.contract import check_dataset


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-40])


def _first(root, pattern):
    return sorted(root.rglob(pattern))[0]


def _line(path, index, text):
    lines = path.read_text().split("\n")
    lines[index] = text
    path.write_text("\n".join(lines))


def _damage_cub(root):
    folder = root / "CUB_200_2011"
    _truncate(folder / "images/001.Red_Robin/bird 0.jpg")
    (folder / "images/001.Red_Robin/bird 1.jpg").unlink()
    (folder / "segmentations/001.Red_Robin/bird 2.png").write_text("none")
    _line(folder / "bounding_boxes.txt", 3, "20 what")
    _line(folder / "parts/part_locs.txt", 15 * 4, "23 1 x y 1")
    _line(folder / "image_class_labels.txt", 5, "26 99")
    return [f"001.Red_Robin/bird {index}" for index in range(6)]


def _damage_deepfashion(root):
    segmentations = sorted(root.rglob("*_segment.png"))
    segmentations[0].unlink()
    drawn.save(segmentations[1], np.full((*drawn.SIZE, 3), 7, np.uint8))
    images = [path for path in sorted(root.rglob("*.jpg")) if "segment" not in path.name]
    _truncate(images[2])
    return [path.parent.name for path in (*segmentations[:2], images[2])]


def _damage_pascal_part(root):
    _truncate(_first(root, "*.mat"))
    _truncate(sorted(root.rglob("*.jpg"))[1])
    return ["2008_000000", "2008_000001"]


def _damage_celebamask(root):
    _truncate(root / "images/00.jpg")
    _truncate(root / "masks/01.png")
    (root / "masks/02.png").unlink()
    return ["00", "01", "02"]


def _damage_clothing(root):
    _truncate(_first(root, "0*.jpg"))
    _truncate(sorted(root.rglob("0*.mat"))[1])
    return [_first(root, "0*.jpg").stem, sorted(root.rglob("0*.mat"))[1].stem]


def _damage_folder(root):
    _truncate(root / "images/0.jpg")
    masks = sorted((root / "masks").iterdir())
    Image.new("1", drawn.SIZE[::-1]).save(masks[1])
    masks[2].unlink()
    return ["0.jpg", "1.jpg", "2.jpg"]


def _damage_coco(root):
    _truncate(root / "images/sub/0.jpg")
    (root / "images/sub/1.jpg").unlink()
    content = json.loads((root / "objects.json").read_text())
    for annotation in content["annotations"]:
        if annotation["image_id"] == 3:
            annotation["segmentation"] = [[1, 2, 3, 4]]
    content["annotations"].append({"id": 300, "image_id": 77, "category_id": 7})
    (root / "objects.json").write_text(json.dumps(content))
    return ["sub/0.jpg", "sub/1.jpg", "sub/3.jpg"]


def _damage_nabirds(root):
    images = sorted((root / "nabirds/images/0295").iterdir())
    _truncate(images[0])
    images[1].unlink()
    _line(root / "nabirds/bounding_boxes.txt", 2, "00000002-4d0c-bfe1-4cae3c85c829 4 x 20 12")
    return [f"0295/{path.stem}" for path in images[:3]]


def _damage_part_imagenet(root):
    path = root / "PartImageNet/annotations/train/train.json"
    _truncate(root / "PartImageNet/images/train/n00_0.JPEG")
    (root / "PartImageNet/images/train/n01_1.JPEG").unlink()
    content = json.loads(path.read_text())
    content["annotations"][4]["segmentation"] = [[1, 2, 3, 4, 5, "a"]]
    path.write_text(json.dumps(content))
    return ["n00_0", "n01_1", "n02_2"]


READERS = {
    "cub": (drawn.cub, _damage_cub),
    "nabirds": (drawn.nabirds, _damage_nabirds),
    "part_imagenet": (drawn.part_imagenet, _damage_part_imagenet),
    "deepfashion": (drawn.deepfashion, _damage_deepfashion),
    "pascal_part": (drawn.pascal_part, _damage_pascal_part),
    "celebamask": (drawn.celebamask_label_maps, _damage_celebamask),
    "clothing_co_parsing": (drawn.clothing_co_parsing, _damage_clothing),
    "folder": (drawn.folder, _damage_folder),
    "folder, COCO": (drawn.coco, _damage_coco),
}


@pytest.mark.parametrize("layout", READERS)
def test_whatever_is_wrong_with_a_sample_it_is_left_out(layout, tmp_path):
    draw, damage = READERS[layout]
    name, options = layout.partition(",")[0], draw(tmp_path)
    whole = load(name, "all", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        unchanged = load(name, "all", skip_bad=True, **options)
    assert unchanged.fingerprint() == whole.fingerprint() and unchanged.left_out == ()
    bad = damage(tmp_path)
    with pytest.warns(UserWarning, match="left out: "):
        dataset = load(name, "all", skip_bad=True, **options)
    gone = [one for one in whole.ids() if any(re.search(rf"{re.escape(id)}\b", one) for id in bad)]
    assert dataset.ids() == [one for one in whole.ids() if one not in gone] and gone
    assert len(dataset.left_out) >= len(bad)
    check_dataset(dataset, num_samples=3)


def test_all_problems_of_many_are_listed(tmp_path):
    for number in range(13):
        (tmp_path / f"{number}.png").write_text("none")
    Image.new("L", (4, 3)).save(tmp_path / "good.png")
    with pytest.warns(UserWarning, match="left out: 13 of 14 images") as warned:
        dataset = load("folder", "train", tmp_path, skip_bad=True)
    assert len(warned) == 1 and "and 3 more" in str(warned[0].message)
    assert len(dataset.left_out) == 13


def _damage_table(root):
    (root / "CUB_200_2011/bounding_boxes.txt").unlink()


def _damage_names(root):
    _line(root / "CUB_200_2011/parts/parts.txt", 2, "3")


def _damage_images(root):
    (root / "CUB_200_2011/images").rename(root / "CUB_200_2011/pictures")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_table, "bounding_boxes.txt is missing"),
        (_damage_names, "parts/parts.txt has 1 columns in line 3"),
        (_damage_images, "images has none of the folders"),
    ],
)
def test_what_concerns_all_samples_is_an_error(damage, message, tmp_path):
    options = drawn.cub(tmp_path)
    damage(tmp_path)
    with pytest.raises(DataError, match=message):
        load("cub", "all", skip_bad=True, **options)
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no such folder for the masks"):
        load("folder", "all", tmp_path, masks=tmp_path / "nowhere", skip_bad=True)
