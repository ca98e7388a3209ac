"""One row a part of each picture."""

import csv
import io

from keras_parts.inference.writers.base import Writer, written_text

COLUMNS = ("image", "part", "name", "x", "y", "area", "x0", "y0", "x1", "y1", "score")
_ROWS = 2**16


class CsvWriter(Writer):
    about = "table of parts (CSV): image, part, name, centre, area, box, score"
    merged = ("parts.csv",)

    def record(self, parts, file):
        return parts.table()

    def merge(self, records, labels, output):
        write_csv(_rows(records), COLUMNS, self.merged[0], output)


class ParquetWriter(CsvWriter):
    about = "table of parts (Parquet): image, part, name, centre, area, box, score"
    merged = ("parts.parquet",)
    packages = ("pyarrow",)

    def merge(self, records, labels, output):
        import pyarrow as arrow

        kinds = {"image": arrow.string(), "name": arrow.string(), "part": arrow.int16()}
        kinds |= {"area": arrow.int64()}
        schema = arrow.schema([(name, kinds.get(name, arrow.float32())) for name in COLUMNS])
        write_parquet(_rows(records), schema, self.merged[0], output)


def _rows(records):
    for file, rows in records:
        for row in rows:
            yield {"image": written_text(file.relative), **row}


def write_csv(rows, columns, name, output):
    """Write an iterator of dictionaries."""
    with output.create(name) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
        text.detach()  # flushes, and leaves the file open for its owner


def write_parquet(rows, schema, name, output):
    """Write an iterator of dictionaries, a group of rows at a time."""
    import pyarrow as arrow
    from pyarrow import parquet

    with output.create(name) as file, parquet.ParquetWriter(file, schema) as writer:
        for group in _groups(rows, _ROWS):
            writer.write_table(arrow.Table.from_pylist(group, schema))


def _groups(rows, size):
    group = []
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
