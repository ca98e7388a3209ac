"""Legends: coloured squares with the names of parts, as a strip below a picture."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_MIN_FONT_SIZE = 11
"""The smallest font that can be read, in pixels."""
_FONT_SIZES_PER_SIDE = 32
"""Side of a picture, in multiples of the font size of its legend."""
_MAX_NAME_WIDTH = 16
"""Maximum width of a name, in multiples of the font size; longer ones are shortened."""


def with_legend(picture: Image.Image, names: Sequence[str], palette: np.ndarray) -> Image.Image:
    """A picture with a legend below it.

    Args:
        picture: mode RGB.
        names: one per part.
        palette: `(parts, 3)` uint8 RGB.

    Returns:
        `PIL.Image`, mode RGB, with the picture in the top-left corner. It is wider than the picture
        only if a name needs more room. Its size depends on the picture's size and the names alone.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.results import part_palette, with_legend
        >>> picture = with_legend(Image.new("RGB", (200, 100)), ("head", "body"), part_palette(2))
        >>> picture.width, picture.height > 100
        (200, True)
    """
    side = math.sqrt(picture.width * picture.height)
    size = max(_MIN_FONT_SIZE, round(side / _FONT_SIZES_PER_SIDE))
    legend = _strip(names, palette, picture.width, size)
    both = Image.new("RGB", (legend.width, picture.height + legend.height), "white")
    both.paste(picture)
    both.paste(legend, (0, picture.height))
    return both


def _strip(names, palette, width, size):
    """Coloured squares with names, in as many columns as there is room for.

    Args:
        names, palette: see `with_legend`.
        width: minimum width of the strip in pixels; the strip is wider if one column needs more.
        size: font size in pixels.

    Returns:
        `PIL.Image`, mode RGB, with a white background.
    """
    font = ImageFont.load_default(size)
    texts = [shortened(name, font, _MAX_NAME_WIDTH * size) for name in names]
    square, margin, line = round(0.8 * size), size // 2, round(1.5 * size)
    entries = [square + margin + math.ceil(font.getlength(text)) + size for text in texts]
    columns = _columns(entries, width - margin)
    rows = math.ceil(len(texts) / len(columns))
    width = max(width, margin + sum(columns))
    strip = Image.new("RGB", (width, rows * line + 2 * margin), "white")
    draw = ImageDraw.Draw(strip)
    for index, (text, colour) in enumerate(zip(texts, palette.tolist(), strict=True)):
        row, column = divmod(index, len(columns))
        x = margin + sum(columns[:column])
        middle = margin + row * line + line // 2
        top = middle - square // 2
        draw.rectangle((x, top, x + square - 1, top + square - 1), tuple(colour))
        draw.text((x + square + margin, middle), text, "black", font, anchor="lm")
    return strip


def _columns(entries, width):
    """Widths of as many columns as `width` has room for, with the entries set row by row."""
    for count in range(len(entries), 0, -1):
        columns = [max(entries[column::count]) for column in range(count)]
        if sum(columns) <= width:
            break
    return columns


def shortened(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: float) -> str:
    """The text on one line, cut and ended by an ellipsis if it is wider than `width` pixels."""
    text = " ".join(str(text).split())
    if font.getlength(text) <= width:
        return text
    first_too_wide = bisect_right(
        range(len(text)), width, key=lambda kept: font.getlength(text[:kept] + "…")
    )
    return text[: max(0, first_too_wide - 1)] + "…"
