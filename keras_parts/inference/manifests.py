"""Lists and manifests: text, CSV and Parquet files that name images.

A row that cannot be used does not end a run: it becomes an image that fails, with the reason.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from keras_parts.addresses import is_address, read_address
from keras_parts.errors import ConfigError, DataError, hide_secrets
from keras_parts.files import decode_text

_DELIMITERS = ",;\t|"
_COLUMNS = ("image", "path", "file", "file_name", "filename", "filepath", "uri", "url")
"""Names of a manifest's column of images; the first one that it has is read."""
_ROWS_PER_BATCH = 1024
_MAX_ROW_LINES = 100
"""Lines after which a quote that was opened counts as never closed."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a list or manifest.

    Attributes:
        place: of the row, such as "m.csv line 3".
        path: of the image, as it is written.
        problem: why there is no path; "" if there is one.
    """

    place: str
    path: str
    problem: str = ""


def list_rows(content: bytes, name: str) -> Iterator[Row]:
    """The rows of a list: one path in each line, or each terminated by a zero byte.

    Args:
        content: of the file.
        name: of the file.
    """
    text = decode_text(content, errors="surrogateescape")
    zeros = "\0" in text and (text.endswith("\0") or "\n" not in text)
    for number, line in enumerate(text.split("\0" if zeros else "\n"), start=1):
        if line.strip():
            yield Row(f"{name} line {number}", line if zeros else line.rstrip("\r"))


def manifest_rows(path: str) -> Iterator[Row]:
    """The rows of a CSV or Parquet file.

    Raises:
        DataError: it cannot be read, or has no column of images.
    """
    return _parquet_rows(path) if path.lower().endswith(".parquet") else _csv_rows(path)


def list_name(path: str) -> str:
    """The name of a list, without its folder and the secrets of its address."""
    return os.path.basename(hide_secrets(path).partition("?")[0])


def read_list(path: str) -> bytes:
    """The content of a list or manifest, at a path or an address.

    Raises:
        DataError: it cannot be read.
    """
    if is_address(path):
        return read_address(path)
    try:
        return Path(path).read_bytes()  # it may be a pipe: @<(find ...)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: the list cannot be read: {reason}", path=path) from error


def _csv_rows(path: str) -> Iterator[Row]:
    text = decode_text(read_list(path), errors="surrogateescape")
    records = _records(text, _delimiter(text))
    # Spreadsheets leave empty rows at the end.
    rows = ((number, cells) for number, cells in records if cells is None or any(cells))
    _, header = next(rows, (1, None))
    column, index = _column(header or [], path)
    for number, cells in rows:
        place = f"{list_name(path)} line {number}"
        if cells is None:
            problem = "cannot be read: a quote is not closed, or a cell is too long"
        else:
            problem = "" if "".join(cells[index : index + 1]).strip() else f"has no {column}"
        yield Row(place, "" if problem or cells is None else cells[index], problem)


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str] | None]]:
    """(number of the first line, cells) of each record of a CSV file; None if it is not CSV.

    After a record that is not CSV, reading continues in its second line.
    """
    lines = io.StringIO(text, newline="").readlines()  # not `splitlines`: names may have U+2028
    start = 0
    while start < len(lines):
        block = lines[start : start + _MAX_ROW_LINES]
        reader, done = csv.reader(block, delimiter=delimiter, strict=True), 0
        try:
            for cells in reader:
                yield start + done + 1, cells
                done = reader.line_num
        except csv.Error:  # of the whole record, or of one that the end of the block cuts
            if not done:
                yield start + 1, None
                done = 1
        start += done


def _delimiter(text: str) -> str:
    """The character between the columns of a CSV file, according to its first line."""
    header = text.partition("\n")[0]
    return next((each for each in _DELIMITERS if _names_images(header.split(each))), ",")


def _names_images(names: Sequence[str]) -> bool:
    """Whether a manifest with these columns has one of images."""
    return any(_plain(name) in _COLUMNS for name in names)


def _plain(name: str) -> str:
    """The name of a column without quotes, spaces and capitals."""
    return name.strip().strip('"').strip().casefold()


def _parquet_rows(path: str) -> Iterator[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet files need pyarrow: pip install 'keras-parts[formats]'"
        ) from None
    content, number = read_list(path), 0
    try:
        file = parquet.ParquetFile(arrow.BufferReader(content))
        column, _ = _column(file.schema_arrow.names, path)
        # A short file may unpack to more than the memory.
        for batch in file.iter_batches(_ROWS_PER_BATCH, columns=[column]):
            for value in batch.column(0).to_pylist():
                number += 1
                yield _parquet_row(value, number, column, path)
    except (arrow.ArrowException, OSError, ValueError) as error:  # also names that are not UTF-8
        raise DataError(f"{path}: cannot be read as Parquet: {error}", path=path) from error


def _parquet_row(value: object, number: int, column: str, path: str) -> Row:
    place = f"{list_name(path)} row {number}"
    if isinstance(value, str) and value:
        return Row(place, value)
    return Row(place, "", f"has no path in the column {column}")


def _column(names: Sequence[str], path: str) -> tuple[str, int]:
    """(name, index) of the column of images."""
    plain = [_plain(name) for name in names]
    for column in _COLUMNS:
        if column in plain:
            index = plain.index(column)
            return names[index], index
    raise DataError(
        f"{path}: no column of images among {', '.join(names) or 'none'}; "
        f"expected one called {', '.join(_COLUMNS)}",
        path=path,
    )
