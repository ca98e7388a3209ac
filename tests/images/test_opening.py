"""Limits of time, size and kind for files that somebody else made."""

import io
import os
import struct
import time

import numpy as np
import pytest
from PIL import Image

from keras_parts.environment import IMAGE_MIB_VARIABLE, IMAGE_SECONDS_VARIABLE
from keras_parts.errors import ConfigError, DataError
from keras_parts.images import opening
from keras_parts.images.decoding import decode_image, read_facts, read_image, read_size
from keras_parts.images.masks import read_mask
from keras_parts.inference.inputs import ImageFile


@pytest.fixture
def photo(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", progressive=True)
    return tmp_path / "a.jpg"


def test_decoding_stops_when_the_time_is_over(photo, monkeypatch):
    monkeypatch.setenv(IMAGE_SECONDS_VARIABLE, "0")
    for read in (
        read_image,
        read_size,
        read_mask,
        lambda path: decode_image(path.read_bytes(), path),
    ):
        with pytest.raises(
            DataError, match=rf"a\.jpg: .*within 0 seconds .{IMAGE_SECONDS_VARIABLE}"
        ):
            read(photo)
    monkeypatch.setenv(IMAGE_SECONDS_VARIABLE, "soon")
    with pytest.raises(ConfigError, match="soon"):
        read_image(photo)


def test_large_files_are_not_read(photo, monkeypatch):
    with open(photo, "ab") as file:
        file.truncate(2**21)
    assert read_size(photo) == (40, 60)
    monkeypatch.setenv(IMAGE_MIB_VARIABLE, "1")
    for read in (read_image, lambda path: ImageFile(str(path.parent), path.name, "a").read()):
        with pytest.raises(DataError, match=r"a\.jpg: .* 2,097,152 bytes, .* of 1,048,576 .*_MIB"):
            read(photo)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_wait_for_ever(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (read_image, read_size, read_mask):
        with pytest.raises(DataError, match="pipe"):
            read(tmp_path / "a.png")


def test_a_jpeg_with_endless_scans_is_refused(photo):
    content = photo.read_bytes()
    last = content.rindex(b"\xff\xda")
    scan = content[last:-2]
    photo.write_bytes(content[:-2] + scan * 300 + b"\xff\xd9")
    with pytest.raises(DataError, match=r"a\.jpg: .*more than 200 scans"):
        read_image(photo)
    photo.write_bytes(content[:-2] + scan * 20 + b"\xff\xd9")
    assert read_image(photo).shape == (40, 60, 3)


def test_a_film_behind_a_jpeg_is_no_part_of_it(photo):
    image, content = read_image(photo), photo.read_bytes()
    photo.write_bytes(content + b"\xff\xda\0\x08" * 300)  # as phones append it
    np.testing.assert_array_equal(read_image(photo), image)
    photo.write_bytes(content[: len(content) - 9] + bytes(4096))  # a download that broke off
    with pytest.raises(DataError, match=r"a\.jpg: truncated"):
        read_image(photo)


def test_pixels_of_a_png_have_their_checksum(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.tri(60, 40, dtype=bool)).save(file, "PNG")
    content = bytearray(file.getvalue())
    assert read_mask(io.BytesIO(content)).shape == (60, 40)
    content[content.index(b"IDAT") + 9] ^= 4
    with pytest.raises(DataError, match="damaged"):
        read_mask(io.BytesIO(content))


def test_a_header_with_endless_segments_is_refused(photo, monkeypatch):
    monkeypatch.setattr(opening, "_MAX_HEADER_READS", 1000)
    content = photo.read_bytes()
    assert read_image(photo).shape == (40, 60, 3)
    for segment in (b"\xff\xe1\0\2", b"\xff"):
        photo.write_bytes(content[:2] + 2000 * segment + content[2:])
        for read in (read_image, read_size):
            with pytest.raises(DataError, match=r"a\.jpg: .*too many segments"):
                read(photo)


def test_a_tiff_with_tiles_larger_than_the_image_is_refused():
    tags = [(256, 16), (257, 16), (258, 8), (259, 8), (262, 1), (277, 1)]
    tags += [(322, 40_000), (323, 48_000), (324, 0), (325, 9)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    with pytest.raises(DataError, match="a.tif: .* tiles of 40000 x 48000 pixels"):
        decode_image(content, "a.tif")


def _pages(number):
    """A TIFF file whose pages share their pixels."""
    file = io.BytesIO()
    Image.new("L", (4, 4), 200).save(file, "TIFF")
    content = bytearray(file.getvalue())
    start = int.from_bytes(content[4:8], "little")
    page = content[start:]
    entries = int.from_bytes(page[:2], "little")
    after = 2 + 12 * entries
    page = page[: after + 4]
    content += b"\0" * (len(content) % 2)
    first = len(content)
    content[4:8] = first.to_bytes(4, "little")
    for index in range(number):
        following = 0 if index == number - 1 else first + (index + 1) * len(page)
        content += page[:after] + following.to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize(("number", "words"), [(2, "2 pages"), (100_000, "more than 100 pages")])
def test_pages_are_counted_up_to_a_limit(number, words):
    content, started = _pages(number), time.perf_counter()
    decoded = decode_image(content, "a.tif")
    assert decoded.image[0, 0, 0] == 200
    assert decoded.remarks == (f"holds {words}: only the first is used",)
    assert read_facts(io.BytesIO(content)).remarks == decoded.remarks
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "a.tif: not an image: the file is empty"), (b"MM\0*", "kind of TIFF"), (b"404", "AVIF")],
)
def test_what_is_no_image_is_said(tmp_path, content, words):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_size(tmp_path / "a.tif")
