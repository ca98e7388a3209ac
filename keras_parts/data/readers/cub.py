"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes and 15 landmarks.

Wah, Branson, Welinder, Perona, Belongie: *The Caltech-UCSD Birds-200-2011 Dataset*,
CNS-TR-2011-001. Read from the official folder layout; a copy with some of the classes is enough.

The files do not define their pixel origin. This reader assumes: part locations are 0-based pixel
indices; boxes are measured from the image's top-left *corner* (from 0 to the image's width), so
half a pixel is subtracted from a box to measure it from the centre of the first pixel.
"""

import hashlib
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.crops import image_box
from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, DatasetInfo, split_of
from keras_parts.data.problems import attempt, is_collecting, report, required
from keras_parts.data.readers.keypoints import visible_inside
from keras_parts.data.readers.matlab import as_list, read_mat
from keras_parts.data.readers.sources import (
    DatasetSource,
    read_image_and_size,
    read_lines,
    size_and_time,
)
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.masks import read_mask

SOURCE = DatasetSource(
    name="cub",
    annotations="masks, 15 keypoints, boxes, species",
    licence=(
        "Photographs from Flickr, their rights with the photographers; for non-commercial "
        "research and education (https://www.vision.caltech.edu/datasets/cub_200_2011/)"
    ),
    how_to_obtain=(
        "give the command `keras-parts data download cub`; or download CUB_200_2011.tgz (1.2 GB) "
        "from https://data.caltech.edu/records/65de6-vp158 and, for the masks, segmentations.tgz "
        "(39 MB) from https://data.caltech.edu/records/w9d68-gec53, and unpack both in one folder. "
        "For non-commercial research and education"
    ),
    folder="CUB_200_2011",
)
_MASKS = (
    "unpack segmentations.tgz (39 MB, https://data.caltech.edu/records/w9d68-gec53) there or beside"
)
MASK_THRESHOLD = 127
"""A larger grey value is foreground: it is the share of annotators who marked the pixel."""
REGIONS = {
    "head": ("beak", "crown", "forehead", "left eye", "right eye", "nape", "throat"),
    "wings": ("left wing", "right wing"),
    "legs": ("left leg", "right leg"),
    "underside": ("belly", "breast"),
}
SUBSETS = {
    "001": "001.Black_footed_Albatross",
    "002": "002.Laysan_Albatross",
    "003": "003.Sooty_Albatross",
}
"""CUB-001, -002 and -003: the classes for which landmark regression is reported."""
CMR = "cmr"
"""The subset of images that CMR (Kanazawa et al., ECCV 2018) cleaned: 5,964 training images and
5,771 others."""
_MAX_DIGITS = 18  # of a number in a table
_CMR_FILES = {"train": ("train",), "test": ("val", "test"), "all": ("train", "val", "test")}


class CUB(Dataset):
    """One split of CUB-200-2011; see `load_cub`."""

    def __init__(
        self,
        root: str | PathLike,
        split: str,
        *,
        classes: Iterable[int] | None = None,
        masks: bool | None = None,
        subset: str | None = None,
    ):
        self._root = _find_root(Path(root).expanduser())
        notes: tuple[str, ...] = ()
        self._masks = None if masks is False else attempt(self._find_masks, masks)
        if self._masks is None and masks is None and not is_collecting():
            notes = (f"{self._without_masks()}, so its samples have no masks. To have them, "
                     f"{_MASKS}",)  # fmt: skip
        tables = _Tables(self._root)
        chosen = tables.in_split(split)
        if classes is not None:
            chosen &= tables.of_classes(classes)
        if subset is not None:
            chosen &= tables.of_subset(self._root, split, subset)
        present = tables.present(self._root)
        self.notes = (*notes, *_missing_classes(tables, chosen & ~present))
        rows = np.flatnonzero(chosen & present)
        self._paths = [tables.paths[row] for row in rows]
        self._sizes = self._sizes_of_files()
        self._numbers = [tables.ids[row] for row in rows]
        self._boxes, self._parts = tables.boxes[rows], tables.parts[rows]
        self._box_lines, self._part_lines = tables.box_lines[rows], tables.part_lines[rows]
        self._categories = tables.categories[rows]
        self.info = DatasetInfo(
            name=SOURCE.name,
            landmarks=tables.landmarks,
            mirror_order=mirrored_order(tables.landmarks),
            categories=tables.category_names,
            regions=REGIONS,
            licence=SOURCE.licence,
            how_to_obtain=SOURCE.how_to_obtain,
        )

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        """As in `Dataset`; values from damaged lines of the tables are missing or None."""
        image_path, mask_path = self.files(index)
        image, size = read_image_and_size(image_path)
        category = int(self._categories[index])
        fields = {
            "id": _stem(self._paths[index]),
            "image": image,
            "foreground": None if mask_path is None else attempt(_mask, mask_path, size),
            "category": None if category < 0 else category,
        }
        if size is None:
            return fields
        fields["box"] = attempt(self._box, index, image_box(*size))
        return fields | self._keypoints(index, size)

    def ids(self) -> list[str]:
        return [_stem(path) for path in self._paths]

    def categories(self) -> np.ndarray:
        return self._categories.copy()

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"cub {self._sizes}\n{self._paths}".encode())
        for array in (self._boxes, self._parts, self._categories):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def _box(self, index, frame):
        if np.isnan(self._boxes[index]).any():
            return None
        x, y, width, height = self._boxes[index]
        box = np.array([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
        box = np.clip(box, frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float32)
        if not (box[:2] < box[2:]).all():
            raise DataError(
                f"cub: bounding_boxes.txt, line {self._box_lines[index]}: the box "
                f"{self._boxes[index].tolist()} of {self._paths[index]} is empty or outside the "
                "image"
            )
        return box

    def _keypoints(self, index, size):
        def describe(part):
            return (
                f"cub: parts/part_locs.txt, line {self._part_lines[index, part]}: "
                f"{self.info.landmarks[part]} of {self._paths[index]}"
            )

        parts = self._parts[index]
        keypoints = parts[:, :2].astype(np.float32)
        visible = visible_inside(keypoints, parts[:, 2] == 1, size=size, describe=describe)
        known = not np.isnan(parts).any()
        return {"keypoints": keypoints, "visible": visible} if known else {}

    def _find_masks(self, required):
        for folder in (self._root / "segmentations", self._root.parent / "segmentations"):
            if folder.is_dir():
                return folder
        if required or is_collecting():
            raise DataError(f"{self._without_masks()}: to have masks, {_MASKS}")
        return None

    def _without_masks(self):
        return f"cub: {self._root} has no folder segmentations"

    def mask_file(self, index: int) -> Path | None:
        return self.files(index)[1]

    def number(self, index: int) -> int:
        """The official id of the image at `index`."""
        return self._numbers[index]

    def files(self, index: int) -> tuple[Path, Path | None]:
        """The image file and the mask file of the sample at `index`."""
        path = self._paths[index]
        return self._root / "images" / path, None if self._masks is None else self._mask_path(path)

    def _mask_path(self, path):
        return (self._masks / path).with_suffix(".png")

    def _sizes_of_files(self):
        """Sizes in bytes of all image files, then of all mask files."""
        files = [self._root / "images" / path for path in self._paths]
        files += [] if self._masks is None else map(self._mask_path, self._paths)
        sizes = [size_and_time(file)[0] for file in files]
        missing = [file for file, size in zip(files, sizes, strict=True) if size is None]
        if missing and not is_collecting():  # a check finds them when it reads them
            raise DataError(
                f"cub: {len(missing)} of {len(files)} files are missing, the first is "
                f"{missing[0]}: unpack the archives again, or name the classes to read "
                "(--data-option classes=[1,2])"
            )
        return sizes


def load_cub(
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    classes: Iterable[int] | None = None,
    masks: bool | None = None,
    subset: str | None = None,
) -> Dataset:
    """Load CUB-200-2011 from its official folder layout.

    If the image folders of some classes are missing, the other classes are read. Boxes are clipped
    to the image.

    Args:
        split: "train" or "test" (the official split), "all" (both), or "fit" and "validation", two
            fixed parts of "train" (`hold_out`).
        data_dir: the folder CUB_200_2011 or its parent; None for CUB_200_2011 in
            one of `keras_parts.environment.data_folders`. The folder `segmentations` is expected in
            CUB_200_2011 or beside it.
        classes: numbers of the classes to read, as in classes.txt (from 1); None for all.
        masks: whether to read masks; None does if the folder `segmentations` is there, and the data
            set's `notes` say so if it is not.
        subset: "001", "002" or "003", the classes of landmark regression; or "cmr", the images
            that CMR cleaned, listed in its {train,val,test}_cub_cleaned.mat, which are searched in
            CUB_200_2011, beside it and in `cachedir/cub/data` beside it.

    Returns:
        Samples with image, foreground (if masks are read), 15 keypoints, box and category.
        The category is the index of the class in classes.txt, from 0, and does not depend on
        `classes`.

    Raises:
        ConfigError: the split, a class or the subset is unknown.
        DataError: the data set is missing, incomplete or damaged; the message names file and line.
    """
    SOURCE.check_split(split)
    check_subset(SOURCE.name, subset)
    root = SOURCE.find(None) if data_dir is None else Path(data_dir)
    read = "train" if split in FIT_AND_VALIDATION else split
    dataset = CUB(root, read, classes=classes, masks=masks, subset=subset)
    return split_of(dataset, split)


def check_subset(name: str, subset: str | None) -> None:
    """Raise `ConfigError` unless there is such a subset of CUB-200-2011."""
    if subset not in (None, CMR, *SUBSETS):
        raise ConfigError(f"{name} has the subsets {', '.join((CMR, *SUBSETS))}, not {subset!r}")


def subset_category(subset: str, categories: Sequence[str]) -> int | None:
    """The category of CUB-001, -002 or -003, found by name: partial copies may number it otherwise.

    Args:
        subset: a key of `SUBSETS`.
        categories: names of all categories, as in `DatasetInfo.categories`.

    Returns:
        The index in `categories`, or None if the class is not among them.
    """
    name = _readable(SUBSETS[subset]).lower()
    names = [category.lower() for category in categories]
    return names.index(name) if name in names else None


class _Tables:
    """The text files of the data set: one row for each image, in the order of images.txt.

    Values without a valid line are NaN, unknown categories are -1. `in_split`, `of_classes`,
    `of_subset` and `present` return (images,) bool.

    Attributes:
        box_lines, part_lines: (images,) and (images, landmarks): line numbers of the values.
    """

    def __init__(self, root):
        images = _read_names(root, "images.txt", "image")
        self.ids, self.paths = list(images), list(images.values())
        is_train, lines = self._by_image(root, "train_test_split.txt", 2)
        self.is_train = is_train[:, 0]
        _check_flags("train_test_split.txt", self.is_train, lines)
        self.boxes, self.box_lines = self._by_image(root, "bounding_boxes.txt", 5)
        labels, lines = self._by_image(root, "image_class_labels.txt", 2)
        labels = labels[:, 0]

        classes = required(_read_names, root, "classes.txt", "class")
        self.class_ids, self.class_names = list(classes), list(classes.values())
        self.category_names = tuple(map(_readable, self.class_names))
        if classes:
            table = "image_class_labels.txt"
            _check_listed(table, "class", labels, lines, "classes.txt", self.class_ids)
        index_of = {number: index for index, number in enumerate(self.class_ids)}
        self.categories = np.array([index_of.get(label, -1) for label in labels], np.int64)

        parts = required(_read_names, root, "parts/parts.txt", "part")
        self.landmarks = tuple(parts.values())
        self.parts, self.part_lines = self._part_locations(root, list(parts))

    def in_split(self, split):
        return (
            np.full(len(self.ids), True) if split == "all" else self.is_train == (split == "train")
        )

    def of_classes(self, classes):
        if not self.class_ids:  # classes.txt is damaged, which has been reported
            return np.full(len(self.ids), True)
        classes = np.array(list(classes), np.int64)
        unknown = np.setdiff1d(classes, self.class_ids)
        if len(unknown):
            raise ConfigError(
                f"cub: classes.txt has no class {unknown[0]}: it lists {len(self.class_ids)} "
                f"classes, {min(self.class_ids)} to {max(self.class_ids)}"
            )
        chosen = [self.class_ids.index(number) for number in classes]
        return np.isin(self.categories, chosen)

    def of_subset(self, root, split, subset):
        if subset == CMR:
            folders = [root, root.parent, root.parent / "cachedir" / "cub" / "data"]
            return np.isin(self.paths, cmr_paths(folders, split))
        if SUBSETS[subset] not in self.class_names:
            raise DataError(f"cub: classes.txt has no {SUBSETS[subset]} (CUB-{subset})")
        return self.categories == self.class_names.index(SUBSETS[subset])

    def present(self, root):
        """Whether the folder of the image's class exists; it does not in a partial copy."""
        folders = [path.rpartition("/")[0] for path in self.paths]
        existing = {folder for folder in set(folders) if (root / "images" / folder).is_dir()}
        if folders and not existing:
            problem = f"cub: {root / 'images'} has none of the folders that images.txt names"
            report(problem, of_sample=False)
        return np.array([folder in existing for folder in folders], bool)

    def _by_image(self, root, name, columns):
        """The columns after the image id of a file with one line per image, (images, columns - 1),
        and the line numbers, (images,)."""
        lines, numbers = _read_numbers(root, name, columns)
        rows = _rows(self.ids, numbers[:, 0])
        _check_once(name, self.ids, rows, lines)
        return _scattered(rows, len(self.ids), numbers[:, 1:], lines)

    def _part_locations(self, root, part_ids):
        """(images, landmarks, 3): x, y and visibility; and line numbers, (images, landmarks)."""
        name = "parts/part_locs.txt"
        lines, numbers = _read_numbers(root, name, 5)
        image, part = _rows(self.ids, numbers[:, 0]), _rows(part_ids, numbers[:, 1])
        if part_ids:
            _check_listed(name, "part", numbers[:, 1], lines, "parts.txt", part_ids)
        known = (image >= 0) & (part >= 0)
        rows = np.where(known, image * len(part_ids) + part, -1)
        names = [f"{image}, part {part}" for image in self.ids for part in part_ids]
        _check_once(name, names, rows, lines)
        found, lines = _scattered(rows, len(names), numbers[:, 2:], lines)
        _check_flags(name, found[:, 2], lines)
        shape = len(self.ids), len(part_ids)
        return found.reshape(*shape, 3), lines.reshape(shape)


