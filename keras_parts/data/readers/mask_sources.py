"""Sources of foreground masks for a folder of images: none, alpha, a folder, a COCO file, or the
objects that are found in the images."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from keras_parts.data.discovered import DISCOVER, without_object
from keras_parts.data.problems import is_collecting, report_all, way_out
from keras_parts.data.readers.coco import CocoFile, CocoObject, describe_crowds
from keras_parts.data.readers.mask_table import MaskTable, read_table
from keras_parts.data.readers.matching_files import MatchingFiles
from keras_parts.data.readers.sources import size_and_time
from keras_parts.errors import ConfigError, DataError
from keras_parts.foreground.discovered import discovered_masks, discovery_origin
from keras_parts.images.decoding import ImageFacts, read_alpha, read_facts, read_image
from keras_parts.images.masks import DecodedMask, decode_mask

GIVEN = "given"
"""The origin of masks of files of which nothing else is known."""
ALPHA = "alpha"
"""The value of the option `masks` for the alpha channel of the images."""
_ALPHA_THRESHOLD = 127  # pixels with a larger alpha are foreground
FITS_STORED = "which annotation_orientation=stored takes (--data-option)"
"""The end of a message about a mask that fits its image before the EXIF turn."""


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
        name: of the source, for tables and records.
        notes: remarks on what was chosen or left out.
    """

    kind = "_NoMasks"
    name = "none"
    files: MatchingFiles | None = None
    coco: CocoFile | None = None
    notes: tuple[str, ...] = ()

    def items(self, paths: Sequence[Path]) -> list[Item]:
        """The items of all images."""
        return [Item(path.as_posix(), path) for path in paths]

    def find(self, items: Sequence[Item]) -> list[Item]:
        """The items that have a mask, after finding the objects of those for which none is given.

        It is called once, when the headers of the images have been checked.
        """
        return list(items)

    def mask(self, item: Item) -> DecodedMask | None:
        """The mask, or None if there are no masks."""
        return None

    def origin(self, item: Item) -> str:
        """Where the mask comes from, for records."""
        return self.name

    def is_turned(self, item: Item) -> bool:
        """Whether the mask is upright in any case, because its file has an EXIF orientation."""
        return False

    def mask_file(self, item: Item) -> PathLike | str | None:
        """The file of the mask, for messages; None if there are no masks."""
        return None

    def paths(self, item: Item) -> tuple[Path, ...]:
        """The files that the mask is read from, beside the image."""
        return ()


class AlphaMasks(MaskSource):
    """Masks from the alpha channel: pixels that are more than half opaque are foreground."""

    kind = "_Alpha"
    name = "alpha"

    def __init__(self, root: Path, threshold: int | None = None):
        self._root = root
        self._threshold = _ALPHA_THRESHOLD if threshold is None else threshold

    def mask(self, item: Item) -> DecodedMask:
        alpha = read_alpha(self.mask_file(item))
        if alpha is None:
            raise DataError(_no_alpha(self.mask_file(item)))
        return DecodedMask(alpha > self._threshold)

    def is_turned(self, item: Item) -> bool:
        return True

    def mask_file(self, item: Item) -> Path:
        return self._root / item.path


class MaskFiles(MaskSource):
    """Masks from a folder with one file per image, of the same name."""

    kind = "_MaskFolder"
    name = GIVEN
    files: MatchingFiles

    def __init__(self, folder: str | PathLike, threshold: int | None = None):
        self.files = MatchingFiles(folder, "mask")
        self._table: MaskTable | None = read_table(self.files.folder)
        self._threshold = threshold

    def origin(self, item: Item) -> str:
        if self._table is None:
            return self.name
        return self._table.origin(item.path.as_posix(), self.mask_file(item))

    def mask(self, item: Item) -> DecodedMask:
        return decode_mask(self.mask_file(item), self._threshold)

    def is_turned(self, item: Item) -> bool:
        return read_facts(self.mask_file(item)).orientation != 1

    def mask_file(self, item: Item) -> Path:
        return self.files.of(item.path)

    def paths(self, item: Item) -> tuple[Path, ...]:
        return (self.mask_file(item),)


