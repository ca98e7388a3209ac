"""Weights files of half the size."""

from os import PathLike
from typing import Any

import h5py
import numpy as np

_MAX_HALF = float(np.finfo(np.float16).max)


def write_compact(source: str | PathLike[str], destination: str | PathLike[str]) -> None:
    """Copy a weights file, with arrays of two and more dimensions as float16 if its range
    contains their values.

    One-dimensional arrays (biases, statistics of batch normalisation) keep their precision: they
    are small, and a variance close to 0 would become inaccurate.

    Args:
        source, destination: `.weights.h5` files.
    """
    with h5py.File(source, "r") as original, h5py.File(destination, "w") as copy:

        def copy_item(name: str, item: Any) -> None:
            if isinstance(item, h5py.Group):
                created = copy.require_group(name)
            else:
                created = copy.create_dataset(name, data=_compact(item[()]))
            created.attrs.update(item.attrs)

        copy.attrs.update(original.attrs)
        original.visititems(copy_item)


def _compact(values: np.ndarray) -> np.ndarray:
    if values.ndim > 1 and np.abs(values).max(initial=0) < _MAX_HALF:
        return values.astype(np.float16)
    return values
