"""Check that a weights file contains weights and nothing else, before anything else reads it.

HDF5 can link to other files, map datasets onto them, declare shapes of any size and contain
objects of any type. Trained weights need none of that: they are arrays of floats in groups.

Every `.weights.h5` file that is read passes through `load_weights`, wherever it comes from: a model
of the zoo, the folder of `--model` or `--init-from`, the weights of a teacher.
"""

import itertools
import math
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Collection, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np

from keras_parts.errors import DataError, IntegrityError
from keras_parts.files import check_regular

MAX_BYTES = 2**31
"""Maximum sum of the arrays' sizes if the expected arrays are unknown."""
_MAX_OBJECTS = 100_000
_MAX_CHUNKS = 2**16
"""Maximum number of chunks in which an array is stored."""
_MAX_TEXT, _MAX_TEXTS = 1000, 10_000
"""Maximum length of a text in an attribute, and maximum number of them."""
_MAX_SECONDS = 60
_READ_ALL = """
import sys, h5py
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
except ImportError:
    pass
def read(name, found):
    for attribute in found.attrs:
        found.attrs[attribute]
    if isinstance(found, h5py.Dataset):
        found[()]
with h5py.File(sys.argv[1], "r") as file:
    read("", file)
    file.visititems(read)
"""
_PROCESS_BYTES = 2**31
"""Memory of the process that reads a file, beside the arrays."""
_KERAS_3 = ("name", "dtype")
"""Attributes in files of Keras 3: the name of a layer, and the type of an array of bfloat16."""
_LISTS = ("layer_names", "weight_names")
_KERAS_2 = ("name", "backend", "keras_version", *_LISTS)
"""Attributes in files of Keras 2, some of which are lists."""
_OVERHEAD = 2**20
"""Bytes that a file may have beside its arrays, and as many for each 256 of them."""
_BFLOAT16 = np.dtype("V2")
"""How h5py stores bfloat16, which HDF5 does not have."""
_FLOATS = {np.dtype(kind) for kind in ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")}
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_CHECKSUM_BYTES = 4
"""Bytes that the filter fletcher32 appends to a chunk."""


def load_weights(model: Any, path: str | PathLike[str]) -> None:
    """Load a weights file into a Keras model, after it was checked against the model.

    Keras itself ignores some missing and some additional arrays, and values that are not finite.

    Args:
        model: a built `keras.Model`.
        path: a `.weights.h5` file, or a `.h5` file as Keras 2 and `keras.applications` have it.

    Raises:
        IntegrityError: the file is missing, or is not exactly the weights of such a model.

    Example:
        >>> import keras
        >>> from keras_parts.backbones.weights_file import load_weights
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> model.save_weights("my.weights.h5")
        >>> load_weights(model, "my.weights.h5")
    """
    if fspath(path).endswith(".weights.h5"):
        check_weights_file(path, weights_layout(model))
    else:
        max_bytes = 8 * sum(math.prod(variable.shape) for variable in model.variables)
        check_weights_file(path, max_bytes=max_bytes, attributes=_KERAS_2)
    try:
        model.load_weights(path)
    except (OSError, ValueError, KeyError) as error:
        raise IntegrityError(f"{path}: cannot be loaded: {error}", path=path) from error


def check_weights_file(
    path: str | PathLike[str],
    expected: Mapping[str, tuple[int, ...]] | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    attributes: Collection[str] = _KERAS_3,
) -> dict[str, tuple[int, ...]]:
    """Raise unless a `.weights.h5` file consists of plain, finite arrays of floats in groups.

    No array is read before the declared sizes of all arrays were checked, and no other file is
    opened, whatever this one links to.

    Args:
        path: the file.
        expected: array name to shape, as `weights_layout(model)` returns; None accepts any arrays.
        max_bytes: maximum sum of the arrays' sizes, if `expected` is None.
        attributes: names of the attributes that the file may have; their values are short texts.

    Returns:
        Array name, such as "layers/dense/vars/0", to shape.

    Raises:
        IntegrityError: the file is missing, not a regular file, not HDF5, or truncated; it contains
            more than weights or a soft or external link; it is too large, declares too many bytes
            or would unpack to more than it declares; an array is unexpected or missing, has
            another shape, is stored in part, or has values that are not finite as float32.
    """
    if expected is not None:
        max_bytes = 8 * sum(map(math.prod, expected.values()))
    _check_size(path, max_bytes, len(expected or ()))
    try:
        with h5py.File(path, "r") as file:
            arrays = _arrays(file, path, attributes)
            layout = {name: array.shape for name, array in arrays.items()}
            if expected is not None:
                _compare(layout, expected, path)
            declared = sum(
                math.prod(array.shape) * array.dtype.itemsize for array in arrays.values()
            )
            if declared > max_bytes:
                raise IntegrityError(
                    f"{path}: declares {declared:,} bytes of arrays, expected {max_bytes:,} at most"
                )
            read_by_keras = attributes != _KERAS_3 or any(
                "dtype" in one.attrs for one in arrays.values()
            )
            if read_by_keras or any(array.chunks for array in arrays.values()):
                _read_apart(path, declared)
            for name, array in arrays.items():
                _check_chunks(array, f"{path}: {name}")
                if not are_finite(_values(array)):
                    raise IntegrityError(f"{path}: {name} has values that are not finite")
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise IntegrityError(f"{path}: not a sound HDF5 file: {error}") from error
    return layout


def weights_layout(model: Any) -> dict[str, tuple[int, ...]]:
    """Array name to shape, as a Keras model's `save_weights` writes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "layout.weights.h5")
        model.save_weights(path)
        with h5py.File(path, "r") as file:
            return {name: array.shape for name, array in _arrays(file, path, _KERAS_3).items()}


def _arrays(
    file: h5py.File, path: str | PathLike[str], attributes: Collection[str]
) -> dict[str, h5py.Dataset]:
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
        _check_attributes(found, where, attributes)
        if isinstance(found, h5py.Group):
            if len(found) > _MAX_OBJECTS:
                raise IntegrityError(f"{path}: has more than {_MAX_OBJECTS:,} objects")
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
    is_bfloat16 = array.dtype == _BFLOAT16 and "dtype" in array.attrs
    if not (array.dtype in _FLOATS or is_bfloat16) or array.shape is None:
        raise IntegrityError(f"{where} has type {array.dtype}, expected floats")
    if array.is_virtual or array.external:
        raise IntegrityError(f"{where} is stored in another file")
    plan = array.id.get_create_plist()
    filters = _filters(plan)
    if not set(filters) <= _FILTERS or len(set(filters)) < len(filters):
        raise IntegrityError(
            f"{where} has the filters {filters}, expected gzip, shuffle or fletcher32, each once"
        )
    if array.size and not array.id.get_storage_size():
        raise IntegrityError(f"{where} declares the shape {array.shape} but has no data")
    if array.chunks and (
        any(chunk > side for side, chunk in zip(array.shape, array.chunks, strict=True))
        or math.prod(_chunk_counts(array)) > _MAX_CHUNKS
    ):
        raise IntegrityError(
            f"{where} of shape {array.shape} is stored in chunks of {array.chunks}, expected at "
            f"most {_MAX_CHUNKS:,} chunks that are not larger than the array"
        )


def _check_size(path: str | PathLike[str], max_bytes: int, num_arrays: int) -> None:
    """Raise unless this is a regular file that is not much larger than its arrays."""
    try:
        size = check_regular(path)
    except DataError as error:
        raise IntegrityError(str(error), path=path) from error
    largest = max_bytes + _OVERHEAD * (1 + num_arrays // 256)
    if size > largest:
        raise IntegrityError(
            f"{path}: has {size:,} bytes, expected {largest:,} at most",
            path=path,
            expected=largest,
            found=size,
        )


def _check_attributes(found: h5py.HLObject, where: str, known: Collection[str]) -> None:
    """Raise unless all attributes are known and are short texts."""
    if unknown := sorted(set(found.attrs) - set(known)):
        raise IntegrityError(
            f"{where} has attributes that weights do not have: {str(unknown):.200}"
        )
    for name in found.attrs:
        attribute = found.attrs.get_id(name)
        kind = attribute.get_type()
        is_text = kind.get_class() == h5py.h5t.STRING
        # The texts of a list may all be one long text, which is read once for each.
        most = _MAX_TEXTS if name in _LISTS else 1
        if not is_text or math.prod(attribute.shape) > most or kind.get_size() > _MAX_TEXT:
            raise IntegrityError(f"{where} has an attribute {name!r} that is not a short text")


def _read_apart(path: str | PathLike[str], declared: int) -> None:
    """Read a whole file in a process of its own, before this one does.

    HDF5 can be brought to crash by damaged chunks, and to look for ever for the end of a damaged
    heap, where texts are. Only the end of a process ends that.
    """
    memory = str(2 * declared + _PROCESS_BYTES)
    command = [sys.executable, "-c", _READ_ALL, fspath(path), memory]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=_MAX_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1] if lines else f"it ends the process that reads it ({error.returncode})"
        raise IntegrityError(f"{path}: not a sound HDF5 file: {reason}", path=path) from None
    except subprocess.TimeoutExpired:
        raise IntegrityError(
            f"{path}: not a sound HDF5 file: not read within {_MAX_SECONDS} s", path=path
        ) from None


def _values(array: h5py.Dataset) -> np.ndarray:
    values = np.asarray(array[()])
    return values.view(ml_dtypes.bfloat16) if values.dtype == _BFLOAT16 else values


def are_finite(values: np.ndarray) -> bool:
    """Whether all values are finite as float32, the type of the variables that they become."""
    if values.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    return bool(np.isfinite(values).all())


def _filters(plan: Any) -> list[int]:
    return [plan.get_filter(index)[0] for index in range(plan.get_nfilters())]


def _chunk_counts(array: h5py.Dataset) -> list[int]:
    """Number of chunks along each axis."""
    return [math.ceil(side / chunk) for side, chunk in zip(array.shape, array.chunks, strict=True)]


def _check_chunks(array: h5py.Dataset, where: str) -> None:
    """Raise if a chunk is missing, or a compressed one unpacks to more than its size, which HDF5
    would not notice before it has the memory."""
    if not array.size or not array.chunks:
        return
    stored, number = array.id.get_num_chunks(), math.prod(_chunk_counts(array))
    if stored < number:
        raise IntegrityError(f"{where}: {stored:,} of {number:,} chunks are stored")
    filters = _filters(array.id.get_create_plist())
    if h5py.h5z.FILTER_DEFLATE not in filters:
        return
    unpacked = math.prod(array.chunks) * array.dtype.itemsize + _CHECKSUM_BYTES
    skipped = 1 << filters.index(h5py.h5z.FILTER_DEFLATE)
    for index in itertools.product(*map(range, _chunk_counts(array))):
        corner = tuple(i * chunk for i, chunk in zip(index, array.chunks, strict=True))
        if array.id.get_chunk_info_by_coord(corner).filter_mask & skipped:
            continue  # not compressed, because that did not make it smaller
        stream = zlib.decompressobj()
        _, content = array.id.read_direct_chunk(corner)
        if len(stream.decompress(content, unpacked + 1)) > unpacked or not stream.eof:
            raise IntegrityError(
                f"{where}: the chunk at {corner} unpacks to more than its {unpacked:,} bytes"
            )


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