class CocoMasks(MaskSource):
    """Masks from a COCO file, each of whose objects is an item."""

    kind = "_CocoMasks"
    name = GIVEN
    coco: CocoFile

    def __init__(self, path: Path, category: str | int | bool | None, crowds: bool):
        self.coco = CocoFile(path, category, crowds=crowds)
        self.notes = self.coco.notes

    def items(self, paths: Sequence[Path]) -> list[Item]:
        objects, problems = self.coco.by_image(paths, "segmentation")
        listed = len(objects) + len(problems)
        report_all(
            problems,
            f"{len(problems)} of the {listed} images with objects are missing",
            "Copy them, or leave them out with skip_bad (--skip-bad)",
        )
        items = []
        for path in paths:
            name, in_image = path.as_posix(), objects.get(path, [])
            for found in in_image:
                unique = name if len(in_image) == 1 else f"{name}#{found.number}"
                items.append(Item(unique, path, found))
        if not items:
            crowds, boxes = self.coco.num_crowds, self.coco.num_boxes
            reason = f": {describe_crowds(crowds)}" if crowds else ""
            if boxes:
                reason += f": {boxes} objects have no segmentation, perhaps only a box"
            raise DataError(
                f"{self.coco.path} has no object with a mask in any image of the folder{reason}"
            )
        if without := len(paths) - len(objects):
            self.notes += (f"{self.coco.path.name} has no object in {without} images: left out",)
        return items

    def mask(self, item: Item) -> DecodedMask:
        try:
            return DecodedMask(item.coco_object.mask())
        except DataError as error:
            raise DataError(f"{self.coco.path}: {error}") from error

    def mask_file(self, item: Item) -> str:
        return f"{self.coco.path}, annotation {item.coco_object.number}"

    def paths(self, item: Item) -> tuple[Path, ...]:
        return (self.coco.path,)


class DiscoveredMasks(MaskSource):
    """Masks of the objects that are found in the images; those that are given come first.

    Args:
        root: folder of the images.
        given: masks of some images.
        progress: show progress bars while objects are found.
    """

    def __init__(self, root: Path, given: MaskFiles | None = None, *, progress: bool = True):
        self._root, self._given, self._progress = root, given, progress
        self.files = given.files if given else None
        self.name = discovery_origin()
        self.kind = f"_Discovered {self.name} {given is not None}"
        self._rows: dict[Path, int] = {}

    def find(self, items: Sequence[Item]) -> list[Item]:
        paths = [item.path for item in items]
        missing = [path for path in paths if self._file(path) is None]
        if not missing:
            return list(items)
        # All images are seen together, because those with a mask show what they have in common too.
        seen = _readable(self._root, paths) if is_collecting() else paths
        with way_out():
            self._masks = discovered_masks(
                lambda index: read_image(self._root / seen[index]),
                len(seen),
                photographs_key(self._root, seen),
                progress=self._progress,
            )
        self._rows = {path: row for row, path in enumerate(seen)}
        areas = {
            path: self._masks.areas[self._rows[path]] for path in missing if path in self._rows
        }
        self.notes = without_object([path.as_posix() for path in areas], list(areas.values()))
        return [item for item in items if areas.get(item.path) != 0]

    def mask(self, item: Item) -> DecodedMask | None:
        if self._given and self.mask_file(item):
            return self._given.mask(item)
        row = self._rows.get(item.path)
        return None if row is None else DecodedMask(self._masks[row].mask)

    def origin(self, item: Item) -> str:
        return self._given.origin(item) if self._given and self.mask_file(item) else self.name

    def is_turned(self, item: Item) -> bool:
        if self._given and self.mask_file(item):
            return self._given.is_turned(item)
        return True  # the image was upright when its object was found

    def mask_file(self, item: Item) -> Path | None:
        return self._file(item.path)

    def paths(self, item: Item) -> tuple[Path, ...]:
        file = self.mask_file(item)
        return (file,) if file else ()

    def _file(self, path: Path) -> Path | None:
        return self.files.find(path) if self.files else None


