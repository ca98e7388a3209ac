"""The text files that CUB-200-2011 and NABirds share, and the samples that they describe.

The files do not define their pixel origin. The readers assume: part locations are 0-based pixel
indices; boxes are measured from the image's top-left *corner* (from 0 to the image's width), so
half a pixel is subtracted from a box to measure it from the centre of the first pixel.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.crops import image_box
from keras_parts.data.dataset import Dataset, DatasetInfo
from keras_parts.data.problems import attempt, is_collecting, report, required
from keras_parts.data.readers.keypoints import visible_inside
from keras_parts.data.readers.sources import (
    DatasetSource,
    read_image_and_size,
    read_lines,
    size_and_time,
)
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import read_image

_MAX_DIGITS = 18  # of a number in a table


class BirdTables:
    """The text files of such a data set: one row for each image, in the order of images.txt.

    Values without a valid line are NaN, unknown categories are -1.

    Args:
        source: the data set.
        root: its folder.
        text_ids: whether the ids of images are words instead of whole numbers.
        every_class: whether classes without images are kept; NABirds lists groups of classes too.

    Attributes:
        ids: id of each image, as in images.txt.
        paths: its path in the folder of images.
        is_train: (images,) 1, 0 or NaN.
        boxes: (images, 4) x, y, width and height.
        categories: (images,) index in `class_names`.
        class_ids, class_names: of the classes, in the order of classes.txt.
        landmarks: names of the landmarks.
        parts: (images, landmarks, 3) x, y and visibility.
        box_lines, part_lines: (images,) and (images, landmarks): line numbers of the values.

    Raises:
        DataError: a table is missing or damaged; the message names file and line.
    """

    def __init__(
        self, source: DatasetSource, root: Path, *, text_ids: bool = False, every_class: bool = True
    ):
        self._source, self._root = source, root
        images = self._names("images.txt", "image", text_ids=text_ids)
        self.ids, self.paths = list(images), list(images.values())
        # Words are replaced by the index of their image when a table is read.
        self._row_of = {word: row for row, word in enumerate(images)} if text_ids else None
        self._keys = list(range(len(images))) if text_ids else self.ids
        is_train, lines = self._by_image("train_test_split.txt", 2)
        self.is_train = is_train[:, 0]
        self._check_flags("train_test_split.txt", self.is_train, lines)
        self.boxes, self.box_lines = self._by_image("bounding_boxes.txt", 5)
        labels, lines = self._by_image("image_class_labels.txt", 2)
        labels = labels[:, 0]

        classes = required(self._names, "classes.txt", "class", unique=every_class)
        if classes:
            table = "image_class_labels.txt"
            self._check_listed(table, "class", labels, lines, "classes.txt", list(classes))
        if not every_class:
            classes = {number: name for number, name in classes.items() if number in set(labels)}
        self.class_ids, self.class_names = list(classes), list(classes.values())
        index_of = {number: index for index, number in enumerate(self.class_ids)}
        self.categories = np.array([index_of.get(label, -1) for label in labels], np.int64)

        parts = required(self._names, "parts/parts.txt", "part")
        self.landmarks = tuple(parts.values())
        self.parts, self.part_lines = self._part_locations(list(parts))

    def in_split(self, split: str) -> np.ndarray:
        """(images,) bool: whether an image is in "train", "test" or "all"."""
        if split == "all":
            return np.full(len(self.ids), True)
        return self.is_train == (split == "train")

    def of_classes(self, classes: Iterable[int]) -> np.ndarray:
        """(images,) bool: whether an image is of one of the classes.

        Raises:
            ConfigError: there is no such class.
        """
        if not self.class_ids:  # classes.txt is damaged, which has been reported
            return np.full(len(self.ids), True)
        numbers = np.array(list(classes), np.int64)
        unknown = np.setdiff1d(numbers, self.class_ids)
        if len(unknown):
            raise ConfigError(
                f"{self._source.name}: classes.txt has no class {unknown[0]}: it lists "
                f"{len(self.class_ids)} classes, {min(self.class_ids)} to {max(self.class_ids)}"
            )
        return np.isin(self.categories, [self.class_ids.index(number) for number in numbers])

    def present(self) -> np.ndarray:
        """(images,) bool: whether the folder of an image exists; it may not in a partial copy."""
        images = self._root / "images"
        folders = [path.rpartition("/")[0] for path in self.paths]
        existing = {folder for folder in set(folders) if (images / folder).is_dir()}
        if folders and not existing:
            problem = f"{self._source.name}: {images} has none of the folders that images.txt names"
            report(problem, of_sample=False)
        return np.array([folder in existing for folder in folders], bool)

    def note_missing(self, missing: np.ndarray) -> tuple[str, ...]:
        """A note on the classes that a partial copy lacks, if any.

        Args:
            missing: (images,) bool: images whose folder does not exist.
        """
        if not missing.any():
            return ()
        folders = {self.paths[row].rpartition("/")[0] for row in np.flatnonzero(missing)}
        return (
            f"{self._source.name}: this copy lacks the image folders of {len(folders)} of "
            f"{len(self.class_ids)} classes: {missing.sum():,} images of images.txt are left out",
        )

    def _by_image(self, table, columns):
        """The columns after the image id of a table with one line per image,
        (images, columns - 1), and the line numbers, (images,)."""
        lines, numbers = self._numbers(table, columns, of_images=True)
        rows = _rows(self._keys, numbers[:, 0])
        self._check_once(table, self.ids, rows, lines)
        return _scattered(rows, len(self.ids), numbers[:, 1:], lines)

    def _part_locations(self, part_ids):
        """(images, landmarks, 3): x, y and visibility; and line numbers, (images, landmarks)."""
        table = "parts/part_locs.txt"
        lines, numbers = self._numbers(table, 5, of_images=True)
        image, part = _rows(self._keys, numbers[:, 0]), _rows(part_ids, numbers[:, 1])
        if part_ids:
            self._check_listed(table, "part", numbers[:, 1], lines, "parts.txt", part_ids)
        known = (image >= 0) & (part >= 0)
        rows = np.where(known, image * len(part_ids) + part, -1)
        names = [f"{image}, part {part}" for image in self.ids for part in part_ids]
        self._check_once(table, names, rows, lines)
        found, lines = _scattered(rows, len(names), numbers[:, 2:], lines)
        self._check_flags(table, found[:, 2], lines)
        shape = len(self.ids), len(part_ids)
        return found.reshape(*shape, 3), lines.reshape(shape)

    def _names(self, table, what, *, text_ids=False, unique=True):
        """{number: name} of a table; duplicates are reported, and the first one is kept."""
        names: dict[Any, str] = {}
        first: dict[str, int] = {}  # number or name -> its first line
        for line, (word, name) in self._rows_of(table, 2, numeric_columns=1).items():
            if not text_ids and (not word.isdecimal() or len(word) > _MAX_DIGITS):
                self._report(
                    f"{table} has {word[:_MAX_DIGITS]!r} in line {line}, expected a whole number"
                )
                continue
            key = word if text_ids else int(word)
            for entry in (f"{what} {key}", *([name] if unique else [])):
                if entry in first:
                    self._report(f"{table} lists {entry} twice, in lines {first[entry]} and {line}")
                    break
            else:
                names[key] = name
                first[f"{what} {key}"] = first[name] = line
        return names

    def _rows_of(self, table, columns, numeric_columns):
        """{line number: words} of a text file.

        The first `numeric_columns` are numbers; a name in the last column may contain spaces.
        """
        rows = {}
        for line, text in enumerate(attempt(self._lines, table) or (), 1):
            row = text.split(maxsplit=columns - 1 if numeric_columns < columns else -1)
            if len(row) == columns:
                rows[line] = row
            else:
                self._report(f"{table} has {len(row)} columns in line {line}, expected {columns}")
        return rows

    def _lines(self, table):
        name, path = self._source.name, self._root / table
        if not path.exists():
            way_out = self._source.how_to_obtain
            raise DataError(f"{name}: {table} is missing in {self._root}: {way_out}")
        try:
            lines = read_lines(path)
        except DataError as error:
            raise DataError(f"{name}: {table} {str(error).removeprefix(f'{path}: ')}") from None
        if not lines:
            raise DataError(f"{name}: {table} is empty: unpack it again")
        return lines

    def _numbers(self, table, columns, *, of_images=False):
        """Line numbers, (lines,), and values, (lines, columns) float64, of a file of numbers.

        If ids of images are words, the first column of a file `of_images` is the index of the
        image, -1 for an unknown one.
        """
        rows = self._rows_of(table, columns, numeric_columns=columns)
        if of_images and self._row_of is not None:
            for row in rows.values():
                row[0] = self._row_of.get(row[0], -1)
        try:
            numbers = np.array(list(rows.values()), np.float64).reshape(-1, columns)
            if np.isfinite(numbers).all():
                return np.array(list(rows), np.int64), numbers
        except ValueError:
            pass
        for line, row in list(rows.items()):
            invalid = [word for word in row if not _is_finite(word)]
            if invalid:
                self._report(
                    f"{table} has {invalid[0][:_MAX_DIGITS]!r} in line {line}, expected a number"
                )
                del rows[line]
        numbers = np.array(list(rows.values()), np.float64).reshape(-1, columns)
        return np.array(list(rows), np.int64), numbers

    def _check_once(self, table, names, rows, lines):
        """Report images without a line or with several; an empty table has already been
        reported."""
        if not len(lines):
            return
        counts = np.bincount(rows[rows >= 0], minlength=len(names))
        for row in np.flatnonzero(counts == 0):
            self._report(f"{table} has no line for image {names[row]}")
        for row in np.flatnonzero(counts > 1):
            where = ", ".join(map(str, lines[rows == row]))
            self._report(f"{table} has more than one line for image {names[row]}: {where}")

    def _check_listed(self, table, what, values, lines, other, listed):
        """Report every class or part that the table `other` does not list, with the first line
        that has it."""
        for value in np.setdiff1d(values[~np.isnan(values)], listed):
            line = lines[values == value].min()
            self._report(
                f"{table} has {what} {value:g} in line {line}, which {other} does not list"
            )

    def _check_flags(self, table, values, lines):
        """Report known values other than 0 and 1."""
        invalid = ~np.isnan(values) & (values != 0) & (values != 1)
        for row in np.flatnonzero(invalid):
            self._report(f"{table} has {values[row]:g} in line {lines[row]}, expected 0 or 1")

    def _report(self, problem):
        report(f"{self._source.name}: {problem}")


class Birds(Dataset):
    """Images of `BirdTables`; a subclass may add masks.

    Args:
        source: the data set.
        root: its folder.
        tables: its text files.
        chosen: (images,) bool: the images to read.
        categories: names of the classes.
        regions: {region: names of landmarks}, see `DatasetInfo`.
        masks: folder of the masks, with a PNG for each image; None for no masks.
        notes: remarks on the data set.

    Raises:
        DataError: files are missing.
    """

    def __init__(
        self,
        source: DatasetSource,
        root: Path,
        tables: BirdTables,
        chosen: np.ndarray,
        *,
        categories: Sequence[str],
        regions: dict[str, tuple[str, ...]],
        masks: Path | None = None,
        notes: Sequence[str] = (),
    ):
        self._root, self._masks = root, masks
        present = tables.present()
        self.notes = (*notes, *tables.note_missing(chosen & ~present))
        rows = np.flatnonzero(chosen & present)
        self.info = DatasetInfo(
            name=source.name,
            landmarks=tables.landmarks,
            mirror_order=mirrored_order(tables.landmarks),
            categories=tuple(categories),
            regions=regions,
            licence=source.licence,
            how_to_obtain=source.how_to_obtain,
        )
        self._paths = [tables.paths[row] for row in rows]
        self._sizes = self._sizes_of_files()
        self._numbers = [tables.ids[row] for row in rows]
        self._boxes, self._parts = tables.boxes[rows], tables.parts[rows]
        self._box_lines, self._part_lines = tables.box_lines[rows], tables.part_lines[rows]
        self._categories = tables.categories[rows]

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        """As in `Dataset`; values from damaged lines of the tables are missing or None."""
        image, size = read_image_and_size(self.files(index)[0])
        category = int(self._categories[index])
        fields = {
            "id": _stem(self._paths[index]),
            "image": image,
            "foreground": attempt(self.mask, index, size),
            "category": None if category < 0 else category,
        }
        if size is None:
            return fields
        fields["box"] = attempt(self._box, index, image_box(*size))
        return fields | self._keypoints(index, size)

    def mask(self, index: int, size: tuple[int, int] | None) -> np.ndarray | None:
        """(height, width) bool mask, or None if there are no masks.

        Args:
            index: of the sample.
            size: (height, width) of its image, or None if unknown.
        """
        return None

    def image(self, index: int) -> np.ndarray:
        return read_image(self.files(index)[0])

    def ids(self) -> list[str]:
        return [_stem(path) for path in self._paths]

    def categories(self) -> np.ndarray:
        return self._categories.copy()

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{self.info.name} {self._sizes}\n{self._paths}".encode())
        for array in (self._boxes, self._parts, self._categories):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def mask_file(self, index: int) -> Path | None:
        return self.files(index)[1]

    def number(self, index: int) -> int | str:
        """The official id of the image at `index`."""
        return self._numbers[index]

    def files(self, index: int) -> tuple[Path, Path | None]:
        """The image file and the mask file of the sample at `index`."""
        path = self._paths[index]
        return self._root / "images" / path, None if self._masks is None else self._mask_path(path)

    def _mask_path(self, path):
        return (self._masks / path).with_suffix(".png")

    def _box(self, index, frame):
        if np.isnan(self._boxes[index]).any():
            return None
        x, y, width, height = self._boxes[index]
        box = np.array([x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5])
        box = np.clip(box, frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]]).astype(np.float32)
        if not (box[:2] < box[2:]).all():
            raise DataError(
                f"{self.info.name}: bounding_boxes.txt, line {self._box_lines[index]}: the box "
                f"{self._boxes[index].tolist()} of {self._paths[index]} is empty or outside the "
                "image"
            )
        return box

    def _keypoints(self, index, size):
        def describe(part):
            return (
                f"{self.info.name}: parts/part_locs.txt, line {self._part_lines[index, part]}: "
                f"{self.info.landmarks[part]} of {self._paths[index]}"
            )

        parts = self._parts[index]
        keypoints = parts[:, :2].astype(np.float32)
        visible = visible_inside(keypoints, parts[:, 2] == 1, size=size, describe=describe)
        known = not np.isnan(parts).any()
        return {"keypoints": keypoints, "visible": visible} if known else {}

    def _sizes_of_files(self):
        """Sizes in bytes of all image files, then of all mask files."""
        files = [self._root / "images" / path for path in self._paths]
        files += [] if self._masks is None else map(self._mask_path, self._paths)
        sizes = [size_and_time(file)[0] for file in files]
        missing = [file for file, size in zip(files, sizes, strict=True) if size is None]
        if missing and not is_collecting():  # a check finds them when it reads them
            raise DataError(
                f"{self.info.name}: {len(missing)} of {len(files)} files are missing, the first is "
                f"{missing[0]}: unpack the archives again, or name the classes to read "
                "(--data-option classes=[1,2])"
            )
        return sizes


def find_root(source: DatasetSource, folder: Path) -> Path:
    """The folder itself or the data set's folder in it, whichever has images.txt.

    Raises:
        DataError: neither has.
    """
    for root in (folder, folder / source.folder):
        if (root / "images.txt").is_file():
            return root
    raise source.missing(f"{folder} has no images.txt, so it is not {source.folder}")


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


def _stem(path):
    return path.rpartition(".")[0] or path
