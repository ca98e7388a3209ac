"""PartImageNet: 24,095 photographs of 158 classes of ImageNet, with 40 labelled parts.

He, Yang, Yang, Kortylewski, Yuan, Chen, Liu, Yang, Yu, Yuille: *PartImageNet: A Large,
High-Quality Dataset of Parts*, ECCV 2022. The classes belong to 11 super-categories, such as
Quadruped, each with parts of its own. Two versions are published: in "seg" all classes are in all
lists, in "ood" each class is in one list only. Read from the official layouts, COCO's JSON:
`annotations/train/train.json` and `images/train/` for "seg", `train.json` and `train/` for "ood".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, report
from keras_parts.data.readers.coco import CocoFile, CocoObject
from keras_parts.data.readers.label_maps import LabelledImage, LabelMaps
from keras_parts.data.readers.sources import DatasetSource, read_lines
from keras_parts.errors import ConfigError, DataError

SOURCE = DatasetSource(
    name="part_imagenet",
    annotations="40 part labels, 11 super-categories",
    licence=(
        "Photographs of ImageNet, their rights with the photographers; ImageNet's terms: for "
        "non-commercial research and education (https://www.image-net.org/download)"
    ),
    how_to_obtain=(
        "unpack PartImageNet_Seg.zip or PartImageNet_OOD.zip, and the archives inside, from "
        "https://github.com/TACJu/PartImageNet. For non-commercial research and education"
    ),
    folder="PartImageNet",
    splits=("train", "test", *FIT_AND_VALIDATION, "all", "official_val"),
)
Version = Literal["seg", "ood", "ood_pdiscoformer"]
VERSIONS: tuple[str, ...] = get_args(Version)
SPLIT_FILE = "train_test_split_pimagenet_ood.txt"
"""PDiscoFormer's division of the train list of "ood": a line of image id, 1 for test, and names."""
_FOLDERS = {
    "seg": (".", "PartImageNet", "PartImageNet_Seg", "PartImageNet_Seg/PartImageNet"),
    "ood": (".", "PartImageNet_OOD", "partimagenet", "PartImageNet_OOD/partimagenet"),
}
_LISTS = {"all": ("train", "test"), "test": ("test",), "official_val": ("val",)}


@dataclass(frozen=True)
class ImageOfParts(LabelledImage):
    """An image, its annotated parts, and the index of its super-category."""

    parts: tuple[CocoObject, ...] = ()
    category: int = 0


class PartImageNet(LabelMaps):
    """Photographs with part polygons; see `load_part_imagenet`."""

    def __init__(
        self,
        info: DatasetInfo,
        images: Sequence[ImageOfParts],
        root: Path,
        labels: Mapping[str, int],
    ):
        self._labels_of_categories = labels
        super().__init__(info, images, root)

    def label_map(self, image: ImageOfParts) -> np.ndarray | None:
        """The part listed first in `categories` covers the others."""
        labels = np.zeros(image.parts[0].size, np.uint8)
        painted = [(self._labels_of_categories[one.category], one) for one in image.parts]
        for label, part in sorted(painted, key=lambda pair: pair[0], reverse=True):
            mask = attempt(_mask, part, image.labels[0])
            if mask is None:
                return None
            labels[mask] = label
        return labels

    def fields(self, index: int) -> dict:
        return super().fields(index) | {"category": self._images[index].category}

    def categories(self) -> np.ndarray:
        return np.array([image.category for image in self._images], np.int64)


def load_part_imagenet(
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    version: Version = "seg",
    category: str | None = None,
) -> Dataset:
    """Load the photographs with annotated parts.

    Where parts overlap, the part that `categories` of the JSON file lists first covers the others.
    Photographs without parts are left out.

    Args:
        split: "train" or "test" (the official lists), "all" (both), "official_val" (the official
            list val), or "fit" and "validation", two fixed parts of "train" (`hold_out`).
        data_dir: the unpacked folder or its parent; None for PartImageNet, or PartImageNet_OOD for
            the other versions, in one of `keras_parts.environment.data_folders`.
        version: "seg" (2,405 test images of the classes in train), "ood" (30 classes that are not
            in train), or "ood_pdiscoformer": the train list of "ood", divided into train and 1,658
            test images by train_test_split_pimagenet_ood.txt of PDiscoFormer's public code, which
            must lie beside train.json. Published numbers for OOD are for the last one.
        category: a super-category, such as "Bird"; None for all.

    Returns:
        Samples with image, part_labels (40 parts, or those of the super-category), foreground (any
        part), box, and category: the index of the super-category.

    Raises:
        ConfigError: the split, the version or the super-category is unknown, or pycocotools is not
            installed.
        DataError: the data set is missing, incomplete or damaged.
    """
    SOURCE.check_split(split)
    if version not in VERSIONS:
        raise ConfigError(
            f"part_imagenet has the versions {', '.join(VERSIONS)}, not {version!r}",
            setting="version",
            value=version,
        )
    root = _find_root(data_dir, version)
    if version == "ood_pdiscoformer":
        files = _divided(root, split)
    else:
        files = [
            (_read_file(_annotations(root, version, name)), _images_folder(root, name))
            for name in _LISTS.get(split, ("train",))
        ]
    info, labels = _info(version, category, files[0][0])
    images: list[ImageOfParts] = []
    notes: list[str] = []
    for file, folder in files:
        images += _images_with_parts(file, folder, info, labels)
        notes += [*file.notes, *_note_unlabelled(file)]
    dataset = PartImageNet(info, images, root, labels)
    dataset.notes = dict.fromkeys(notes)
    return split_of(dataset, split)


