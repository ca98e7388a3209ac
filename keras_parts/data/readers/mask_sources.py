"""Sources of foreground masks for a folder of images: none, alpha, a folder or a COCO file."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from keras_parts.data.problems import report
from keras_parts.data.readers.coco import CocoFile, CocoObject
from keras_parts.data.readers.matching_files import MatchingFiles
from keras_parts.errors import DataError
from keras_parts.images.decoding import has_alpha, read_alpha, read_size
from keras_parts.images.masks import read_mask

ALPHA = "alpha"
"""The value of the option `masks` for the alpha channel of the images."""
_ALPHA_THRESHOLD = 127  # pixels with a larger alpha are foreground


@dataclass(frozen=True, eq=False)
class Item:
    """The source of one sample: an image, and one of its objects if there is a COCO file.

    Attributes:
        id: id of the sample.
        path: the image, relative to its folder.
        object: the object in the COCO file, or None.
    """

    id: str
    path: Path
    object: CocoObject | None = None

    @property
    def coco_object(self) -> CocoObject:
        """The object of an item that has one."""
        assert self.object is not None
        return self.object


class MaskSource:
    """A source of foreground masks; this base class has none.

    Attributes:
        files: the folder of mask files, or None.
        coco: the COCO file of the masks, or None.
        kind: name of the source in fingerprints; it must never change, so that they stay valid.
    """

    kind = "_NoMasks"
    files: MatchingFiles | None = None
    coco: CocoFile | None = None

    def items(self, paths: Sequence[Path]) -> list[Item]:
        """The items of all images."""
        return [Item(path.as_posix(), path) for path in paths]

    def check(self, item: Item, size: tuple[int, int]) -> None:
        """Raise `DataError` if the item has no mask of this (height, width); read headers only."""

    def mask(self, item: Item) -> np.ndarray | None:
        """(height, width) bool, or None if there are no masks."""
        return None

    def mask_file(self, item: Item) -> PathLike | str | None:
        """The file of the mask, for messages; None if there are no masks."""
        return None

    def paths(self, item: Item) -> tuple[Path, ...]:
        """The files that the mask is read from, beside the image."""
        return ()


class AlphaMasks(MaskSource):
    """Masks from the alpha channel: pixels that are more than half opaque are foreground."""

    kind = "_Alpha"

    def __init__(self, root: Path):
        self._root = root

    def check(self, item: Item, size: tuple[int, int]) -> None:
        if not has_alpha(self.mask_file(item)):
            raise DataError(_no_alpha(self.mask_file(item)))

    def mask(self, item: Item) -> np.ndarray:
        alpha = read_alpha(self.mask_file(item))
        if alpha is None:
            raise DataError(_no_alpha(self.mask_file(item)))
        return alpha > _ALPHA_THRESHOLD

    def mask_file(self, item: Item) -> Path:
        return self._root / item.path


class MaskFiles(MaskSource):
    """Masks from a folder with one file per image, of the same name."""

    kind = "_MaskFolder"
    files: MatchingFiles

    def __init__(self, folder: str | PathLike):
        self.files = MatchingFiles(folder, "mask")

    def check(self, item: Item, size: tuple[int, int]) -> None:
        path = self.mask_file(item)
        if (mask_size := read_size(path)) != size:
            raise DataError(sizes_differ(size, mask_size, path))

    def mask(self, item: Item) -> np.ndarray:
        return read_mask(self.mask_file(item))

    def mask_file(self, item: Item) -> Path:
        return self.files.of(item.path)

    def paths(self, item: Item) -> tuple[Path, ...]:
        return (self.mask_file(item),)


class CocoMasks(MaskSource):
    """Masks from a COCO file, each of whose objects is an item."""

    kind = "_CocoMasks"
    coco: CocoFile

    def __init__(self, path: Path, category: str | None):
        self.coco = CocoFile(path, category)

    def items(self, paths: Sequence[Path]) -> list[Item]:
        objects = {
            name: [found for found in in_image if found.segmentation is not None]
            for name, in_image in self.coco.objects.items()
        }
        existing = {path.as_posix() for path in paths}
        for name, in_image in objects.items():
            if in_image and name not in existing:
                report(f"{self.coco.path} has objects of {name}, but there is no such image")
        items = []
        for path in paths:
            name = path.as_posix()
            in_image = objects.get(name, [])
            for found in in_image:
                items.append(
                    Item(name if len(in_image) == 1 else f"{name}#{found.number}", path, found)
                )
        if not items:
            raise DataError(
                f"{self.coco.path} has no object with a mask in any image of the folder"
            )
        return items

    def check(self, item: Item, size: tuple[int, int]) -> None:
        if item.coco_object.size != size:
            raise DataError(sizes_differ(size, item.coco_object.size, self.mask_file(item)))

    def mask(self, item: Item) -> np.ndarray:
        try:
            return item.coco_object.mask()
        except DataError as error:
            raise DataError(f"{self.coco.path}: {error}") from error

    def mask_file(self, item: Item) -> str:
        return f"{self.coco.path}, annotation {item.coco_object.number}"

    def paths(self, item: Item) -> tuple[Path, ...]:
        return (self.coco.path,)


def mask_source(
    root: Path, masks: str | PathLike | None, category: str | None = None
) -> MaskSource:
    """The source for a value of the option `masks`.

    Args:
        root: folder of the images.
        masks: None, `ALPHA`, a COCO JSON file or a folder.
        category: name of the category in the COCO file; None if it has only one.

    Raises:
        DataError: the folder or file is missing or damaged.
        ConfigError: the category is unknown, or there are several and none is chosen.
    """
    if masks is None:
        return MaskSource()
    if masks == ALPHA:
        return AlphaMasks(root)
    path = Path(masks).expanduser()
    return CocoMasks(path, category) if path.suffix.lower() == ".json" else MaskFiles(path)


def sizes_differ(
    image_size: tuple[int, int],
    other_size: tuple[int, int],
    where: PathLike | str | None,
    what: str = "the mask has",
) -> str:
    """The message for a mask or label map whose (height, width) differs from its image's."""
    return (
        f"{where}: {what} {other_size[1]} x {other_size[0]} pixels, "
        f"its image {image_size[1]} x {image_size[0]}"
    )


def _no_alpha(path):
    return (
        f"{path} has no transparency, from which masks='alpha' reads the mask: add an alpha channel"
    )
