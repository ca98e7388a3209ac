"""The record of the training data in config.json, by which a resumed run knows its data again.

Imports no Keras.
"""

import hashlib
import logging
from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError

_LOG = logging.getLogger(__name__)
_COMPARED_SAMPLES = 64
"""Maximum number of samples whose images and masks are read for the record."""


def record_data(dataset: Dataset, split: str) -> dict[str, Any]:
    """The record of the training data, JSON values.

    Images and masks are those of up to 64 samples, at regular distances in the data set.

    Returns:
        dict of "dataset", "split", "images" (their number), "categories" (their number), "licence",
        and the hexadecimal sha256 sums "names" (of all samples, in order), "files" (the data set's
        fingerprint), "pixels" (of images) and "masks" (with boxes).

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
    count = min(_COMPARED_SAMPLES, len(dataset))
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        sample = dataset[int(index)]
        _update(pixels, [sample.image])
        _update(masks, [sample.foreground, sample.box])
    return {
        "dataset": dataset.info.name,
        "split": split,
        "images": len(dataset),
        "categories": len(np.unique(categories[categories >= 0])),
        "licence": dataset.info.licence,
        "names": hashlib.sha256(repr(dataset.ids()).encode()).hexdigest(),
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


def _update(digest: Any, arrays: Iterable[np.ndarray | None]) -> None:
    for array in arrays:
        digest.update(b"none" if array is None else f"{array.shape} {array.dtype}".encode())
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
