"""Picture files of results: contact sheets, and writing them whole or not at all."""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.results.legend import shortened


def save_picture(picture, path):
    """Write a `PIL.Image` whole or not at all; the suffix of `path` is the format."""
    kind = _kind(Path(path).suffix, path)
    with atomic_write(path) as file:
        _encode(picture, file, kind)


def picture_bytes(picture, suffix):
    """The bytes of a picture file of the type that `suffix` (such as ".png") stands for."""
    file = io.BytesIO()
    _encode(picture, file, _kind(suffix, suffix))
    return file.getvalue()


def _kind(suffix, path):
    kind = Image.registered_extensions().get(suffix.lower())
    if kind not in Image.SAVE:
        raise ConfigError(
            f"{path}: cannot write pictures of type {suffix.lower() or '(none)'}; use .png"
        )
    return kind


def _encode(picture, file, kind):
    options = _OPTIONS.get(kind, {})
    if kind == "PNG" and picture.mode == "P":
        options = options | _LABELS
    picture.save(file, format=kind, **options)


def contact_sheet(images, columns=4, captions=(), cell=256):
    """One picture of many, row by row, on white, each fitted into a square and captioned below.

    Args:
        images: `PIL.Image`s or `(height, width, 3)` uint8 arrays.
        columns: pictures a row.
        captions: a line of text for each image, or fewer.
        cell: side of the square that an image is fitted into, in pixels.

    Returns:
        `PIL.Image`, mode RGB.

    Raises:
        ConfigError: no images, or fewer than one column.
    """
    if not images or columns < 1:
        raise ConfigError(f"{len(images)} images in {columns} columns make no picture")
    tiles = [_fitted(image, cell) for image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    font = ImageFont.load_default(max(10, cell // 16))
    gap = max(2, cell // 32)
    line = font.size + gap if captions else 0
    sheet = Image.new(
        "RGB",
        (len(rows[0]) * (cell + gap) + gap, sum(heights) + len(rows) * (gap + line) + gap),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    texts = iter(captions)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            middle = gap + column * (cell + gap) + cell // 2
            place = (middle - tile.width // 2, top + (height - tile.height) // 2)
            sheet.paste(tile, place)
            text = shortened(next(texts, ""), font, cell)
            draw.text((middle, top + height + gap // 2), text, "black", font, anchor="ma")
        top += height + line + gap
    return sheet


def _fitted(image, cell):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image = image.convert("RGB")
    scale = cell / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


_JPEG = {"quality": 92, "subsampling": 0}
_OPTIONS = {"JPEG": _JPEG, "WEBP": {"quality": 90}, "PNG": {"compress_level": 1}}
"""PNG: six times as fast as Pillow's own choice."""
_LABELS = {"compress_type": zlib.Z_RLE}
"""Labels are runs: looking for nothing else makes smaller files, as fast."""
