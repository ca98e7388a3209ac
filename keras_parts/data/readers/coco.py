"""COCO's JSON format: polygons, run-length codes and keypoints of objects.

Lin et al.: *Microsoft COCO: Common Objects in Context*, ECCV 2014; https://cocodataset.org/#format-data
"""

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from keras_parts.data.problems import report
from keras_parts.data.readers.matching_files import ImageNames, plain_name
from keras_parts.data.readers.sources import read_json
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import MAX_PIXELS
from keras_parts.results.annotations import COCO_CONTRIBUTOR
from keras_parts.results.rle import decode_coco_rle

_TABLES = ("images", "annotations", "categories")
_MAX_OUTLINE = 2_000_000  # pixels; pycocotools takes 60 bytes for each
_MAX_NAMES_SHOWN = 20


@dataclass(frozen=True, eq=False)
class CocoObject:
    """One annotation.

    Attributes:
        number: id of the annotation.
        size: (height, width) of the image, according to the file.
        segmentation: polygons or a run-length code, or None.
        keypoints: (landmarks, 3) float64 x, y and visibility (0 not labelled, 1 hidden, 2 seen),
            or None. (0, 0) is the centre of the top-left pixel.
        category: id of its category, as text.
    """

    number: int | str | None
    size: tuple[int, int]
    segmentation: list | dict | None
    keypoints: np.ndarray | None
    category: str = ""

    def mask(self) -> np.ndarray:
        """(height, width) bool mask.

        Raises:
            DataError: there is no segmentation, or it is damaged or too large.
            ConfigError: pycocotools is not installed.
        """
        try:
            if self.size[0] * self.size[1] > MAX_PIXELS:
                raise DataError(f"its image has more than {MAX_PIXELS} pixels")
            if isinstance(self.segmentation, dict):
                mask = decode_coco_rle(self.segmentation, self.size)
            else:
                mask = _draw(_pieces(self.segmentation), self.size)
        except DataError as error:
            raise DataError(
                f"the segmentation of annotation {self.number} is damaged: {error}"
            ) from error
        return mask

    @property
    def num_strays(self) -> int:
        """Number of polygons with fewer than three points, which are left out."""
        if not isinstance(self.segmentation, list):
            return 0
        pieces = _pieces(self.segmentation)
        return sum(_is_stray(piece) for piece in pieces)


