"""CelebAMask-HQ: 30,000 photographs of faces with 18 labelled parts.

Lee, Liu, Wu, Luo: *MaskGAN: Towards Diverse and Interactive Facial Image Manipulation*, CVPR 2020.
Read in the official layout (`CelebA-HQ-img/`, a mask for each part in `CelebAMask-HQ-mask-anno/`),
or as label maps (`images/` and `masks/`), which `prepare` writes out of it.
"""

from os import PathLike
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_parts.data.dataset import Dataset, DatasetInfo, check_split, split_of
from keras_parts.data.problems import are_collected, attempt, report
from keras_parts.data.readers.label_maps import Entry, LabelMaps, in_fixed_test
from keras_parts.data.readers.sources import find_data, read_lines
from keras_parts.errors import DataError
from keras_parts.files import atomic_path
from keras_parts.images.decoding import read_labels, read_mask

SPLITS = ("train", "test", "fit", "validation", "all")
FOLDER = "CelebAMask-HQ"
LICENCE = (
    "Non-commercial research and education only; photographs from the internet, their rights "
    "with their owners (https://github.com/switchablenorms/CelebAMask-HQ)"
)
HOW_TO_OBTAIN = (
    "ask for CelebAMask-HQ.zip (3 GB) at https://github.com/switchablenorms/CelebAMask-HQ and "
    "unpack it; list_eval_partition.txt of CelebA, put beside it, gives the usual split"
)
PARTS = {
    "skin": "skin", "nose": "nose", "eye_g": "glasses", "l_eye": "left eye", "r_eye": "right eye",
    "l_brow": "left brow", "r_brow": "right brow", "l_ear": "left ear", "r_ear": "right ear",
    "mouth": "mouth", "u_lip": "upper lip", "l_lip": "lower lip", "hair": "hair", "hat": "hat",
    "ear_r": "earring", "neck_l": "necklace", "neck": "neck", "cloth": "cloth",
}  # fmt: skip
"""Name of a part in the files -> readable name. The place is the label, from 1; where masks
overlap, the later part lies on top."""
REGIONS = {
    "eyes": ("left eye", "right eye", "left brow", "right brow", "glasses"),
    "ears": ("left ear", "right ear", "earring"),
    "mouth": ("mouth", "upper lip", "lower lip"),
    "neck": ("neck", "necklace"),
    "hair": ("hair", "hat"),
}
INFO = DatasetInfo(
    name="celebamask",
    part_names=tuple(PARTS.values()),
    regions=REGIONS,
    licence=LICENCE,
    how_to_obtain=HOW_TO_OBTAIN,
)

_IMAGES, _MASKS, _MAPPING = (
    "CelebA-HQ-img",
    "CelebAMask-HQ-mask-anno",
    "CelebA-HQ-to-CelebA-mapping.txt",
)
_MASKS_A_FOLDER = 2000
_SIDE = 512  # pixels of the masks
_PARTITION = "list_eval_partition.txt"
_OF_CELEBA = {"0": "fit", "1": "validation", "2": "test"}


class CelebAMask(LabelMaps):
    """Faces with label maps; see `load_celebamask`."""

    def label_map(self, entry):
        return read_labels(entry.labels[0])


class OfficialCelebAMask(LabelMaps):
    """The official layout: pictures of 1024 pixels are brought to the masks' 512."""

    def picture(self, entry):
        image, size = super().picture(entry)
        if size is not None and size[0] != size[1]:
            report(
                f"celebamask: {entry.image} has {size[1]} x {size[0]} pixels, expected a square "
                "as its masks are: take the picture of CelebA-HQ, not of CelebA"
            )
        if image is not None and size != (_SIDE, _SIDE):
            picture = Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
            image = np.array(picture)
        return image, (_SIDE, _SIDE)

    def label_map(self, entry):
        masks = [attempt(_mask, path) for path in entry.labels]
        if any(mask is None for mask in masks):
            return None
        labels = np.zeros((_SIDE, _SIDE), np.uint8)
        for path, mask in zip(entry.labels, masks, strict=True):
            labels[mask] = _label(path)
        return labels


def load_celebamask(split: str, data_dir: str | PathLike | None = None) -> Dataset:
    """CelebAMask-HQ from its official layout, or from label maps.

    Args:
        split: "train" and "test", "all" (both), or "fit" and "validation", a partition of "train".
            With `list_eval_partition.txt` of CelebA beside the official layout these are CelebA's
            own: 24,183 to fit, 2,993 to validate, 2,824 to test. Otherwise an image is in "test"
            if the CRC-32 of its name without suffix is a multiple of 5, which holds for a fifth,
            and every fifth of the rest, in order, is in "validation".
        data_dir: the folder; None for CelebAMask-HQ in the folder that the environment variable
            KERAS_PARTS_DATA names.

    Returns:
        Samples with image, part_labels (18 parts), foreground (any part) and box.

    Raises:
        ConfigError: the split is unknown.
        DataError: the data set is not there, incomplete or damaged.
    """
    check_split("celebamask", split, SPLITS)
    root = find_data("celebamask", data_dir, FOLDER, HOW_TO_OBTAIN)
    if (root / "images").is_dir():
        kind, entries = CelebAMask, _label_map_entries(root)
    else:
        kind, entries = OfficialCelebAMask, _official_entries(root)
    official = _official_splits(root, entries)
    if split == "all":
        return kind(INFO, entries, root)
    if official:
        wanted = ("fit", "validation") if split == "train" else (split,)
        return kind(INFO, [entry for entry in entries if official.get(entry.id) in wanted], root)
    chosen = [entry for entry in entries if in_fixed_test(entry.id) == (split == "test")]
    dataset = kind(INFO, chosen, root)
    return dataset if split == "test" else split_of(dataset, split)


