"""Clothing Co-Parsing: 1,004 street photographs with 58 labelled kinds of clothes, hair and skin.

Yang, Luo, Lin: *Clothing Co-Parsing by Joint Image Segmentation and Labeling*, CVPR 2014. Read from
the official layout (`photos/`, `annotations/pixel-level/*.mat`, `label_list.mat`), or from
`photos/`, label images `labels/*.png`, and `label_list.txt` with lines of number and name.
"""

from os import PathLike

import numpy as np

from keras_parts.data.dataset import Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, is_collecting, report, required
from keras_parts.data.readers.label_maps import LabelledImage, LabelMaps, in_fixed_test
from keras_parts.data.readers.matlab import read_mat
from keras_parts.data.readers.sources import DatasetSource, read_lines
from keras_parts.errors import DataError
from keras_parts.images.masks import read_labels

SOURCE = DatasetSource(
    name="clothing_co_parsing",
    annotations="58 part labels",
    licence="Apache-2.0 (https://github.com/bearpaw/clothing-co-parsing)",
    how_to_obtain=(
        "clone https://github.com/bearpaw/clothing-co-parsing, which has the photographs and labels"
    ),
    folder="clothing_co_parsing",
)
REGIONS = {
    "head": ("hair", "hat", "glasses", "sunglasses", "earrings"),
    "upper body": (
        "blazer", "blouse", "bodysuit", "bra", "cape", "cardigan", "coat", "hoodie", "jacket",
        "jumper", "scarf", "shirt", "suit", "sweater", "sweatshirt", "t-shirt", "tie", "top",
        "vest", "necklace",
    ),
    "legs": ("jeans", "leggings", "pants", "shorts", "skirt", "stockings", "tights"),
    "feet": (
        "boots", "clogs", "flats", "heels", "loafers", "pumps", "sandals", "shoes", "sneakers",
        "socks", "wedges",
    ),
    "dress": ("dress", "romper"),
    "bag": ("bag", "purse", "wallet"),
}  # fmt: skip
_BACKGROUND = ("null", "background")
_OFFICIAL_LABELS = "annotations/pixel-level"


class ClothingCoParsing(LabelMaps):
    """Photographs with label maps; see `load_clothing_co_parsing`."""

    def label_map(self, image: LabelledImage) -> np.ndarray | None:
        path = image.labels[0]
        return read_labels(path) if path.suffix == ".png" else _labels_of_mat(path)


def load_clothing_co_parsing(split: str, data_dir: str | PathLike | None = None) -> Dataset:
    """Load the photographs with pixel-level labels.

    Args:
        split: "train", "test", "all" (both), or "fit" and "validation", two fixed parts of "train"
            (`hold_out`). There is no official split: an image is in "test" if the CRC-32 of its
            name without suffix is a multiple of 5; about a fifth of the images are.
        data_dir: the folder; None for clothing_co_parsing in one of
            `keras_parts.environment.data_folders`.

    Returns:
        Samples with image, part_labels (58 kinds), foreground (any label) and box.

    Raises:
        ConfigError: the split is unknown.
        DataError: the data set is missing, incomplete or damaged.
    """
    SOURCE.check_split(split)
    root = SOURCE.find(data_dir)
    names = attempt(required, _part_names, root) or ()
    regions = {region: tuple(n for n in known if n in names) for region, known in REGIONS.items()}
    info = DatasetInfo(
        name=SOURCE.name,
        part_names=names,
        regions={region: members for region, members in regions.items() if members},
        licence=SOURCE.licence,
        how_to_obtain=SOURCE.how_to_obtain,
    )
    images = _labelled_images(root)
    if is_collecting():
        _report_unlabelled(root, images)
    if split != "all":
        images = [image for image in images if in_fixed_test(image.id) == (split == "test")]
    dataset = ClothingCoParsing(info, images, root)
    return split_of(dataset, split)


def _labelled_images(root):
    """The photographs with pixel-level labels; the others have only image-level labels."""
    for folder, suffix in ((_OFFICIAL_LABELS, ".mat"), ("labels", ".png")):
        if (root / folder).is_dir():
            return [
                LabelledImage(path.stem, root / "photos" / f"{path.stem}.jpg", (path,), str(path))
                for path in sorted((root / folder).glob(f"*{suffix}"))
            ]
    raise SOURCE.missing(f"{root} has neither {_OFFICIAL_LABELS} nor labels")


def _report_unlabelled(root, images):
    """Report photographs with neither pixel-level nor image-level labels."""
    labelled = {image.id for image in images}
    image_level = root / "annotations" / "image-level"
    if (root / "annotations").is_dir() and not image_level.is_dir():
        return  # without image-level labels it is unknown which photographs should have others
    labelled |= {path.stem for path in image_level.glob("*.mat")}
    for path in sorted((root / "photos").glob("*.jpg")):
        if path.stem not in labelled:
            report(f"clothing_co_parsing: {path} has no labels: unpack them again")


def _part_names(root):
    path = _label_list(root)
    names = _names_of_text(path) if path.suffix == ".txt" else _names_of_mat(path)
    if not names:
        raise DataError(f"clothing_co_parsing: {path.name} is empty: copy it from the data set")
    if names[0] not in _BACKGROUND:
        raise DataError(
            f"clothing_co_parsing: {path.name} names label 0 {names[0]!r}, expected "
            f"{_BACKGROUND[0]!r}, the background"
        )
    return tuple(names[1:])


def _label_list(root):
    """The file with the names of the labels; if there is none, the one expected in this layout."""
    text, mat = root / "label_list.txt", root / "label_list.mat"
    expected = mat if (root / _OFFICIAL_LABELS).is_dir() else text
    return next((path for path in (text, mat) if path.is_file()), expected)


def _names_of_text(path):
    names: dict[str, int] = {}
    for line, text in enumerate(read_lines(path), 1):
        if not text.strip():
            continue
        number, _, name = text.partition(" ")
        name = name.strip()
        if number != str(len(names)) or not name:
            report(
                f"clothing_co_parsing: label_list.txt has {text!r} in line {line}, expected "
                f"'{len(names)} NAME'"
            )
        elif name in names:
            report(
                f"clothing_co_parsing: label_list.txt has {name} twice, in lines {names[name]} and "
                f"{line}"
            )
        names[name if name and name not in names else f"label {len(names)}"] = line
    return list(names)


def _names_of_mat(path):
    names = read_mat(path, "label_list")
    return [str(name) for name in np.atleast_1d(names).ravel()]


def _labels_of_mat(path):
    labels = np.asarray(read_mat(path, "groundtruth"))
    whole = labels.ndim == 2 and labels.size and np.issubdtype(labels.dtype, np.integer)
    if not whole or labels.min() < 0 or labels.max() > 255:
        raise DataError(
            f"{path}: groundtruth is {labels.dtype} of shape {labels.shape}, expected a matrix of "
            "whole numbers from 0 to 255"
        )
    return labels.astype(np.uint8)
