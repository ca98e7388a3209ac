"""Which colour is which part: coloured squares beside names, as a strip below a picture."""

import math
from bisect import bisect_right

from PIL import Image, ImageDraw, ImageFont

_SMALLEST, _SHARE = 11, 32
"""Pixels of the font: the smallest one that can be read, and one in so many of a picture's side."""
_LONGEST = 16
"""Longest a name may make the strip wider than its picture, in multiples of the font's size."""


def with_legend(picture, names, palette):
    """A picture with its legend below.

    Args:
        picture: `PIL.Image`, mode RGB.
        names: one a part. palette: `(parts, 3)` uint8 RGB.

    Returns:
        `PIL.Image`, mode RGB, with the picture in its top-left corner. Its size depends on the
        picture's size and the names alone; it is wider than the picture where that is too narrow
        to read a name below it.
    """
    size = max(_SMALLEST, round(math.sqrt(picture.width * picture.height) / _SHARE))
    legend = _strip(names, palette, picture.width, size)
    both = Image.new("RGB", (legend.width, picture.height + legend.height), "white")
    both.paste(picture)
    both.paste(legend, (0, picture.height))
    return both


def _strip(names, palette, width, size):
    """Coloured squares with names, in as many columns as fit.

    Args:
        names, palette: as of `with_legend`.
        width: of the strip in pixels; more where that does not hold one column.
        size: of the font in pixels.

    Returns:
        `PIL.Image`, mode RGB, on white.
    """
    font = ImageFont.load_default(size)
    texts = [shortened(name, font, _LONGEST * size) for name in names]
    square, margin, line = round(0.8 * size), size // 2, round(1.5 * size)
    entries = [square + margin + math.ceil(font.getlength(text)) + size for text in texts]
    columns = _columns(entries, width - margin)
    rows = math.ceil(len(texts) / len(columns))
    width = max(width, margin + sum(columns))
    strip = Image.new("RGB", (width, rows * line + 2 * margin), "white")
    draw = ImageDraw.Draw(strip)
    for place, (text, colour) in enumerate(zip(texts, palette.tolist(), strict=True)):
        row, column = divmod(place, len(columns))
        x = margin + sum(columns[:column])
        middle = margin + row * line + line // 2
        top = middle - square // 2
        draw.rectangle((x, top, x + square - 1, top + square - 1), tuple(colour))
        draw.text((x + square + margin, middle), text, "black", font, anchor="lm")
    return strip


def _columns(entries, width):
    """Widths of as many columns as fit into `width`, of entries laid out row by row."""
    for count in range(len(entries), 0, -1):
        columns = [max(entries[column::count]) for column in range(count)]
        if sum(columns) <= width:
            break
    return columns


def shortened(text, font, width):
    """One line that is not wider than `width` pixels, cut with an ellipsis if need be."""
    text = " ".join(str(text).split())
    if font.getlength(text) <= width:
        return text
    fitting = bisect_right(
        range(len(text)), width, key=lambda kept: font.getlength(text[:kept] + "…")
    )
    return text[: max(0, fitting - 1)] + "…"
