"""Draw labels over their image, with contours between them."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from keras_parts.results.regions import window_of

_LINE_COLOUR = (255, 255, 255)
_REACH = 6
"""Distance from the objects, in widths of a line, beyond which nothing is drawn."""


def draw_overlay(
    image: np.ndarray,
    labels: np.ndarray,
    colours: Image.Image,
    *,
    alpha: float,
    outlined: Sequence[np.ndarray],
) -> Image.Image:
    """An image under translucent colours.

    Args:
        image: `(height, width, 3)` uint8 RGB.
        labels: `(height, width)` uint8, 0 the background.
        colours: the labels in their colours, mode RGB; the background is black.
        alpha: opacity of the colours, 0 (the image alone) to 1.
        outlined: maps `(height, width)` of labels, of parts or objects, whose contours are drawn.

    Returns:
        `PIL.Image`, mode RGB, of the image's size.
    """
    picture = Image.fromarray(image)
    # 1/512 of the image's side, so that lines look the same at any resolution.
    width = max(1.0, math.sqrt(labels.size) / 512)
    window = _widened(window_of(labels), math.ceil(_REACH * width), labels.shape)
    box = (window[1].start, window[0].start, window[1].stop, window[0].stop)
    if 0 in labels[window].shape:
        return picture
    opacity = Image.fromarray((labels[window] > 0).astype(np.uint8) * round(255 * alpha))
    # Edges are softened inwards only: outside the object `colours` is black, which would show.
    opacity = ImageChops.darker(opacity, _blurred(opacity, 0.6))
    picture.paste(colours.crop(box), box, opacity)
    if outlined:
        lines = _contours([one[window] for one in outlined], width)
        picture.paste(_LINE_COLOUR, box, lines)
    return picture


def _widened(window, margin, size):
    """A window of an image, with a margin as far as the image goes; empty if the window is."""
    rows, columns = (
        slice(max(0, each.start - margin), min(side, each.stop + margin)) if each.stop else each
        for each, side in zip(window, size, strict=True)
    )
    return rows, columns


def _blurred(mask, radius):
    return mask.filter(ImageFilter.GaussianBlur(radius))


def _contours(maps, width):
    """A mask (mode L) of soft lines, about `width` pixels wide, wherever a label changes."""
    line = np.zeros(maps[0].shape, bool)
    for labels in maps:
        line[:, :-1] |= labels[:, :-1] != labels[:, 1:]
        line[:-1] |= labels[:-1] != labels[1:]
    sigma = width / 2
    # Blurring lowers a line of one pixel to 1 / (sigma sqrt(2 pi)) of its opacity, which the gain
    # restores.
    gain = max(1.0, 2.0 * sigma)
    return _blurred(Image.fromarray(line.astype(np.uint8) * 255), sigma).point(
        lambda value: min(255, round(value * gain))
    )
