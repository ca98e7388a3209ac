"""DeepFashion In-shop, the subset with segmentations: people in shop photographs, 15 part labels.

Liu, Luo, Qiu, Wang, Tang: *DeepFashion: Powering Robust Clothes Recognition and Retrieval with
Rich Annotations*, CVPR 2016. The splits are JSON lists of images; the colours of `NAME_segment.png`
are the labels of `NAME.jpg`.
"""

from os import PathLike
from os.path import splitext

import numpy as np

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, report
from keras_parts.data.readers.label_maps import LabelledImage, LabelMaps
from keras_parts.data.readers.sources import DatasetSource, read_json
from keras_parts.errors import DataError
from keras_parts.images.decoding import read_image

SOURCE = DatasetSource(
    name="deepfashion",
    annotations="15 part labels",
    licence=(
        "Non-commercial research only; the photographs are the shops' "
        "(https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion.html)"
    ),
    how_to_obtain=(
        "ask for the In-shop Clothes Retrieval Benchmark at "
        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html (the password "
        "comes with a signed agreement), and unpack Anno/segmentation and Img/img_highres.zip with "
        "its segmentations"
    ),
    folder="In-shop Clothes Retrieval Benchmark",
)
COLOURS = {
    "top": (255, 250, 250), "skirt": (250, 235, 215), "leggings": (70, 130, 180),
    "dress": (16, 78, 139), "outer": (255, 250, 205), "pants": (255, 140, 0),
    "bag": (50, 205, 50), "neckwear": (220, 220, 220), "headwear": (255, 0, 0),
    "eyeglass": (127, 255, 212), "belt": (0, 100, 0), "footwear": (255, 255, 0),
    "hair": (211, 211, 211), "skin": (144, 238, 144), "face": (245, 222, 179),
}  # fmt: skip
"""Part -> its RGB colour in the segmentations, in the order of the labels, from 1. The background
is black."""
REGIONS = {
    "head": ("hair", "face", "headwear", "eyeglass"),
    "upper body": ("top", "outer", "neckwear"),
    "legs": ("pants", "leggings", "skirt"),
}
INFO = DatasetInfo(
    name=SOURCE.name,
    part_names=tuple(COLOURS),
    regions=REGIONS,
    licence=SOURCE.licence,
    how_to_obtain=SOURCE.how_to_obtain,
)
_LISTS = {"train": ("train",), "test": ("query", "gallery"), "all": ("train", "query", "gallery")}
_FOLDERS = ("Anno/segmentation", "Img", ".")


class DeepFashion(LabelMaps):
    """Photographs with coloured segmentations; see `load_deepfashion`."""

    def label_map(self, image: LabelledImage) -> np.ndarray | None:
        return _labels_of(read_image(image.labels[0]), image.labels[0])


def load_deepfashion(split: str, data_dir: str | PathLike | None = None) -> Dataset:
    """Load the images of the segmentation lists.

    Args:
        split: "train" (DeepFashion_segmentation_train.json), "test" (query and gallery, 6,922
            images), "all", or "fit" and "validation", two fixed parts of "train" (`hold_out`).
        data_dir: the benchmark's folder, with Anno/segmentation; images and segmentations are
            searched in Anno/segmentation, in Img, and in the folder itself. None for "In-shop
            Clothes Retrieval Benchmark" in one of
            `keras_parts.environment.data_folders`.

    Returns:
        Samples with image, part_labels (15 parts), foreground (any label) and box.

    Raises:
        ConfigError: the split is unknown.
        DataError: the data set is missing, incomplete or damaged.
    """
    SOURCE.check_split(split)
    root = SOURCE.find(data_dir)
    lists = _LISTS["train" if split in FIT_AND_VALIDATION else split]
    names = [name for list_name in lists for name in attempt(_file_names, root, list_name) or ()]
    images = [_labelled_image(root, name, listed) for name, listed in names]
    dataset = DeepFashion(INFO, images, root)
    return split_of(dataset, split)


def _file_names(root, list_name):
    """[(file name, entry of the list)]."""
    path = root / "Anno" / "segmentation" / f"DeepFashion_segmentation_{list_name}.json"
    if not path.exists():
        raise SOURCE.missing(f"{path} is missing")
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise DataError(f"deepfashion: {path} is not JSON with a list of images")
    names = []
    for number, image in enumerate(images):
        name = image.get("file_name") if isinstance(image, dict) else None
        where = f"{path.name}: images[{number}]"
        if isinstance(name, str) and name:
            names.append((name, where))
        else:
            report(f"deepfashion: {where} has no file_name")
    return names


def _labelled_image(root, name, listed):
    stem, _ = splitext(name)
    labels = _find_file(root, f"{stem}_segment.png")
    return LabelledImage(stem, _find_file(root, name), (labels,), listed)


def _find_file(root, name):
    """The file in the first folder that contains it, or else its path in the first folder."""
    paths = [root / folder / name for folder in _FOLDERS]
    return next((path for path in paths if path.is_file()), paths[0])


def _labels_of(image, path):
    """(height, width) uint8 labels for the colours of a segmentation."""
    codes = _codes(image)
    known = _codes(np.array([(0, 0, 0), *COLOURS.values()], np.uint8))
    order = np.argsort(known)
    nearest = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    labels = order[nearest]
    unknown = known[labels] != codes
    if unknown.any():
        y, x = np.argwhere(unknown)[0]
        colour = tuple(image[y, x].tolist())
        raise DataError(
            f"deepfashion: {path} has {unknown.sum()} pixels of colours that are not labels, the "
            f"first is {colour} at x={x}, y={y}: use the original file, neither resized nor "
            "compressed with losses"
        )
    return labels.astype(np.uint8)


def _codes(colours):
    """One number for each RGB colour."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
