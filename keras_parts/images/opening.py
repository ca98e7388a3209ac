"""Open image files that somebody else made: only known formats, within limits of size and time."""

import os
import re
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from os import PathLike
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_parts.environment import (
    IMAGE_MIB_VARIABLE,
    IMAGE_SECONDS_VARIABLE,
    max_image_bytes,
    max_image_seconds,
)
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import check_regular
from keras_parts.images.formats import readable_formats, way_out

Source = str | PathLike[str] | IO[bytes]
"""Path of a file, or a file opened for reading bytes."""
MAX_PIXELS = 178_956_970
"""Default maximum of pixels in an image; Pillow's own limit."""

_MAX_SCANS = 200
"""Maximum number of scans of a JPEG file. Progressive files have about ten; each takes the time to
visit all pixels, though it may have ten bytes."""
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")  # others have no length, or belong to data
_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MAX_HEADER_READS = 10**6
"""Maximum number of reads before the pixels. Decoders keep what each segment of a header says."""
_SHOWN_BYTES = 8
"""Bytes that a message shows of a file that is no image."""
_TILE_SIDES = (322, 323)  # TIFF's tags TileWidth and TileLength
_SMALL_TILE = 2**22  # pixels
_BLOCK = 2**20  # bytes of a file that are searched at a time


@contextmanager
def opened(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    """The image of a source, not decoded yet.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused.

    Raises:
        DataError: for every error in the block, with the name of the source.
    """
    name = _name(source)
    if isinstance(source, str | PathLike):
        check_image_file(source)
    try:
        with _file(source) as file, Image.open(file, formats=readable_formats()) as image:
            file.has_header()
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(f"{width} x {height} pixels exceed the limit of {max_pixels}")
            if image.format == "TIFF":
                _check_tiles(image)
            yield image
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read this file") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: {_unidentified(source)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: too many pixels: {error}") from None
    except (MemoryError, ConfigError):
        raise
    except Exception as error:  # decoders raise errors of any kind on damaged files
        raise DataError(f"{name}: truncated or damaged: {error}") from error


