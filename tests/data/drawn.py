"""Small drawn data sets in their official layouts.

Each function draws one below a folder and returns the options of `load` that read it.
"""

import json
import shutil
import tarfile

import numpy as np
from PIL import Image

from keras_parts.data.readers.celebamask import PARTS as FACE_PARTS
from keras_parts.data.readers.deepfashion import COLOURS

SIZE = (24, 32)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, quality=95)


def photograph(seed, size=SIZE):
    """(height, width, 3) uint8: noise, so that a truncated file is noticed."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


def labels(number, parts, size=SIZE):
    """(height, width) uint8: three adjacent blocks of different labels on background."""
    result = np.zeros(size, np.uint8)
    for block in range(3):
        left = 4 + number % 3 + 8 * block
        result[5 : size[0] - 4, left : left + 8] = 1 + (number + block) % parts
    return result


def deepfashion(root):
    """Six photographs in the train list, two in the query list and two in the gallery list."""
    folder = root / "In-shop" / "Anno" / "segmentation"
    colours = np.array([(0, 0, 0), *COLOURS.values()], np.uint8)
    number = 0
    for which, count in (("train", 6), ("query", 2), ("gallery", 2)):
        images = []
        for _ in range(count):
            name = f"img_highres/WOMEN/Dresses/id_{number:08d}/02_1_front.jpg"
            save(folder / name, photograph(number))
            segment = name.replace(".jpg", "_segment.png")
            save(folder / segment, colours[labels(number, len(COLOURS))])
            images.append({"id": number, "file_name": name})
            number += 1
        path = folder / f"DeepFashion_segmentation_{which}.json"
        path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return {"data_dir": root / "In-shop"}


def pascal_part(root):
    """Eight images with one large and one too small horse each, and one image with a cow."""
    voc = root / "VOCdevkit"
    names = [f"2008_{number:06d}" for number in range(9)]
    for number, name in enumerate(names):
        save(voc / "VOC2010" / "JPEGImages" / f"{name}.jpg", photograph(number))
        large, small, head, tail = np.zeros((4, *SIZE), np.uint8)
        large[2:20, 4:28], small[21:23, 0:3] = 1, 1
        head[2:12, 4:14], tail[8:20, 10:28] = 1, 1
        kind = "cow" if number == 8 else "horse"
        pascal_objects(
            voc / "Annotations_Part" / f"{name}.mat",
            ("horse", small, [("head", small)]),
            (kind, large, [("head", head), ("tail_1", tail)]),
        )
    for which, chosen in (("train", names[:6]), ("val", names[6:])):
        rows = [f"{name} {' 1' if name != names[8] else '-1'}" for name in chosen]
        pascal_list(voc, "horse", which, rows)
    return {"data_dir": root}


def pascal_list(voc, category, which, rows):
    """Write a list of the images of a class."""
    path = voc / "VOC2010" / "ImageSets" / "Main" / f"{category}_{which}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows) + "\n")


def pascal_objects(path, *objects):
    """Write an annotation file of objects, each `(class, mask, [(part name, mask), ...])`."""
    from scipy.io import savemat

    structs = []
    for category, mask, parts in objects:
        parts = _structs(*({"part_name": name, "mask": part} for name, part in parts))
        structs.append({"class": category, "class_ind": 13, "mask": mask, "parts": parts})
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"anno": {"imname": path.stem, "objects": _structs(*structs)}})


def _structs(*values):
    """A MATLAB struct array."""
    if not values:
        return np.empty((0, 0))
    fields = [(name, object) for name in values[0]]
    array = np.empty((1, len(values)), fields)
    for index, value in enumerate(values):
        array[0, index] = tuple(value.values())
    return array


def celebamask(root):
    """Ten faces in the official layout, with CelebA's partition."""
    folder = root / "CelebAMask-HQ"
    names = list(FACE_PARTS)
    mapping, partition = ["idx orig_idx orig_file"], []
    for number in range(10):
        side = 512 if number else 1024  # officially all have 1024 pixels; fewer are quicker
        save(folder / "CelebA-HQ-img" / f"{number}.jpg", photograph(number, (side, side)))
        face = labels(number, len(names), (512, 512))
        for label in np.unique(face)[1:]:
            mask = np.repeat(255 * (face == label)[..., None], 3, axis=-1).astype(np.uint8)
            path = folder / "CelebAMask-HQ-mask-anno" / "0"
            save(path / f"{number:05d}_{names[label - 1]}.png", mask)
        mapping.append(f"{number} {1000 + number} {1000 + number:06d}.jpg")
        partition.append(f"{1000 + number:06d}.jpg {(0, 0, 0, 1, 2)[number % 5]}")
    (folder / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping))
    (folder / "list_eval_partition.txt").write_text("\n".join(partition))
    return {"data_dir": root}


