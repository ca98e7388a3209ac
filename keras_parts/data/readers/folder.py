"""A folder of one's own images, with masks from a folder, their alpha or COCO's JSON.

Masks may be missing where none are needed. Part labels or keypoints are for evaluation.
"""

import hashlib
import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm import tqdm

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo, check_split, split_of
from keras_parts.data.keypoints import visible_inside
from keras_parts.data.problems import are_collected, attempt, report
from keras_parts.data.readers.coco import CocoFile, CocoObject
from keras_parts.data.readers.sources import read_picture
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import (
    IMAGE_SUFFIXES,
    has_alpha,
    read_alpha,
    read_labels,
    read_mask,
    read_size,
)

SPLITS = ("train", "test", "fit", "validation", "all")
ALPHA = "alpha"
LICENCE = "the owner's"
HOW_TO_OBTAIN = "images of one's own"
_PROBLEMS_SHOWN = 10
_OPAQUE = 127  # an alpha above this is on the object


@dataclass(frozen=True, eq=False)
class _Entry:
    """A sample to be: a picture, by its path in the folder, and its object in a COCO file."""

    id: str
    path: Path
    object: CocoObject | None = None


class Folder(Dataset):
    """The images of a folder; see `load_folder`.

    Attributes:
        left_out: what is wrong with each image that `skip_bad` left out.
    """

    def __init__(
        self,
        root: str | PathLike,
        masks: str | PathLike | None = None,
        skip_bad: bool = False,
        verify: Literal["headers", "pixels"] = "headers",
        category: str | None = None,
        part_labels: str | PathLike | None = None,
        part_names: Sequence[str] = (),
        keypoints: str | PathLike | None = None,
    ):
        if verify not in ("headers", "pixels"):
            raise ConfigError(f"verify must be headers or pixels, not {verify!r}")
        self._root = _existing(root, "the images")
        self._masks = attempt(_mask_source, self._root, masks, category) or _NoMasks()
        self._labels = self._keypoints = None
        if part_labels is not None:
            self._labels = attempt(Pictures, part_labels, "part labels")
        if keypoints is not None:
            self._keypoints = attempt(CocoFile, keypoints, category)
        landmarks = self._landmarks()
        self.info = DatasetInfo(
            name="folder",
            landmarks=landmarks,
            mirror=mirrored_order(landmarks),
            part_names=tuple(part_names),
            licence=LICENCE,
            how_to_obtain=HOW_TO_OBTAIN,
        )
        paths = self._find_images()
        self._entries = self._entries_of(paths)
        self.left_out = ()
        if are_collected():  # every sample will be read whole
            self._report_strangers(paths)
        else:
            look = self._look_at_header if verify == "headers" else self._fields
            self.left_out = self._verify(look, skip_bad)

    def __len__(self):
        return len(self._entries)

    def read(self, index):
        return Sample(**self.fields(index))

    def fields(self, index):
        return self._fields(self._entries[index])

    def ids(self):
        return [entry.id for entry in self._entries]

    def categories(self):
        return np.full(len(self), -1, np.int64)

    def mask_file(self, index):
        entry = self._entries[index]
        file = self._masks.name(entry)
        return self._labels.of(entry.path) if file is None and self._labels is not None else file

    def fingerprint(self):
        """Goes by names, sizes and times of the files, not by their content, and by what is taken
        from which of them."""
        kind, labelled = type(self._masks).__name__, self._labels is not None
        categories = [one and one.category for one in (self._masks.coco, self._keypoints)]
        digest = hashlib.sha256(f"folder {kind} {labelled} {categories}".encode())
        for entry in self._entries:
            files = [self._root / entry.path, *self._masks.files(entry)]
            if self._labels is not None:
                files.append(self._labels.of(entry.path))
            if self._keypoints is not None:
                files.append(self._keypoints.path)
            stats = [(one.stat().st_size, one.stat().st_mtime_ns) for one in files]
            number = entry.object and entry.object.number
            digest.update(f"\n{entry.id} {number} {stats}".encode())
        return digest.hexdigest()

    def _landmarks(self):
        source = self._keypoints or self._masks.coco
        return source.landmarks if source else ()

    def _pictures(self):
        """The folders of pictures that belong to the images."""
        return [one for one in (self._masks.pictures, self._labels) if one is not None]

    def _find_images(self):
        paths = find_images(self._root, [one.folder for one in self._pictures()])
        if not paths:
            raise DataError(
                f"{self._root} holds no images: looked in it and its folders for files ending in "
                + ", ".join(sorted(IMAGE_SUFFIXES))
            )
        return paths

    def _entries_of(self, paths):
        entries = attempt(self._masks.entries, paths)
        if entries is None:  # the images are checked all the same
            self._masks = _NoMasks()
            entries = self._masks.entries(paths)
        return entries

    def _fields(self, entry):
        image, size = read_picture(self._root / entry.path)
        labels = attempt(self._part_labels, entry, size)
        foreground = attempt(self._foreground, entry, size, labels)
        if labels is not None:
            if foreground is not None and foreground.shape == labels.shape:
                labels = np.where(foreground, labels, np.uint8(0))
            self._check_names(entry, labels)
        fields = {"id": entry.id, "image": image, "foreground": foreground, "part_labels": labels}
        if size is None:
            return fields
        box = None if foreground is None else mask_box(foreground)
        fields["box"] = image_box(*size) if box is None else box
        return fields | self._keypoints_of(entry, size)

    def _foreground(self, entry, size, labels):
        mask = self._masks.mask(entry)
        if mask is None:
            return None if labels is None else labels > 0
        if size is not None and mask.shape != size:
            raise DataError(_sizes_differ(size, mask.shape, self._masks.name(entry)))
        return mask

    def _part_labels(self, entry, size):
        if self._labels is None:
            return None
        file = self._labels.of(entry.path)
        labels = read_labels(file)
        if size is not None and labels.shape != size:
            raise DataError(_sizes_differ(size, labels.shape, file, "labels have"))
        return labels

    def _check_names(self, entry, labels):
        names = self.info.part_names
        if names and labels.max() > len(names):
            report(
                f"{self._labels.of(entry.path)} has the label {labels.max()}, the largest with a "
                f"name is {len(names)}: name it in part_names, or set its pixels to 0"
            )

    def _keypoints_of(self, entry, size):
        """Keypoints `(landmarks, 2)` and whether each is labelled inside the image, if any has."""
        if not self.info.landmarks:
            return {}
        one = attempt(self._annotated, entry)
        if one is None:
            count = len(self.info.landmarks)
            return {"keypoints": np.zeros((count, 2), np.float32), "visible": np.zeros(count, bool)}
        file = (self._keypoints or self._masks.coco).path

        def describe(place):
            return (
                f"{file}: {self.info.landmarks[place]} of annotation {one.number}, in "
                f"{entry.path.as_posix()},"
            )

        points, labelled = one.keypoints[:, :2].astype(np.float32), one.keypoints[:, 2] > 0
        return {
            "keypoints": points,
            "visible": visible_inside(points, labelled, size, describe),
        }

    def _annotated(self, entry):
        """The COCO object whose keypoints are the sample's, or None."""
        if self._keypoints is None:
            one = entry.object
            return None if one is None or one.keypoints is None else one
        objects = self._keypoints.objects.get(entry.path.as_posix(), [])
        objects = [other for other in objects if other.keypoints is not None]
        if len(objects) > 1:
            raise DataError(
                f"{self._keypoints.path}: {entry.path.as_posix()} has {len(objects)} objects "
                "with keypoints, expected one an image: take masks from this file as well "
                "(masks=FILE.json), which makes each object a sample"
            )
        return objects[0] if objects else None

    def _report_strangers(self, paths):
        """What is of no image that is there (a name misspelt, a folder not complete), or of two."""
        for pictures in self._pictures():
            others = [self._root, *(one.folder for one in self._pictures() if one is not pictures)]
            pictures.report_strangers(paths, others)
        if self._keypoints is None:
            return
        there = {path.as_posix() for path in paths}
        for name, found in self._keypoints.objects.items():
            if found and name not in there:
                report(
                    f"{self._keypoints.path}: there is no image {name}, which it has keypoints of"
                )

    def _look_at_header(self, entry):
        size = read_size(self._root / entry.path)
        self._masks.look(entry, size)
        if self._labels is not None:
            file = self._labels.of(entry.path)
            if (labels_size := read_size(file)) != size:
                raise DataError(_sizes_differ(size, labels_size, file, "labels have"))

    def _verify(self, look, skip_bad):
        """Leaves the entries that `look` accepts; returns what it says of the others."""
        total = len(self._entries)
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            answers = pool.map(partial(_problem, look), self._entries)
            answers = list(tqdm(answers, "checking images", total, delay=2, leave=False))
        problems = tuple(answer for answer in answers if answer is not None)
        if not problems:
            return problems
        self._entries = [
            entry for entry, answer in zip(self._entries, answers, strict=True) if answer is None
        ]
        summary = _summary(problems, total)
        if not self._entries:
            raise DataError(f"no image can be used: {summary}")
        if not skip_bad:
            raise DataError(f"{summary}\nMend or remove them, or leave them out with --skip-bad")
        warnings.warn(f"left out: {summary}", stacklevel=2)
        return problems