def _read_names(root, table, what):
    """{number: name} of a table; duplicates are reported, and the first one is kept."""
    names: dict[int, str] = {}
    first: dict[str, int] = {}  # number or name -> its first line
    for line, (number, name) in _read_table(root, table, 2, numeric_columns=1).items():
        if not number.isdecimal() or len(number) > _MAX_DIGITS:
            report(
                f"cub: {table} has {number[:_MAX_DIGITS]!r} in line {line}, expected a whole number"
            )
            continue
        for entry in (f"{what} {int(number)}", name):
            if entry in first:
                report(f"cub: {table} lists {entry} twice, in lines {first[entry]} and {line}")
                break
        else:
            names[int(number)] = name
            first[f"{what} {int(number)}"] = first[name] = line
    return names


def cmr_paths(folders: Iterable[Path], split: str) -> list[str]:
    """The paths in images.txt of the images that CMR lists.

    Args:
        folders: folders in which the lists are searched, in order.
        split: "train", "test" (CMR's val and test) or "all".

    Raises:
        DataError: a list is missing or damaged.
    """
    folders = list(folders)
    paths: list[str] = []
    for name in _CMR_FILES[split]:
        file = f"{name}_cub_cleaned.mat"
        found = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if found is None:
            report(
                f"cub: the subset cmr needs {file} in {folders[0]}: it is part of the cached "
                "annotations of https://github.com/akanazawa/cmr"
            )
        else:
            paths += attempt(_cmr_list, found) or ()
    return paths


