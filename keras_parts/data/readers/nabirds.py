"""NABirds: 48,562 photographs of 555 categories of birds, with boxes and 11 landmarks.

Van Horn, Branson, Farrell, Haber, Barry, Ipeirotis, Perona, Belongie: *Building a bird recognition
app and large scale dataset with citizen scientists*, CVPR 2015. Read from the official folder
layout, which is that of CUB-200-2011; a copy with some of the classes is enough. There are no
masks: give a folder of masks where they are needed (`--mask-folder`).
"""

from collections import Counter
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, split_of
from keras_parts.data.readers.bird_tables import Birds, BirdTables, find_root
from keras_parts.data.readers.sources import DatasetSource

SOURCE = DatasetSource(
    name="nabirds",
    annotations="11 keypoints, boxes, 555 categories; no masks",
    licence=(
        "Photographs of many photographers, provided by the Cornell Lab of Ornithology for "
        "non-commercial research and education (https://dl.allaboutbirds.org/nabirds)"
    ),
    how_to_obtain=(
        "accept the terms of use at https://dl.allaboutbirds.org/nabirds, download "
        "nabirds.tar.gz and unpack it. For non-commercial research and education"
    ),
    folder="nabirds",
)
REGIONS = {
    "head": ("bill", "crown", "nape", "left eye", "right eye"),
    "wings": ("left wing", "right wing"),
    "underside": ("belly", "breast"),
}


def load_nabirds(
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    classes: Iterable[int] | None = None,
) -> Dataset:
    """Load NABirds from its official folder layout.

    If the image folders of some classes are missing, the other classes are read. Boxes are clipped
    to the image. classes.txt also lists groups of classes, which have no images of their own and
    are no categories.

    Args:
        split: "train" (23,929 images) or "test" (24,633 images), the official split, "all" (both),
            or "fit" and "validation", two fixed parts of "train" (`hold_out`).
        data_dir: the folder nabirds or its parent; None for nabirds in one of
            `keras_parts.environment.data_folders`.
        classes: numbers of the classes to read, as in classes.txt; None for all.

    Returns:
        Samples with image, 11 keypoints, box and category. The category is the index of the class
        among those that have images, in the order of classes.txt, from 0.

    Raises:
        ConfigError: the split or a class is unknown.
        DataError: the data set is missing, incomplete or damaged; the message names file and line.
    """
    SOURCE.check_split(split)
    root = SOURCE.find(None) if data_dir is None else Path(data_dir).expanduser()
    root = find_root(SOURCE, root)
    tables = BirdTables(SOURCE, root, text_ids=True, every_class=False)
    chosen = tables.in_split("train" if split in FIT_AND_VALIDATION else split)
    if classes is not None:
        chosen &= tables.of_classes(classes)
    named = {
        region: tuple(name for name in names if name in tables.landmarks)
        for region, names in REGIONS.items()
    }
    dataset = Birds(
        SOURCE,
        root,
        tables,
        chosen,
        categories=_distinct(tables.class_names, tables.class_ids),
        regions={region: names for region, names in named.items() if names},
    )
    return split_of(dataset, split)


def _distinct(names, numbers):
    """The names; one that several classes have is followed by the number of its class."""
    counts = Counter(names)
    return tuple(
        f"{name} ({number})" if counts[name] > 1 else name
        for name, number in zip(names, numbers, strict=True)
    )