def celebamask_label_maps(root):
    """Forty faces with label maps."""
    for number in range(40):
        save(root / "images" / f"{number:02d}.jpg", photograph(number))
        save(root / "masks" / f"{number:02d}.png", labels(number, len(FACE_PARTS)))
    return {"data_dir": root}


def clothing_co_parsing(root):
    """Forty photographs in the official layout, thirty of them with pixel-level labels."""
    from scipy.io import savemat

    folder = root / "clothing_co_parsing"
    (folder / "annotations" / "pixel-level").mkdir(parents=True)
    for number in range(1, 41):
        save(folder / "photos" / f"{number:04d}.jpg", photograph(number))
        if number <= 30:
            path = folder / "annotations" / "pixel-level" / f"{number:04d}.mat"
            savemat(path, {"groundtruth": labels(number, 4)})
    names = np.array([["null", "hair", "skin", "dress", "boots"]], object)
    savemat(folder / "label_list.mat", {"label_list": names})
    return {"data_dir": root}


def clothing_label_images(root):
    """Thirty photographs with label images."""
    for number in range(1, 31):
        save(root / "photos" / f"{number:04d}.jpg", photograph(number))
        save(root / "labels" / f"{number:04d}.png", labels(number, 4))
    (root / "label_list.txt").write_text("0 null\n1 hair\n2 skin\n3 dress\n4 boots\n")
    return {"data_dir": root}


def folder(root):
    """Ten images with masks, part labels and keypoints."""
    images = []
    annotations = []
    for number in range(10):
        name = f"{number}.jpg"
        parts = labels(number, 3)
        save(root / "images" / name, photograph(number))
        save(root / "masks" / f"{number}.png", (parts > 0) * np.uint8(255))
        save(root / "labels" / f"{number}.png", parts)
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": [9, 8, 2, 20, 9, 1]}
        )
    category = {"id": 1, "name": "beast", "keypoints": ["left_ear", "right_ear"]}
    content = {"images": images, "annotations": annotations, "categories": [category]}
    (root / "keypoints.json").write_text(json.dumps(content))
    return {
        "data_dir": root / "images",
        "masks": root / "masks",
        "part_labels": root / "labels",
        "part_names": ["front", "middle", "back"],
        "keypoints": root / "keypoints.json",
    }


