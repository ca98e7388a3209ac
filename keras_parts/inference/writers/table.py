"""Tables with a row for each part of each object of each image."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, valid_text
from keras_parts.results.parts import Parts

COLUMNS = ("image", "part", "name", "x", "y", "area", "x0", "y0", "x1", "y1", "score", "object")
_Rows = Iterable[dict[str, Any]]
_ROWS_PER_GROUP = 2**16
_QUOTED = ";\t|\r\n"
"""Characters that `csv` puts in quotes, as it does with those that end its rows. Spreadsheets of
some countries separate cells at semicolons: a formula behind one would be run."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Beginnings of cells that a spreadsheet runs; the last four in Chinese and Japanese ones."""


class CsvWriter(Writer):
    description = "table of parts (CSV): image, part, name, centre, area, box, score, object"
    merged: tuple[str, ...] = ("parts.csv",)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        return parts.table()

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        write_csv(_rows(records), COLUMNS, self.merged[0], output)


class ParquetWriter(CsvWriter):
    description = "table of parts (Parquet): image, part, name, centre, area, box, score, object"
    merged = ("parts.parquet",)
    packages = ("pyarrow",)

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        import pyarrow as arrow

        kinds = {"image": arrow.string(), "name": arrow.string(), "part": arrow.int16()}
        kinds |= {"area": arrow.int64(), "object": arrow.int16()}
        schema = arrow.schema([(name, kinds.get(name, arrow.float32())) for name in COLUMNS])
        write_parquet(_rows(records), schema, self.merged[0], output)


def _rows(records: Records) -> Iterator[dict[str, Any]]:
    for file, rows in records:
        for row in rows:
            yield {"image": valid_text(file.relative), **row}


def write_csv(rows: _Rows, columns: Sequence[str], name: str, output: Output) -> None:
    """Write rows to a CSV file, in which a spreadsheet runs nothing."""
    with output.create(name) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        write_row = csv_rows(text, columns)
        for row in rows:
            write_row(row)
        text.detach()  # flushes, without closing the file


def csv_rows(file: IO[str], columns: Sequence[str]) -> Callable[[dict[str, Any]], object]:
    """Begin a CSV file, in which a spreadsheet runs nothing; returns what writes a row."""
    table = csv.DictWriter(_Lines(file), columns, lineterminator=_QUOTED)
    table.writeheader()
    return lambda row: table.writerow({key: _cell(value) for key, value in row.items()})


class _Lines:
    """Ends rows with line feeds alone, instead of with `_QUOTED`."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix(_QUOTED) + "\n")


def _cell(value: Any) -> Any:
    """A value as a cell. Spreadsheets run texts that begin like a formula, unless there is an
    apostrophe before them. A text that has one already gets another: two names stay two."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def cell_text(cell: str) -> str:
    """The text that `write_csv` has written to a cell."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    return text.lstrip("'").startswith(_FORMULA)


def write_parquet(rows: _Rows, schema: Any, name: str, output: Output) -> None:
    """Write rows to a Parquet file, a group of rows at a time."""
    import pyarrow as arrow
    from pyarrow import parquet

    with output.create(name) as file, parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(rows, _ROWS_PER_GROUP):
            writer.write_table(arrow.Table.from_pylist(group, schema))


def _groups(rows: _Rows, size: int) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
