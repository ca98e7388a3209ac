"""Each kind of damage has a clear error of its own, and `check` lists all of them at once."""

import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.data.problems import collect_problems, report
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn

needs_coco = pytest.mark.skipif(
    not importlib.util.find_spec("pycocotools"), reason="COCO masks need pycocotools"
)
FILE = re.compile(r"[^\s:,]\.(jpg|png|mat|txt|json)\b")
TABLE = re.compile(r"\.(txt|json)\b(.*)", re.DOTALL)
VALUE = re.compile(r"\d|'|\.jpg")
WHOLE = re.compile("is empty|is missing|no such file|cannot be read as text|not JSON|not COCO JSON")


def assert_files_and_lines_are_named(problems, root):
    """Every problem names its file, and also the line or value if the file is a table."""
    for problem in problems:
        problem = problem.partition("To obtain the data set")[0]
        assert FILE.search(problem) or f"{root}/" in problem, problem
        if table := TABLE.search(problem):
            assert VALUE.search(table[2]) or WHOLE.search(table[2]), problem


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def damage_deepfashion(root):
    folder = root / "In-shop/Anno/segmentation"
    truncate(folder / "img_highres/WOMEN/Dresses/id_00000000/02_1_front.jpg")
    (folder / "img_highres/WOMEN/Dresses/id_00000001/02_1_front_segment.png").unlink()
    drawn.save(
        folder / "img_highres/WOMEN/Dresses/id_00000002/02_1_front_segment.png",
        np.zeros((9, 9, 3), np.uint8),
    )
    empty = np.zeros((*drawn.SIZE, 3), np.uint8)
    drawn.save(folder / "img_highres/WOMEN/Dresses/id_00000003/02_1_front_segment.png", empty)
    path = folder / "DeepFashion_segmentation_query.json"
    plain = {"file_name": "plain.d/plain"}
    edit_json(
        path,
        lambda content: content["images"].extend([{"id": 3}, content["images"][0], plain, plain]),
    )
    table = "DeepFashion_segmentation_query.json: images"
    return {
        "id_00000000/02_1_front.jpg: truncated or damaged",
        "id_00000001/02_1_front_segment.png: there is no such file",
        "02_1_front_segment.png have 9 x 9 pixels, the image 32 x 24",
        "id_00000003/02_1_front_segment.png is empty: correct it, or remove it and its image",
        f"{table}[2] has no file_name",
        f"id_00000006/02_1_front is listed twice, in {table}[0] and {table}[3]",
        f"deepfashion: plain.d/plain is listed twice, in {table}[4] and {table}[5]",
        "plain.d/plain: there is no such file",
        "plain.d/plain_segment.png: there is no such file",
    }


def damage_pascal_part(root):
    voc = root / "VOCdevkit"
    truncate(voc / "Annotations_Part/2008_000000.mat")
    (voc / "Annotations_Part/2008_000001.mat").write_text("nothing")
    (voc / "Annotations_Part/2008_000002.mat").unlink()
    (voc / "VOC2010/JPEGImages/2008_000003.jpg").unlink()
    Image.new("RGB", (5, 4)).save(voc / "VOC2010/JPEGImages/2008_000004.jpg")
    truncate(voc / "VOC2010/JPEGImages/2008_000005.jpg")
    savemat(voc / "Annotations_Part/2008_000006.mat", {"anno": {"objects": {"class": "horse"}}})
    path = voc / "VOC2010/ImageSets/Main/horse_val.txt"
    path.write_text(path.read_text() + "2008_000009 7\n2008_000007 1\n")
    return {
        "2008_000000.mat: not a readable .mat file",
        "2008_000001.mat: not a readable .mat file",
        "2008_000002.mat: there is no such file",
        "2008_000003.jpg: there is no such file",
        "2008_000004.mat have 32 x 24 pixels, the image 5 x 4",
        "2008_000005.jpg: truncated or damaged",
        "2008_000006.mat: object 1 has no mask",
        "horse_val.txt has '2008_000009 7' in line 4",
        "2008_000007#2 is listed twice, in horse_val.txt line 2 and horse_val.txt line 5",
    }


