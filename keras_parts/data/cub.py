"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes and 15 landmarks.

Wah, Branson, Welinder, Perona, Belongie: *The Caltech-UCSD Birds-200-2011 Dataset*,
CNS-TR-2011-001. Read in the official folder layout, of which a part will do.

The files do not say where their pixels begin. Assumed here: part locations are 0-based indices of
pixels, boxes are measured from the image's top-left *corner* (they begin at 0 and end at the
image's width), so half a pixel is taken off a box to measure it from the first pixel's centre.
"""

import hashlib
import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from keras_parts.data.crops import image_box
from keras_parts.data.dataset import Dataset, DatasetInfo, hold_out
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.images import read_image, read_mask

SPLITS = ("train", "test", "fit", "validation", "all")
FOLDER = "CUB_200_2011"
LICENCE = (
    "Photographs from Flickr, their rights with the photographers; for non-commercial research "
    "and education (https://www.vision.caltech.edu/datasets/cub_200_2011/)"
)
HOW_TO_OBTAIN = (
    "download CUB_200_2011.tgz (1.2 GB) from https://data.caltech.edu/records/65de6-vp158 and, "
    "for the masks, segmentations.tgz (39 MB) from https://data.caltech.edu/records/w9d68-gec53, "
    "and unpack both in one folder. For non-commercial research and education"
)
_MASK_THRESHOLD = 127  # official masks are grey: how many of the annotators agreed


class CUB(Dataset):
    """One split of CUB-200-2011; see `load_cub`."""

    def __init__(
        self,
        root: str | PathLike,
        split: str,
        classes: Iterable[int] | None = None,
        masks: bool = True,
    ):
        self._root = _find_root(Path(root))
        self._masks = _find_masks(self._root) if masks else None
        tables = _Tables(self._root)
        chosen = tables.in_split(split) & tables.present(self._root)
        if classes is not None:
            chosen &= tables.of_classes(classes)
        rows = np.flatnonzero(chosen)
        self._paths = [tables.paths[row] for row in rows]
        self._boxes, self._parts = tables.boxes[rows], tables.parts[rows]
        self._categories = tables.categories[rows]
        self.info = DatasetInfo(
            name="cub",
            landmarks=tables.landmarks,
            mirror=_mirror(tables.landmarks),
            categories=tables.category_names,
            licence=LICENCE,
            how_to_obtain=HOW_TO_OBTAIN,
        )
        self._sizes = self._file_sizes()

    def __len__(self):
        return len(self._paths)

    def read(self, index):
        path = self._paths[index]
        image = read_image(self._root / "images" / path)
        foreground = None
        if self._masks is not None:
            mask_path = self._mask_path(path)
            foreground = read_mask(mask_path, threshold=_MASK_THRESHOLD)
            if foreground.shape != image.shape[:2]:
                raise DataError(
                    f"cub: {mask_path} has {foreground.shape[1]} x {foreground.shape[0]} pixels, "
                    f"its image {image.shape[1]} x {image.shape[0]}"
                )
        frame = image_box(*image.shape[:2])
        parts = self._parts[index]
        keypoints = parts[:, :2].astype(np.float32)
        inside = ((keypoints >= frame[:2]) & (keypoints <= frame[2:])).all(axis=1)
        return Sample(
            id=_stem(path),
            image=image,
            foreground=foreground,
            keypoints=keypoints,
            visible=(parts[:, 2] == 1) & inside,
            box=self._box(index, frame),
            category=int(self._categories[index]),
        )

    def ids(self):
        return [_stem(path) for path in self._paths]

    def categories(self):
        return self._categories.copy()

    def fingerprint(self):
        digest = hashlib.sha256(f"cub {self._sizes}\n{self._paths}".encode())
        for array in (self._boxes, self._parts, self._categories):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _box(self, index, frame):
        x, y, width, height = self._boxes[index]
        box = np.array([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
        box = np.clip(box, frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float32)
        if not (box[:2] < box[2:]).all():
            raise DataError(
                f"cub: bounding_boxes.txt: the box {self._boxes[index].tolist()} of "
                f"{self._paths[index]} is empty or outside the image"
            )
        return box

    def _mask_path(self, path):
        return (self._masks / path).with_suffix(".png")

    def _file_sizes(self):
        """Bytes of every image and mask; the first look at them, so that a missing one is seen."""
        wanted = [self._root / "images" / path for path in self._paths]
        if self._masks is not None:
            wanted += [self._mask_path(path) for path in self._paths]
        sizes, missing = [], []
        for path in wanted:
            try:
                sizes.append(path.stat().st_size)
            except FileNotFoundError:
                missing.append(path)
        if missing:
            raise DataError(
                f"cub: {len(missing)} of {len(wanted)} files are missing, the first is "
                f"{missing[0]}: unpack the archives again, or leave classes out with `classes`"
            )
        return sizes


def load_cub(
    split: str,
    data_dir: str | PathLike | None = None,
    classes: Iterable[int] | None = None,
    masks: bool = True,
) -> Dataset:
    """CUB-200-2011 from its official folder layout.

    Of a copy that lacks the images of whole classes the others are read. A box that reaches over
    the image's border is cut there.

    Args:
        split: "train" or "test" (the official split), "all" (both), or "fit" and "validation", a
            fixed partition of "train" (`hold_out`).
        data_dir: the folder CUB_200_2011 or the one that holds it; None for CUB_200_2011 in the
            folder that the environment variable KERAS_PARTS_DATA names. The folder
            `segmentations` lies in CUB_200_2011 or beside it.
        classes: the numbers of the classes to read, as in classes.txt (from 1); None for all.
        masks: False to do without the folder `segmentations`.

    Returns:
        Samples with image, foreground (unless `masks` is False), 15 keypoints, box and category:
        the class's place in classes.txt, from 0, whatever `classes` are chosen.

    Raises:
        ConfigError: the split or a class is unknown.
        DataError: the data set is not there, incomplete or damaged; names file and line.
    """
    if split not in SPLITS:
        raise ConfigError(f"cub has the splits {', '.join(SPLITS)}, not {split!r}")
    if data_dir is None:
        data_dir = _usual_place()
    if split in ("fit", "validation"):
        fit, validation = hold_out(CUB(data_dir, "train", classes, masks))
        return fit if split == "fit" else validation
    return CUB(data_dir, split, classes, masks)


class _Tables:
    """The text files of the data set, one row an image, in the order of images.txt."""

    def __init__(self, root):
        images = _read_table(root, "images.txt", 2, numbers=1)
        self.ids = _whole("images.txt", [row[0] for row in images])
        self.paths = [row[1] for row in images]
        if len(set(self.ids)) < len(self.ids):
            raise DataError("cub: images.txt lists an image twice")
        self.is_train = self._by_image(root, "train_test_split.txt", 2)[:, 0]
        self.boxes = self._by_image(root, "bounding_boxes.txt", 5)
        labels = self._by_image(root, "image_class_labels.txt", 2)[:, 0]

        classes = _read_table(root, "classes.txt", 2, numbers=1)
        self.class_ids = _whole("classes.txt", [row[0] for row in classes])
        self.category_names = tuple(_readable(row[1]) for row in classes)
        place = {number: index for index, number in enumerate(self.class_ids)}
        unknown = set(labels) - set(place)
        if unknown:
            raise DataError(
                f"cub: image_class_labels.txt has the class {min(unknown):g}, "
                "which classes.txt does not list"
            )
        self.categories = np.array([place[label] for label in labels], np.int64)

        parts = _read_table(root, "parts/parts.txt", 2, numbers=1)
        self.landmarks = tuple(row[1] for row in parts)
        self.parts = self._part_locations(
            root, _whole("parts/parts.txt", [row[0] for row in parts])
        )

    def in_split(self, split):
        return (
            np.full(len(self.ids), True) if split == "all" else self.is_train == (split == "train")
        )

    def of_classes(self, classes):
        classes = np.array(list(classes), np.int64)
        unknown = np.setdiff1d(classes, self.class_ids)
        if len(unknown):
            raise ConfigError(
                f"cub: classes.txt has no class {unknown[0]}: it lists {len(self.class_ids)} "
                f"classes, {min(self.class_ids)} to {max(self.class_ids)}"
            )
        return np.isin(np.array(self.class_ids)[self.categories], classes)

    def present(self, root):
        """Images whose class has a folder: a partial copy is one with fewer of them."""
        folders = [path.rpartition("/")[0] for path in self.paths]
        there = {folder for folder in set(folders) if (root / "images" / folder).is_dir()}
        if not there:
            raise DataError(f"cub: {root / 'images'} has none of the folders that images.txt names")
        return np.array([folder in there for folder in folders])

    def _by_image(self, root, name, columns):
        """(images, columns - 1) numbers of a file with one line an image."""
        numbers = _read_numbers(root, name, columns)
        rows = _rows(self.ids, numbers[:, 0])
        _check_once(name, self.ids, rows, "image")
        result = np.empty((len(self.ids), columns - 1))
        result[rows[rows >= 0]] = numbers[rows >= 0, 1:]
        return result

    def _part_locations(self, root, part_ids):
        """(images, landmarks, 3): x, y and whether it is visible."""
        name = "parts/part_locs.txt"
        numbers = _read_numbers(root, name, 5)
        image, part = _rows(self.ids, numbers[:, 0]), _rows(part_ids, numbers[:, 1])
        if (part < 0).any():
            line = np.flatnonzero(part < 0)[0]
            raise DataError(f"cub: {name}: parts.txt has no part {numbers[line, 1]:g}")
        known = image >= 0
        places = np.where(known, image * len(part_ids) + part, -1)
        names = [f"{image}, part {part}" for image in self.ids for part in part_ids]
        _check_once(name, names, places, "image")
        result = np.empty((len(self.ids) * len(part_ids), 3))
        result[places[known]] = numbers[known, 2:]
        return result.reshape(len(self.ids), len(part_ids), 3)


def _usual_place():
    folder = os.environ.get("KERAS_PARTS_DATA")
    if not folder:
        raise DataError(
            "cub: no data folder was given and the environment variable KERAS_PARTS_DATA is not "
            f"set. To obtain the data set, {HOW_TO_OBTAIN}"
        )
    return Path(folder) / FOLDER


def _find_root(folder):
    for root in (folder, folder / FOLDER):
        if (root / "images.txt").is_file():
            return root
    raise DataError(
        f"cub: {folder} holds no images.txt, so it is not {FOLDER}. To obtain the data set, "
        f"{HOW_TO_OBTAIN}"
    )


def _find_masks(root):
    for folder in (root / "segmentations", root.parent / "segmentations"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"cub: {root} has no folder segmentations: go without masks (masks=False), or "
        f"{HOW_TO_OBTAIN}"
    )


def _read_table(root, name, columns, numbers):
    """Lines of words; the first `numbers` words of a line are numbers, the last is the rest."""
    try:
        lines = (root / name).read_text(encoding="utf-8").rstrip().splitlines()
    except FileNotFoundError:
        raise DataError(f"cub: {name} is missing in {root}: {HOW_TO_OBTAIN}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cub: {name} cannot be read as text: {error}") from None
    if not lines:
        raise DataError(f"cub: {name} is empty")
    rows = [line.split(maxsplit=columns - 1 if numbers < columns else -1) for line in lines]
    for line, row in enumerate(rows, 1):
        if len(row) != columns:
            raise DataError(
                f"cub: {name} has {len(row)} columns in line {line}, expected {columns}"
            )
    return rows


def _read_numbers(root, name, columns):
    """(lines, columns) float64 of a file of numbers."""
    rows = _read_table(root, name, columns, numbers=columns)
    try:
        numbers = np.array(rows, dtype=np.float64)
        finite = np.isfinite(numbers).all()
    except ValueError:
        finite = False
    if not finite:
        words = ((line, word) for line, row in enumerate(rows, 1) for word in row)
        line, word = next((line, word) for line, word in words if not _is_finite(word))
        raise DataError(f"cub: {name} has {word!r} in line {line}, expected a number")
    return numbers


def _is_finite(word):
    try:
        return np.isfinite(float(word))
    except ValueError:
        return False


def _whole(name, words):
    for line, word in enumerate(words, 1):
        if not word.isdecimal():
            raise DataError(f"cub: {name} has {word!r} in line {line}, expected a whole number")
    return [int(word) for word in words]


def _rows(ids, numbers):
    """For each number its place in `ids`, -1 where it is not among them."""
    order = np.argsort(ids)
    ordered = np.array(ids)[order]
    places = np.minimum(np.searchsorted(ordered, numbers), len(ids) - 1)
    return np.where(ordered[places] == numbers, order[places], -1)


def _check_once(name, names, places, what):
    """Every name has one line: neither none nor two."""
    counts = np.bincount(places[places >= 0], minlength=len(names))
    for count, problem in ((counts == 0, "no line"), (counts > 1, "more than one line")):
        if count.any():
            raise DataError(f"cub: {name} has {problem} for {what} {names[count.argmax()]}")


def _stem(path):
    return path.rpartition(".")[0] or path


def _readable(name):
    return name.partition(".")[2].replace("_", " ") or name


def _mirror(landmarks):
    """Left and right of the same name change places."""
    sides = {"left": "right", "right": "left"}
    swapped = [
        " ".join(sides.get(word, word) for word in landmark.split()) for landmark in landmarks
    ]
    return tuple(
        landmarks.index(other) if other in landmarks else place
        for place, other in enumerate(swapped)
    )
