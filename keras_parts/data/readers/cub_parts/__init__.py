"""CUB-200-2011 with part locations, as a data set of TensorFlow Datasets (TFDS).

TFDS' own `caltech_birds2011` has no part locations. This package's builder downloads the official
archives, verifies their checksums, and packs the original image files in ArrayRecord files, which
are read without TensorFlow. `keras-parts data prepare cub_parts` runs the builder.
"""

import hashlib
import io
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset, DatasetInfo, Subset, split_of
from keras_parts.data.problems import attempt
from keras_parts.data.readers.cub import (
    CMR,
    REGIONS,
    SUBSETS,
    check_subset,
    cmr_paths,
    subset_category,
)
from keras_parts.data.readers.cub import SOURCE as CUB_SOURCE
from keras_parts.data.readers.keypoints import visible_inside
from keras_parts.data.readers.sources import (
    DatasetSource,
    read_image_and_size,
)
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import read_image
from keras_parts.images.masks import read_mask

SOURCE = DatasetSource(
    name="cub_parts",
    annotations=CUB_SOURCE.annotations,
    licence=CUB_SOURCE.licence,
    how_to_obtain=(
        "keras-parts data prepare cub_parts --output DIR downloads 1.2 GB and packs it; if you "
        f"have the archives, add --data-dir FOLDER. By hand: {CUB_SOURCE.how_to_obtain}"
    ),
)


class CubParts(Dataset):
    """One split of the packed data set; see `load_cub_parts`."""

    def __init__(self, builder: Any, split: str):
        metadata = builder.info.metadata or {}
        if missing := {"splits", "landmarks", "categories"} - set(metadata):
            raise DataError(
                f"cub_parts: metadata.json in {builder.data_dir} is missing or has no "
                f"{', '.join(sorted(missing))}: remove the folder and prepare it again"
            )
        self._table = metadata["splits"][split]
        self._folder = builder.data_dir
        self._records = builder.as_data_source(split=split, decoders=_as_bytes(builder))
        landmarks = tuple(metadata["landmarks"])
        self._fingerprint = f"{builder.info.full_name} {builder.info.splits[split].num_bytes}"
        self.info = DatasetInfo(
            name=CUB_SOURCE.name,
            landmarks=landmarks,
            mirror_order=mirrored_order(landmarks),
            categories=tuple(metadata["categories"]),
            regions=REGIONS,
            licence=SOURCE.licence,
            how_to_obtain=SOURCE.how_to_obtain,
        )

    def __len__(self) -> int:
        return len(self._table["names"])

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        name = self._table["names"][index]
        record = self._record(index, name)
        image, size = read_image_and_size(_image_file(record, name))
        mask = _file(record["segmentation_mask"], f"cub_parts: the mask of {name}")
        fields = {
            "id": name,
            "image": image,
            "foreground": attempt(_mask, mask, size),
            "category": int(record["label"]),
        }
        if size is None:
            return fields
        height, width = size
        top, left, bottom, right = np.asarray(record["bbox"], np.float64)
        sides = np.array([left * width, top * height, right * width, bottom * height]) - 0.5
        keypoints, landmarks = np.asarray(record["keypoints"], np.float32), self.info.landmarks
        visible = visible_inside(
            keypoints,
            np.asarray(record["visible"], bool),
            size=size,
            describe=lambda part: f"cub_parts: {landmarks[part]} of {name}",
        )
        box = sides.astype(np.float32)
        return fields | {"box": box, "keypoints": keypoints, "visible": visible}

    def image(self, index: int) -> np.ndarray:
        name = self._table["names"][index]
        return read_image(_image_file(self._record(index, name), name))

    def mask_file(self, index: int) -> PathLike | str | None:
        return self._folder

    def _record(self, index, name):
        try:
            return self._records[int(index)]
        except Exception as error:  # the reader raises errors of any type for damaged records
            raise DataError(
                f"cub_parts: the record of {name} in {self._folder} is damaged: {error}. To mend "
                "it, remove the folder and prepare it again"
            ) from error

    def ids(self) -> list[str]:
        return list(self._table["names"])

    def categories(self) -> np.ndarray:
        return np.array(self._table["labels"], np.int64)

    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"cub_parts {self._fingerprint}".encode())
        digest.update(repr(self._table["names"]).encode())
        return digest.hexdigest()


class _Concatenation(Dataset):
    """Several splits in sequence."""

    def __init__(self, splits):
        self._splits, self.info = splits, splits[0].info

    def __len__(self) -> int:
        return sum(map(len, self._splits))

    def read(self, index: int) -> Sample:
        return Sample(**self.fields(index))

    def fields(self, index: int) -> dict[str, Any]:
        split, index = self._find(index)
        return split.fields(index)

    def image(self, index: int) -> np.ndarray:
        split, index = self._find(index)
        return split.image(index)

    def mask_file(self, index: int) -> PathLike | str | None:
        split, index = self._find(index)
        return split.mask_file(index)

    def _find(self, index):
        """The split that contains a sample, and the sample's index in it."""
        for split in self._splits:
            if index < len(split):
                return split, index
            index -= len(split)
        raise IndexError(index)

    def ids(self) -> list[str]:
        return [name for split in self._splits for name in split.ids()]

    def categories(self) -> np.ndarray:
        return np.concatenate([split.categories() for split in self._splits])

    def fingerprint(self) -> str:
        digests = "".join(split.fingerprint() for split in self._splits)
        return hashlib.sha256(digests.encode()).hexdigest()