def damage_celebamask(root):
    masks = root / "CelebAMask-HQ/CelebAMask-HQ-mask-anno/0"
    for path in masks.glob("00000_*.png"):
        path.unlink()
    Image.new("RGB", (512, 500), "white").save(masks / "00001_hat.png")
    (root / "CelebAMask-HQ/CelebA-HQ-img/x.jpg").write_bytes(b"")
    truncate(root / "CelebAMask-HQ/CelebA-HQ-img/3.jpg")
    (root / "CelebAMask-HQ/CelebA-HQ-img/8.jpg").unlink()
    lost = min(masks.glob("00008_*.png"))
    path = root / "CelebAMask-HQ/list_eval_partition.txt"
    path.write_text(path.read_text() + "\nx\n001002.jpg 1\n")
    path = root / "CelebAMask-HQ/CelebA-HQ-to-CelebA-mapping.txt"
    path.write_text(path.read_text().rpartition("\n")[0])
    return {
        "0/00000_skin.png: there is no such file",
        "00001_hat.png has 512 x 500 pixels, expected 512 x 512",
        "x.jpg is not named by a number: remove it",
        "3.jpg: truncated or damaged",
        f"{lost} has no image in {root / 'CelebAMask-HQ/CelebA-HQ-img'}: unpack it again",
        "list_eval_partition.txt has 1 columns in line 11, expected 2",
        "list_eval_partition.txt has 001002.jpg twice, in lines 3 and 12",
        "CelebA-HQ-to-CelebA-mapping.txt assigns no split to ",
    }


def damage_faces(root):
    (root / "images/00.jpg").unlink()
    (root / "masks/01.png").unlink()
    drawn.save(root / "images/02.png", drawn.photograph(2))
    drawn.save(root / "masks/03.png", np.zeros(drawn.SIZE, np.uint8))
    return {
        f"{root / 'masks/00.png'} has no image in {root / 'images'}",
        "01.png: there is no such file",
        f"02 is listed twice, in {root / 'images/02.jpg'} and {root / 'images/02.png'}",
        f"the mask of 03 in {root / 'masks/03.png'} is empty",
    }


def damage_clothing(root):
    drawn.save(root / "labels/0002.png", np.full(drawn.SIZE, 9, np.uint8))
    drawn.save(root / "labels/0003.png", drawn.photograph(0))
    (root / "labels/0004.png").write_text("nothing")
    (root / "photos/0005.jpg").unlink()
    drawn.save(root / "labels/0006.png", np.zeros((5, 4), np.uint8))
    truncate(root / "photos/0007.jpg")
    drawn.save(root / "labels/0008.png", np.zeros(drawn.SIZE, np.uint8))
    (root / "label_list.txt").write_text("0 null\n\n1 hair\n2 skin\n7 dress\n4 hair\n")
    return {
        "0002.png has the label 9, expected 0 to 4",
        "0003.png: an image of mode RGB holds no labels",
        "0004.png: not an image",
        "0005.jpg: there is no such file",
        "labels of 0006 in",
        "0007.jpg: truncated or damaged",
        f"the mask of 0008 in {root / 'labels/0008.png'} is empty",
        "label_list.txt has '7 dress' in line 5, expected '3 NAME'",
        "label_list.txt has hair twice, in lines 3 and 6",
    }


def damage_clothing_mat(root):
    labels = root / "clothing_co_parsing/annotations/pixel-level"
    truncate(labels / "0001.mat")
    savemat(labels / "0002.mat", {"other": np.ones(drawn.SIZE, np.uint8)})
    savemat(labels / "0003.mat", {"groundtruth": np.ones(drawn.SIZE)})
    savemat(labels / "0004.mat", {"groundtruth": np.full((5, 4), 1, np.uint8)})
    savemat(labels / "0005.mat", {"groundtruth": np.full(drawn.SIZE, -1, np.int16)})
    savemat(labels / "0006.mat", {"groundtruth": np.zeros(drawn.SIZE, np.uint8)})
    return {
        "0001.mat: not a readable .mat file",
        "0002.mat has the variables other, expected groundtruth",
        "0003.mat: groundtruth is float64 of shape (24, 32), expected a matrix of whole numbers",
        "0004.mat have 4 x 5 pixels, the image 32 x 24",
        "0005.mat: groundtruth is int16",
        f"the mask of 0006 in {labels / '0006.mat'} is empty",
    }