class CocoFile:
    """The objects of one category, or of all, in a COCO file.

    Args:
        path: the file.
        category: name or id of the category; None if there is only one, or only one has objects.
        crowds: whether objects with `iscrowd` 1 are read. In COCO's own files they are groups, but
            annotation tools mark brush masks so.
        every_category: whether the objects of all categories are read, without keypoints.

    Attributes:
        path: the file.
        category: id of the chosen category; None for all.
        categories: {id of a category, as text: the category as in the file}.
        objects: {file name of an image: its objects, in the order of the file}.
        image_ids: {file name of an image: its id, as text}.
        landmarks: names of the category's keypoints.
        num_crowds: number of objects with `iscrowd` 1 that are left out.
        notes: remarks on what was chosen or left out.

    Raises:
        DataError: the file is missing, is not of this format or has damaged annotations.
        ConfigError: the category is unknown, or there are several and none is chosen.
    """

    def __init__(
        self,
        path: str | PathLike,
        category: str | int | bool | None = None,
        *,
        crowds: bool = False,
        every_category: bool = False,
    ):
        self.path = Path(path)
        self.notes: tuple[str, ...] = ()
        content = self._read()
        listed = content["categories"]
        self._check_categories(listed)
        self.categories: dict[str, dict[str, Any]] = {str(_key(one["id"])): one for one in listed}
        chosen: dict[str, Any] = {"id": None}
        if not every_category:
            chosen = self._category(listed, content["annotations"], category)
        elif len(self.categories) < len(listed):
            raise DataError(f"{self.path}: two categories have the same id: give each its own")
        self._every = every_category
        self._key = _key(chosen["id"])
        self.category, self._crowds = chosen["id"], crowds
        self.num_crowds = 0
        self.landmarks = tuple(map(str, chosen.get("keypoints", ())))
        images: dict[str, tuple[str, tuple[int, int]]] = {}
        ids: dict[str, str] = {}  # file name -> id of its first image
        for image in content["images"]:
            self._add_image(images, ids, image)
        self.image_ids = ids
        self.objects: dict[str, list[CocoObject]] = {name: [] for name, _ in images.values()}
        numbers: set[str] = set()
        for annotation in self._numbered(content["annotations"]):
            self._add_object(images, numbers, annotation)
        if self.landmarks:
            self._set_origin(content["info"])
        self._note_what_is_left_out()

    def by_image(
        self, paths: Sequence[Path], what: Literal["segmentation", "keypoints"]
    ) -> tuple[dict[Path, list[CocoObject]], list[str]]:
        """The objects in the images of a folder.

        Args:
            paths: of the images, relative to their folder.
            what: the annotation that an object must have.

        Returns:
            {image: its objects}, and a problem for each name with objects that fits no image of the
            folder, or several (see `ImageNames`).
        """
        chosen = {
            name: [one for one in objects if getattr(one, what) is not None]
            for name, objects in self.objects.items()
        }
        found, others = ImageNames(paths).match([name for name in chosen if chosen[name]])
        problems = []
        for name, fitting in others.items():
            where = ", ".join(path.as_posix() for path in fitting)
            problem = f"it fits several images: {where}" if fitting else "there is no such image"
            objects = "objects" if what == "segmentation" else what
            problems.append(f"{self.path} has {objects} of {name}, but {problem}")
        return {path: chosen[name] for name, path in found.items()}, problems

    def _read(self):
        if not self.path.exists():
            raise DataError(f"{self.path}: there is no such file")
        try:
            content = read_json(self.path)
            if not isinstance(content, dict):
                raise ValueError(f"it is {_short(content)}")
            if missing := [name for name in _TABLES if name not in content]:
                raise ValueError(f"it has no {' and no '.join(missing)}")
            tables = {name: content[name] for name in _TABLES}
            for name, rows in tables.items():
                if not isinstance(rows, list):
                    raise ValueError(f"{name} is {_short(rows)}, expected a list")
        except (DataError, ValueError, KeyError, TypeError) as error:
            reason = str(error).removeprefix(f"{self.path}: ")
            raise DataError(
                f"{self.path}: not COCO JSON with images, annotations and categories: {reason}"
            ) from None
        return tables | {"info": content.get("info")}

    def _check_categories(self, categories):
        for category in categories:
            if not isinstance(category, dict) or _key(category.get("id")) is None:
                raise DataError(f"{self.path}: a category has no id: {_short(category)}")
            if not isinstance(category.get("keypoints", []), list):
                raise DataError(
                    f"{self.path}: the keypoints of a category are not a list: {_short(category)}"
                )

    def _category(self, categories, annotations, chosen):
        counts = Counter(
            _key(annotation.get("category_id"))
            for annotation in annotations
            if isinstance(annotation, dict)
        )
        used = [category for category in categories if counts[_key(category["id"])]]
        if chosen is None:
            return self._only_category(categories, used)
        named = [each for each in categories if _is_named(each, chosen)]
        # Two categories of one name look the same: one without objects is not meant.
        fitting = [each for each in named if each in used] or named
        fitting = fitting or [each for each in categories if _key(each["id"]) == _key(chosen)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            ids = [category["id"] for category in fitting]
            raise ConfigError(
                f"{self.path}: {len(ids)} categories are called {chosen!r}: choose one by its id, "
                f"{_option(ids[0])} or {_option(ids[1])}"
            )
        raise ConfigError(
            f"{self.path}: there is no category {chosen!r}: {_choices(used or categories)}"
        )

    def _only_category(self, categories, used):
        if len(categories) == 1:
            return categories[0]
        if len(used) == 1:
            self.notes += (
                f"{self.path.name}: read the category {used[0].get('name')}, the only one of "
                f"{len(categories)} with objects",
            )
            return used[0]
        raise ConfigError(f"{self.path}: choose a category: {_choices(used or categories)}")

    def _add_image(self, images, ids, image):
        try:
            number, name = _key(image["id"]), image["file_name"]
            size = int(image["height"]), int(image["width"])
            if number is None or not isinstance(name, str) or not name or min(size) < 1:
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            report(f"{self.path}: an image lacks id, file_name, height or width: {_short(image)}")
            return
        if number in images:
            report(f"{self.path}: two images have the id {number}")
            return
        images[number] = name, size
        first = ids.setdefault(name, number)
        if first != number:
            report(f"{self.path}: the images {first} and {number} have the same file_name {name}")

    def _numbered(self, annotations):
        """The annotations, numbered from 1 if none has an id."""
        if any(not isinstance(one, dict) or one.get("id") is not None for one in annotations):
            return annotations
        return [one | {"id": number} for number, one in enumerate(annotations, start=1)]

    def _add_object(self, images, numbers, annotation):
        image = _key(annotation.get("image_id")) if isinstance(annotation, dict) else None
        if image is None:
            report(f"{self.path}: an annotation has no image_id: {_short(annotation)}")
            return
        number = annotation.get("id")
        if number is not None and _key(number) is None:
            report(f"{self.path}: an annotation has the id {_short(number)}, expected a number")
            return
        category = _key(annotation.get("category_id"))
        if category not in self.categories:
            report(
                f"{self.path}: annotation {number} has the category_id "
                f"{_short(annotation.get('category_id'))}, which is not listed in categories"
            )
        if category not in self.categories or (category != self._key and not self._every):
            return
        if annotation.get("iscrowd") not in (None, False, 0, "0") and not self._crowds:
            self.num_crowds += 1
            return
        if number is None or str(number) in numbers:
            problem = (
                "an annotation has no id"
                if number is None
                else (f"two annotations have the id {number}")
            )
            report(f"{self.path}: {problem}: give each annotation an id of its own")
            return
        numbers.add(str(number))
        if image not in images:
            report(
                f"{self.path}: annotation {number} belongs to image {image}, which is not listed"
            )
            return
        segmentation = annotation.get("segmentation") or None
        if not isinstance(segmentation, list | dict | None):
            report(
                f"{self.path}: the segmentation of annotation {number} is {_short(segmentation)}, "
                "expected polygons or a run-length code"
            )
            return
        name, size = images[image]
        keypoints = self._keypoints(annotation)
        self.objects[name].append(CocoObject(number, size, segmentation, keypoints, category))

    def _keypoints(self, annotation):
        values, count = annotation.get("keypoints"), 3 * len(self.landmarks)
        if not values:
            return None
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError, OverflowError):
            numbers = np.array(np.nan)
        if numbers.shape == (count,) and np.isfinite(numbers).all():
            return numbers.reshape(-1, 3)
        report(
            f"{self.path}: the keypoints of annotation {annotation.get('id')} are "
            f"{_short(values)}, expected {count} numbers"
        )
        return None

    def _set_origin(self, info):
        """Make the keypoints begin at the centre of the top-left pixel.

        In COCO's own files they are numbers of pixels, which do. Annotation tools, and this package
        as their source, measure from the corner of the image: then some are not whole numbers.
        """
        ours = isinstance(info, dict) and info.get("contributor") == COCO_CONTRIBUTOR
        points = [
            one.keypoints[one.keypoints[:, 2] > 0, :2]
            for one in self._all_objects()
            if one.keypoints is not None
        ]
        if not ours and all((each == np.rint(each)).all() for each in points):
            return
        for one in self._all_objects():
            if one.keypoints is not None:
                one.keypoints[one.keypoints[:, 2] > 0, :2] -= 0.5

    @property
    def num_boxes(self) -> int:
        """Number of objects without a segmentation, such as boxes."""
        return sum(one.segmentation is None for one in self._all_objects())

    def _all_objects(self) -> Iterator[CocoObject]:
        return (one for objects in self.objects.values() for one in objects)

    def _note_what_is_left_out(self):
        if self.num_crowds:
            left_out = f"left out {self.num_crowds} objects with iscrowd 1"
            note = left_out if self._every else describe_crowds(self.num_crowds)
            self.notes += (f"{self.path.name}: {note}",)
        objects = list(self._all_objects())
        if 0 < self.num_boxes < len(objects):
            self.notes += (
                f"{self.path.name}: {self.num_boxes} objects have no segmentation: left out",
            )
        if strays := sum(one.num_strays for one in objects):
            self.notes += (
                f"{self.path.name}: left out {strays} polygons of fewer than three points, "
                "which have no area",
            )


