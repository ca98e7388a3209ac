"""CUB-200-2011 with part locations, out of TensorFlow Datasets.

TFDS' own `caltech_birds2011` has no part locations. This builder downloads the official archives,
verifies their checksums, and writes images as they are (encoded) to ArrayRecord files, which are
read without TensorFlow. `keras-parts data prepare cub_parts` runs it.
"""

import hashlib
import io
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

import numpy as np

from keras_parts.data.dataset import Dataset, DatasetInfo, Subset, check_split, split_of
from keras_parts.data.keypoints import visible_inside
from keras_parts.data.problems import attempt
from keras_parts.data.readers.cub import CMR, LICENCE, REGIONS, SUBSETS, cmr_paths
from keras_parts.data.readers.cub import HOW_TO_OBTAIN as _BY_HAND
from keras_parts.data.readers.sources import read_picture
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.decoding import read_mask

SPLITS = ("train", "test", "fit", "validation", "all")
HOW_TO_OBTAIN = (
    "keras-parts data prepare cub_parts --output DIR downloads 1.2 GB and packs it; with the "
    f"archives at hand, add --data-dir FOLDER. By hand: {_BY_HAND}"
)


class CubParts(Dataset):
    """One split of the packed data set; see `load_cub_parts`."""

    def __init__(self, builder, split: str):
        metadata = builder.info.metadata or {}
        if lost := {"splits", "landmarks", "categories"} - set(metadata):
            raise DataError(
                f"cub_parts: metadata.json in {builder.data_dir} is missing or has no "
                f"{', '.join(sorted(lost))}. Remove the folder and prepare it again"
            )
        self._table = metadata["splits"][split]
        self._folder = builder.data_dir
        self._records = builder.as_data_source(split=split, decoders=_as_bytes(builder))
        landmarks = tuple(metadata["landmarks"])
        self._fingerprint = f"{builder.info.full_name} {builder.info.splits[split].num_bytes}"
        self.info = DatasetInfo(
            name="cub",
            landmarks=landmarks,
            mirror=mirrored_order(landmarks),
            categories=tuple(metadata["categories"]),
            regions=REGIONS,
            licence=LICENCE,
            how_to_obtain=HOW_TO_OBTAIN,
        )

    def __len__(self):
        return len(self._table["names"])

    def read(self, index):
        return Sample(**self.fields(index))

    def fields(self, index):
        name = self._table["names"][index]
        record = self._record(index, name)
        image, size = read_picture(_file(record["image"], f"cub_parts: the image of {name}"))
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
            size,
            lambda part: f"cub_parts: {landmarks[part]} of {name}",
        )
        box = sides.astype(np.float32)
        return fields | {"box": box, "keypoints": keypoints, "visible": visible}

    def mask_file(self, index):
        return self._folder

    def _record(self, index, name):
        try:
            return self._records[int(index)]
        except Exception as error:  # the reader raises whatever damaged input leads it to
            raise DataError(
                f"cub_parts: the record of {name} in {self._folder} is damaged: {error}. Remove "
                "the folder and prepare it again"
            ) from error

    def ids(self):
        return list(self._table["names"])

    def categories(self):
        return np.array(self._table["labels"], np.int64)

    def fingerprint(self):
        digest = hashlib.sha256(f"cub_parts {self._fingerprint}".encode())
        digest.update(repr(self._table["names"]).encode())
        return digest.hexdigest()


class _Joined(Dataset):
    """Several splits, one after the other."""

    def __init__(self, splits):
        self._splits, self.info = splits, splits[0].info

    def __len__(self):
        return sum(map(len, self._splits))

    def read(self, index):
        return Sample(**self.fields(index))

    def fields(self, index):
        split, index = self._find(index)
        return split.fields(index)

    def mask_file(self, index):
        split, index = self._find(index)
        return split.mask_file(index)

    def _find(self, index):
        """The split that has a sample, and its index there."""
        for split in self._splits:
            if index < len(split):
                return split, index
            index -= len(split)
        raise IndexError(index)

    def ids(self):
        return [name for split in self._splits for name in split.ids()]

    def categories(self):
        return np.concatenate([split.categories() for split in self._splits])

    def fingerprint(self):
        words = "".join(split.fingerprint() for split in self._splits)
        return hashlib.sha256(words.encode()).hexdigest()


