"""A feature vector of each part, for search and clustering."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_parts.inference.inputs import ImageFile
from keras_parts.inference.output import Output
from keras_parts.inference.writers.base import Records, RunInfo, Writer, valid_text
from keras_parts.inference.writers.table import write_csv, write_parquet
from keras_parts.results.parts import Parts


class DescriptorsWriter(Writer):
    description = "part descriptors (Parquet): image, part, name, vector of float32"
    merged: tuple[str, ...] = ("descriptors.parquet",)
    needs_descriptors = True
    packages: tuple[str, ...] = ("pyarrow",)

    def record(self, parts: Parts, file: ImageFile) -> Any:
        assert parts.descriptors is not None
        labels = (np.flatnonzero(parts.areas) + 1).tolist()
        vectors = np.ascontiguousarray(parts.descriptors[parts.areas > 0], "<f4")
        text = base64.b64encode(vectors.tobytes()).decode("ascii")
        return {"parts": labels, "channels": vectors.shape[1], "vectors": text}

    def merge(self, records: Records, run: RunInfo, output: Output) -> None:
        import pyarrow as arrow

        schema = arrow.schema(
            [
                ("image", arrow.string()),
                ("part", arrow.int16()),
                ("name", arrow.string()),
                ("vector", arrow.list_(arrow.float32())),
            ]
        )
        rows = (
            {**_row(file, part, run), "vector": vector}
            for file, record in records
            for part, vector in zip(record["parts"], _vectors(record), strict=True)
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
        rows = (_row(file, part, run) for file, record in records for part in record["parts"])
        write_csv(rows, ("image", "part", "name"), self.merged[1], output)


def _vectors(record: Mapping[str, Any]) -> np.ndarray:
    vectors = np.frombuffer(base64.b64decode(record["vectors"]), "<f4")
    return vectors.reshape(len(record["parts"]), record["channels"])


def _row(file: ImageFile, part: int, run: RunInfo) -> dict[str, Any]:
    return {"image": valid_text(file.relative), "part": part, "name": run.names[part - 1]}
