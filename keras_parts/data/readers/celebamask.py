"""CelebAMask-HQ: 30,000 photographs of faces with 18 labelled parts.

Lee, Liu, Wu, Luo: *MaskGAN: Towards Diverse and Interactive Facial Image Manipulation*, CVPR 2020.
Read from the official layout (`CelebA-HQ-img/`, a mask for each part in
`CelebAMask-HQ-mask-anno/`), or from label maps (`images/` and `masks/`), which
`keras-parts data prepare celebamask` writes.
"""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, is_collecting, report
from keras_parts.data.readers.label_maps import LabelledImage, LabelMaps, in_fixed_test
from keras_parts.data.readers.sources import DatasetSource, read_lines
from keras_parts.errors import DataError
from keras_parts.files import atomic_path
from keras_parts.images.masks import read_labels, read_mask

SOURCE = DatasetSource(
    name="celebamask",
    annotations="18 part labels",
    licence=(
        "Non-commercial research and education only; photographs from the internet, their rights "
        "with their owners (https://github.com/switchablenorms/CelebAMask-HQ)"
    ),
    how_to_obtain=(
        "ask for CelebAMask-HQ.zip (3 GB) at https://github.com/switchablenorms/CelebAMask-HQ and "
        "unpack it; for the usual split, put list_eval_partition.txt of CelebA beside it"
    ),
    folder="CelebAMask-HQ",
)
PARTS = {
    "skin": "skin", "nose": "nose", "eye_g": "glasses", "l_eye": "left eye", "r_eye": "right eye",
    "l_brow": "left brow", "r_brow": "right brow", "l_ear": "left ear", "r_ear": "right ear",
    "mouth": "mouth", "u_lip": "upper lip", "l_lip": "lower lip", "hair": "hair", "hat": "hat",
    "ear_r": "earring", "neck_l": "necklace", "neck": "neck", "cloth": "cloth",
}  # fmt: skip
"""Name of a part in the files -> readable name, in the order of the labels, from 1. Later parts
cover earlier ones where masks overlap."""
REGIONS = {
    "eyes": ("left eye", "right eye", "left brow", "right brow", "glasses"),
    "ears": ("left ear", "right ear", "earring"),
    "mouth": ("mouth", "upper lip", "lower lip"),
    "neck": ("neck", "necklace"),
    "hair": ("hair", "hat"),
}
INFO = DatasetInfo(
    name=SOURCE.name,
    part_names=tuple(PARTS.values()),
    regions=REGIONS,
    licence=SOURCE.licence,
    how_to_obtain=SOURCE.how_to_obtain,
)

_IMAGES, _MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
_MASKS_PER_FOLDER = 2000
_MASK_SIDE = 512  # pixels
_MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"
_PARTITION = "list_eval_partition.txt"
_PARTITION_SPLITS = {"0": "fit", "1": "validation", "2": "test"}


class CelebAMask(LabelMaps):
    """Faces with label maps; see `load_celebamask`."""

    def label_map(self, image: LabelledImage) -> np.ndarray | None:
        return read_labels(image.labels[0])


class OfficialCelebAMask(LabelMaps):
    """Faces in the official layout; images are resized from 1024 to the masks' 512 pixels."""

    def read_image(self, image: LabelledImage) -> tuple[np.ndarray | None, tuple[int, int] | None]:
        pixels, size = super().read_image(image)
        if size is not None and size[0] != size[1]:
            report(
                f"celebamask: {image.image} has {size[1]} x {size[0]} pixels, expected a square "
                "image, as in CelebA-HQ (not CelebA)"
            )
        if pixels is not None and size != (_MASK_SIDE, _MASK_SIDE):
            pixels = _resized(pixels, _MASK_SIDE, Image.Resampling.BICUBIC)
        return pixels, (_MASK_SIDE, _MASK_SIDE)

    def label_map(self, image: LabelledImage) -> np.ndarray | None:
        masks = [attempt(_mask, path) for path in image.labels]
        if any(mask is None for mask in masks):
            return None
        labels = np.zeros((_MASK_SIDE, _MASK_SIDE), np.uint8)
        for path, mask in zip(image.labels, masks, strict=True):
            labels[mask] = _label(path)
        return labels


