"""Draw contact sheets; encode and write picture files."""

import io
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.results.legend import default_font, shortened

_JPEG = {"quality": 92, "subsampling": 0}
_OPTIONS = {"JPEG": _JPEG, "WEBP": {"quality": 90}, "PNG": {"compress_level": 1}}
"""Options of Pillow. Its default for PNG is six times slower."""
_INDEXED_PNG = {"compress_type": zlib.Z_RLE}
"""Labels form runs: the files are smaller if zlib searches for runs only."""


def save_picture(picture: Image.Image, path: str | os.PathLike) -> None:
    """Write a picture atomically, in the format that the suffix of `path` names.

    Raises:
        ConfigError: Pillow cannot write pictures of this type.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.results import save_picture
        >>> save_picture(Image.new("RGB", (32, 32)), "black.png")
        >>> Image.open("black.png").size
        (32, 32)
    """
    kind = _file_type(Path(path).suffix, path)
    with atomic_write(path) as file:
        _encode(picture, file, kind)


def picture_bytes(picture: Image.Image, suffix: str) -> bytes:
    """The contents of a picture file, in the format that `suffix` (such as ".png") names.

    Raises:
        ConfigError: Pillow cannot write pictures of this type.
    """
    file = io.BytesIO()
    _encode(picture, file, _file_type(suffix, suffix))
    return file.getvalue()


def _file_type(suffix, path):
    """Pillow's name of a suffix; `path` is for error messages."""
    kind = Image.registered_extensions().get(suffix.lower())
    if kind not in Image.SAVE:
        raise ConfigError(
            f"{path}: cannot write pictures of type {suffix.lower() or '(none)'}; use .png"
        )
    return kind


def _encode(picture, file, kind):
    options = _OPTIONS.get(kind, {})
    if kind == "PNG" and picture.mode == "P":
        options = options | _INDEXED_PNG
    picture.save(file, format=kind, **options)


def contact_sheet(
    images: Sequence[Image.Image | np.ndarray],
    columns: int = 4,
    *,
    captions: Sequence[str] = (),
    cell: int = 256,
) -> Image.Image:
    """Several images in one picture, row by row on a white background, with captions.

    Args:
        images: `PIL.Image`, or arrays `(height, width, 3)` uint8.
        columns: images per row.
        captions: a line of text for each image, from the first on; there may be fewer than images.
        cell: side in pixels of a square; each image is resized so that it just lies inside.

    Returns:
        `PIL.Image`, mode RGB.

    Raises:
        ConfigError: there are no images, or fewer than one column.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.results import contact_sheet
        >>> contact_sheet([Image.new("RGB", (32, 32))] * 6, columns=3, cell=64).size
        (200, 134)
    """
    if not images or columns < 1:
        raise ConfigError(f"{len(images)} images and {columns} columns, expected at least 1 each")
    tiles = [_resized(image, cell) for image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    font_size = max(10, cell // 16)
    font = default_font(font_size)
    gap = max(2, cell // 32)
    line = font_size + gap if captions else 0
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
            sheet.paste(tile, (middle - tile.width // 2, top + (height - tile.height) // 2))
            text = shortened(next(texts, ""), font, cell)
            draw.text((middle, top + height + gap // 2), text, "black", font, anchor="ma")
        top += height + line + gap
    return sheet


def _resized(image, cell):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image = image.convert("RGB")
    scale = cell / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)