def photographs_key(root: Path, paths: Sequence[Path]) -> str:
    """A hash that identifies photographs: their names, sizes and modification times, in order.

    Args:
        root: folder of the photographs.
        paths: relative to it.
    """
    found = repr([(path.as_posix(), size_and_time(root / path)) for path in paths])
    return hashlib.sha256(found.encode("utf-8", "surrogateescape")).hexdigest()


def _readable(root: Path, paths: Sequence[Path]) -> list[Path]:
    """The images that can be decoded."""

    def is_readable(path: Path) -> bool:
        try:
            read_image(root / path)
        except DataError:
            return False
        return True

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(is_readable, paths)
        return [path for path, is_good in zip(paths, found, strict=True) if is_good]


def mask_source(
    root: Path,
    masks: str | PathLike | None,
    category: str | int | bool | None = None,
    *,
    crowds: bool = False,
    threshold: int | None = None,
    missing: Literal["error", "discover"] = "error",
    progress: bool = True,
) -> MaskSource:
    """The source for a value of the option `masks`.

    Args:
        root: folder of the images.
        masks: None, `ALPHA`, `DISCOVER`, a COCO JSON file or a folder.
        category, crowds: see `CocoFile`.
        threshold: the largest value of the background in mask files or alpha, 0 to 254; None for
            `keras_parts.images.decode_mask`'s rules, or 127 for alpha.
        missing: "discover" finds the objects of images for which the folder has no mask.
        progress: show progress bars while objects are found.

    Raises:
        DataError: the folder or file is missing or damaged.
        ConfigError: the category is unknown, or there are several and none is chosen; or `missing`
            is "discover" and the masks are not in a folder.
    """
    if missing not in ("error", DISCOVER):
        raise ConfigError(f"folder: missing_masks must be error or discover, not {missing!r}")
    if threshold is not None and not (type(threshold) is int and 0 <= threshold <= 254):
        raise ConfigError(
            f"mask_threshold is {threshold!r}, expected a whole number from 0 to 254",
            setting="mask_threshold",
            value=threshold,
        )
    path = None if masks in (None, ALPHA, DISCOVER) else Path(masks).expanduser()
    is_folder = path is not None and path.suffix.lower() != ".json"
    if missing == DISCOVER and not is_folder:
        raise ConfigError(
            "folder: missing_masks=discover is for a folder that has masks of some images; masks "
            f"is {masks}"
        )
    if masks == DISCOVER:
        return DiscoveredMasks(root, progress=progress)
    if path is None:
        return AlphaMasks(root, threshold) if masks == ALPHA else MaskSource()
    if not is_folder:
        return CocoMasks(path, category, crowds)
    given = MaskFiles(path, threshold)
    return DiscoveredMasks(root, given, progress=progress) if missing == DISCOVER else given


def sizes_differ(
    image_size: tuple[int, int],
    other_size: tuple[int, int],
    where: PathLike | str | None,
    what: str = "the mask has",
    *,
    facts: ImageFacts | None = None,
    is_stored: bool = False,
) -> str:
    """The message for a mask or label map whose (height, width) differs from its image's.

    Args:
        image_size: (height, width) of the image, upright.
        other_size: that of the mask or label map; upright if it was turned like the image.
        where: its file.
        what: the subject of the message.
        facts: of the image, if they are known.
        is_stored: whether the mask or label map was turned like the image.
    """
    message = (
        f"{where}: {what} {other_size[1]} x {other_size[0]} pixels, "
        f"its image {image_size[1]} x {image_size[0]}"
    )
    if facts is None or facts.orientation < 5 or other_size != facts.stored_size:
        return message
    turn = f"{message} after its EXIF turn (orientation {facts.orientation})"
    if is_stored:
        return f"{turn}, which fits without annotation_orientation=stored"
    return f"{turn}: it fits the pixels as stored, {FITS_STORED}"


def _no_alpha(path):
    return (
        f"{path} has no transparency, from which --masks alpha reads the mask: add an alpha channel"
    )