def load_cub_parts(
    split: str,
    data_dir: str | PathLike | None = None,
    classes: Iterable[int] | None = None,
    subset: str | None = None,
) -> Dataset:
    """The packed data set, prepared before; it is called "cub" in tables, as it is the same.

    Args:
        split: "train" or "test" (the official split), "all" (both), or "fit" and "validation", a
            fixed partition of "train" (`hold_out`).
        data_dir: TFDS' data folder that `data prepare cub_parts --output` named; None for TFDS'
            own.
        classes: numbers of the classes, from 1; None for all.
        subset: "001", "002" or "003", the classes of landmark regression; or "cmr", the images
            that CMR cleaned, listed in its {train,val,test}_cub_cleaned.mat, which lie in TFDS'
            data folder.

    Returns:
        Samples with image, foreground, 15 keypoints, box and category.

    Raises:
        ConfigError: the split, a class or the subset is unknown, or TFDS is not installed.
        DataError: it has not been prepared there.
    """
    check_split("cub_parts", split, SPLITS)
    if subset not in (None, CMR, *SUBSETS):
        raise ConfigError(f"cub_parts has the subsets {', '.join((CMR, *SUBSETS))}, not {subset!r}")
    if data_dir is not None and not Path(data_dir).is_dir():
        raise DataError(f"cub_parts: there is no folder {data_dir}. {HOW_TO_OBTAIN}")
    builder = _builder(data_dir)
    if not builder.is_prepared():
        raise DataError(f"cub_parts: {builder.data_dir} is not prepared. {HOW_TO_OBTAIN}")
    if split == "all":
        dataset = _Joined([CubParts(builder, "train"), CubParts(builder, "test")])
    else:
        dataset = CubParts(builder, "test" if split == "test" else "train")
    chosen = np.full(len(dataset), True)
    if subset == CMR:
        lists = cmr_paths(_folders(builder), split if split in ("test", "all") else "train")
        chosen &= np.isin(dataset.ids(), [path.rpartition(".")[0] for path in lists])
    elif subset is not None:
        chosen &= dataset.categories() == _place(dataset.info.categories, subset)
    if classes is not None:
        chosen &= np.isin(dataset.categories(), _places(dataset.info.categories, classes))
    if not chosen.all():
        dataset = Subset(dataset, np.flatnonzero(chosen))
    return split_of(dataset, split) if split in ("fit", "validation") else dataset


def cub_parts_builder(
    data_dir: str | PathLike | None = None,
    archives: str | PathLike | None = None,
    progress: bool = True,
):
    """The TFDS builder, prepared: what is there already is not done again.

    Args:
        data_dir: TFDS' data folder; None for its own.
        archives: folder with CUB_200_2011.tgz and segmentations.tgz, to download nothing. Their
            checksums are verified all the same.
        progress: show TFDS' progress bars.

    Raises:
        ConfigError: TFDS is not installed. DataError: an archive is missing.
        IntegrityError: an archive is not the official one.
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


def _builder(data_dir, archives=None):
    _tfds()
    from keras_parts.data.readers.cub_parts.cub_parts_dataset_builder import CubParts as Builder

    return Builder(data_dir=data_dir, archives=archives, file_format="array_record")


def _tfds():
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise ConfigError(
            "cub_parts takes TensorFlow Datasets: pip install 'keras-parts[datasets]'"
        ) from error
    return tensorflow_datasets


def _as_bytes(builder):
    """Images stay encoded: they are decoded as those of every other data set are."""
    skip = _tfds().decode.SkipDecoding
    return {"image": skip(), "segmentation_mask": skip()}


def _file(content, name):
    """The bytes of a picture as a file with a name, for errors."""
    file = io.BytesIO(content)
    file.name = name
    return file


def _mask(file, size):
    """(height, width) bool mask for an image of a size, or of None where that is not known."""
    mask = read_mask(file)
    if size is not None and mask.shape != size:
        raise DataError(
            f"{file.name} has {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x "
            f"{size[0]}"
        )
    return mask


def _folders(builder):
    """TFDS' data folder, then that of the builder and of its version."""
    version = Path(builder.data_dir)
    return version.parents[1], version.parent, version


def _place(names, subset):
    """The place of a subset's class among all."""
    name = SUBSETS[subset].partition(".")[2].replace("_", " ")
    if name not in names:
        raise DataError(f"cub_parts has no class {name}, which is CUB-{subset}")
    return names.index(name)


def _places(names, classes):
    """The places of classes by their numbers."""
    unknown = [number for number in classes if not 1 <= number <= len(names)]
    if unknown:
        raise ConfigError(f"cub_parts has the classes 1 to {len(names)}, not {unknown[0]}")
    return [number - 1 for number in classes]