def load_celebamask(split: str, data_dir: str | PathLike | None = None) -> Dataset:
    """Load CelebAMask-HQ from its official layout, or from label maps.

    Args:
        split: "train" and "test", "all" (both), or "fit" and "validation", two parts of "train".
            With `list_eval_partition.txt` of CelebA beside the official layout, these are CelebA's
            splits: 24,183 images in "fit", 2,993 in "validation", 2,824 in "test". Otherwise an
            image is in "test" if the CRC-32 of its name without suffix is a multiple of 5 (about a
            fifth of the images are), and every fifth of the others, in order, is in "validation".
        data_dir: the folder; None for CelebAMask-HQ in one of
            `keras_parts.environment.data_folders`.

    Returns:
        Samples with image, part_labels (18 parts), foreground (any part) and box.

    Raises:
        ConfigError: the split is unknown.
        DataError: the data set is missing, incomplete or damaged.
    """
    SOURCE.check_split(split)
    root = SOURCE.find(data_dir)
    kind: type[LabelMaps]
    if (root / "images").is_dir():
        kind, images = CelebAMask, _images_with_label_maps(root)
    else:
        kind, images = OfficialCelebAMask, _official_images(root)
    official = _official_splits(root, images)

    def dataset(chosen):
        return kind(INFO, chosen, root)

    if split == "all":
        return dataset(images)
    if official:
        wanted = FIT_AND_VALIDATION if split == "train" else (split,)
        return dataset([image for image in images if official.get(image.id) in wanted])
    chosen = [image for image in images if in_fixed_test(image.id) == (split == "test")]
    return split_of(dataset(chosen), split)


def write_label_maps(
    data_dir: str | PathLike,
    output: str | PathLike,
    *,
    size: int = 256,
    progress: bool = True,
) -> int:
    """Convert the official layout to label maps, which are smaller and ten times faster to read.

    Existing files are kept, so an interrupted conversion can be resumed.

    Args:
        data_dir: folder of the official layout.
        output: folder for `images/NAME.jpg` and `masks/NAME.png`.
        size: side of the images and label maps in pixels.
        progress: show a progress bar.

    Returns:
        Number of images written.

    Raises:
        DataError: the data set is missing, incomplete or damaged.
    """
    root, output = Path(data_dir), Path(output)
    dataset = OfficialCelebAMask(INFO, _official_images(root), root)
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    written = 0
    for index, name in enumerate(tqdm(dataset.ids(), "label maps", disable=not progress)):
        image_file, label_file = output / "images" / f"{name}.jpg", output / "masks" / f"{name}.png"
        if image_file.exists() and label_file.exists():
            continue
        sample = dataset[index]
        _save(_resized(sample.image, size, Image.Resampling.BICUBIC), image_file)
        _save(_resized(sample.part_labels, size, Image.Resampling.NEAREST), label_file)
        written += 1
    for table in (root / _PARTITION, root / _MAPPING):
        if table.is_file():
            with atomic_path(output / table.name) as path:
                path.write_bytes(table.read_bytes())
    return written


def _resized(pixels, side, resampling):
    return np.array(Image.fromarray(pixels).resize((side, side), resampling))


def _save(pixels, file):
    with atomic_path(file) as path:
        Image.fromarray(pixels).save(path, quality=95)


def _mask(path):
    mask = read_mask(path, threshold=127)
    if mask.shape != (_MASK_SIDE, _MASK_SIDE):
        raise DataError(
            f"celebamask: {path} has {mask.shape[1]} x {mask.shape[0]} pixels, expected "
            f"{_MASK_SIDE} x {_MASK_SIDE}"
        )
    return mask


def _label(path):
    return 1 + list(PARTS).index(path.stem.partition("_")[2])


