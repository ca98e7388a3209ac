"""The golden pair: a small drawn image, and the segmenter's logits for it.

The pair shows whether a model computes the same values on this backend, device and version of Keras
as on the machine where it was packed. The image is the array "pixels", RGB in 0 to 255; pairs of
earlier versions have it as "image", RGB in 0 to 1.
"""

from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from keras import ops

from keras_parts.backbones.weights_file import check_weights_file
from keras_parts.data import load
from keras_parts.errors import IntegrityError
from keras_parts.files import atomic_path

TOLERANCE = 1e-4
"""Maximum difference of a logit between backends; logits are of the order of 10."""
_SIDE = 65
"""Side of the image in pixels."""
_MAX_BYTES = 2**24


def write_golden(segmenter: Any, path: str | PathLike[str]) -> None:
    """Write a drawn image, float32 `(1, height, width, 3)` RGB in 0 to 255, and its logits,
    float32 `(1, grid height, grid width, 1 + parts)`.
    """
    # Floats, because the check of the file expects no other arrays.
    image = load("toy", "test", size=_SIDE, count=1)[0].image[None].astype("float32")
    with atomic_path(path) as unfinished, h5py.File(unfinished, "w") as file:
        for name, values in (("pixels", image), ("logits", _logits(segmenter, image))):
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)


def golden_difference(segmenter: Any, path: str | PathLike[str]) -> float:
    """The maximum difference between the stored logits and those computed now.

    Raises:
        IntegrityError: not a golden pair of such a segmenter.
    """
    layout = check_weights_file(path, max_bytes=_MAX_BYTES)
    name, white = ("image", 1) if "image" in layout else ("pixels", 255)
    image_shape, logits_shape = layout.get(name, ()), layout.get("logits", ())
    valid = (
        set(layout) == {name, "logits"}
        and len(image_shape) == len(logits_shape) == 4
        and image_shape[-1] == 3
        and logits_shape[-1] == 1 + segmenter.num_parts
        and 33 <= min(image_shape[1:3]) <= max(image_shape[1:3]) <= 513
    )
    if not valid:
        raise IntegrityError(
            f"{path}: contains {layout}, expected pixels (1, height, width, 3) and its logits "
            f"(1, h, w, {1 + segmenter.num_parts})"
        )
    with h5py.File(Path(path), "r") as file:
        image, expected = file[name][()] * (255 / white), file["logits"][()]
    found = _logits(segmenter, image)
    if found.shape != expected.shape:
        raise IntegrityError(f"{path}: logits are {found.shape}, expected {expected.shape}")
    return float(np.abs(found - expected).max())


def _logits(segmenter: Any, image: np.ndarray) -> np.ndarray:
    # Not `predict`, which would compile a function for this size alone.
    return ops.convert_to_numpy(segmenter(image, training=False)).astype("float32")