def coco(root):
    """A COCO file with polygons, run-length codes, two objects in one image, and a crowd."""
    polygon = [[4, 5, 20, 5, 20, 15, 4, 15]]
    counts = [5 * SIZE[0], 3 * SIZE[0], (SIZE[1] - 8) * SIZE[0]]  # three columns of pixels
    run_lengths = {"counts": counts, "size": list(SIZE)}
    images, annotations = [], []
    for number in range(6):
        name = f"sub/{number}.jpg"
        save(root / "images" / name, photograph(number))
        images.append({"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        common = {"image_id": number, "category_id": 7, "iscrowd": 0, "bbox": [4, 5, 16, 10]}
        annotations.append(
            {**common, "id": 10 + number, "segmentation": polygon, "keypoints": [6, 7, 2, 0, 0, 0]}
        )
        if number == 2:
            annotations.append({**common, "id": 50, "segmentation": run_lengths})
            annotations.append({**common, "id": 51, "segmentation": run_lengths, "iscrowd": 1})
        annotations.append({**common, "id": 90 + number, "category_id": 8, "segmentation": polygon})
    categories = [
        {"id": 7, "name": "dog", "keypoints": ["left_ear", "right_ear"]},
        {"id": 8, "name": "cat"},
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "objects.json").write_text(json.dumps(content))
    return {"data_dir": root / "images", "masks": root / "objects.json", "category": "dog"}


BIRD_LANDMARKS = (
    "back", "beak", "belly", "breast", "crown", "forehead", "left eye", "left leg", "left wing",
    "nape", "right eye", "right leg", "right wing", "tail", "throat",
)  # fmt: skip
BIRD_CLASSES = {1: "001.Red_Robin", 2: "002.Blue_Tit", 7: "007.Jay"}
BIRDS = 24  # eight of each class; their ids are 11, 14, 17, ...


def bird_id(index):
    return 11 + 3 * index


def bird_box(index):
    return 4.0, 6.0 + index % 3, 20.0, 12.0


def bird_mask(index):
    x, y, width, height = map(int, bird_box(index))
    mask = np.zeros(SIZE, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def cub(root):
    """Birds in the official layout: three classes, bright rectangles on black."""
    root = root / "CUB_200_2011"
    (root / "parts").mkdir(parents=True)
    tables = {name: [] for name in ("images", "labels", "split", "boxes", "parts")}
    for index in range(BIRDS):
        number, label = bird_id(index), list(BIRD_CLASSES)[index // 8]
        name = f"{BIRD_CLASSES[label]}/bird {index}.jpg"
        mask = bird_mask(index)
        for folder, array in (("images", mask[..., None] * np.uint8([200, 90, 40])),
                              ("segmentations", mask * np.uint8(204) + np.uint8(51))):  # fmt: skip
            path = (root / folder / name).with_suffix(".jpg" if folder == "images" else ".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)
        tables["images"].append(f"{number} {name}")
        tables["labels"].append(f"{number} {label}")
        tables["split"].append(f"{number} {int(index % 3 > 0)}")
        tables["boxes"].append(" ".join(map(str, (number, *bird_box(index)))))
        for part in range(1, 16):
            visible = part % 4 > 0
            point = (5.0 + part, 10.5) if visible else (0.0, 0.0)
            tables["parts"].append(f"{number} {part} {point[0]} {point[1]} {int(visible)}")
    files = {
        "images.txt": tables["images"],
        "image_class_labels.txt": tables["labels"],
        "train_test_split.txt": tables["split"],
        "bounding_boxes.txt": tables["boxes"],
        "parts/part_locs.txt": tables["parts"],
        "parts/parts.txt": [f"{number} {name}" for number, name in enumerate(BIRD_LANDMARKS, 1)],
        "classes.txt": [f"{number} {name}" for number, name in BIRD_CLASSES.items()],
    }
    for name, lines in files.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return {"data_dir": root}


def cub_archives(root):
    """Draw archives with the structure of the official ones of CUB; returns their folder."""
    folder = cub(root)["data_dir"]
    shutil.move(folder / "segmentations", root / "segmentations")
    for name in ("CUB_200_2011", "segmentations"):
        with tarfile.open(root / f"{name}.tgz", "w:gz") as archive:
            archive.add(root / name, name)
    return root


NABIRDS_LANDMARKS = (
    "bill", "crown", "nape", "left eye", "right eye", "belly", "breast", "back", "tail",
    "left wing", "right wing",
)  # fmt: skip


def nabirds(root):
    """Twenty-four birds in the official layout: ids are words, and two classes are groups only."""
    root = root / "nabirds"
    (root / "parts").mkdir(parents=True)
    tables = {name: [] for name in ("images", "labels", "split", "boxes", "parts", "sizes")}
    for index in range(24):
        label = (295, 313, 817)[index // 8]
        name = f"{index:08x}-4d0c-bfe1-4cae3c85c829"
        file = f"{label:04d}/{name.replace('-', '')}.jpg"
        save(root / "images" / file, photograph(index))
        tables["images"].append(f"{name} {file}")
        tables["labels"].append(f"{name} {label}")
        tables["split"].append(f"{name} {int(index % 3 > 0)}")
        tables["boxes"].append(f"{name} 4 {6 + index % 3} 20 12")
        tables["sizes"].append(f"{name} {SIZE[1]} {SIZE[0]}")
        for part in range(11):
            tables["parts"].append(f"{name} {part} {5 + part} 10 {int(part % 4 > 0)}")
    classes = ["0 Birds", "1 Ducks, Geese, and Swans", "295 Ruddy Duck (Winter/juvenile)"]
    classes += ["313 American Coot", "817 American Coot", "1010 Perching Birds"]
    files = {
        "images.txt": tables["images"],
        "image_class_labels.txt": tables["labels"],
        "train_test_split.txt": tables["split"],
        "bounding_boxes.txt": tables["boxes"],
        "sizes.txt": tables["sizes"],
        "parts/part_locs.txt": tables["parts"],
        "parts/parts.txt": [f"{number} {name}" for number, name in enumerate(NABIRDS_LANDMARKS)],
        "classes.txt": classes,
        "hierarchy.txt": ["1 0", "295 1", "313 1", "1010 0", "817 1010"],
    }
    for name, lines in files.items():
        (root / name).write_text("\n".join(lines) + "\n")
    return {"data_dir": root}


PART_IMAGENET_PARTS = ("Quadruped Head", "Quadruped Body", "Bird Head", "Bird Wing")


def part_imagenet_json(path, images):
    """Write a list of `(id, file name, part)`; each image has this part and the next one."""
    polygons = ([[4, 5, 20, 5, 20, 15, 4, 15]], [[10, 9, 28, 9, 28, 20, 10, 20]])
    annotations = [
        {
            "id": 2 * number + offset, "image_id": number, "category_id": part + offset,
            "segmentation": polygons[offset], "area": 160, "iscrowd": 0, "bbox": [4, 5, 16, 10],
        }
        for number, _, part in images
        for offset in (0, 1)
    ]  # fmt: skip
    content = {
        "images": [
            {"id": number, "file_name": name, "height": SIZE[0], "width": SIZE[1]}
            for number, name, _ in images
        ],
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": name.partition(" ")[0]}
            for number, name in enumerate(PART_IMAGENET_PARTS)
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def part_imagenet(root, version="seg"):
    """Twelve train, four test and two val images; in "ood" they lie in folders of classes."""
    folder = root / ("PartImageNet" if version == "seg" else "PartImageNet_OOD")
    number = 0
    for name, count in (("train", 12), ("test", 4), ("val", 2)):
        images = []
        for _ in range(count):
            synset, file = f"n0{number % 3}", f"n0{number % 3}_{number}.JPEG"
            lists = f"images/{name}" if version == "seg" else f"{name}/{synset}"
            path = folder / lists / file
            save(path.with_suffix(".jpg"), photograph(number))
            path.with_suffix(".jpg").rename(path)
            images.append((number, file, 2 * (number % 2)))
            number += 1
        lists = f"annotations/{name}/{name}.json" if version == "seg" else f"{name}.json"
        part_imagenet_json(folder / lists, images)
    return {"data_dir": root}


def part_imagenet_ood(root):
    """The version "ood" with PDiscoFormer's division: three of twelve images are for testing."""
    part_imagenet(root, "ood")
    lines = [f"{number}\t{int(number % 4 == 0)}\t0\tfox\tn00" for number in range(12)]
    path = root / "PartImageNet_OOD" / "train_test_split_pimagenet_ood.txt"
    path.write_text("\n".join(lines) + "\n")
    return {"data_dir": root, "version": "ood_pdiscoformer"}
