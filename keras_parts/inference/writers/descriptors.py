"""A feature vector of each part of each object, for search and clustering."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, valid_text
from keras_parts.inference.writers.table import write_csv, write_parquet
from keras_parts.results.annotations import numbered_parts
from keras_parts.results.parts import Parts

COLUMNS = ("image", "part", "name", "object")
"""Of the table beside the array of descriptors."""


class DescriptorsWriter(Writer):
    description = "part descriptors (Parquet): image, part, name, object, vector of float32"
    merged: tuple[str, ...] = ("descriptors.parquet",)
    needs_descriptors = True
    packages: tuple[str, ...] = ("pyarrow",)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        objects, labels, vectors = [], [], []
        for number, part in numbered_parts(parts):
            assert part.descriptor is not None
            objects.append(number)
            labels.append(part.label)
            vectors.append(part.descriptor)
        assert parts.descriptors is not None
        channels = parts.descriptors.shape[1]
        text = base64.b64encode(np.array(vectors, "<f4").tobytes()).decode("ascii")
        return {"parts": labels, "objects": objects, "channels": channels, "vectors": text}

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        import pyarrow as arrow

        schema = arrow.schema(
            [
                ("image", arrow.string()),
                ("part", arrow.int16()),
                ("name", arrow.string()),
                ("object", arrow.int16()),
                ("vector", arrow.list_(arrow.float32())),
            ]
        )
        rows = (
            {**row, "vector": vector}
            for file, record in records
            for row, vector in zip(_rows(file, record, run), _vectors(record), strict=True)
        )
        write_parquet(rows, schema, self.merged[0], output)


class NumpyDescriptorsWriter(DescriptorsWriter):
    description = "part descriptors (npy, float32 (rows, channels)); rows in descriptors.csv"
    merged = ("descriptors.npy", "descriptors.csv")
    packages = ()

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        count, channels = 0, 0
        for _, record in records:
            count, channels = count + len(record["parts"]), record["channels"]
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, channels)}
        with output.create(self.merged[0]) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for _, record in records:
                file.write(base64.b64decode(record["vectors"]))
        rows = (row for file, record in records for row in _rows(file, record, run))
        write_csv(rows, COLUMNS, self.merged[1], output)


def _vectors(record: Mapping[str, Any]) -> np.ndarray:
    vectors = np.frombuffer(base64.b64decode(record["vectors"]), "<f4")
    return vectors.reshape(len(record["parts"]), record["channels"])


def _rows(file: ImageFile, record: Mapping[str, Any], run: RunInfo) -> Iterator[dict[str, Any]]:
    image = valid_text(file.relative)
    for part, number in zip(record["parts"], record["objects"], strict=True):
        yield {"image": image, "part": part, "name": run.names[part - 1], "object": number}
