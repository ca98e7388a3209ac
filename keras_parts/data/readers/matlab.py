"""Read MATLAB's .mat files, in which older data sets store their labels."""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_parts.errors import DataError
from keras_parts.extras import import_from_extra
from keras_parts.files import read_file

_MAX_FILE_BYTES = 2**29
_MAX_UNPACKED_BYTES = 2**30  # of all variables of a file together
_MAX_DEPTH = 64  # of cells and structs inside each other
_HEADER_BYTES, _TAG_BYTES = 128, 8
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15  # types of an element
_DATA = frozenset({1, 2, 3, 4, _INT32, _UINT32, 7, 9, 12, 13, _MATRIX, 16, 17, 18})  # in a matrix
_CELL, _STRUCT, _OBJECT = 1, 2, 3  # classes of a matrix that contain matrices
_TEXT, _SPARSE, _NUMBERS = 4, 5, range(6, 16)
_COMPLEX = 1 << 11  # in the flags of a matrix


def read_mat(path: Path, variable: str) -> Any:
    """One variable of a .mat file (versions 4 to 7).

    scipy reads files recursively and takes the memory that they ask for. So the nesting and the
    unpacked size are checked first.

    Args:
        path: the file.
        variable: name of the variable.

    Returns:
        The value as `scipy.io.loadmat` converts it: dimensions of length 1 are removed, structs
        are objects with one attribute per field.

    Raises:
        DataError: the file is missing, damaged, too large or of version 7.3, or has no such
            variable.
    """
    loadmat = import_from_extra("scipy.io", "train").loadmat
    content = read_file(path, max_bytes=_MAX_FILE_BYTES)
    try:
        _check_structure(content)
        variables = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)
    except NotImplementedError:
        raise DataError(f"{path}: MATLAB 7.3 files cannot be read: save it with -v7") from None
    except Exception as error:  # scipy raises errors of any type for damaged files
        raise DataError(f"{path}: not a readable .mat file: {error}") from error
    if variable not in variables:
        names = [name for name in variables if not name.startswith("__")]
        raise DataError(
            f"{path} has the variables {', '.join(names) or 'none'}, expected {variable}"
        )
    return variables[variable]


def as_list(value: Any) -> list:
    """The elements of a struct array, which `read_mat` reduces to a single struct or to none."""
    return list(np.atleast_1d(value).ravel())


class _Element(NamedTuple):
    """A piece of a file: its type, and where its data begins and ends in the bytes."""

    type: int
    start: int
    end: int


def _check_structure(content: bytes) -> None:
    """Raise `DataError` unless each matrix has the parts that it declares, within the limits."""
    if len(content) < _HEADER_BYTES or 0 in content[:4]:
        return  # version 4, which has neither compression nor nesting
    if content[124:126] in (b"\x00\x02", b"\x02\x00"):
        return  # version 7.3, which scipy refuses
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise DataError("its header is damaged")
    free = _MAX_UNPACKED_BYTES
    for element in _elements(content, _HEADER_BYTES, len(content), order):
        data = content[element.start : element.end]
        if element.type == _COMPRESSED:
            data = zlib.decompressobj().decompress(data, free + 1)
        free -= len(data)
        if free < 0:
            raise DataError(f"it unpacks to more than {_MAX_UNPACKED_BYTES:,} bytes")
        if element.type == _COMPRESSED:
            for inner in _elements(data, 0, len(data), order):
                _check_matrices(data, inner, order)
        else:
            _check_matrices(content, element, order)


def _check_matrices(content: bytes, outer: _Element, order: str) -> None:
    pending = [(outer, 0)]
    while pending:
        element, depth = pending.pop()
        if element.type != _MATRIX or element.start == element.end:
            continue  # an empty matrix has no parts
        if depth > _MAX_DEPTH:
            raise DataError(f"its cells or structs are nested more than {_MAX_DEPTH} deep")
        parts = list(_elements(content, element.start, element.end, order))
        nested = [part for part in parts if part.type == _MATRIX]
        own, inner = _num_parts(content, parts, order)
        if (len(parts) - len(nested), len(nested)) != (own, inner):
            raise DataError("a matrix has another number of parts than it declares")
        if not all(part.type in _DATA for part in parts):
            raise DataError("a matrix has a part of an unknown type")
        pending += [(part, depth + 1) for part in nested]


def _num_parts(content: bytes, parts: list[_Element], order: str) -> tuple[int, int]:
    """Number of parts of a matrix, and of matrices in it, according to its flags and size."""
    if len(parts) < 3:
        raise DataError("a matrix has no size")
    flags, size = parts[:2]
    if flags.end - flags.start != 8 or size.type not in (_INT32, _UINT32):
        raise DataError("a matrix has no size")
    (bits,) = struct.unpack_from(f"{order}I", content, flags.start)
    kind, is_complex = bits & 0xFF, bool(bits & _COMPLEX)
    sizes = _integers(content, size, order)
    count = math.prod(sizes)
    if not 2 <= len(sizes) <= 32 or min(sizes) < 0 or count * 8 > _MAX_UNPACKED_BYTES:
        raise DataError(f"a matrix has the size {sizes[:32]}")
    if kind == _CELL:
        return 3, count
    if kind in (_STRUCT, _OBJECT):
        own = 5 if kind == _STRUCT else 6
        if len(parts) < own:
            raise DataError("a struct has no names")
        length, names = parts[own - 2 : own]
        widths = _integers(content, length, order)
        if len(widths) != 1 or widths[0] < 1:
            raise DataError("the names of a struct have no length")
        return own, count * ((names.end - names.start) // widths[0])
    if kind == _TEXT:
        return 4, 0
    if kind == _SPARSE:
        return 6 + is_complex, 0
    if kind in _NUMBERS:
        return 4 + is_complex, 0
    raise DataError(f"it has a variable of MATLAB's class {kind}, which cannot be read")


def _integers(content: bytes, element: _Element, order: str) -> tuple[int, ...]:
    count = (element.end - element.start) // 4
    return struct.unpack_from(f"{order}{count}i", content, element.start)


def _elements(content: bytes, start: int, end: int, order: str) -> Iterator[_Element]:
    """The elements between two positions.

    Raises:
        DataError: they do not fill the space exactly.
    """
    while start < end:
        if start + _TAG_BYTES > end:
            raise DataError("it is cut off")
        kind, size = struct.unpack_from(f"{order}2I", content, start)
        if kind >> 16:  # a small element: type, size and data in eight bytes
            element = _Element(kind & 0xFFFF, start + 4, start + 4 + (kind >> 16))
            if kind >> 16 > 4:
                raise DataError("it is damaged")
            start += _TAG_BYTES
        else:
            element = _Element(kind, start + _TAG_BYTES, start + _TAG_BYTES + size)
            padding = 0 if kind == _COMPRESSED else -size % 8
            start = element.end + padding
        if start > end:
            raise DataError("it is cut off")
        yield element