@contextmanager
def decoded(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    """The decoded image of a source, see `opened`."""
    with opened(source, max_pixels) as image:
        load(image)
        yield image


def check_image_file(path: str | PathLike[str]) -> None:
    """Raise `DataError` unless a file is regular, and no larger than `max_image_bytes()`."""
    size, limit = check_regular(path), max_image_bytes()
    if size > limit:
        raise DataError(
            f"{os.fspath(path)}: the file has {size:,} bytes, more than the limit of {limit:,} "
            f"({IMAGE_MIB_VARIABLE})",
            path=path,
        )


def load(image: Any) -> None:
    """Decode an image that `opened` has opened.

    Raises:
        DataError: a JPEG file has too many scans or ends inside its image, or the pixels of a PNG
            file do not have their checksum.
    """
    check = {"JPEG": _check_scans, "MPO": _check_scans, "PNG": _check_png}.get(image.format)
    if check is not None and image.fp is not None:  # None once it is decoded
        offset = image.fp.tell()
        check(image.fp)
        image.fp.seek(offset)
    image.load()


def opacity(image: Image.Image) -> np.ndarray | None:
    """`(height, width)` uint8, 255 where the image is opaque; None if it has no transparency."""
    if image.mode.startswith("I;16") and "transparency" in image.info:
        return np.where(np.array(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    if not image.has_transparency_data:
        return None
    return np.array(image.convert("RGBA").getchannel("A"))


def _unidentified(source: Source) -> str:
    """Why Pillow does not know the format of a file."""
    with open(source, "rb") if isinstance(source, str | PathLike) else nullcontext(source) as file:
        file.seek(0)
        start = file.read(_SHOWN_BYTES)
    if not start:
        return "not an image: the file is empty"
    if start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "its kind of TIFF cannot be read: save the image with 8 or 16 bits"
    name = source if isinstance(source, str | PathLike) else getattr(source, "name", "")
    more = way_out(name) if isinstance(name, str | PathLike) else ""
    formats = ", ".join(readable_formats())
    return (
        f"not an image that can be read: it begins with {repr(start)[1:]}, the formats are "
        f"{formats}{more and '; '}{more}"
    )


def rgb_of(image: Image.Image) -> Image.Image:
    """The colours of an image, whatever its transparency."""
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # Pillow would warn
    return image if image.mode == "RGB" else image.convert("RGB")


def _name(source):
    if isinstance(source, str | PathLike):
        return os.fspath(source)
    return getattr(source, "name", None) or "unnamed file"


def _file(source: Source) -> AbstractContextManager[Any]:
    """The open file. Pillow maps a file into memory if it gets the path, and may then turn the
    image the wrong way."""
    if isinstance(source, str | PathLike):
        return closing(_TimedFile(open(source, "rb")))  # noqa: SIM115
    return nullcontext(_TimedFile(source))


class _TimedFile:
    """A file that can be read until the time for its image is over.

    Decoders read block by block, in threads too, where nothing else could stop them.
    """

    def __init__(self, file: Any):
        self._file, self._seconds = file, max_image_seconds()
        self._end = time.monotonic() + self._seconds
        self._reads_left: float = _MAX_HEADER_READS

    def has_header(self) -> None:
        """From here on, the pixels are read."""
        self._reads_left = float("inf")

    def read(self, size: int = -1) -> bytes:
        self._check()
        self._reads_left -= 1
        if self._reads_left < 0:
            raise DataError("the header has too many segments: save the image anew")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._check()
        return self._file.seek(offset, whence)

    def _check(self) -> None:
        if time.monotonic() > self._end:
            raise DataError(
                f"not decoded within {self._seconds:g} seconds ({IMAGE_SECONDS_VARIABLE})"
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check_tiles(tiff: Any) -> None:
    """Refuse a TIFF file whose tiles are much larger than the image: each is decoded as a whole."""
    sides = [tiff.tag_v2.get(tag, 1) for tag in _TILE_SIDES]
    if all(isinstance(side, int) for side in sides):
        width, height = sides
        if width * height > max(_SMALL_TILE, 4 * tiff.width * tiff.height):
            raise DataError(f"the TIFF file has tiles of {width} x {height} pixels: save it anew")


def _check_scans(file: Any) -> None:
    """Refuse a JPEG file with too many scans, or that ends inside one, before it is decoded.

    Behind the end of the image the file may go on: phones append a film.
    """
    file.seek(2)
    scans, block, offset = 0, b"", 0
    while True:
        marker = _MARKER.search(block, offset)
        if marker is None:
            more = file.read(_BLOCK)
            if not more:
                raise DataError("truncated or damaged: the file ends before its image")
            block = (b"\xff" if block[offset:].endswith(b"\xff") else b"") + more
            offset = 0
            continue
        kind, offset = marker[0][1], marker.end()
        if kind == _END_OF_IMAGE:
            return
        scans += kind == _SCAN
        if scans > _MAX_SCANS:
            raise DataError(f"the JPEG file has more than {_MAX_SCANS} scans: save it anew")
        if offset + 2 > len(block):
            block, offset = block[offset:] + file.read(_BLOCK), 0
        offset += int.from_bytes(block[offset : offset + 2], "big")  # length of its data
        if offset > len(block):
            file.seek(offset - len(block), os.SEEK_CUR)
            block, offset = b"", 0


def _check_png(file: Any) -> None:
    """Refuse a PNG file whose compressed pixels do not have their checksum, which Pillow skips."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        left, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind == b"IEND":
            return
        if kind != b"IDAT":
            file.seek(left + 4, os.SEEK_CUR)
            continue
        checksum = zlib.crc32(kind)
        while left and (block := file.read(min(left, _BLOCK))):
            checksum, left = zlib.crc32(block, checksum), left - len(block)
        stored = file.read(4)
        if not left and len(stored) == 4 and int.from_bytes(stored, "big") != checksum:
            raise DataError("truncated or damaged: the checksum of its pixels is wrong")