def damage_folder(root):
    truncate(root / "images/0.jpg")
    drawn.save(root / "images/8.png", drawn.photograph(8))
    for folder in ("masks", "labels"):
        drawn.save(root / folder / "none.png", drawn.labels(0, 3))
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
        "0.jpg: truncated or damaged",
        "1.jpg: no mask, expected",
        "2.png: the mask has 4 x 5 pixels, its image 32 x 24",
        "3.png: labels have 4 x 5 pixels, its image 32 x 24",
        "keypoints.json: an annotation has no image_id",
        "the keypoints of annotation 5 are [1, 2, 2], expected 6 numbers",
        "left_ear of annotation 6, in 6.jpg, is at x=60, y=8, outside the image of 32 x 24",
        'the keypoints of annotation 7 are ["x", 8',
        "two annotations have the id 8",
        "keypoints.json has keypoints of nine.jpg, but there is no such image",
        f"{root / 'masks/8.png'}: this mask matches several images: 8.jpg, 8.png",
        f"{root / 'labels/8.png'}: this part label matches several images: 8.jpg, 8.png",
        f"{root / 'masks/none.png'}: no image has the name of this mask",
        f"{root / 'labels/none.png'}: no image has the name of this part label",
    }


def damage_coco(root):
    (root / "images/sub/0.jpg").unlink()

    def change(content):
        images, annotations = content["images"], content["annotations"]
        images[1]["width"] = 31
        images.append(dict(images[3]))
        images.append({"id": 77})
        images.append({**images[4], "id": 60})
        by_number = {one["id"]: one for one in annotations}
        by_number[13]["keypoints"] = [60, 7, 2, 0, 0, 0]
        by_number[14]["segmentation"] = {"counts": "?", "size": "no"}
        by_number[50]["segmentation"]["counts"] = [drawn.SIZE[0] * drawn.SIZE[1]]
        annotations.append({**by_number[15], "image_id": 500, "id": 99})
        annotations.append(dict(by_number[15]))

    edit_json(root / "objects.json", change)
    return {
        "objects.json has objects of sub/0.jpg, but there is no such image",
        "annotation 11: the mask has 31 x 24 pixels, its image 32 x 24",
        "two images have the id 3",
        "an image lacks id, file_name, height or width",
        "the images 4 and 60 have the same file_name sub/4.jpg",
        f"the mask of sub/2.jpg#50 in {root / 'objects.json'}, annotation 50 is empty",
        "left_ear of annotation 13, in sub/3.jpg, is at x=60, y=7, outside the image of 32 x 24",
        "the segmentation of annotation 14 is damaged",
        "annotation 99 belongs to image 500, which is not listed",
        "two annotations have the id 15",
    }


def damage_cub(root):
    root = root / "CUB_200_2011"
    for name, lines in (("classes.txt", "7 200.Other"), ("parts/parts.txt", "3 tusk\n16 beak")):
        with (root / name).open("a") as file:
            file.write(f"{lines}\n")
    empty = root / "segmentations/001.Red_Robin/bird 3.png"
    Image.new("L", drawn.SIZE[::-1]).save(empty)
    return {
        "classes.txt lists class 7 twice, in lines 3 and 4",
        "parts/parts.txt lists part 3 twice, in lines 3 and 16",
        "parts/parts.txt lists beak twice, in lines 2 and 17",
        f"the mask of 001.Red_Robin/bird 3 in {empty} is empty",
    }


def damage_nabirds(root):
    root = root / "nabirds"
    with (root / "classes.txt").open("a") as file:
        file.write("817 Other\n")
    labels = root / "image_class_labels.txt"
    labels.write_text(labels.read_text().replace(" 313", " 12", 1))
    truncate(root / "images/0295/000000004d0cbfe14cae3c85c829.jpg")
    return {
        "classes.txt lists class 817 twice, in lines 5 and 7",
        "image_class_labels.txt has class 12 in line 9, which classes.txt does not list",
        "000000004d0cbfe14cae3c85c829.jpg: truncated or damaged",
    }


def damage_part_imagenet(root):
    root = root / "PartImageNet"
    truncate(root / "images/train/n00_0.JPEG")
    (root / "images/test/n00_12.JPEG").unlink()

    def change(content):
        content["annotations"][4]["segmentation"] = [[1, 2, 3, 4, 5, "a"]]
        content["annotations"].append({"id": 900, "image_id": 77, "category_id": 0})
        content["images"][3]["width"] = 9

    edit_json(root / "annotations/train/train.json", change)
    return {
        "n00_0.JPEG: truncated or damaged",
        "n00_12.JPEG: there is no such file",
        "train.json: the segmentation of annotation 4 is damaged",
        "train.json: annotation 900 belongs to image 77, which is not listed",
        "the labels of n00_3 in",
    }


