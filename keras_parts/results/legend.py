"""Legends: coloured squares with the names of parts, as a strip below a picture."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_FONT_SIZE = 11
"""The smallest font that can be read, in pixels."""
_FONT_SIZES_PER_SIDE = 32
"""Side of a picture, in multiples of the font size of its legend."""
_MAX_NAME_WIDTH = 16
"""Maximum width of a name, in multiples of the font size; longer ones are shortened."""


Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def with_legend(
    picture: Image.Image,
    names: Sequence[str],
    palette: np.ndarray,
    *,
    shown: Sequence[int] | None = None,
) -> Image.Image:
    """A picture with a legend below it.

    Args:
        picture: mode RGB.
        names: one per part.
        palette: `(parts, 3)` uint8 RGB.
        shown: indices of the parts in the legend, in their order there; by default all.

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
    chosen = range(len(names)) if shown is None else shown
    legend = _strip(names, palette, chosen, picture.width, font_size(picture.size))
    both = Image.new("RGB", (legend.width, picture.height + legend.height), "white")
    both.paste(picture)
    both.paste(legend, (0, picture.height))
    return both


def font_size(size: tuple[int, int]) -> int:
    """Size in pixels of the font for a picture of (width, height)."""
    return max(MIN_FONT_SIZE, round(math.sqrt(size[0] * size[1]) / _FONT_SIZES_PER_SIDE))


@lru_cache(maxsize=16)
def default_font(size: int) -> Font:
    """Pillow's font, which takes milliseconds to load."""
    return ImageFont.load_default(size)


def short_name(name: str, font: Font, size: int) -> str:
    """A name as it is drawn: on one line, and not wider than 16 times the font size."""
    return shortened(name, font, _MAX_NAME_WIDTH * size)


def _strip(names, palette, shown, width, size):
    """Coloured squares with names, in as many columns of one width as there is room for.

    Args:
        names, palette, shown: see `with_legend`.
        width: minimum width of the strip in pixels; the strip is wider if one column needs more.
        size: font size in pixels.

    Returns:
        `PIL.Image`, mode RGB, with a white background and room for all names.
    """
    font = default_font(size)
    texts = [short_name(name, font, size) for name in names]
    square, margin, line = round(0.8 * size), size // 2, round(1.5 * size)
    column = square + margin + math.ceil(max(map(font.getlength, texts))) + size
    columns = max(1, min(len(texts), (width - margin) // column))
    rows = math.ceil(len(texts) / columns)
    width = max(width, margin + columns * column)
    strip = Image.new("RGB", (width, rows * line + 2 * margin), "white")
    draw = ImageDraw.Draw(strip)
    for position, index in enumerate(shown):
        x = margin + position % columns * column
        middle = margin + position // columns * line + line // 2
        top = middle - square // 2
        colour = tuple(palette[index].tolist())
        draw.rectangle((x, top, x + square - 1, top + square - 1), colour)
        draw.text((x + square + margin, middle), texts[index], "black", font, anchor="lm")
    return strip


def shortened(text: str, font: Font, width: float) -> str:
    """The text on one line, cut and ended by an ellipsis if it is wider than `width` pixels."""
    text = " ".join(str(text).split())
    if font.getlength(text) <= width:
        return text
    first_too_wide = bisect_right(
        range(len(text)), width, key=lambda kept: font.getlength(text[:kept] + "…")
    )
    return text[: max(0, first_too_wide - 1)] + "…"
