"""MATLAB files: what would exhaust memory or the stack is refused before scipy reads it."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import savemat

from keras_parts.data.readers.matlab import read_mat
from keras_parts.errors import DataError

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
CELL, DOUBLE, FUNCTION = 1, 6, 16


def element(kind, data):
    return struct.pack("<2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(kind, shape, *parts, name=b"x"):
    head = element(6, struct.pack("<2I", kind, 0)) + element(5, struct.pack("<2i", *shape))
    return element(14, head + element(1, name) + b"".join(parts))


EMPTY = matrix(DOUBLE, (0, 0), element(9, b""))


def compressed(data):
    data = zlib.compress(data)
    return struct.pack("<2I", 15, len(data)) + data


def nested(depth):
    """Cells inside each other, built from the inside; only the sizes change."""
    heads, size = [], len(EMPTY)
    for _ in range(depth):
        head = matrix(CELL, (1, 1), name=b"")[8:]
        heads.append(struct.pack("<2I", 14, len(head) + size) + head)
        size += len(heads[-1])
    return b"".join(reversed(heads)) + EMPTY


FILES = {
    "nested": (nested(20_000), "nested more than 64 deep"),
    "nested, compressed": (compressed(nested(20_000)), "nested more than 64 deep"),
    "siblings that scipy would nest": (matrix(CELL, (1, 1)) * 20_000, "another number of parts"),
    "many cells": (matrix(CELL, (60_000, 60_000)), r"a matrix has the size \(60000, 60000\)"),
    "cells without content": (matrix(CELL, (9000, 1000)), "another number of parts"),
    "negative": (matrix(DOUBLE, (-5, 3), element(9, b"")), r"has the size \(-5, 3\)"),
    "unknown type": (matrix(DOUBLE, (1, 1), element(57, bytes(8))), "a part of an unknown type"),
    "no data": (matrix(DOUBLE, (1, 1)) * 2, "another number of parts"),
    "function": (matrix(FUNCTION, (1, 1)), "MATLAB's class 16"),
    "cut off": (matrix(DOUBLE, (1, 1), element(9, bytes(8)))[:-4], "it is cut off"),
    "no size": (element(14, element(6, bytes(8))), "a matrix has no size"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_would_crash_are_refused(name, tmp_path):
    content, message = FILES[name]
    (tmp_path / "x.mat").write_bytes(HEADER + content)
    with pytest.raises(DataError, match=f"x.mat: not a readable .mat file: .*{message}"):
        read_mat(tmp_path / "x.mat", "x")


def test_a_file_that_unpacks_to_more_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_parts.data.readers.matlab._MAX_UNPACKED_BYTES", 2**20)
    bomb = matrix(DOUBLE, (1, 2**17), element(9, bytes(2**20)))
    (tmp_path / "x.mat").write_bytes(HEADER + compressed(bomb))
    with pytest.raises(DataError, match="unpacks to more than 1,048,576 bytes"):
        read_mat(tmp_path / "x.mat", "x")
    with open(tmp_path / "x.mat", "wb") as file:
        file.truncate(2**30)
    with pytest.raises(DataError, match="1,073,741,824 bytes exceed the limit"):
        read_mat(tmp_path / "x.mat", "x")


@pytest.mark.parametrize("do_compression", [False, True])
def test_ordinary_files_are_read(tmp_path, do_compression):
    cells = np.array([[1, "two", np.eye(3)]], object)
    content = {
        "cells": cells, "record": {"name": "a", "inner": {"list": [1, 2], "none": []}},
        "flags": np.eye(3) > 0, "text": "hello", "empty": np.zeros((0, 0)),
    }  # fmt: skip
    savemat(tmp_path / "x.mat", content, do_compression=do_compression)
    for name in content:
        read_mat(tmp_path / "x.mat", name)
    assert read_mat(tmp_path / "x.mat", "record").inner.list.tolist() == [1, 2]
    savemat(tmp_path / "x.mat", {"old": np.eye(2)}, format="4")
    np.testing.assert_array_equal(read_mat(tmp_path / "x.mat", "old"), np.eye(2))