def _images_with_label_maps(root):
    images = [
        LabelledImage(path.stem, path, (root / "masks" / f"{path.stem}.png",), str(path))
        for path in sorted((root / "images").iterdir())
        if path.suffix.lower() in (".jpg", ".png")
    ]
    if is_collecting():
        masks = {path.stem: path for path in (root / "masks").glob("*.png")}
        _report_masks_without_image(root / "images", masks, {image.id for image in images})
    return images


def _official_images(root):
    """The images with their existing masks; parts that a face does not show have no mask."""
    if not (root / _IMAGES).is_dir() or not (root / _MASKS).is_dir():
        raise SOURCE.missing(f"{root} has neither {_IMAGES} and {_MASKS} nor images and masks")
    images = []
    for path in sorted((root / _IMAGES).glob("*.jpg"), key=lambda path: path.stem.zfill(8)):
        if not path.stem.isdecimal():
            report(f"celebamask: {path} is not named by a number: remove it")
            continue
        number = int(path.stem)
        folder = root / _MASKS / str(number // _MASKS_PER_FOLDER)
        masks = [folder / f"{number:05d}_{part}.png" for part in PARTS]
        existing = tuple(mask for mask in masks if mask.is_file()) or (masks[0],)
        images.append(LabelledImage(path.stem, path, existing, str(path)))
    if is_collecting():
        numbers = {int(image.id) for image in images}
        _report_masks_without_image(root / _IMAGES, _masks_by_number(root), numbers)
    return images


def _masks_by_number(root):
    """{number of a face: one of its masks}."""
    masks: dict[int, Path] = {}
    for path in sorted((root / _MASKS).glob("*/*.png")):
        number = path.name.partition("_")[0]
        if number.isdecimal():
            masks.setdefault(int(number), path)
    return masks


def _report_masks_without_image(folder, masks, images):
    """Report one mask for each image that is missing from the folder."""
    if not images:
        return  # the missing images are reported as a single problem
    for name in sorted(set(masks) - images):
        report(f"celebamask: {masks[name]} has no image in {folder}: unpack it again")


def _official_splits(root, images):
    """{image id: "fit", "validation" or "test"}; empty if one of the two tables is missing."""
    if not (root / _PARTITION).is_file() or not (root / _MAPPING).is_file():
        return {}
    partition = _by_name(_PARTITION, _columns(root / _PARTITION, 2))
    mapping = _columns(root / _MAPPING, 3)
    if not partition or not mapping:
        return {}
    splits = {}
    for number, (line, _, original) in _by_name(_MAPPING, mapping[1:]).items():
        _, split = partition.get(original, (None, None))
        if split not in _PARTITION_SPLITS:
            report(
                f"celebamask: {_PARTITION} has no split for {original} of {_MAPPING} line {line}"
            )
        else:
            splits[number] = _PARTITION_SPLITS[split]
    for image in images:
        if image.id not in splits:
            report(f"celebamask: {_MAPPING} assigns no split to {image.image}")
    return splits


def _by_name(file, rows):
    """{first word: (line number, other words)}; repeated words are reported, the first is kept."""
    found: dict[str, tuple] = {}
    for line, name, *others in rows:
        if name in found:
            report(f"celebamask: {file} has {name} twice, in lines {found[name][0]} and {line}")
        found.setdefault(name, (line, *others))
    return found


def _columns(path, columns):
    """[(line number, word, ...)] of a text file."""
    rows = []
    lines = attempt(read_lines, path)
    if lines == []:
        report(f"celebamask: {path.name} is empty: copy it again", of_sample=False)
    for line, text in enumerate(lines or (), 1):
        row = text.split()
        if len(row) == columns:
            rows.append((line, *row))
        elif row:
            report(
                f"celebamask: {path.name} has {len(row)} columns in line {line}, expected {columns}"
            )
    if lines and not rows:  # with another split, test images would be trained on
        report(f"celebamask: {path.name} has no valid line: copy it again", of_sample=False)
    return rows