def load_folder(
    split: str,
    data_dir: str | PathLike,
    masks: str | PathLike | None = None,
    skip_bad: bool = False,
    verify: Literal["headers", "pixels"] = "headers",
    category: str | None = None,
    part_labels: str | PathLike | None = None,
    part_names: Sequence[str] = (),
    keypoints: str | PathLike | None = None,
) -> Dataset:
    """The images of a folder and its folders, in natural order (2 before 10).

    Hidden files and folders are passed over, and so are files whose suffix is not in
    `IMAGE_SUFFIXES`. Every file's header is looked at once, here.

    Args:
        split: "train", "test" or "all" (each the whole folder), or "fit" and "validation", a
            fixed partition of it (`hold_out`).
        data_dir: the folder.
        masks: a folder with a mask an image, of the same relative name up to the suffix (see
            `read_mask` for what a mask may be); or "alpha": the object is where the image itself
            is more than half opaque; or a COCO JSON file, which makes each of its annotated
            objects a sample, with keypoints where it has any; or None, there are no masks.
        skip_bad: leave out images with a problem, with one warning that counts them.
        verify: "headers" finds files that are missing, no pictures or differ in size; "pixels"
            also decodes each once, and so finds those that are cut short or damaged.
        category: name of the category in COCO's JSON; None where it has only one.
        part_labels: a folder with the labels of parts as indexed or grey pictures, named as the
            images are, 0 for none; the object's mask where there is no other. For evaluation only.
        part_names: names of the labels 1, 2, ...
        keypoints: a COCO JSON file with one object with keypoints an image. For evaluation only.

    Returns:
        Samples with image, foreground (None without masks and part labels) and box: around the
        mask, or around the whole image where there is no mask or it is empty; part_labels and
        keypoints where they were given. The id is the relative path, and for one of several
        objects of an image "PATH#NUMBER" with the annotation's id.

    Raises:
        ConfigError: the split or `verify` is unknown; or a category has to be chosen.
        DataError: a folder is missing or without images; or files have problems, the first ten
            are listed.
    """
    check_split("folder", split, SPLITS)
    dataset = Folder(
        data_dir, masks, skip_bad, verify, category, part_labels, part_names, keypoints
    )
    return split_of(dataset, split) if split in ("fit", "validation") else dataset


