"""The record of the training data in config.json.

A resumed run knows its data again by it, and an evaluation the images of the training.

Imports no Keras.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from keras_parts.data.dataset import FIT_AND_VALIDATION, Dataset, Subset
from keras_parts.data.discovered import Photographs, WithDiscoveredMasks
from keras_parts.data.readers.masks import WithMasks
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

_LOG = logging.getLogger(__name__)
_FOLDER = "folder"
"""The data set of the user's own images, whose splits have no images of their own."""
_UNSEEN = ("test", "validation")
"""Splits whose names promise images that no model was trained on."""
_COMPARED_SAMPLES = 64
"""Maximum number of samples whose images and masks are read for the record."""


def record_data(dataset: Dataset, split: str) -> dict[str, Any]:
    """The record of the training data, JSON values.

    Images and masks are those of up to 64 samples, at regular distances in the data set.

    Returns:
        dict of "dataset", "split", "images" (their number), "categories" (their number), "licence",
        "mask_origins" ({where masks come from: their number}), and the hexadecimal sha256 sums
        "names" (of all samples, in order), "files" (the data set's fingerprint), "pixels" (of
        images) and "masks" (with boxes).

    Raises:
        DataError: a sample cannot be read.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training.data_record import record_data
        >>> record = record_data(data.load("toy", "train", count=3, size=33), "train")
        >>> record["dataset"], record["images"], len(record["masks"])
        ('toy', 3, 64)
    """
    categories = dataset.categories()
    pixels, masks = hashlib.sha256(), hashlib.sha256()
    for sample in _compared_samples(dataset):
        _update(pixels, [sample.image])
        _update(masks, [sample.foreground, sample.box])
    return {
        "dataset": dataset.info.name,
        "split": split,
        "images": len(dataset),
        "categories": len(np.unique(categories[categories >= 0])),
        "licence": dataset.info.licence,
        "mask_origins": dict(Counter(map(dataset.mask_origin, range(len(dataset))))),
        "names": _names(dataset),
        "files": dataset.fingerprint(),
        "pixels": pixels.hexdigest(),
        "masks": masks.hexdigest(),
    }


def check_same_data(
    stored: Mapping[str, Any], current: Mapping[str, Any], run: str | PathLike
) -> None:
    """Check that a run is resumed with the data that it began with.

    Data set, split, names, images and masks must be the same. The files may lie elsewhere and have
    other times, and another version of an image library may decode them slightly differently;
    a warning says so.

    Args:
        stored: from config.json; records of version 0.1.0 have no sums.
        current: from `record_data`.
        run: the run folder, for messages.

    Raises:
        ConfigError: the data differ; the message lists how.

    Example:
        >>> from keras_parts.training.data_record import check_same_data
        >>> check_same_data({"images": 24}, {"images": 20}, "runs/cats")
        Traceback (most recent call last):
        ...
        keras_parts.errors.ConfigError: runs/cats cannot be resumed with other data: images was 24,
        is 20. ...
    """
    changed = [
        f"{name} was {stored[name]!r}, is {current[name]!r}"
        for name in ("dataset", "split", "images")
        if name in stored and stored[name] != current[name]
    ]
    differing = {
        name
        for name in ("names", "files", "pixels", "masks")
        if name in stored and stored[name] != current[name]
    }
    if "names" in differing:
        changed.append("the samples have other names")
    elif not changed:
        changed += ["the masks differ"] if "masks" in differing else []
        changed += ["the images differ"] if {"pixels", "files"} <= differing else []
    if changed:
        raise ConfigError(
            f"{run} cannot be resumed with other data: {'; '.join(changed)}. Repeat --dataset, "
            "--data-dir, --masks, --split, --skip-bad and --data-option of the run, or choose "
            "another --output",
            path=run,
        )
    if "names" not in stored:
        _LOG.warning(
            "%s was begun by an earlier version, which recorded no checksums of the data: only "
            "data set, split and number of images were compared",
            run,
        )
    elif "files" in differing:
        _LOG.warning(
            "%s: files of the data have other sizes or times than when the run began; the images "
            "and masks that were compared are the same, so the run continues",
            run,
        )
    elif "pixels" in differing:
        _LOG.warning(
            "%s: the images are decoded to slightly different pixels than when the run began, "
            "perhaps by another version of Pillow; the run continues",
            run,
        )