def describe_crowds(count: int) -> str:
    """What to do about objects with `iscrowd` 1."""
    return (
        f"left out {count} objects with iscrowd 1. Annotation tools mark brush masks so: "
        "read them with crowds=True (--data-option crowds=true)"
    )


def _draw(pieces: list[Any], size: tuple[int, int]) -> np.ndarray:
    """The mask of polygons, each a flat list x, y, x, y, ..."""
    polygons = [_checked(piece, size) for piece in pieces if not _is_stray(piece)]
    if not polygons:
        raise DataError("it has no polygon of three points")
    if all(0 <= value <= 1 for polygon in polygons for value in polygon):
        raise DataError(
            "all its coordinates lie between 0 and 1, but COCO's are pixels: multiply them by the "
            "width and height of the image"
        )
    try:
        from pycocotools import mask as run_lengths
    except ImportError as error:
        raise ConfigError(
            "polygons in COCO's JSON need pycocotools: pip install 'keras-parts[coco]'"
        ) from error
    code = run_lengths.merge(run_lengths.frPyObjects(polygons, *size))
    return decode_coco_rle({"size": list(size), "counts": code["counts"]}, size)


def _checked(piece: Any, size: tuple[int, int]) -> list[float]:
    """A polygon that pycocotools can draw: it does not check coordinates, and crashes."""
    try:
        points = np.array(piece)
    except ValueError:
        points = np.array(None)
    if points.ndim != 1 or points.dtype.kind not in "iuf" or points.size % 2:
        raise DataError(f"{_short(piece)} is not a polygon x, y, x, y, ...")
    points = points.reshape(-1, 2).astype(np.float64)
    height, width = size
    limit = 10.0 * np.array([width, height])
    if not (np.isfinite(points).all() and (abs(points) <= limit).all()):
        raise DataError(f"{_short(piece)} lies far outside its image of {width} x {height} pixels")
    outline = abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum()
    if outline > _MAX_OUTLINE:
        raise DataError(f"the outline of a polygon is {outline:.0f} pixels long")
    return points.ravel().tolist()