DAMAGES = {
    "cub": ("cub", drawn.cub, damage_cub),
    "nabirds": ("nabirds", drawn.nabirds, damage_nabirds),
    "part_imagenet, COCO": ("part_imagenet", drawn.part_imagenet, damage_part_imagenet),
    "deepfashion": ("deepfashion", drawn.deepfashion, damage_deepfashion),
    "pascal_part": ("pascal_part", drawn.pascal_part, damage_pascal_part),
    "celebamask": ("celebamask", drawn.celebamask, damage_celebamask),
    "celebamask, label maps": ("celebamask", drawn.celebamask_label_maps, damage_faces),
    "clothing_co_parsing": (
        "clothing_co_parsing",
        drawn.clothing_label_images,
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
def test_one_check_finds_all_damages(layout, tmp_path):
    name, draw, damage = DAMAGES[layout]
    options = draw(tmp_path)
    good = check(name, progress=False, **options)
    assert good.problems == () and good.num_samples == len(load(name, "all", **options))
    expected = damage(tmp_path)
    found = check(name, progress=False, **options).problems
    for message in expected:
        assert sum(message in problem for problem in found) == 1, (message, found)
    assert_files_and_lines_are_named(found, tmp_path)
    assert len(found) == len(expected), found
    with pytest.raises(DataError):
        for sample in load(name, "all", **options):
            assert sample.foreground.any()


def damage_deepfashion_twice(root):
    folder = root / "In-shop/Anno/segmentation"
    (folder / "DeepFashion_segmentation_query.json").unlink()
    (folder / "DeepFashion_segmentation_gallery.json").write_text('{"images": null}')
    truncate(folder / "img_highres/WOMEN/Dresses/id_00000000/02_1_front.jpg")
    drawn.save(
        folder / "img_highres/WOMEN/Dresses/id_00000000/02_1_front_segment.png",
        np.zeros((9, 9, 3), np.uint8),
    )
    (folder / "img_highres/WOMEN/Dresses/id_00000001/02_1_front.jpg").write_text("nothing")
    (folder / "img_highres/WOMEN/Dresses/id_00000001/02_1_front_segment.png").unlink()
    return {
        "DeepFashion_segmentation_query.json is missing",
        "DeepFashion_segmentation_gallery.json is not JSON with a list of images",
        "id_00000000/02_1_front.jpg: truncated or damaged",
        "id_00000000/02_1_front_segment.png have 9 x 9 pixels, the image 32 x 24",
        "id_00000001/02_1_front.jpg: not an image",
        "id_00000001/02_1_front_segment.png: there is no such file",
    }


def damage_pascal_part_twice(root):
    voc = root / "VOCdevkit"
    (voc / "VOC2010/ImageSets/Main/horse_val.txt").unlink()
    (voc / "Annotations_Part/2008_000000.mat").unlink()
    truncate(voc / "VOC2010/JPEGImages/2008_000000.jpg")
    mask = np.ones(drawn.SIZE, np.uint8)
    drawn.pascal_objects(
        voc / "Annotations_Part/2008_000001.mat",
        ("horse", mask, [("wing", mask), ("head", mask[1:]), ("tail", mask)]),
        ("horse", 5, [("head", mask)]),
        ("cow", mask[0], []),
    )
    (voc / "VOC2010/JPEGImages/2008_000001.jpg").unlink()
    return {
        "horse_val.txt is missing",
        "2008_000000.mat: there is no such file",
        "2008_000000.jpg: truncated or damaged",
        "2008_000001.mat: a horse has no part 'wing'",
        "2008_000001.mat: the mask of head has 32 x 23 pixels, that of its horse 32 x 24",
        "2008_000001.mat: object 2 has a mask of shape ()",
        "2008_000001.mat: object 3 has a mask of shape (32,)",
        "2008_000001.jpg: there is no such file",
    }


def empty_lists_of_pascal_part(root):
    lists = root / "VOCdevkit/VOC2010/ImageSets/Main"
    for which in ("train", "val"):
        (lists / f"horse_{which}.txt").write_text("")
    return {
        "horse_train.txt is empty",
        "horse_val.txt is empty",
        f"pascal_part/horse: {root / 'VOCdevkit'} has no images of this split",
    }


def damage_celebamask_twice(root):
    folder = root / "CelebAMask-HQ"
    first, second, *_ = sorted((folder / "CelebAMask-HQ-mask-anno/0").glob("00002_*.png"))
    first.write_text("nothing")
    Image.new("L", (512, 500), "white").save(second)
    truncate(folder / "CelebA-HQ-img/2.jpg")
    drawn.save(folder / "CelebA-HQ-img/3.jpg", drawn.photograph(3, (218, 178)))
    (folder / "list_eval_partition.txt").write_bytes(b"\xff\xfe")
    (folder / "CelebA-HQ-to-CelebA-mapping.txt").write_text("")
    return {
        f"{first.name}: not an image",
        f"{second.name} has 512 x 500 pixels, expected 512 x 512",
        "2.jpg: truncated or damaged",
        "3.jpg has 178 x 218 pixels, expected a square",
        "list_eval_partition.txt: cannot be read as text",
        "CelebA-HQ-to-CelebA-mapping.txt is empty",
    }


def lose_photographs_of_celebamask(root):
    for path in (root / "CelebAMask-HQ/CelebA-HQ-img").iterdir():
        path.unlink()
    return {f"{root / 'CelebAMask-HQ'} has no images of this split"}


def damage_clothing_twice(root):
    drawn.save(root / "labels/0002.png", np.full((5, 4), 9, np.uint8))
    truncate(root / "photos/0002.jpg")
    (root / "labels/0003.png").unlink()
    return {
        "0002.png has the label 9, expected 0 to 4",
        "labels of 0002 in",
        "0002.jpg: truncated or damaged",
        "0003.jpg has no labels",
    }


def damage_clothing_mat_twice(root):
    folder = root / "clothing_co_parsing"
    (folder / "label_list.mat").unlink()
    truncate(folder / "annotations/pixel-level/0001.mat")
    truncate(folder / "photos/0001.jpg")
    (folder / "annotations/pixel-level/0002.mat").unlink()
    for number in range(31, 41):
        path = folder / f"annotations/image-level/{number:04d}.mat"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return {
        "label_list.mat: there is no such file",
        "0001.mat: not a readable .mat file",
        "0001.jpg: truncated or damaged",
        "0002.jpg has no labels",
    }


def empty_names_of_clothing(root):
    (root / "label_list.txt").write_text("")
    return {"label_list.txt is empty"}


def lose_names_of_clothing(root):
    (root / "label_list.txt").unlink()
    return {f"{root / 'label_list.txt'}: there is no such file"}


def other_names_of_clothing(root):
    (root / "label_list.txt").write_text("0 hair\n1 skin\n")
    return {"label_list.txt names label 0 'hair', expected 'null'"}


def other_names_of_clothing_mat(root):
    names = np.array([["hair", "skin"]], object)
    savemat(root / "clothing_co_parsing/label_list.mat", {"label_list": names})
    return {"label_list.mat names label 0 'hair', expected 'null'"}


def damage_folder_twice(root):
    truncate(root / "images/0.jpg")
    drawn.save(root / "masks/0.png", np.zeros((5, 4), np.uint8))
    (root / "labels/0.png").unlink()
    (root / "images/1.jpg").write_text("nothing")
    (root / "masks/1.png").unlink()
    drawn.save(root / "labels/2.png", np.full(drawn.SIZE, 4, np.uint8))

    def change(content):
        content["annotations"][0]["keypoints"] = [60, 8, 2, 20, 90, 1]

    edit_json(root / "keypoints.json", change)
    return {
        "0.jpg: truncated or damaged",
        "0.png: the mask has 4 x 5 pixels, its image 32 x 24",
        "0.jpg: no part label, expected",
        "left_ear of annotation 0, in 0.jpg, is at x=60, y=8, outside the image of 32 x 24",
        "right_ear of annotation 0, in 0.jpg, is at x=20, y=90, outside the image of 32 x 24",
        "1.jpg: not an image",
        "1.jpg: no mask, expected",
        "2.png has the label 4, but only 1 to 3 have a name",
    }


def lose_in_folder(root):
    (root / "keypoints.json").write_text("{")
    (root / "masks").rename(root / "elsewhere")
    truncate(root / "images/0.jpg")
    return {
        "keypoints.json: not COCO JSON",
        "masks: no such folder for the masks",
        "0.jpg: truncated or damaged",
    }


def damage_coco_twice(root):
    truncate(root / "images/sub/2.jpg")  # the image of two objects

    def change(content):
        by_number = {one["id"]: one for one in content["annotations"]}
        by_number[12].update(segmentation={"counts": "?"}, keypoints=[60, 7, 2, 0, 0, 0])
        by_number[15]["id"] = [15]

    edit_json(root / "objects.json", change)
    return {
        "2.jpg: truncated or damaged",
        "the segmentation of annotation 12 is damaged",
        "left_ear of annotation 12, in sub/2.jpg, is at x=60, y=7, outside the image of 32 x 24",
        "an annotation has the id [15], expected a number",
    }


def lose_coco(root):
    edit_json(root / "objects.json", lambda content: content.update(annotations=None))
    truncate(root / "images/sub/0.jpg")
    return {
        "objects.json: not COCO JSON with images, annotations and categories: annotations is null",
        "0.jpg: truncated or damaged",
    }


def damage_cub_twice(root):
    root = root / "CUB_200_2011"
    drawn.save(root / "images/001.Red_Robin/bird 0.jpg", drawn.photograph(0))
    truncate(root / "images/001.Red_Robin/bird 0.jpg")  # after the header
    Image.new("L", (5, 4)).save(root / "segmentations/001.Red_Robin/bird 0.png")
    lines = (root / "parts/part_locs.txt").read_text().splitlines()
    lines[1] = "11 2 90 4 1"
    lines[15] = "x"
    (root / "parts/part_locs.txt").write_text("\n".join(lines))
    (root / "images/001.Red_Robin/bird 1.jpg").write_text("nothing")
    (root / "segmentations/001.Red_Robin/bird 1.png").unlink()
    (root / "bounding_boxes.txt").write_text("")
    (root / "train_test_split.txt").unlink()
    (root / "classes.txt").write_bytes(b"\xff")
    return {
        "bird 0.jpg: truncated or damaged",
        "bird 0.png has 5 x 4 pixels, its image 32 x 24",
        "line 2: beak of 001.Red_Robin/bird 0.jpg is at x=90, y=4, outside the image of 32 x 24",
        "parts/part_locs.txt has 1 columns in line 16, expected 5",
        "parts/part_locs.txt has no line for image 14, part 1",
        "bird 1.jpg: not an image",
        "bird 1.png: there is no such file",
        "bounding_boxes.txt is empty",
        "train_test_split.txt is missing",
        "classes.txt cannot be read as text",
    }


def lose_cub(root):
    root = root / "CUB_200_2011"
    (root / "parts/parts.txt").unlink()
    (root / "image_class_labels.txt").write_text("")
    (root / "segmentations").rename(root / "elsewhere")
    truncate(root / "images/007.Jay/bird 20.jpg")
    return {
        "parts/parts.txt is missing",
        "image_class_labels.txt is empty",
        "has no folder segmentations",
        "bird 20.jpg: truncated or damaged",
    }


def lose_images_of_cub(root):
    root = root / "CUB_200_2011"
    (root / "images.txt").write_text("")
    (root / "parts/parts.txt").write_text("")
    (root / "bounding_boxes.txt").write_text("11 a 2 3 4\n")
    return {
        "images.txt is empty",
        "parts/parts.txt is empty",
        "bounding_boxes.txt has 'a' in line 1, expected a number",
    }


# Several damages of one sample or table; each must be reported.
SEVERAL_DAMAGES = {
    "deepfashion": ("deepfashion", drawn.deepfashion, damage_deepfashion_twice),
    "pascal_part": ("pascal_part", drawn.pascal_part, damage_pascal_part_twice),
    "pascal_part, empty": ("pascal_part", drawn.pascal_part, empty_lists_of_pascal_part),
    "celebamask": ("celebamask", drawn.celebamask, damage_celebamask_twice),
    "celebamask, photographs lost": (
        "celebamask",
        drawn.celebamask,
        lose_photographs_of_celebamask,
    ),
    "clothing_co_parsing": (
        "clothing_co_parsing",
        drawn.clothing_label_images,
        damage_clothing_twice,
    ),
    "clothing_co_parsing, .mat": (
        "clothing_co_parsing",
        drawn.clothing_co_parsing,
        damage_clothing_mat_twice,
    ),
    "clothing_co_parsing, names empty": (
        "clothing_co_parsing",
        drawn.clothing_label_images,
        empty_names_of_clothing,
    ),
    "clothing_co_parsing, names lost": (
        "clothing_co_parsing",
        drawn.clothing_label_images,
        lose_names_of_clothing,
    ),
    "clothing_co_parsing, other names": (
        "clothing_co_parsing",
        drawn.clothing_label_images,
        other_names_of_clothing,
    ),
    "clothing_co_parsing, other names, .mat": (
        "clothing_co_parsing",
        drawn.clothing_co_parsing,
        other_names_of_clothing_mat,
    ),
    "folder": ("folder", drawn.folder, damage_folder_twice),
    "folder, lost": ("folder", drawn.folder, lose_in_folder),
    "folder, COCO": ("folder", drawn.coco, damage_coco_twice),
    "folder, COCO lost": ("folder", drawn.coco, lose_coco),
    "cub": ("cub", drawn.cub, damage_cub_twice),
    "cub, lost": ("cub", drawn.cub, lose_cub),
    "cub, images lost": ("cub", drawn.cub, lose_images_of_cub),
}


@pytest.mark.parametrize(
    "layout",
    [pytest.param(one, marks=needs_coco if "COCO" in one else ()) for one in SEVERAL_DAMAGES],
)
def test_one_damage_does_not_hide_another(layout, tmp_path):
    name, draw, damage = SEVERAL_DAMAGES[layout]
    options = draw(tmp_path)
    expected = damage(tmp_path)
    found = check(name, progress=False, **options).problems
    for message in expected:
        assert sum(message in problem for problem in found) == 1, (message, found)
    assert_files_and_lines_are_named(found, tmp_path)
    assert len(found) == len(expected), found


def test_classes_that_a_partial_copy_lacks_are_a_note(tmp_path):
    root = drawn.cub(tmp_path)["data_dir"]
    assert check("cub", data_dir=root, progress=False).notes == ()
    shutil.rmtree(root / "images/002.Blue_Tit")
    report = check("cub", data_dir=root, progress=False)
    assert report.problems == () and report.num_samples == 16
    assert (
        len(report.notes) == 1
        and "1 of 3 classes: 8 images of images.txt are left out" in report.notes[0]
    )
    (root / "images/002.Blue_Tit").mkdir()  # a folder without its images is damage
    report = check("cub", data_dir=root, progress=False)
    assert len(report.problems) == 8 and report.notes == ()


def test_damaged_birds(tmp_path):
    root = drawn.cub(tmp_path)["data_dir"]
    truncate(root / "images/001.Red_Robin/bird 0.jpg")
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
        "bird 0.jpg: truncated or damaged",
        "bird 1.jpg: there is no such file",
        "bird 2.jpg: there is no such file",
        "bird 10.png: there is no such file",
        "bird 9.png has 5 x 4 pixels, its image 32 x 24",
        "train_test_split.txt has 7 in line 12, expected 0 or 1",
        "line 47: beak of 001.Red_Robin/bird 3.jpg is at x=90, y=4, outside the image of 32 x 24",
        "parts/part_locs.txt has 1 columns in line 61, expected 5",
        "part_locs.txt has no line for image 23, part 1",
        "bounding_boxes.txt has 'a' in line 6, expected a number",
        "bounding_boxes.txt has no line for image 26",
        "bounding_boxes.txt has more than one line for image 29: 7, 25",
        "images.txt lists image 11 twice, in lines 1 and 25",
        "images.txt lists 001.Red_Robin/bird 0.jpg twice, in lines 1 and 26",
    )
    for message in expected:
        assert sum(message in problem for problem in report.problems) == 1, message
    assert_files_and_lines_are_named(report.problems, root)
    assert len(report.problems) == len(expected) and report.num_samples == 24


def test_a_data_set_without_samples_is_one_problem(tmp_path):
    report = check("celebamask", data_dir=tmp_path, progress=False)
    assert report.num_samples == 0 and len(report.problems) == 1
    with pytest.raises(ConfigError, match="nosuch"):
        check("nosuch")


def test_report_raises_outside_collect_problems():
    with collect_problems() as problems:
        report("one")
        with collect_problems() as inner:
            report("two")
        report("three")
    assert problems == ["one", "three"] and inner == ["two"]
    with pytest.raises(DataError, match="^four$"):
        report("four")
