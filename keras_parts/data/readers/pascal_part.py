"""PASCAL-Part: the objects of PASCAL VOC 2010 with labelled parts, one class at a time.

Chen, Mottaghi, Liu, Fidler, Urtasun, Yuille: *Detect What You Can: Detecting and Representing
Objects using Holistic Models and Body Parts*, CVPR 2014. Choudhury et al. (NeurIPS 2021) learn
one model for each of ten classes, from objects that cover much of their image.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np
from tqdm import tqdm

from keras_parts.data.crops import mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, report
from keras_parts.data.readers.label_maps import LabelledImage, LabelMaps
from keras_parts.data.readers.matlab import as_list, read_mat
from keras_parts.data.readers.sources import DatasetSource, read_lines
from keras_parts.data.sides import without_side
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import read_image

SOURCE = DatasetSource(
    name="pascal_part",
    annotations="part labels, ten classes",
    licence=(
        "Photographs from Flickr under its terms of use; the annotations for research "
        "(http://host.robots.ox.ac.uk/pascal/VOC/voc2010/)"
    ),
    how_to_obtain=(
        "unpack VOCtrainval_03-May-2010.tar (1.3 GB) from "
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/ and, into the same VOCdevkit, "
        "trainval.tar.gz (77 MB) from https://roozbehm.info/pascal-parts/pascal-parts.html, which "
        "contains Annotations_Part"
    ),
    folder="VOCdevkit",
)

_QUADRUPED = (
    "head", "leye", "reye", "lear", "rear", "muzzle", "torso", "neck", "lfuleg", "lflleg",
    "rfuleg", "rflleg", "lbuleg", "lblleg", "rbuleg", "rblleg", "tail",
)  # fmt: skip
_PAWED = (
    "head", "leye", "reye", "lear", "rear", "nose", "torso", "neck", "lfleg", "lfpa", "rfleg",
    "rfpa", "lbleg", "lbpa", "rbleg", "rbpa", "tail",
)  # fmt: skip
_CAR = (
    "frontside", "leftside", "rightside", "backside", "roofside", "leftmirror", "rightmirror",
    "fliplate", "bliplate", "door", "wheel", "headlight", "window",
)  # fmt: skip
PARTS = {
    "sheep": (*_QUADRUPED, "lhorn", "rhorn"),
    "horse": (*_QUADRUPED, "lfho", "rfho", "lbho", "rbho"),
    "cow": (*_QUADRUPED, "lhorn", "rhorn"),
    "motorbike": ("fwheel", "bwheel", "handlebar", "saddle", "headlight"),
    "aeroplane": ("body", "stern", "lwing", "rwing", "tail", "engine", "wheel"),
    "bus": _CAR,
    "car": _CAR,
    "bicycle": ("fwheel", "bwheel", "saddle", "handlebar", "chainwheel", "headlight"),
    "dog": (*_PAWED, "muzzle"),
    "cat": _PAWED,
}
"""Class -> the names of its parts in the files, in the order of the labels, from 1. The number at
the end of a name ("wheel_2") is left out."""
_READABLE = {
    "leye": "left eye", "reye": "right eye", "lear": "left ear", "rear": "right ear",
    "lfuleg": "left front upper leg", "lflleg": "left front lower leg",
    "rfuleg": "right front upper leg", "rflleg": "right front lower leg",
    "lbuleg": "left back upper leg", "lblleg": "left back lower leg",
    "rbuleg": "right back upper leg", "rblleg": "right back lower leg",
    "lfleg": "left front leg", "rfleg": "right front leg", "lbleg": "left back leg",
    "rbleg": "right back leg", "lfpa": "left front paw", "rfpa": "right front paw",
    "lbpa": "left back paw", "rbpa": "right back paw", "lfho": "left front hoof",
    "rfho": "right front hoof", "lbho": "left back hoof", "rbho": "right back hoof",
    "lhorn": "left horn", "rhorn": "right horn", "lwing": "left wing", "rwing": "right wing",
    "fwheel": "front wheel", "bwheel": "back wheel", "frontside": "front", "leftside": "left side",
    "rightside": "right side", "backside": "back", "roofside": "roof", "leftmirror": "left mirror",
    "rightmirror": "right mirror", "fliplate": "front plate", "bliplate": "back plate",
}  # fmt: skip
_REGIONS = {
    "head": ("head", "eye", "ear", "muzzle", "nose", "horn"),
    "front legs": ("front leg", "front upper leg", "front lower leg", "front paw", "front hoof"),
    "back legs": ("back leg", "back upper leg", "back lower leg", "back paw", "back hoof"),
    "wheels": ("wheel", "front wheel", "back wheel"),
    "wings": ("wing",),
}
_MIN_SHARE = {"train": 0.10, "test": 0.20}
"""Split -> an object's box must cover a larger share of the image than this."""
_LISTS = {"train": "train", "test": "val"}


@dataclass(frozen=True)
class LabelledObject(LabelledImage):
    """An object of an image; `index` is its index in the annotation file, from 0."""

    index: int = 0


class PascalPart(LabelMaps):
    """Objects of one class; see `load_pascal_part`."""

    def __init__(
        self, info: DatasetInfo, objects: Iterable[LabelledObject], root: Path, category: str
    ):
        self._category = category
        super().__init__(info, objects, root)

    def label_map(self, image: LabelledObject) -> np.ndarray | None:
        path = image.labels[0]
        return _label_map(_objects(path)[image.index], self._category, path)