def prepare(
    data_dir: str | PathLike, output: str | PathLike, size: int = 256, progress=True
) -> int:
    """Write label maps out of the official layout: smaller, and read in a tenth of the time.

    What is there already is left as it is: an interrupted run goes on where it was.

    Args:
        data_dir: the official layout.
        output: folder for `images/NAME.jpg` and `masks/NAME.png`.
        size: side of both in pixels.
        progress: show a progress bar.

    Returns:
        How many pictures were written.
    """
    root, output = Path(data_dir), Path(output)
    dataset = OfficialCelebAMask(INFO, _official_entries(root), root)
    for folder in ("images", "masks"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    partition = root / _PARTITION
    written = 0
    for index, name in enumerate(tqdm(dataset.ids(), "label maps", disable=not progress)):
        targets = output / "images" / f"{name}.jpg", output / "masks" / f"{name}.png"
        if all(target.exists() for target in targets):
            continue
        sample = dataset[index]
        image = Image.fromarray(sample.image).resize((size, size), Image.Resampling.BICUBIC)
        labels = Image.fromarray(sample.part_labels).resize((size, size), Image.Resampling.NEAREST)
        for picture, target in zip((image, labels), targets, strict=True):
            with atomic_path(target) as path:
                picture.save(path, quality=95)
        written += 1
    for extra in (partition, root / _MAPPING):
        if extra.is_file():
            with atomic_path(output / extra.name) as path:
                path.write_bytes(extra.read_bytes())
    return written


def _mask(path):
    mask = read_mask(path, threshold=127)
    if mask.shape != (_SIDE, _SIDE):
        raise DataError(
            f"celebamask: {path} has {mask.shape[1]} x {mask.shape[0]} pixels, expected {_SIDE} x "
            f"{_SIDE}"
        )
    return mask


def _label(path):
    return 1 + list(PARTS).index(path.stem.partition("_")[2])


def _label_map_entries(root):
    images = sorted((root / "images").iterdir())
    entries = [
        Entry(path.stem, path, (root / "masks" / f"{path.stem}.png",), str(path))
        for path in images
        if path.suffix.lower() in (".jpg", ".png")
    ]
    if are_collected():
        masks = {path.stem: path for path in (root / "masks").glob("*.png")}
        _report_lost(root / "images", masks, {entry.id for entry in entries})
    return entries


def _official_entries(root):
    """One a picture, with those of its masks that are there: a face need not show every part."""
    if not (root / _IMAGES).is_dir() or not (root / _MASKS).is_dir():
        raise DataError(
            f"celebamask: {root} has neither {_IMAGES} and {_MASKS} nor images and masks. To "
            f"obtain the data set, {HOW_TO_OBTAIN}"
        )
    entries = []
    for path in sorted((root / _IMAGES).glob("*.jpg"), key=lambda path: path.stem.zfill(8)):
        if not path.stem.isdecimal():
            report(f"celebamask: {path} is not named by a number, as all images are")
            continue
        number = int(path.stem)
        folder = root / _MASKS / str(number // _MASKS_A_FOLDER)
        masks = [folder / f"{number:05d}_{part}.png" for part in PARTS]
        there = tuple(mask for mask in masks if mask.is_file()) or (masks[0],)
        entries.append(Entry(path.stem, path, there, str(path)))
    if are_collected():
        _report_lost(root / _IMAGES, _masks_by_number(root), {int(entry.id) for entry in entries})
    return entries


def _masks_by_number(root):
    """Number of a face -> one of its masks."""
    masks = {}
    for path in sorted((root / _MASKS).glob("*/*.png")):
        number = path.name.partition("_")[0]
        if number.isdecimal():
            masks.setdefault(int(number), path)
    return masks


def _report_lost(folder, masks, there):
    """Report masks whose picture is not among those in the folder, once a picture."""
    if not there:
        return  # all are lost, which is told as one problem
    for name in sorted(set(masks) - there):
        report(f"celebamask: {masks[name]} has no picture in {folder}: unpack it again")


def _official_splits(root, entries):
    """Picture -> fit, validation or test, or nothing if the files for it are not there."""
    if not (root / _PARTITION).is_file() or not (root / _MAPPING).is_file():
        return {}
    partition = _by_name(_PARTITION, _columns(root / _PARTITION, 2))
    mapping = _columns(root / _MAPPING, 3)
    if not partition or not mapping:
        return {}
    splits = {}
    for number, (line, _, original) in _by_name(_MAPPING, mapping[1:]).items():
        _, split = partition.get(original, (None, None))
        if split not in _OF_CELEBA:
            report(
                f"celebamask: {_PARTITION} has no split for {original} of {_MAPPING} line {line}"
            )
        else:
            splits[number] = _OF_CELEBA[split]
    for entry in entries:
        if entry.id not in splits:
            report(f"celebamask: {_MAPPING} gives no split to {entry.image}")
    return splits


def _by_name(file, rows):
    """{first word: (line, other words)}; the first line of a name counts."""
    found = {}
    for line, name, *others in rows:
        if name in found:
            report(f"celebamask: {file} has {name} twice, in lines {found[name][0]} and {line}")
        found.setdefault(name, (line, *others))
    return found


def _columns(path, columns):
    """[(line, word, ...)] of a text file."""
    rows = []
    lines = attempt(read_lines, path)
    if lines == []:
        report(f"celebamask: {path.name} is empty")
    for line, text in enumerate(lines or (), 1):
        row = text.split()
        if len(row) == columns:
            rows.append((line, *row))
        elif row:
            report(f"celebamask: {path.name} has {len(row)} columns in line {line}, not {columns}")
    return rows