def _cmr_list(path):
    try:
        return [str(image.rel_path) for image in as_list(read_mat(path, "images"))]
    except AttributeError:
        raise DataError(f"{path} is not a list of CMR: its images have no rel_path") from None


def _mask(path, size):
    """(height, width) bool mask; `size` is that of its image, or None if unknown."""
    mask = read_mask(path, threshold=MASK_THRESHOLD)
    if size is not None and mask.shape != size:
        raise DataError(
            f"cub: {path} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x "
            f"{size[0]}"
        )
    return mask


def _missing_classes(tables, missing):
    """A note on the classes that a partial copy lacks, if any."""
    if not missing.any():
        return ()
    folders = {tables.paths[row].rpartition("/")[0] for row in np.flatnonzero(missing)}
    return (
        f"cub: this copy lacks the image folders of {len(folders)} of {len(tables.class_ids)} "
        f"classes: {missing.sum():,} images of images.txt are left out",
    )


def _find_root(folder):
    for root in (folder, folder / SOURCE.folder):
        if (root / "images.txt").is_file():
            return root
    raise SOURCE.missing(f"{folder} has no images.txt, so it is not {SOURCE.folder}")


def _read_table(root, name, columns, numeric_columns):
    """{line number: words} of a text file.

    The first `numeric_columns` are numbers; a name in the last column may contain spaces.
    """
    rows = {}
    for line, text in enumerate(attempt(_table_lines, root, name) or (), 1):
        row = text.split(maxsplit=columns - 1 if numeric_columns < columns else -1)
        if len(row) == columns:
            rows[line] = row
        else:
            report(f"cub: {name} has {len(row)} columns in line {line}, expected {columns}")
    return rows


