"""Every kind of damage has its own clear error, and `check` lists them all in one pass."""

import importlib.util
import json

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.data.problems import collected, report
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn

needs_coco = pytest.mark.skipif(
    not importlib.util.find_spec("pycocotools"), reason="COCO's masks take pycocotools"
)


def cut_short(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def damage_deepfashion(root):
    folder = root / "In-shop/Anno/segmentation"
    cut_short(folder / "img_highres/WOMEN/Dresses/id_00000000/02_1_front.jpg")
    (folder / "img_highres/WOMEN/Dresses/id_00000001/02_1_front_segment.png").unlink()
    drawn.save(
        folder / "img_highres/WOMEN/Dresses/id_00000002/02_1_front_segment.png",
        np.zeros((9, 9, 3), np.uint8),
    )
    empty = np.zeros((*drawn.SIZE, 3), np.uint8)
    drawn.save(folder / "img_highres/WOMEN/Dresses/id_00000003/02_1_front_segment.png", empty)
    path = folder / "DeepFashion_segmentation_query.json"
    edit_json(path, lambda content: content["images"].extend([{"id": 3}, content["images"][0]]))
    return {
        "id_00000000/02_1_front.jpg: cut short or damaged",
        "id_00000001/02_1_front_segment.png is missing",
        "02_1_front_segment.png have 9 x 9 pixels, the image 32 x 24",
        "the mask of img_highres/WOMEN/Dresses/id_00000003/02_1_front is empty",
        "DeepFashion_segmentation_query.json: images[2] has no file_name",
        "id_00000006/02_1_front is listed twice",
    }


def damage_pascal_part(root):
    voc = root / "VOCdevkit"
    cut_short(voc / "Annotations_Part/2008_000000.mat")
    (voc / "Annotations_Part/2008_000001.mat").write_text("nothing")
    (voc / "Annotations_Part/2008_000002.mat").unlink()
    (voc / "VOC2010/JPEGImages/2008_000003.jpg").unlink()
    Image.new("RGB", (5, 4)).save(voc / "VOC2010/JPEGImages/2008_000004.jpg")
    cut_short(voc / "VOC2010/JPEGImages/2008_000005.jpg")
    savemat(voc / "Annotations_Part/2008_000006.mat", {"anno": {"objects": {"class": "horse"}}})
    path = voc / "VOC2010/ImageSets/Main/horse_val.txt"
    path.write_text(path.read_text() + "2008_000009 7\n2008_000007 1\n")
    return {
        "2008_000000.mat: not a readable .mat file",
        "2008_000001.mat: not a readable .mat file",
        "2008_000002.mat: there is no such file",
        "2008_000003.jpg is missing, which 2008_000003#2 needs",
        "2008_000004.mat have 32 x 24 pixels, the image 5 x 4",
        "2008_000005.jpg: cut short or damaged",
        "2008_000006.mat: object 1 has no mask",
        "horse_val.txt has '2008_000009 7' in line 4",
        "2008_000007#2 is listed twice",
    }


def damage_celebamask(root):
    masks = root / "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0"
    for path in masks.glob("00000_*.png"):
        path.unlink()
    Image.new("RGB", (512, 500), "white").save(masks / "00001_hat.png")
    (root / "CelebAMask-HQ/CelebA-HQ-img/x.jpg").write_bytes(b"")
    cut_short(root / "CelebAMask-HQ/CelebA-HQ-img/3.jpg")
    path = root / "CelebAMask-HQ/list_eval_partition.txt"
    path.write_text(path.read_text() + "\nx\n001002.jpg 1\n")
    path = root / "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt"
    path.write_text(path.read_text().rpartition("\n")[0])
    return {
        "0/00000_skin.png is missing, which 0 needs",
        "00001_hat.png has 512 x 500 pixels, expected 512 x 512",
        "x.jpg is not named by a number",
        "3.jpg: cut short or damaged",
        "list_eval_partition.txt has 1 columns in line 11, not 2",
        "list_eval_partition.txt has 001002.jpg twice, in lines 3 and 12",
        "CelebA-HQ-to-CelebA-mapping.txt gives no split to ",
    }


def damage_clothing(root):
    drawn.save(root / "labels/0002.png", np.full(drawn.SIZE, 9, np.uint8))
    drawn.save(root / "labels/0003.png", drawn.photograph(0))
    (root / "labels/0004.png").write_text("nothing")
    (root / "photos/0005.jpg").unlink()
    drawn.save(root / "labels/0006.png", np.zeros((5, 4), np.uint8))
    cut_short(root / "photos/0007.jpg")
    (root / "label_list.txt").write_text("0 null\n\n1 hair\n2 skin\n7 dress\n4 hair\n")
    return {
        "0002.png has the label 9, the largest known is 4",
        "0003.png: a picture of mode RGB holds no labels",
        "0004.png: not a picture",
        "0005.jpg is missing",
        "labels of 0006 in",
        "0007.jpg: cut short or damaged",
        "label_list.txt has '7 dress' in line 5, expected '3 NAME'",
        "label_list.txt has hair twice, in lines 3 and 6",
    }


def damage_clothing_mat(root):
    labels = root / "clothing_co_parsing/annotations/pixel-level"
    cut_short(labels / "0001.mat")
    savemat(labels / "0002.mat", {"other": np.ones(drawn.SIZE, np.uint8)})
    savemat(labels / "0003.mat", {"groundtruth": np.ones(drawn.SIZE)})
    savemat(labels / "0004.mat", {"groundtruth": np.full((5, 4), 1, np.uint8)})
    savemat(labels / "0005.mat", {"groundtruth": np.full(drawn.SIZE, -1, np.int16)})
    return {
        "0001.mat: not a readable .mat file",
        "0002.mat: it holds other, expected groundtruth",
        "0003.mat: groundtruth is float64 of (24, 32), no label map",
        "0004.mat have 4 x 5 pixels, the image 32 x 24",
        "0005.mat: groundtruth is int16",
    }


def damage_folder(root):
    cut_short(root / "images/0.jpg")
    (root / "masks/1.png").unlink()
    drawn.save(root / "masks/2.png", np.zeros((5, 4), np.uint8))
    drawn.save(root / "labels/3.png", np.zeros((5, 4), np.uint8))
    edit_json(root / "keypoints.json", lambda content: content["annotations"][4].pop("image_id"))

    def change(content):
        annotations = content["annotations"]
        annotations[5].update(keypoints=[1, 2, 2])
        annotations[6].update(keypoints=[60, 8, 2, 20, 9, 1])
        annotations[7].update(keypoints=["x", 8, 2, 20, 9, 1])
        annotations.append(dict(annotations[8]))
        content["images"][9]["file_name"] = "nine.jpg"

    edit_json(root / "keypoints.json", change)
    return {
        "0.jpg: cut short or damaged",
        "1.jpg: no mask, expected",
        "2.png: the mask has 4 x 5 pixels, its image 32 x 24",
        "3.png: labels have 4 x 5 pixels, its image 32 x 24",
        "keypoints.json: an annotation has no image_id",
        "the keypoints of annotation 5 are [1, 2, 2], expected 6 numbers",
        "left_ear of annotation 6 is at x=60, y=8, outside 6.jpg of 32 x 24 pixels",
        'the keypoints of annotation 7 are ["x", 8',
        "two annotations have the id 8",
        "there is no image nine.jpg, which it has keypoints of",
    }


def damage_coco(root):
    (root / "images/sub/0.jpg").unlink()

    def change(content):
        images, annotations = content["images"], content["annotations"]
        images[1]["width"] = 31
        images.append(dict(images[3]))
        images.append({"id": 77})
        by_number = {one["id"]: one for one in annotations}
        by_number[13]["keypoints"] = [60, 7, 2, 0, 0, 0]
        by_number[14]["segmentation"] = {"counts": "?", "size": "no"}
        annotations.append({**by_number[15], "image_id": 500, "id": 99})
        annotations.append(dict(by_number[15]))

    edit_json(root / "objects.json", change)
    return {
        "there is no image sub/0.jpg, which it has objects in",
        "annotation 11: the mask has 31 x 24 pixels, its image 32 x 24",
        "two images have the id 3",
        "an image lacks id, file_name, height or width",
        "left_ear of annotation 13 is at x=60, y=7, outside sub/3.jpg of 32 x 24 pixels",
        "the segmentation of annotation 14 is damaged",
        "annotation 99 is of image 500, which is not listed",
        "two annotations have the id 15",
    }


DAMAGES = {
    "deepfashion": ("deepfashion", drawn.deepfashion, damage_deepfashion),
    "pascal_part": ("pascal_part", drawn.pascal_part, damage_pascal_part),
    "celebamask": ("celebamask", drawn.celebamask, damage_celebamask),
    "clothing_co_parsing": (
        "clothing_co_parsing",
        drawn.clothing_pictures,
        damage_clothing,
    ),
    "clothing_co_parsing, .mat": (
        "clothing_co_parsing",
        drawn.clothing_co_parsing,
        damage_clothing_mat,
    ),
    "folder": ("folder", drawn.folder, damage_folder),
    "folder, COCO": ("folder", drawn.coco, damage_coco),
}


@pytest.mark.parametrize(
    "layout",
    [pytest.param(one, marks=needs_coco if "COCO" in one else ()) for one in DAMAGES],
)
def test_all_damages_in_one_pass(layout, tmp_path):
    name, draw, damage = DAMAGES[layout]
    options = draw(tmp_path)
    good = check(name, progress=False, **options)
    assert good.problems == () and good.samples == len(load(name, "all", **options))
    expected = damage(tmp_path)
    found = check(name, progress=False, **options).problems
    for words in expected:
        assert sum(words in problem for problem in found) == 1, (words, found)
    assert len(found) == len(expected)
    with pytest.raises(DataError):
        for sample in load(name, "all", **options):
            assert sample.foreground.any()


def test_damaged_birds(tmp_path):
    root = drawn.cub(tmp_path)["data_dir"]
    cut_short(root / "images/001.Red_Robin/bird 0.jpg")
    (root / "images/001.Red_Robin/bird 1.jpg").unlink()
    (root / "images/001.Red_Robin/bird 2.jpg").unlink()
    lines = (root / "parts/part_locs.txt").read_text().splitlines()
    lines[15 * 3 + 1] = lines[15 * 3 + 1].rsplit(" ", 3)[0] + " 90 4 1"
    lines[15 * 4] = "x"
    (root / "parts/part_locs.txt").write_text("\n".join(lines))
    lines = (root / "bounding_boxes.txt").read_text().splitlines()
    lines[5] = lines[5].replace(" 4.0 ", " a ", 1)
    (root / "bounding_boxes.txt").write_text("\n".join([*lines, lines[6]]))
    with (root / "images.txt").open("a") as file:
        file.write("11 001.Red_Robin/twice.jpg\n500 001.Red_Robin/bird 0.jpg\n")
    Image.new("L", (5, 4)).save(root / "segmentations/002.Blue_Tit/bird 9.png")
    (root / "segmentations/002.Blue_Tit/bird 10.png").unlink()
    path = root / "train_test_split.txt"
    path.write_text(path.read_text().replace("\n44 1\n", "\n44 7\n"))
    report = check("cub", data_dir=root, progress=False)
    expected = (
        "bird 0.jpg: cut short or damaged",
        "3 of 40 files are missing, the first is",
        "bird 2.jpg is missing",
        "bird 10.png is missing",
        "bird 9.png has 5 x 4 pixels, its image 32 x 24",
        "train_test_split.txt has 7 in line 12, expected 0 or 1",
        "beak of 001.Red_Robin/bird 3.jpg in line 47 at x=90, y=4, outside the image of 32 x 24",
        "parts/part_locs.txt has 1 columns in line 61, expected 5",
        "part_locs.txt has no line for image 23, part 1",
        "bounding_boxes.txt has 'a' in line 6, expected a number",
        "bounding_boxes.txt has no line for image 26",
        "bounding_boxes.txt has more than one line for image 29: 7, 25",
        "images.txt lists image 11 twice, in lines 1 and 25",
        "images.txt lists 001.Red_Robin/bird 0.jpg twice, in lines 1 and 26",
    )
    for words in expected:
        assert sum(words in problem for problem in report.problems) == 1, words
    assert len(report.problems) == len(expected) and report.samples == 24 - 7


def test_nothing_to_read_is_one_problem(tmp_path):
    report = check("celebamask", data_dir=tmp_path, progress=False)
    assert report.samples == 0 and len(report.problems) == 1
    with pytest.raises(ConfigError, match="nosuch"):
        check("nosuch")


def test_a_report_raises_where_nobody_collects():
    with collected() as problems:
        report("one")
        with collected() as inner:
            report("two")
        report("three")
    assert problems == ["one", "three"] and inner == ["two"]
    with pytest.raises(DataError, match="^four$"):
        report("four")
