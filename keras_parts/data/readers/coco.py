"""COCO's JSON format: polygons, run-length codes and keypoints of objects.

Lin et al.: *Microsoft COCO: Common Objects in Context*, ECCV 2014; https://cocodataset.org/#format-data
"""

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.problems import report
from keras_parts.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class CocoObject:
    """One annotation.

    Attributes:
        number: id of the annotation.
        size: (height, width) of the image, according to the file.
        segmentation: polygons or a run-length code, or None.
        keypoints: (landmarks, 3) float64 x, y and visibility (0 not labelled, 1 hidden, 2 seen),
            or None.
    """

    number: int | str | None
    size: tuple[int, int]
    segmentation: list | dict | None
    keypoints: np.ndarray | None

    def mask(self) -> np.ndarray:
        """(height, width) bool mask.

        Raises:
            DataError: there is no segmentation, or it is damaged.
            ConfigError: pycocotools is not installed.
        """
        try:
            from pycocotools import mask as run_lengths
        except ImportError as error:
            raise ConfigError(
                "masks in COCO's JSON need pycocotools: pip install 'keras-parts[coco]'"
            ) from error
        try:
            encoded: Any = self.segmentation
            if isinstance(encoded, list):
                encoded = run_lengths.merge(run_lengths.frPyObjects(encoded, *self.size))
            elif isinstance(encoded.get("counts"), list):
                encoded = run_lengths.frPyObjects(encoded, *self.size)
            mask = run_lengths.decode(encoded).astype(bool)
        except Exception as error:  # pycocotools raises errors of any type for damaged input
            raise DataError(
                f"the segmentation of annotation {self.number} is damaged: {error}"
            ) from error
        if mask.shape != self.size:
            raise DataError(
                f"the segmentation of annotation {self.number} has {mask.shape[1]} x "
                f"{mask.shape[0]} pixels, its image has {self.size[1]} x {self.size[0]}"
            )
        return mask


class CocoFile:
    """The objects of one category in a COCO file, without crowds.

    Args:
        path: the file.
        category: name of the category; None if there is only one.

    Attributes:
        path: the file.
        category: id of the chosen category.
        objects: {file name of an image: its objects, in the order of the file}.
        landmarks: names of the category's keypoints.

    Raises:
        DataError: the file is missing, is not of this format or has damaged annotations.
        ConfigError: the category is unknown, or there are several and none is chosen.
    """

    def __init__(self, path: str | PathLike, category: str | None = None):
        self.path = Path(path)
        content = self._read()
        chosen = self._category(content["categories"], category)
        self.category = chosen["id"]
        self.landmarks = tuple(map(str, chosen.get("keypoints", ())))
        images: dict[int | str, tuple[str, tuple[int, int]]] = {}
        ids: dict[str, int | str] = {}  # file name -> id of its first image
        for image in content["images"]:
            self._add_image(images, ids, image)
        self.objects: dict[str, list[CocoObject]] = {name: [] for name, _ in images.values()}
        numbers: set[int | str | None] = set()
        for annotation in content["annotations"]:
            self._add_object(images, numbers, annotation)

    def _read(self):
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            tables = {name: content[name] for name in ("images", "annotations", "categories")}
            for name, rows in tables.items():
                if not isinstance(rows, list):
                    raise ValueError(f"{name} is {_short(rows)}, expected a list")
        except FileNotFoundError:
            raise DataError(f"{self.path}: there is no such file") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: not COCO JSON with images, annotations and categories: {error}"
            ) from None
        return tables

    def _category(self, categories, name):
        for category in categories:
            if not isinstance(category, dict) or "id" not in category:
                raise DataError(f"{self.path}: a category has no id: {_short(category)}")
            if not isinstance(category.get("keypoints", []), list):
                raise DataError(
                    f"{self.path}: the keypoints of a category are not a list: {_short(category)}"
                )
        names = [str(category.get("name")) for category in categories]
        if name is None and len(names) == 1:
            return categories[0]
        if name not in names:
            problem = "choose a category" if name is None else f"there is no category {name!r}"
            raise ConfigError(f"{self.path}: {problem}: the file has {', '.join(names) or 'none'}")
        return categories[names.index(name)]

    def _add_image(self, images, ids, image):
        try:
            number, name = image["id"], image["file_name"]
            size = int(image["height"]), int(image["width"])
            hash(number), hash(name)
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

    def _add_object(self, images, numbers, annotation):
        if not isinstance(annotation, dict) or not isinstance(
            annotation.get("image_id"), int | str
        ):
            report(f"{self.path}: an annotation has no image_id: {_short(annotation)}")
            return
        number, image = annotation.get("id"), annotation["image_id"]
        if not isinstance(number, int | str | None):
            report(f"{self.path}: an annotation has the id {_short(number)}, expected a number")
            return
        if annotation.get("category_id") != self.category or annotation.get("iscrowd"):
            return
        if number in numbers:
            report(f"{self.path}: two annotations have the id {number}")
            return
        numbers.add(number)
        if image not in images:
            report(
                f"{self.path}: annotation {number} belongs to image {image}, which is not listed"
            )
            return
        name, size = images[image]
        self.objects[name].append(
            CocoObject(
                number,
                size,
                annotation.get("segmentation") or None,
                self._keypoints(annotation),
            )
        )

    def _keypoints(self, annotation):
        values, count = annotation.get("keypoints"), 3 * len(self.landmarks)
        if not values:
            return None
        try:
            numbers = np.array(values, np.float64)
        except (TypeError, ValueError):
            numbers = np.array(np.nan)
        if numbers.shape == (count,) and np.isfinite(numbers).all():
            return numbers.reshape(-1, 3)
        report(
            f"{self.path}: the keypoints of annotation {annotation.get('id')} are "
            f"{_short(values)}, expected {count} numbers"
        )
        return None


def _short(value):
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:60] + "..."
