"""CUB-200-2011: 11,788 photographs of 200 bird species with boxes and 15 landmarks.

Wah, Branson, Welinder, Perona, Belongie: *The Caltech-UCSD Birds-200-2011 Dataset*,
CNS-TR-2011-001. Read from the official folder layout; a copy with some of the classes is enough.
"""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, split_of
from keras_parts.data.problems import attempt, is_collecting, report
from keras_parts.data.readers.bird_tables import Birds, BirdTables, find_root
from keras_parts.data.readers.matlab import as_list, read_mat
from keras_parts.data.readers.sources import DatasetSource
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
_CMR_FILES = {"train": ("train",), "test": ("val", "test"), "all": ("train", "val", "test")}


class CUB(Birds):
    """One split of CUB-200-2011; see `load_cub`."""

    def __init__(
        self,
        root: str | PathLike,
        split: str,
        *,
        classes: Iterable[int] | None = None,
        masks: bool | None = None,
        subset: str | None = None,
        mask_folder: Path | None = None,
    ):
        root = find_root(SOURCE, Path(root).expanduser())
        folder = mask_folder
        if folder is None and masks is not False:
            folder = attempt(_find_masks, root, masks)
        notes: tuple[str, ...] = ()
        if folder is None and masks is None and not is_collecting():
            notes = (
                f"{_without_masks(root)}, so its samples have no masks. To have them, {_MASKS}",
            )
        tables = BirdTables(SOURCE, root)
        chosen = tables.in_split(split)
        if classes is not None:
            chosen &= tables.of_classes(classes)
        if subset is not None:
            chosen &= _of_subset(tables, root, split, subset)
        super().__init__(
            SOURCE,
            root,
            tables,
            chosen,
            categories=tuple(map(_readable, tables.class_names)),
            regions=REGIONS,
            masks=folder,
            notes=notes,
        )

    def mask(self, index: int, size: tuple[int, int] | None) -> np.ndarray | None:
        """See `Birds.mask`."""
        path = self.mask_file(index)
        if path is None:
            return None
        mask = read_mask(path, threshold=MASK_THRESHOLD)
        if size is not None and mask.shape != size:
            raise DataError(
                f"cub: {path} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x "
                f"{size[0]}"
            )
        return mask


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


def _find_masks(root, needed):
    for folder in (root / "segmentations", root.parent / "segmentations"):
        if folder.is_dir():
            return folder
    if needed or is_collecting():
        raise DataError(f"{_without_masks(root)}: to have masks, {_MASKS}")
    return None


def _without_masks(root):
    return f"cub: {root} has no folder segmentations"


def _of_subset(tables, root, split, subset):
    """(images,) bool: whether an image is in the subset."""
    if subset == CMR:
        folders = [root, root.parent, root.parent / "cachedir" / "cub" / "data"]
        return np.isin(tables.paths, cmr_paths(folders, split))
    if SUBSETS[subset] not in tables.class_names:
        raise DataError(f"cub: classes.txt has no {SUBSETS[subset]} (CUB-{subset})")
    return tables.categories == tables.class_names.index(SUBSETS[subset])


def _readable(name):
    """The readable name of a class: Laysan Albatross for 002.Laysan_Albatross."""
    return name.partition(".")[2].replace("_", " ") or name