class _NoMasks:
    """Where masks come from: here, from nowhere. Other sources answer the same questions.

    Attributes:
        pictures: the folder that holds them, or None.
        coco: the COCO file that holds them, or None.
    """

    pictures = coco = None

    def entries(self, paths):
        """The samples of the images."""
        return [_Entry(path.as_posix(), path) for path in paths]

    def look(self, entry, size):
        """Raise `DataError` if there is no mask for an image of that size, without decoding."""

    def mask(self, entry):
        """(height, width) bool, or None."""

    def name(self, entry):
        """Where the mask stands, for messages."""

    def files(self, entry):
        """The files that the mask is read from."""
        return ()


class _Alpha(_NoMasks):
    """The images' own opacity."""

    def __init__(self, root):
        self._root = root

    def look(self, entry, size):
        if not has_alpha(self.name(entry)):
            raise DataError(_no_alpha(self.name(entry)))

    def mask(self, entry):
        alpha = read_alpha(self.name(entry))
        if alpha is None:
            raise DataError(_no_alpha(self.name(entry)))
        return alpha > _OPAQUE

    def name(self, entry):
        return self._root / entry.path


class _MaskFolder(_NoMasks):
    """A mask an image, of the same name."""

    def __init__(self, folder):
        self.pictures = Pictures(folder, "masks")

    def look(self, entry, size):
        path = self.name(entry)
        if (mask_size := read_size(path)) != size:
            raise DataError(_sizes_differ(size, mask_size, path))

    def mask(self, entry):
        return read_mask(self.name(entry))

    def name(self, entry):
        return self.pictures.of(entry.path)

    def files(self, entry):
        return (self.name(entry),)