def _find_root(data_dir, version):
    kind = version.partition("_")[0]
    source = SOURCE if kind == "seg" else replace(SOURCE, folder="PartImageNet_OOD")
    found = source.find(data_dir)
    expected = "annotations/train/train.json" if kind == "seg" else "train.json"
    for folder in _FOLDERS[kind]:
        for lists in ("train", "test", "val"):
            if _annotations(found / folder, version, lists).is_file():
                return found / folder
    raise SOURCE.missing(f"{found} has no {expected}, so it is not version {version!r}")


def _annotations(root, version, name):
    """The JSON file of an official list."""
    if version == "seg":
        return root / "annotations" / name / f"{name}.json"
    beside = root / f"{name}.json"
    inside = root / "annotations" / f"{name}.json"
    return inside if inside.is_file() and not beside.is_file() else beside


def _images_folder(root, name):
    inside = root / "images" / name
    return inside if inside.is_dir() else root / name


def _read_file(path):
    if not path.is_file():
        raise SOURCE.missing(f"{path} is missing")
    return CocoFile(path, every_category=True)


def _divided(root, split):
    """The train list of "ood", with the images of the split in PDiscoFormer's division."""
    if split == "official_val":
        raise ConfigError("part_imagenet: the version 'ood_pdiscoformer' has no split official_val")
    file = _read_file(_annotations(root, "ood", "train"))
    tested = _test_ids(root / SPLIT_FILE)
    for name in file.objects:
        if file.image_ids[name] not in tested:
            report(f"part_imagenet: {SPLIT_FILE} has no line for image {file.image_ids[name]}")
    chosen = {"all": (True, False), "test": (True,)}.get(split, (False,))
    file.objects = {
        name: objects
        for name, objects in file.objects.items()
        if tested.get(file.image_ids[name]) in chosen
    }
    return [(file, _images_folder(root, "train"))]


def _test_ids(path):
    """{image id: whether it is in the test split}."""
    if not path.is_file():
        raise DataError(
            f"part_imagenet: {path} is missing: copy it from data_sets/ of "
            "https://github.com/ananthu-aniraj/pdiscoformer"
        )
    tested: dict[str, bool] = {}
    for line, text in enumerate(read_lines(path), 1):
        row = text.split("\t")
        if len(row) < 2 or not row[0].isdecimal() or row[1] not in ("0", "1"):
            report(
                f"part_imagenet: {SPLIT_FILE} has {text[:60]!r} in line {line}, expected an image "
                "id and 0 or 1, separated by a tab"
            )
        elif row[0] in tested:
            report(f"part_imagenet: {SPLIT_FILE} lists image {row[0]} twice, again in line {line}")
        else:
            tested[row[0]] = row[1] == "1"
    return tested


def _info(version, category, file):
    """The description, and {id of a category: its label}."""
    group_of = _groups(file)
    kinds = tuple(dict.fromkeys(group_of.values()))
    if category is not None and category not in kinds:
        raise ConfigError(
            f"part_imagenet has the super-categories {', '.join(kinds)}, not {category!r}",
            setting="category",
            value=category,
        )
    chosen = [key for key, group in group_of.items() if category in (None, group)]
    names = tuple(str(file.categories[key].get("name")) for key in chosen)
    if len(set(names)) < len(names) or not names or len(names) > np.iinfo(np.uint8).max:
        raise DataError(
            f"{file.path}: categories lists {len(names)} parts, {len(set(names))} of them "
            "different, expected 1 to 255 different ones: unpack it again"
        )
    regions = {kind: tuple(name for name in names if name.startswith(f"{kind} ")) for kind in kinds}
    info = DatasetInfo(
        name="/".join(filter(None, (SOURCE.name, version, category))),
        part_names=names,
        categories=kinds,
        regions={kind: members for kind, members in regions.items() if members},
        licence=SOURCE.licence,
        how_to_obtain=SOURCE.how_to_obtain,
    )
    return info, {key: label for label, key in enumerate(chosen, 1)}


def _groups(file):
    """{id of a category: its super-category}."""
    return {key: str(one.get("supercategory")) for key, one in file.categories.items()}


def _images_with_parts(file, folder, info, labels):
    """The images that have a part with a label."""
    group_of, found = _groups(file), []
    for name, objects in file.objects.items():
        parts = tuple(one for one in objects if _has_area(one) and one.category in labels)
        if parts:
            path = _image_path(folder, name)
            category = info.categories.index(group_of[parts[0].category])
            listed = f"{file.path.name}: {name}"
            found.append(ImageOfParts(path.stem, path, (file.path,), listed, parts, category))
    return found


def _mask(part, path):
    try:
        return part.mask()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _has_area(part):
    """Whether a part has anything to draw: the lists have parts without a polygon."""
    if isinstance(part.segmentation, list):
        return part.num_strays < len(part.segmentation)
    return part.segmentation is not None


def _image_path(folder, name):
    """The file of an image: ImageNet's folders of classes may or may not be part of its name."""
    name = name.replace("\\", "/")
    short = name.rpartition("/")[2]
    paths = [folder / name, folder / short.partition("_")[0] / short, folder / short]
    return next((path for path in paths if path.is_file()), paths[0])


def _note_unlabelled(file):
    count = sum(not any(map(_has_area, objects)) for objects in file.objects.values())
    return (f"{file.path.name}: left out {count:,} images without parts",) if count else ()