class MeasuredOn(NamedTuple):
    """The images that a model is measured on, as a report names them.

    Attributes:
        split: the name of their split.
        note: what the report says if the model was trained on them; else "".
    """

    split: str
    note: str = ""


def measured_on(model: str, stored: Mapping[str, Any], dataset: Dataset, split: str) -> MeasuredOn:
    """Whether a model is measured on images that it was trained on.

    Names, and files or pixels, are compared with the record of the training; masks and labels may
    be others. A record without sums, as on a card, tells only whether the splits have images in
    common.

    Args:
        model: its name, for the note.
        stored: the record of the training: from config.json, "dataset" and "split" of a card, or
            empty if it is unknown.
        dataset: the images that the model is measured on.
        split: the name of their split. Images that the model was trained on are called "train"
            instead of "test" and "validation": all splits of a folder have the same images.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training.data_record import measured_on, record_data
        >>> train = data.load("toy", "train", count=3, size=33)
        >>> record = record_data(train, "train")
        >>> measured_on("mine", record, train, "train").note
        'These are images that mine was trained on: others will have lower values.'
        >>> measured_on("mine", record, data.load("toy", "test", count=3, size=33), "test")
        MeasuredOn(split='test', note='')
    """
    name = dataset.info.name
    if stored.get("dataset") != name:
        return MeasuredOn(split)
    if any(_is_recorded(stored, one) for one in _with_originals(dataset)):
        note = f"These are images that {model} was trained on: others will have lower values."
        return MeasuredOn("train" if split in _UNSEEN else split, note)
    trained = stored.get("split", "")
    if name != _FOLDER and _have_common_images(trained, split):
        note = (
            f"Some of these images may be among those that {model} was trained on, which are of "
            f"{name}, split {trained}: others will have lower values."
        )
        return MeasuredOn(split, note)
    return MeasuredOn(split)


def _have_common_images(trained: str, measured: str) -> bool:
    """Whether two splits of a data set have images in common, by their names."""
    splits = {trained, measured}
    is_part = "train" in splits and not splits.isdisjoint(FIT_AND_VALIDATION)
    return len(splits) == 1 or "all" in splits or is_part


def _with_originals(dataset: Dataset) -> Iterator[Dataset]:
    """A data set, and those from which it was chosen, or whose masks it replaces."""
    yield dataset
    while isinstance(dataset, Subset | WithMasks | WithDiscoveredMasks | Photographs):
        dataset = dataset.dataset
        yield dataset


def _is_recorded(stored: Mapping[str, Any], dataset: Dataset) -> bool:
    """Whether the images of a data set are those of a record; masks and labels may be others."""
    if stored.get("images") != len(dataset) or stored.get("names") != _names(dataset):
        return False
    if stored.get("files") == dataset.fingerprint():
        return True
    pixels = hashlib.sha256()
    for sample in _compared_samples(dataset):
        _update(pixels, [sample.image])
    return stored.get("pixels") == pixels.hexdigest()


def _names(dataset: Dataset) -> str:
    return hashlib.sha256(repr(dataset.ids()).encode()).hexdigest()


def _compared_samples(dataset: Dataset) -> Iterator[Sample]:
    """Up to 64 samples, at regular distances."""
    count = min(_COMPARED_SAMPLES, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        yield dataset[int(index)]


def _update(digest: Any, arrays: Iterable[np.ndarray | None]) -> None:
    for array in arrays:
        digest.update(b"none" if array is None else f"{array.shape} {array.dtype}".encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