class _CocoMasks(_NoMasks):
    """The objects of a COCO file, each a sample."""

    def __init__(self, path, category):
        self.coco = CocoFile(path, category)

    def entries(self, paths):
        objects = {
            name: [one for one in found if one.segmentation is not None]
            for name, found in self.coco.objects.items()
        }
        there = {path.as_posix() for path in paths}
        for name, found in objects.items():
            if found and name not in there:
                report(f"{self.coco.path}: there is no image {name}, which it has objects in")
        entries = []
        for path in paths:
            found = objects.get(path.as_posix(), [])
            for one in found:
                name = path.as_posix() if len(found) == 1 else f"{path.as_posix()}#{one.number}"
                entries.append(_Entry(name, path, one))
        if not entries:
            raise DataError(
                f"{self.coco.path} has no object with a mask in any image of the folder"
            )
        return entries

    def look(self, entry, size):
        if entry.object.size != size:
            raise DataError(_sizes_differ(size, entry.object.size, self.name(entry)))

    def mask(self, entry):
        try:
            return entry.object.mask()
        except DataError as error:
            raise DataError(f"{self.coco.path}: {error}") from error

    def name(self, entry):
        return f"{self.coco.path}, annotation {entry.object.number}"

    def files(self, entry):
        return (self.coco.path,)


class Pictures:
    """A folder of pictures that are named as the images are, up to the suffix."""

    def __init__(self, folder, what):
        self.folder = _existing(folder, f"the {what}")
        self._what = what.removesuffix("s")
        self._files = {}
        for path in find_images(self.folder):
            self._files.setdefault(_stem(path), []).append(self.folder / path)

    def of(self, path):
        """The picture for an image.

        Raises:
            DataError: there is none, or more than one.
        """
        found = self._files.get(_stem(path), [])
        if not found:
            expected = self.folder / path.with_suffix(".png")
            raise DataError(f"{path.as_posix()}: no {self._what}, expected {expected}")
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DataError(
                f"{path.as_posix()}: more than one {self._what} in {self.folder}: {names}"
            )
        return found[0]

    def report_strangers(self, paths, others):
        """Report pictures of none of the images, or of several alike.

        Args:
            paths: of the images.
            others: folders that hold something else, should they lie inside this one.
        """
        images = {}
        for path in paths:
            images.setdefault(_stem(path), []).append(path.as_posix())
        for path in find_images(self.folder, others):
            file, named = self.folder / path, images.get(_stem(path), ())
            if not named:
                report(f"{file}: there is no image of this name for the {self._what}")
            if len(named) > 1:
                report(f"{file}: this {self._what} is that of {' and of '.join(named)} alike")


def _mask_source(root, masks, category):
    if masks is None:
        return _NoMasks()
    if masks == ALPHA:
        return _Alpha(root)
    path = Path(masks).expanduser()
    return _CocoMasks(path, category) if path.suffix.lower() == ".json" else _MaskFolder(path)


def find_images(root: Path, without: Sequence[Path] = ()) -> list[Path]:
    """Image files below a folder, as paths relative to it, in natural order.

    Args:
        root: the folder.
        without: folders that are passed over.
    """
    found = []
    for folder, folders, files in os.walk(root):
        folder = Path(folder)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not any((folder / name).samefile(other) for other in without)
        ]
        found += [
            (folder / name).relative_to(root)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found, key=_natural)


def _natural(path):
    """Key that orders numbers inside names by their value; equal names by their spelling."""
    words = re.split(r"(\d+)", path.as_posix())
    words[1::2] = map(int, words[1::2])
    return [word if isinstance(word, int) else word.casefold() for word in words], path.as_posix()


def _existing(folder, what):
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder for {what}")
    return folder


def _stem(path):
    return path.with_suffix("").as_posix()


def _problem(look, entry):
    try:
        look(entry)
    except DataError as error:
        return str(error)
    return None


def _no_alpha(path):
    return f"{path}: no transparency to take a mask from"


def _sizes_differ(image_size, other_size, where, what="the mask has"):
    return (
        f"{where}: {what} {other_size[1]} x {other_size[0]} pixels, "
        f"its image {image_size[1]} x {image_size[0]}"
    )


def _summary(problems, total):
    shown = "".join(f"\n  {problem}" for problem in problems[:_PROBLEMS_SHOWN])
    more = len(problems) - _PROBLEMS_SHOWN
    tail = f"\n  and {more} more" if more > 0 else ""
    return f"{len(problems)} of {total} images have a problem:{shown}{tail}"
