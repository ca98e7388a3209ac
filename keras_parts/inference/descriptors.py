"""The descriptors in a results folder, read a block of rows at a time."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, NamedTuple, Protocol

import numpy as np

from keras_parts.errors import DataError
from keras_parts.extras import import_from_extra
from keras_parts.inference.output import Output
from keras_parts.inference.writers.descriptors import (
    COLUMNS,
    DescriptorsWriter,
    NumpyDescriptorsWriter,
)
from keras_parts.inference.writers.table import cell_text

_ROWS = 2**14
"""Rows of a block."""
_VECTORS, _TABLE = NumpyDescriptorsWriter.merged
(_PARQUET,) = DescriptorsWriter.merged


class Keys(NamedTuple):
    """Whose descriptors a block has.

    Attributes:
        images: name of the image in each row.
        parts: `(rows,)` int16, labels from 1.
        objects: `(rows,)` int16, numbers of the objects in the image, from 1.
    """

    images: list[str]
    parts: np.ndarray
    objects: np.ndarray


class Descriptors(Protocol):
    """The descriptors of all parts of all images, in the order of the images and objects.

    Attributes:
        path: of the file.
        channels: of a descriptor.
    """

    path: str
    channels: int

    def keys(self) -> Iterator[Keys]:
        """Whose descriptors they are.

        Raises:
            DataError: a file is damaged.
        """
        ...

    def vectors(self) -> Iterator[np.ndarray]:
        """The descriptors, `(rows, channels)` float32, in blocks, in the order of `keys`.

        Raises:
            DataError: a file is damaged.
        """
        ...


def open_descriptors(output: Output) -> Descriptors | None:
    """The descriptors in a results folder; None if it has none.

    Raises:
        DataError: a file is damaged.
        ConfigError: pyarrow, which Parquet files need, is not installed.
    """
    if output.exists(_VECTORS) and output.exists(_TABLE):
        return _NumpyDescriptors(output)
    return _ParquetDescriptors(output) if output.exists(_PARQUET) else None


class _NumpyDescriptors:
    """An array on the disk, of which the system reads what is used, and a table of its rows."""

    def __init__(self, output: Output) -> None:
        self._output, self.path = output, f"{output.path}/{_VECTORS}"
        with output.open(_VECTORS) as file, _damage(self.path):
            self._array = _mapped(file)
        self.channels = self._array.shape[1]

    def keys(self) -> Iterator[Keys]:
        count = 0
        with self._output.open(_TABLE) as file, _damage(f"{self._output.path}/{_TABLE}"):
            rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8", newline=""))
            if tuple(next(rows, ())) != COLUMNS:
                raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
            while block := list(islice(rows, _ROWS)):
                images, parts, _, objects = zip(*block, strict=True)
                count += len(block)
                yield Keys([cell_text(name) for name in images], _int16(parts), _int16(objects))
            if count != len(self._array):
                raise ValueError(f"has {count} rows, but {_VECTORS} has {len(self._array)}")

    def vectors(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._array), _ROWS):
            yield self._array[start : start + _ROWS]


class _ParquetDescriptors:
    """A Parquet file, read a group of rows at a time."""

    def __init__(self, output: Output) -> None:
        self._parquet = import_from_extra("pyarrow.parquet", "formats")
        self._output, self.path = output, f"{output.path}/{_PARQUET}"
        first = next(self._batches("vector"), None)
        self.channels = 0 if first is None else len(first.column(0)[0])

    def keys(self) -> Iterator[Keys]:
        for batch in self._batches("image", "part", "object"):
            images, parts, objects = (column.to_pylist() for column in batch.columns)
            yield Keys(images, _int16(parts), _int16(objects))

    def vectors(self) -> Iterator[np.ndarray]:
        for batch in self._batches("vector"):
            with _damage(self.path):
                values = batch.column(0).flatten().to_numpy(zero_copy_only=False)
                yield values.reshape(batch.num_rows, self.channels)

    def _batches(self, *columns: str) -> Iterator[Any]:
        with self._output.open(_PARQUET) as file, _damage(self.path):
            batches = self._parquet.ParquetFile(file).iter_batches(_ROWS, columns=columns)
            yield from batches


@contextmanager
def _damage(path: str) -> Iterator[None]:
    """Raise DataError for errors of reading a file that is damaged, or that is another program's.

    pyarrow's errors are of these classes too.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, OverflowError, OSError, csv.Error) as error:
        raise DataError(
            f"{path}: these are no descriptors of keras-parts, or they are damaged: {error}",
            path=path,
        ) from error


def _mapped(file: IO[bytes]) -> np.ndarray:
    """The array of a npy file, not read yet."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("expected a npy file of version 1.0")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if len(shape) != 2 or is_fortran or dtype != np.dtype("<f4"):
        raise ValueError(f"{dtype} of shape {shape}, expected float32 (rows, channels)")
    if not all(shape):
        return np.empty(shape, np.float32)
    return np.memmap(file, dtype, "r", file.tell(), shape)


def _int16(values: Any) -> np.ndarray:
    return np.array(values, np.int16)