def load_pascal_part(
    split: str, data_dir: str | PathLike | None = None, *, category: str = "horse"
) -> Dataset:
    """Load the objects of one class, one sample each.

    Objects without labelled parts are left out, and so are small ones: the box must cover more than
    10 % of the image in "train" and 20 % in "test". Where parts overlap, the part that the file
    lists first covers the others.

    Args:
        split: "train" (the class's train list), "test" (its val list), "all" (both), or "fit" and
            "validation", two fixed parts of "train" (`hold_out`).
        data_dir: VOCdevkit with VOC2010 and Annotations_Part, or its parent; None for VOCdevkit in
            one of `keras_parts.environment.data_folders`.
        category: the class, a key of `PARTS`.

    Returns:
        Samples with image, part_labels, foreground (any part) and box.

    Raises:
        ConfigError: the split or the class is unknown.
        DataError: the data set is missing, incomplete or damaged.
    """
    SOURCE.check_split(split)
    if category not in PARTS:
        raise ConfigError(f"pascal_part has the classes {', '.join(PARTS)}, not {category!r}")
    root = SOURCE.find(data_dir)
    read = {"all": ("train", "test"), "test": ("test",)}.get(split, ("train",))
    objects = [found for one in read for found in _labelled_objects(root, one, category)]
    dataset = PascalPart(_info(category), objects, root, category)
    return split_of(dataset, split)


def _info(category):
    names = tuple(_READABLE.get(part, part) for part in PARTS[category])
    regions = {}
    for region, words in _REGIONS.items():
        members = tuple(name for name in names if without_side(name) in words)
        if members:
            regions[region] = members
    return DatasetInfo(
        name=f"{SOURCE.name}/{category}",
        part_names=names,
        regions=regions,
        licence=SOURCE.licence,
        how_to_obtain=SOURCE.how_to_obtain,
    )


def _labelled_objects(root, split, category):
    voc = root / "VOC2010" if (root / "VOC2010").is_dir() else root
    annotations = root / "Annotations_Part"
    listed = attempt(_listed, voc / "ImageSets" / "Main" / f"{category}_{_LISTS[split]}.txt")
    found = []
    for name, where in tqdm(listed or (), f"{category} {split}", delay=2, leave=False):
        image, path = voc / "JPEGImages" / f"{name}.jpg", annotations / f"{name}.mat"
        objects = attempt(_objects, path, of_sample=True)
        chosen = [
            attempt(
                _is_chosen,
                struct,
                f"{path}: object {number}",
                category,
                _MIN_SHARE[split],
                of_sample=True,
            )
            for number, struct in enumerate(objects or (), 1)
        ]
        found += [
            LabelledObject(f"{name}#{index + 1}", image, (path,), where, index)
            for index in np.flatnonzero(np.array(chosen, bool)).tolist()
        ]
        if objects is None or None in chosen:
            attempt(
                read_image, image, of_sample=True
            )  # a check reads other images with their samples
    return found


def _listed(path):
    """[(name, file and line)] of the images with easy (1) or difficult (0) objects of the class."""
    if not path.is_file():
        raise SOURCE.missing(f"{path} is missing")
    lines, names = read_lines(path), []
    if not lines:
        report(f"pascal_part: {path.name} is empty: unpack it again", of_sample=False)
    for number, line in enumerate(lines, 1):
        row = line.split()
        if len(row) != 2 or row[1] not in ("-1", "0", "1"):
            report(f"pascal_part: {path.name} has {line!r} in line {number}, expected 'NAME 1'")
        elif row[1] != "-1":
            names.append((row[0], f"{path.name} line {number}"))
    return names


def _objects(path):
    """The objects of an annotation file, cached: consecutive samples often share a file."""
    return _read_objects(path, path.stat().st_mtime_ns if path.is_file() else None)


@lru_cache(maxsize=4)
def _read_objects(path, modification_time):
    """The objects; the modification time makes the cache read a changed file again."""
    return as_list(_field(read_mat(path, "anno"), "objects", f"{path}: anno"))


def _field(struct, name, where):
    try:
        return getattr(struct, name)
    except AttributeError:
        raise DataError(f"{where} has no {name}, so it is not a part annotation") from None


def _mask(struct, where):
    """(height, width) bool mask of an object or a part."""
    mask = np.asarray(_field(struct, "mask", where))
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise DataError(
            f"{where} has a mask of shape {mask.shape} and type {mask.dtype}, expected a matrix"
        )
    return mask > 0


def _is_chosen(struct, where, category, min_share):
    """Whether an object is of the class, is large enough and has parts."""
    mask, name = _mask(struct, where), str(_field(struct, "class", where))
    box, parts = mask_box(mask), as_list(_field(struct, "parts", where))
    if name != category or box is None or not parts:
        return False
    return bool((box[2] - box[0]) * (box[3] - box[1]) / mask.size > min_share)


def _label_map(struct, category, path):
    """(height, width) uint8 labels; None, after reporting it, if a part is damaged."""
    labels = np.zeros(_mask(struct, f"{path}: a {category}").shape, np.uint8)
    # The first part in the file covers the others, so it is painted last.
    painted = [
        attempt(_part, part, category, labels.shape, path)
        for part in reversed(as_list(struct.parts))
    ]
    parts = [part for part in painted if part is not None]
    if len(parts) < len(painted):
        return None
    for label, mask in parts:
        labels[mask] = label
    return labels


def _part(part, category, size, path):
    """The label of a part and its mask."""
    full_name = str(_field(part, "part_name", f"{path}: a part"))
    name = full_name.partition("_")[0]
    if name not in PARTS[category]:
        raise DataError(
            f"{path}: a {category} has no part {full_name!r}, only {', '.join(PARTS[category])}"
        )
    mask = _mask(part, f"{path}: {full_name}")
    if mask.shape != size:
        raise DataError(
            f"{path}: the mask of {full_name} has {mask.shape[1]} x {mask.shape[0]} pixels, that "
            f"of its {category} {size[1]} x {size[0]}"
        )
    return 1 + PARTS[category].index(name), mask
