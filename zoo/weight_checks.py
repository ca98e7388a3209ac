"""Check that a weights file contains weights and nothing else, before anything else reads it.

HDF5 can link to other files, map datasets onto them, declare shapes of any size and contain
objects of any type. Trained weights need none of that: they are arrays of floats in groups.
"""

import math
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from keras_parts.errors import IntegrityError

MAX_BYTES = 2**31
"""Maximum sum of the arrays' sizes if the expected arrays are unknown."""
_MAX_OBJECTS = 100_000
_FLOATS = {np.dtype(kind) for kind in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def check_weights_file(
    path: str | PathLike[str],
    expected: Mapping[str, tuple[int, ...]] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
) -> dict[str, tuple[int, ...]]:
    """Raise unless a `.weights.h5` file consists of plain, finite arrays of floats in groups.

    No array is read before the declared sizes of all arrays were checked, and no other file is
    opened, whatever this one links to.

    Args:
        path: the file.
        expected: array name to shape, as `weights_layout(model)` returns; None accepts any arrays.
        max_bytes: maximum sum of the arrays' sizes, if `expected` is None.

    Returns:
        Array name, such as "layers/dense/vars/0", to shape.

    Raises:
        IntegrityError: the file is not HDF5, is truncated, contains more than weights or a soft or
            external link, or declares too many bytes; an array is unexpected or missing, has
            another shape, or has values that are not finite.
    """
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(file, path)
            layout = {name: array.shape for name, array in arrays.items()}
            if expected is not None:
                _compare(layout, expected, path)
                max_bytes = 8 * sum(map(math.prod, expected.values()))
            declared = sum(
                math.prod(array.shape) * array.dtype.itemsize for array in arrays.values()
            )
            if declared > max_bytes:
                raise IntegrityError(
                    f"{path}: declares {declared:,} bytes of arrays, expected {max_bytes:,} at most"
                )
            for name, array in arrays.items():
                if not np.isfinite(array[()]).all():
                    raise IntegrityError(f"{path}: {name} has values that are not finite")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(f"{path}: not a sound HDF5 file: {error}") from error
    return layout


def weights_layout(model: Any) -> dict[str, tuple[int, ...]]:
    """Array name to shape, as a Keras model's `save_weights` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layout.weights.h5")
        model.save_weights(path)
        with h5py.File(path, "r") as file:
            return {name: array.shape for name, array in _arrays(file, path).items()}


def _arrays(file: h5py.File, path: str | PathLike[str]) -> dict[str, h5py.Dataset]:
    """Array name to dataset; none of them is read yet."""
    arrays: dict[str, h5py.Dataset] = {}
    pending: list[tuple[str, Any]] = [("", file)]
    seen: set[int] = set()
    while pending:
        name, found = pending.pop()
        where = f"{path}: {name or 'the root'}"
        address = h5py.h5o.get_info(found.id).addr
        if address in seen:
            raise IntegrityError(f"{where} is linked twice, expected one link to each object")
        if len(seen) >= _MAX_OBJECTS:
            raise IntegrityError(f"{path}: has more than {_MAX_OBJECTS:,} objects")
        seen.add(address)
        if unknown := set(found.attrs) - {"name"}:
            raise IntegrityError(f"{where} has attributes that weights do not have: {unknown}")
        if isinstance(found, h5py.Group):
            pending += [(f"{name}/{key}".lstrip("/"), _child(found, key, where)) for key in found]
        elif isinstance(found, h5py.Dataset):
            _check_storage(found, where)
            arrays[name] = found
        else:
            raise IntegrityError(f"{where} is neither a group nor an array")
    return arrays


def _child(group: h5py.Group, key: str, where: str) -> Any:
    link = group.get(key, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise IntegrityError(f"{where}: {key!r} is a {type(link).__name__}, expected an array")
    return group[key]


def _check_storage(array: h5py.Dataset, where: str) -> None:
    """Raise unless the array consists of floats stored in this file."""
    if array.dtype not in _FLOATS or array.shape is None:
        raise IntegrityError(f"{where} has type {array.dtype}, expected floats")
    if array.is_virtual or array.external:
        raise IntegrityError(f"{where} is stored in another file")
    plan = array.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if not filters <= _FILTERS:
        raise IntegrityError(
            f"{where} has unknown filters {filters - _FILTERS}, expected gzip, shuffle or "
            "fletcher32"
        )
    if array.size and not array.id.get_storage_size():
        raise IntegrityError(f"{where} declares the shape {array.shape} but has no data")


def _compare(
    layout: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    path: str | PathLike[str],
) -> None:
    missing, extra = sorted(set(expected) - set(layout)), sorted(set(layout) - set(expected))
    if missing or extra:
        raise IntegrityError(
            f"{path}: {len(missing)} arrays are missing {missing[:3]}, "
            f"{len(extra)} are not expected {extra[:3]}"
        )
    for name, shape in expected.items():
        if tuple(layout[name]) != tuple(shape):
            raise IntegrityError(
                f"{path}: {name} has the shape {layout[name]}, expected {tuple(shape)}"
            )