def _table_lines(root, name):
    path = root / name
    if not path.exists():
        raise DataError(f"cub: {name} is missing in {root}: {SOURCE.how_to_obtain}")
    try:
        lines = read_lines(path)
    except DataError as error:
        raise DataError(f"cub: {name} {str(error).removeprefix(f'{path}: ')}") from None
    if not lines:
        raise DataError(f"cub: {name} is empty: unpack it again")
    return lines


def _read_numbers(root, name, columns):
    """Line numbers, (lines,), and values, (lines, columns) float64, of a file of numbers."""
    rows = _read_table(root, name, columns, numeric_columns=columns)
    try:
        numbers = np.array(list(rows.values()), np.float64).reshape(-1, columns)
        if np.isfinite(numbers).all():
            return np.array(list(rows), np.int64), numbers
    except ValueError:
        pass
    for line, row in list(rows.items()):
        invalid = [word for word in row if not _is_finite(word)]
        if invalid:
            report(
                f"cub: {name} has {invalid[0][:_MAX_DIGITS]!r} in line {line}, expected a number"
            )
            del rows[line]
    numbers = np.array(list(rows.values()), np.float64).reshape(-1, columns)
    return np.array(list(rows), np.int64), numbers


def _is_finite(word):
    try:
        return np.isfinite(float(word))
    except ValueError:
        return False


