"""DeepFashion In-shop, the subset with segmentations: people in shop photographs, 15 labels.

Liu, Luo, Qiu, Wang, Tang: *DeepFashion: Powering Robust Clothes Recognition and Retrieval with
Rich Annotations*, CVPR 2016. The splits are lists of images in JSON; the labels of
`NAME.jpg` are the colours of `NAME_segment.png`.
"""

import json
from os import PathLike
from os.path import splitext

import numpy as np

from keras_parts.data.dataset import Dataset, DatasetInfo, check_split, split_of
from keras_parts.data.problems import attempt, report
from keras_parts.data.readers.label_maps import Entry, LabelMaps
from keras_parts.data.readers.sources import find_data
from keras_parts.errors import DataError
from keras_parts.images.decoding import read_image

SPLITS = ("train", "test", "fit", "validation", "all")
FOLDER = "In-shop Clothes Retrieval Benchmark"
LICENCE = (
    "Non-commercial research only; the photographs are the shops' "
    "(https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html)"
)
HOW_TO_OBTAIN = (
    "ask for the In-shop Clothes Retrieval Benchmark at "
    "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html (the password comes "
    "with a signed agreement), and unpack Anno/segmentation and Img/img_highres.zip with its "
    "segmentations"
)
COLOURS = {
    "top": (255, 250, 250), "skirt": (250, 235, 215), "leggings": (70, 130, 180),
    "dress": (16, 78, 139), "outer": (255, 250, 205), "pants": (255, 140, 0),
    "bag": (50, 205, 50), "neckwear": (220, 220, 220), "headwear": (255, 0, 0),
    "eyeglass": (127, 255, 212), "belt": (0, 100, 0), "footwear": (255, 255, 0),
    "hair": (211, 211, 211), "skin": (144, 238, 144), "face": (245, 222, 179),
}  # fmt: skip
"""Label -> its colour in the segmentations; black is the background. The place is the label."""
REGIONS = {
    "head": ("hair", "face", "headwear", "eyeglass"),
    "upper body": ("top", "outer", "neckwear"),
    "legs": ("pants", "leggings", "skirt"),
}
INFO = DatasetInfo(
    name="deepfashion",
    part_names=tuple(COLOURS),
    regions=REGIONS,
    licence=LICENCE,
    how_to_obtain=HOW_TO_OBTAIN,
)
_LISTS = {"train": ("train",), "test": ("query", "gallery"), "all": ("train", "query", "gallery")}
_PLACES = ("Anno/segmentation", "Img", ".")


class DeepFashion(LabelMaps):
    """Photographs with segmentations as colours; see `load_deepfashion`."""

    def label_map(self, entry):
        return _labels_of(read_image(entry.labels[0]), entry.labels[0])


def load_deepfashion(split: str, data_dir: str | PathLike | None = None) -> Dataset:
    """The images of the segmentation lists.

    Args:
        split: "train" (DeepFashion_segmentation_train.json), "test" (query and gallery, 6,922
            images), "all", or "fit" and "validation", a fixed partition of "train" (`hold_out`).
        data_dir: the benchmark's folder, with Anno/segmentation; images and segmentations lie
            below Anno/segmentation, Img, or the folder itself. None for "In-shop Clothes Retrieval
            Benchmark" in the folder that the environment variable KERAS_PARTS_DATA names.

    Returns:
        Samples with image, part_labels (15), foreground (any label) and box.

    Raises:
        ConfigError: the split is unknown.
        DataError: the data set is not there, incomplete or damaged.
    """
    check_split("deepfashion", split, SPLITS)
    root = find_data("deepfashion", data_dir, FOLDER, HOW_TO_OBTAIN)
    lists = _LISTS["train" if split in ("fit", "validation") else split]
    names = [named for one in lists for named in attempt(_file_names, root, one) or ()]
    dataset = DeepFashion(INFO, [_entry(root, *named) for named in names], root)
    return split_of(dataset, split) if split in ("fit", "validation") else dataset


def _file_names(root, which):
    """[(file name, where it is listed)]."""
    path = root / "Anno" / "segmentation" / f"DeepFashion_segmentation_{which}.json"
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        if not isinstance(images, list):
            raise ValueError("images is no list")
    except FileNotFoundError:
        raise DataError(
            f"deepfashion: {path} is missing. To obtain the data set, {HOW_TO_OBTAIN}"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"deepfashion: {path} is no JSON with a list of images: {error}") from None
    names = []
    for number, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        where = f"{path.name}: images[{number}]"
        if isinstance(name, str) and name:
            names.append((name, where))
        else:
            report(f"deepfashion: {where} has no file_name")
    return names


def _entry(root, name, listed):
    stem, _ = splitext(name)
    return Entry(stem, _found(root, name), (_found(root, f"{stem}_segment.png"),), listed)


def _found(root, name):
    """The file in the first place that has it; the usual place if none has."""
    places = [root / place / name for place in _PLACES]
    return next((path for path in places if path.is_file()), places[0])


def _labels_of(picture, path):
    """(height, width) uint8 labels of the colours of a segmentation."""
    codes = _codes(picture)
    known = _codes(np.array([(0, 0, 0), *COLOURS.values()], np.uint8))
    order = np.argsort(known)
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    labels = order[places]
    wrong = known[labels] != codes
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        colour = tuple(picture[y, x].tolist())
        raise DataError(
            f"deepfashion: {path} has {wrong.sum()} pixels of colours that are no label, the first "
            f"is {colour} at x={x}, y={y}: has it been resized or saved with losses?"
        )
    return labels.astype(np.uint8)


def _codes(colours):
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
