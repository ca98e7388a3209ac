"""Your own images, with masks from a folder, from their alpha channel or from a COCO file.

Masks are optional. Part labels and keypoints are for evaluation.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset, DatasetInfo, split_of
from keras_parts.data.problems import (
    WAY_OUT,
    attempt,
    collect_problems,
    is_collecting,
    listed,
    report,
)
from keras_parts.data.readers.coco import CocoFile, CocoObject
from keras_parts.data.readers.keypoints import visible_inside
from keras_parts.data.readers.mask_sources import (
    FITS_STORED,
    Item,
    MaskSource,
    mask_source,
    photographs_key,
    sizes_differ,
)
from keras_parts.data.readers.matching_files import MatchingFiles, existing_folder, find_images
from keras_parts.data.readers.remarks import Remarks
from keras_parts.data.readers.sources import (
    DatasetSource,
    read_image_and_size,
    size_and_time,
)
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.bit_depth import darkness
from keras_parts.images.decoding import ImageFacts, read_facts, read_image
from keras_parts.images.folders import LeftOut
from keras_parts.images.formats import IMAGE_SUFFIXES
from keras_parts.images.masks import DecodedMask, read_labels
from keras_parts.images.orientation import turn_map, turn_points

_LOG = logging.getLogger(__name__)
SOURCE = DatasetSource(
    name="folder",
    annotations="masks, part labels or keypoints if given",
    licence="the owner's",
    how_to_obtain="use your own images",
)


_FULL = "covers the whole image"
_NO_MASK = ": no mask, expected "
_FIND_MISSING = "Objects without a mask are found by missing_masks=discover (--data-option)"
_INVERTED = "is white along all sides of the image and black inside: is it inverted?"
_TURNED = (
    "would fit its image before and after the EXIF turn: it is taken as upright; if it was painted "
    "on the pixels as stored, set annotation_orientation=stored (--data-option)"
)
_FOLDER_IS_STORED = (
    "No mask of an image with an EXIF turn fits it upright, and {} fit the pixels as stored: add "
    "--data-option annotation_orientation=stored"
)


class Folder(Dataset):
    """The images of a folder; see `load_folder`."""

    def __init__(
        self,
        root: str | PathLike,
        *,
        masks: str | PathLike | None = None,
        verify: Literal["headers", "pixels"] = "headers",
        category: str | int | bool | None = None,
        crowds: bool = False,
        part_labels: str | PathLike | None = None,
        part_names: Sequence[str] = (),
        void_label: int | None = 255,
        keypoints: str | PathLike | None = None,
        mask_threshold: int | None = None,
        annotation_orientation: Literal["upright", "stored"] = "upright",
        missing_masks: Literal["error", "discover"] = "error",
        progress: bool = True,
    ):
        if annotation_orientation not in ("upright", "stored"):
            raise ConfigError(
                "folder: annotation_orientation must be upright or stored, not "
                f"{annotation_orientation!r}"
            )
        if verify not in ("headers", "pixels"):
            raise ConfigError(f"folder: verify must be headers or pixels, not {verify!r}")
        self._root = existing_folder(root, "the images")
        self._is_stored = annotation_orientation == "stored"
        self._threshold = mask_threshold
        self._remarks = _FolderRemarks()
        self._known_facts: dict[Path, ImageFacts] = {}
        self._masks = (
            attempt(
                mask_source,
                self._root,
                masks,
                category,
                crowds=crowds,
                threshold=mask_threshold,
                missing=missing_masks,
                progress=progress,
            )
            or MaskSource()
        )
        self.masks_from = self._masks.name
        # With so many names it is the label of a part.
        self._void_label = None if len(part_names) >= (void_label or 256) else void_label
        self._labels: MatchingFiles | None = None
        self._keypoints: CocoFile | None = None
        self._keypoints_of_images: dict[Path, list[CocoObject]] = {}
        if part_labels is not None:
            self._labels = attempt(MatchingFiles, part_labels, "part label")
        if keypoints is not None:
            self._keypoints = attempt(CocoFile, keypoints, category)
            self._notes += self._keypoints.notes if self._keypoints else ()
        landmarks = self._landmarks()
        self.info = DatasetInfo(
            name=SOURCE.name,
            landmarks=landmarks,
            mirror_order=mirrored_order(landmarks),
            part_names=tuple(part_names),
            licence=SOURCE.licence,
            how_to_obtain=SOURCE.how_to_obtain,
        )
        paths = self._find_images()
        self._items = self._find_items(paths)
        if is_collecting():  # every sample will be read completely
            self._report_unmatched(paths)
        else:
            self._verify(pixels=verify == "pixels")
        self._items = self._masks.find(self._items)
        self._notes += self._masks.notes

    def __len__(self) -> int:
        return len(self._items)

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        return self._fields(self._items[index])

    def image(self, index: int) -> np.ndarray:
        return read_image(self._root / self._items[index].path)

    def mask_origin(self, index: int) -> str:
        return self._masks.origin(self._items[index])

    def ids(self) -> list[str]:
        return [item.id for item in self._items]

    def categories(self) -> np.ndarray:
        return np.full(len(self), -1, np.int64)

    def mask_file(self, index: int) -> PathLike | str | None:
        return self._file_of_mask(self._items[index])

    def _file_of_mask(self, item: Item) -> PathLike | str | None:
        file = self._masks.mask_file(item)
        return self._labels.of(item.path) if file is None and self._labels is not None else file

    def fingerprint(self) -> str:
        """A hash of the names, sizes and modification times of the files, not of their content, and
        of the kinds of annotations that are read from them."""
        labelled = self._labels is not None
        categories = [file and file.category for file in (self._masks.coco, self._keypoints)]
        options = f"folder {self._masks.kind} {labelled} {categories}"
        if self._threshold is not None:
            options += f" threshold {self._threshold}"
        if self._is_stored:
            options += " stored"
        digest = hashlib.sha256(options.encode())
        for item in self._items:
            sizes_and_times = list(map(size_and_time, self._files(item)))
            number = item.object and item.object.number
            digest.update(f"\n{item.id} {number} {sizes_and_times}".encode())
        return digest.hexdigest()

    def images_fingerprint(self) -> str:
        return photographs_key(self._root, [item.path for item in self._items])

    def _files(self, item: Item) -> list[Path]:
        """The files that a sample is read from, as far as they exist."""
        files = [self._root / item.path]
        with collect_problems():  # missing files are reported when they are read
            files += attempt(self._masks.paths, item) or ()
            labels = self._labels and attempt(self._labels.of, item.path)
            files += [labels] if labels else []
        return files if self._keypoints is None else [*files, self._keypoints.path]

    def _landmarks(self) -> tuple[str, ...]:
        source = self._keypoint_file()
        return source.landmarks if source else ()

    def _keypoint_file(self) -> CocoFile | None:
        """The COCO file that keypoints are read from."""
        return self._keypoints or self._masks.coco

    def _other_files(self) -> list[MatchingFiles]:
        """The folders of masks and part labels."""
        return [files for files in (self._masks.files, self._labels) if files is not None]

    def _find_images(self) -> list[Path]:
        others = [files.folder for files in self._other_files()]
        left_out = LeftOut()
        paths = find_images(self._root, exclude=others, left_out=left_out)
        counts = {self._root: left_out}
        counts |= {files.folder: files.left_out for files in self._other_files()}
        self._notes += tuple(
            f"{folder.name or folder}: {count}" for folder, count in counts.items() if str(count)
        )
        if not paths:
            raise DataError(
                f"{self._root} has no images: neither it nor its subfolders have files ending in "
                + ", ".join(sorted(IMAGE_SUFFIXES))
                + (f" ({left_out})" if str(left_out) else "")
            )
        return paths

    def _find_items(self, paths: list[Path]) -> list[Item]:
        items = attempt(self._masks.items, paths)
        if items is None:  # reported; a check continues with the images
            self._masks = MaskSource()
            items = self._masks.items(paths)
        if self._keypoints is not None:
            self._keypoints_of_images, problems = self._keypoints.by_image(paths, "keypoints")
            for problem in problems if is_collecting() else ():
                report(problem)
        return items

    def _notes_of_samples(self) -> tuple[str, ...]:
        return self._remarks.notes(len(self))

    def _fields(self, item: Item) -> dict[str, Any]:
        image, size = read_image_and_size(self._root / item.path)
        if image is not None:
            self._remarks.on_pixels(item, self._root / item.path, image)
        fields = {"id": item.id, "image": image}
        if size is None:
            return fields | self._annotations(item, None)
        facts = replace(attempt(self._facts, item) or ImageFacts(size), size=size)
        return fields | self._annotations(item, facts) | self._keypoints_of(item, facts)

    def _facts(self, item: Item) -> ImageFacts:
        """The facts of an image, read once."""
        if item.path not in self._known_facts:
            path = self._root / item.path
            facts = read_facts(path)
            self._remarks.on_image(item, path, facts)
            self._known_facts[item.path] = replace(facts, remarks=())
        return self._known_facts[item.path]

    def _annotations(self, item: Item, facts: ImageFacts | None) -> dict[str, Any]:
        """The fields foreground, part_labels and box; `facts` is None if the image is damaged."""
        labels = attempt(self._part_labels, item, facts)
        foreground = attempt(self._foreground, item, facts)
        if foreground is None and self._masks.kind == MaskSource.kind and labels is not None:
            foreground = labels > 0
        if labels is not None:
            if foreground is not None and foreground.shape == labels.shape:
                labels = np.where(foreground, labels, np.uint8(0))
            self._check_names(item, labels)
        fields: dict[str, Any] = {"foreground": foreground, "part_labels": labels}
        if facts is None:
            return fields
        box = None if foreground is None else mask_box(foreground)
        return fields | {"box": image_box(*facts.size) if box is None else box}

    def _foreground(self, item: Item, facts: ImageFacts | None) -> np.ndarray | None:
        if item.object is not None and facts is not None:
            # Before memory is taken for a mask of the size that a file claims.
            height, width = item.object.size
            turned = (width, height) if self._is_stored and facts.orientation >= 5 else None
            where = self._masks.mask_file(item) or ""
            self._check_size(turned or (height, width), facts, where, "the mask has")
        decoded = self._masks.mask(item)
        if decoded is None:
            return None
        file = self._masks.mask_file(item) or ""
        is_turned = self._masks.is_turned(item)
        mask = self._upright(item, decoded.mask, facts, file, "the mask has", is_turned)
        self._remarks.on_mask(item, file, replace(decoded, mask=mask))
        return mask

    def _part_labels(self, item: Item, facts: ImageFacts | None) -> np.ndarray | None:
        if self._labels is None:
            return None
        file = self._labels.of(item.path)
        is_turned = read_facts(file).orientation != 1
        labels = self._without_void(read_labels(file))
        return self._upright(item, labels, facts, file, "labels have", is_turned)

    def _without_void(self, labels: np.ndarray) -> np.ndarray:
        void = labels == self._void_label
        if not void.any():
            return labels
        assert self._labels is not None
        _say_void(self._labels.folder.name, self._void_label)
        return np.where(void, np.uint8(0), labels)

    def _upright(
        self,
        item: Item,
        pixels: np.ndarray,
        facts: ImageFacts | None,
        file: PathLike | str,
        what: str,
        is_turned: bool,
    ) -> np.ndarray:
        """A mask or label map, turned like its image if it belongs to the stored pixels.

        Raises:
            DataError: its size is not that of the image.
        """
        if facts is None:
            return pixels
        is_stored = self._is_stored and not is_turned
        if is_stored:
            pixels = turn_map(pixels, facts.orientation)
        self._check_size(pixels.shape, facts, file, what, is_turned)
        if not (self._is_stored or is_turned):
            self._remarks.on_turn(item, file, facts)
        return pixels

    def _check_size(
        self,
        size: tuple[int, ...],
        facts: ImageFacts,
        file: PathLike | str,
        what: str,
        is_turned: bool = False,
    ) -> None:
        if size != facts.size:
            stored = self._is_stored and not is_turned
            height, width = size
            raise DataError(
                sizes_differ(facts.size, (height, width), file, what, facts=facts, is_stored=stored)
            )

    def _check_names(self, item, labels):
        names = self.info.part_names
        if self._labels is not None and names and labels.max() > len(names):
            report(
                f"{self._labels.of(item.path)} has the label {labels.max()}, but only 1 to "
                f"{len(names)} have a name: name it in part_names, or set its pixels to 0"
            )

    def _keypoints_of(self, item, facts):
        """The fields keypoints and visible; empty for a folder without landmarks."""
        source = self._keypoint_file()
        if source is None or not source.landmarks:
            return {}
        annotated = attempt(self._annotated_object, item)
        if annotated is None or annotated.keypoints is None:
            count = len(source.landmarks)
            return {"keypoints": np.zeros((count, 2), np.float32), "visible": np.zeros(count, bool)}

        def describe(index):
            return (
                f"{source.path}: {source.landmarks[index]} of annotation {annotated.number}, in "
                f"{item.path.as_posix()},"
            )

        points = annotated.keypoints[:, :2]
        if self._is_stored:
            points = turn_points(points, facts.orientation, facts.stored_size)
        points = points.astype(np.float32)
        labelled = annotated.keypoints[:, 2] > 0
        visible = visible_inside(points, labelled, size=facts.size, describe=describe)
        return {"keypoints": points, "visible": visible}

    def _annotated_object(self, item: Item) -> CocoObject | None:
        """The COCO object with the keypoints of a sample, or None."""
        if self._keypoints is None:
            found = item.object
            return None if found is None or found.keypoints is None else found
        objects = self._keypoints_of_images.get(item.path, [])
        if len(objects) > 1:
            raise DataError(
                f"{self._keypoints.path}: {item.path.as_posix()} has {len(objects)} objects "
                "with keypoints, expected one per image: take masks from this file as well "
                "(masks=FILE.json), which makes each object a sample"
            )
        return objects[0] if objects else None

    def _report_unmatched(self, paths: list[Path]) -> None:
        """Report masks and labels that belong to no image, or to several.

        Causes are misspelt names and missing images.
        """
        for files in self._other_files():
            others = [other.folder for other in self._other_files() if other is not files]
            files.report_unmatched(paths, [self._root, *others])

    def _check(self, item: Item, *, pixels: bool) -> None:
        """Raise `DataError` if an image or its mask has a problem; without `pixels`, only the
        header of the image is read."""
        fields = self._fields(item) if pixels else self._annotations(item, self._facts(item))
        foreground = fields["foreground"]
        if foreground is not None and not foreground.any():
            raise DataError(self._empty_mask(item.id, self._file_of_mask(item)))

    def _verify(self, *, pixels: bool) -> None:
        total = len(self._items)
        with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
            results = pool.map(partial(_problem, partial(self._check, pixels=pixels)), self._items)
            found = list(tqdm(results, "checking images", total, delay=2, leave=False))
        problems = [problem for problem in found if problem is not None]
        if problems:
            summary = f"{len(problems)} of {total} images have a problem"
            stored = sum(FITS_STORED in problem for problem in problems)
            more = (
                f"\n{_FOLDER_IS_STORED.format(stored)}"
                if stored and not self._remarks.fit_upright
                else ""
            )
            without_mask = any(_NO_MASK in problem for problem in problems)
            ways_out = f"{WAY_OUT}. {_FIND_MISSING}" if without_mask else WAY_OUT
            raise DataError(f"{listed(summary, problems)}{more}\n{ways_out}")


def load_folder(
    split: str,
    data_dir: str | PathLike,
    *,
    masks: str | PathLike | None = None,
    verify: Literal["headers", "pixels"] = "headers",
    category: str | int | bool | None = None,
    crowds: bool = False,
    part_labels: str | PathLike | None = None,
    part_names: Sequence[str] = (),
    void_label: int | None = 255,
    keypoints: str | PathLike | None = None,
    mask_threshold: int | None = None,
    annotation_orientation: Literal["upright", "stored"] = "upright",
    missing_masks: Literal["error", "discover"] = "error",
    progress: bool = True,
) -> Dataset:
    """Load the images of a folder and its subfolders, in natural order (2 before 10).

    Hidden files and folders are skipped, and so are files whose suffix is not in `IMAGE_SUFFIXES`.
    Loading reads the header of every image and all of every mask once. What is unusual about masks
    is said once for all of them, see `notes` of the data set.

    Args:
        split: "train", "test" or "all" (each the whole folder), or "fit" and "validation", two
            fixed parts of it (`hold_out`).
        data_dir: the folder.
        masks: a folder with one mask per image, whose relative path differs only in the suffix
            (`keras_parts.images.decode_mask` describes the kinds of masks); or "alpha", to take
            pixels that are more than half opaque as the object; or a COCO JSON file, each of whose
            annotated objects is a sample, with keypoints if the file has any; or "discover", to
            find the objects in the images, which takes minutes and is kept in the cache; or None
            for no masks.
        verify: "headers" finds missing files, files that are not images, and masks that are
            damaged, empty or of another size than their image; "pixels" also decodes every image
            once, to find damaged ones.
        category: name or id of the category in the COCO file; None if only one has objects.
        crowds: True to read also the objects of the COCO file with `iscrowd` 1, as annotation tools
            mark brush masks.
        part_labels: a folder with the part labels as indexed or grey images, named like the
            images, 0 for the background. Without `masks`, all labelled pixels are foreground. For
            evaluation only.
        part_names: names of the labels 1, 2, ...
        void_label: a label that means "unknown", such as the borders of objects in PASCAL VOC; its
            pixels become background. None if there is none.
        keypoints: a COCO JSON file with at most one object with keypoints per image. For
            evaluation only.
        mask_threshold: the largest value of the background in mask files or in alpha, 0 to 254;
            None for the rules of `keras_parts.images.decode_mask`, or 127 for alpha.
        annotation_orientation: "upright" if masks, part labels and keypoints belong to images as
            they are displayed; "stored" if they were made by a program that ignores the EXIF
            orientation: they are then turned like their image. Masks with an orientation of their
            own are turned by that.
        missing_masks: "discover" finds the objects of the images for which the folder `masks` has
            no mask; otherwise such images are problems.
        progress: show progress bars while objects are found.

    Returns:
        Samples with image, foreground (None without masks and part labels), box, and the given
        part_labels and keypoints. The box is that of the mask, or the whole image if there is no
        mask or it is empty. The id is the relative path; if an image has several objects, it is
        "PATH#NUMBER" with the id of the annotation. Objects that are found in one image are one
        sample, and images in which none is found are left out.

    Raises:
        ConfigError: the split, an option or the category is unknown; or the COCO file has several
            categories and none is chosen.
        DataError: a folder is missing or has no images; or files have problems, of which the first
            ten are listed.
    """
    SOURCE.check_split(split)
    dataset = Folder(
        data_dir,
        masks=masks,
        verify=verify,
        category=category,
        crowds=crowds,
        part_labels=part_labels,
        part_names=part_names,
        void_label=void_label,
        keypoints=keypoints,
        mask_threshold=mask_threshold,
        annotation_orientation=annotation_orientation,
        missing_masks=missing_masks,
        progress=progress,
    )
    return split_of(dataset, split)


@cache
def _say_void(folder: str, label: int) -> None:
    _LOG.warning("%s: the label %d is void, its pixels are background (void_label)", folder, label)


def _problem(check, item):
    try:
        check(item)
    except DataError as error:
        return str(error)
    return None


class _FolderRemarks:
    """Remarks about the images and masks of a folder.

    Attributes:
        fit_upright: ids of samples whose mask can only belong to the upright image, although the
            image is turned by EXIF.
    """

    def __init__(self) -> None:
        self._images, self._masks = Remarks("images"), Remarks("masks")
        self._inverted, self._turned = Remarks("masks"), Remarks("masks")
        self.fit_upright: set[str] = set()

    def on_image(self, item: Item, file: Path, facts: ImageFacts) -> None:
        for remark in facts.remarks:
            self._images.add(remark, item.id, file)

    def on_pixels(self, item: Item, file: Path, image: np.ndarray) -> None:
        for remark in darkness(image):
            self._images.add(remark, item.id, file)

    def on_mask(self, item: Item, file: PathLike | str, decoded: DecodedMask) -> None:
        for remark in decoded.remarks:
            self._masks.add(remark, item.id, file)
        mask = decoded.mask
        if mask.all():
            self._masks.add(_FULL, item.id, file)
        elif all(side.all() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1])):
            self._inverted.add(_INVERTED, item.id, file)

    def on_turn(self, item: Item, file: PathLike | str, facts: ImageFacts) -> None:
        """Note which orientation a mask has that fits the upright image."""
        if facts.orientation == 1:
            return
        if facts.size == facts.stored_size:
            self._turned.add(_TURNED, item.id, file)
        else:
            self.fit_upright.add(item.id)

    def notes(self, total: int) -> tuple[str, ...]:
        found = [self._images, self._masks]
        if 2 * self._inverted.count(_INVERTED) >= total:
            found.append(self._inverted)
        if not self.fit_upright:
            found.append(self._turned)
        return tuple(note for remarks in found for note in remarks.notes(total))