def _rows(ids, numbers):
    """The index in `ids` of each number, -1 if there is none."""
    if not ids:
        return np.full(len(numbers), -1)
    order = np.argsort(ids)
    ordered = np.array(ids)[order]
    nearest = np.minimum(np.searchsorted(ordered, numbers), len(ids) - 1)
    return np.where(ordered[nearest] == numbers, order[nearest], -1)


def _scattered(rows, count, numbers, lines):
    """Move the numbers and line numbers of a file to their rows; NaN and 0 in all other rows."""
    known = rows >= 0
    values, found = np.full((count, numbers.shape[1]), np.nan), np.zeros(count, np.int64)
    values[rows[known]], found[rows[known]] = numbers[known], lines[known]
    return values, found


def _check_once(name, names, rows, lines):
    """Report images without a line or with several; an empty table has already been reported."""
    if not len(lines):
        return
    counts = np.bincount(rows[rows >= 0], minlength=len(names))
    for row in np.flatnonzero(counts == 0):
        report(f"cub: {name} has no line for image {names[row]}")
    for row in np.flatnonzero(counts > 1):
        where = ", ".join(map(str, lines[rows == row]))
        report(f"cub: {name} has more than one line for image {names[row]}: {where}")


def _check_listed(name, what, values, lines, table, listed):
    """Report every class or part that `table` does not list, with the first line that has it."""
    for value in np.setdiff1d(values[~np.isnan(values)], listed):
        line = lines[values == value].min()
        report(f"cub: {name} has {what} {value:g} in line {line}, which {table} does not list")


def _check_flags(name, values, lines):
    """Report known values other than 0 and 1."""
    invalid = ~np.isnan(values) & (values != 0) & (values != 1)
    for row in np.flatnonzero(invalid):
        report(f"cub: {name} has {values[row]:g} in line {lines[row]}, expected 0 or 1")


def _stem(path):
    return path.rpartition(".")[0] or path


def _readable(name):
    """The readable name of a class: Laysan Albatross for 002.Laysan_Albatross."""
    return name.partition(".")[2].replace("_", " ") or name