def _pieces(segmentation: Any) -> list[Any]:
    """The polygons of a segmentation: tools write one polygon flat, or points as pairs."""
    if not isinstance(segmentation, list):
        raise DataError("it is missing")
    if segmentation and not any(isinstance(piece, list) for piece in segmentation):
        return [segmentation]
    if len(segmentation) > 2 and all(_is_point(piece) for piece in segmentation):
        return [[value for point in segmentation for value in point]]
    return [
        [value for point in piece for value in point]
        if isinstance(piece, list) and piece and all(map(_is_point, piece))
        else piece
        for piece in segmentation
    ]


def _is_point(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2
    return numbers and not any(isinstance(number, list | dict | str) for number in value)


def _is_stray(piece: Any) -> bool:
    return isinstance(piece, list) and len(piece) < 6 and len(piece) % 2 == 0


def _key(number: Any) -> str | None:
    """An id as text, so that 1 and "1" are the same; None if it is no id."""
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    usable = isinstance(number, int | str) and not isinstance(number, bool)
    return str(number) if usable else None


def _is_named(category: dict[str, Any], chosen: Any) -> bool:
    # An option on the command line is JSON: the names "1" and "true" are a number and a flag there.
    name = chosen if isinstance(chosen, str) else json.dumps(chosen)
    return plain_name(str(category.get("name")).strip()) == plain_name(name.strip())


def _choices(categories: list[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(str(category.get("name")) for category in categories))
    if not names:
        return "the file lists none in categories"
    shown = ", ".join(names[:_MAX_NAMES_SHOWN])
    more = len(names) - _MAX_NAMES_SHOWN
    shown += f" and {more} more" if more > 0 else ""
    return f"the file has {shown}; for example {_option(names[0])}"


def _option(name: Any) -> str:
    """The option to type."""
    try:
        is_json = not isinstance(json.loads(name), str)
    except (ValueError, TypeError):
        is_json = False
    value = json.dumps(name) if is_json or not isinstance(name, str) else name
    return f"--data-option {shlex.quote(f'category={value}')}"


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "..."