def load_cub_parts(
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    classes: Iterable[int] | None = None,
    subset: str | None = None,
) -> Dataset:
    """Load the prepared data set.

    Its name in tables is "cub", because the content is the same.

    Args:
        split: "train" or "test" (the official split), "all" (both), or "fit" and "validation", two
            fixed parts of "train" (`hold_out`).
        data_dir: TFDS' data folder, the one given to `data prepare cub_parts --output`; None for
            TFDS' default.
        classes: numbers of the classes, from 1; None for all.
        subset: "001", "002" or "003", the classes of landmark regression; or "cmr", the images
            that CMR cleaned, listed in its {train,val,test}_cub_cleaned.mat, which are expected in
            TFDS' data folder.

    Returns:
        Samples with image, foreground, 15 keypoints, box and category.

    Raises:
        ConfigError: the split, a class or the subset is unknown, or TFDS is not installed.
        DataError: the data set has not been prepared there.
    """
    SOURCE.check_split(split)
    check_subset(SOURCE.name, subset)
    if data_dir is not None and not Path(data_dir).is_dir():
        raise DataError(f"cub_parts: there is no folder {data_dir}. {SOURCE.how_to_obtain}")
    builder = _builder(data_dir)
    if not builder.is_prepared():
        raise DataError(f"cub_parts: {builder.data_dir} is not prepared. {SOURCE.how_to_obtain}")
    read = {"test": ("test",), "all": ("train", "test")}.get(split, ("train",))
    dataset = _chosen(_read(builder, read), builder, split, classes, subset)
    return split_of(dataset, split)


def _read(builder: Any, splits: Iterable[str]) -> Dataset:
    datasets = [CubParts(builder, split) for split in splits]
    return datasets[0] if len(datasets) == 1 else _Concatenation(datasets)


def _chosen(dataset, builder, split, classes, subset):
    """The samples of the given classes and subset."""
    chosen = np.full(len(dataset), True)
    names = dataset.info.categories
    if subset == CMR:
        listed = cmr_paths(_folders(builder), split if split in ("test", "all") else "train")
        chosen &= np.isin(dataset.ids(), [path.rpartition(".")[0] for path in listed])
    elif subset is not None:
        category = subset_category(subset, names)
        if category is None:
            raise DataError(f"cub_parts has no class {SUBSETS[subset]} (CUB-{subset})")
        chosen &= dataset.categories() == category
    if classes is not None:
        chosen &= np.isin(dataset.categories(), _categories_of(names, classes))
    return dataset if chosen.all() else Subset(dataset, np.flatnonzero(chosen))


def cub_parts_builder(
    data_dir: str | PathLike | None = None,
    archives: str | PathLike | None = None,
    *,
    progress: bool = True,
) -> Any:
    """The TFDS builder, with the data set prepared.

    Args:
        data_dir: TFDS' data folder; None for TFDS' default.
        archives: folder with CUB_200_2011.tgz and segmentations.tgz; None to download them. The
            checksums are verified in both cases.
        progress: show TFDS' progress bars.

    Raises:
        ConfigError: TFDS is not installed.
        DataError: an archive is missing.
        IntegrityError: an archive differs from the official one.
    """
    tfds = _tfds()
    builder = _builder(data_dir, archives)
    if not builder.is_prepared():
        config = tfds.download.DownloadConfig(force_checksums_validation=True)
        if progress:
            tfds.enable_progress_bar()
        else:
            tfds.disable_progress_bar()
        builder.download_and_prepare(download_config=config, file_format="array_record")
    return builder


def is_prepared(data_dir: str | PathLike | None = None) -> bool:
    """Whether the data set has been prepared in TFDS' data folder."""
    return _builder(data_dir).is_prepared()


def _builder(data_dir, archives=None):
    _tfds()
    from keras_parts.data.readers.cub_parts.builder import CubParts as Builder

    return Builder(data_dir=data_dir, archives=archives, file_format="array_record")


def _tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(
            "cub_parts needs TensorFlow Datasets: pip install 'keras-parts[datasets]'"
        ) from error
    return tensorflow_datasets


def _as_bytes(builder):
    """Decoders that keep images encoded, to decode them as in every other data set."""
    skip = _tfds().decode.SkipDecoding
    return {"image": skip(), "segmentation_mask": skip()}


def _image_file(record, name):
    return _file(record["image"], f"cub_parts: the image of {name}")


def _file(content, name):
    """A file with the bytes of an image; error messages show its name."""
    file = io.BytesIO(content)
    file.name = name
    return file


def _mask(file, size):
    """(height, width) bool mask; `size` is that of its image, or None if unknown."""
    mask = read_mask(file)
    if size is not None and mask.shape != size:
        raise DataError(
            f"{file.name} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x "
            f"{size[0]}"
        )
    return mask


def _folders(builder):
    """TFDS' data folder, the builder's folder in it, and that of the builder's version."""
    version = Path(builder.data_dir)
    return version.parents[1], version.parent, version


def _categories_of(names, classes):
    """The categories of the classes with these numbers."""
    unknown = [number for number in classes if not 1 <= number <= len(names)]
    if unknown:
        raise ConfigError(f"cub_parts has the classes 1 to {len(names)}, not {unknown[0]}")
    return [number - 1 for number in classes]
