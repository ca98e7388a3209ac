"""Masks and labels: image files that say which pixels belong to what.

Programs write masks in many ways: black and white with or without a palette, 0 and 1, soft, in
colour, as the transparency of a cut-out, or as a map of several labels. A mask is read as it looks
in a viewer: black is the background. What is neither a mask nor a map of labels is refused, because
a guess would be a wrong mask that nobody notices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageChops

from keras_parts.errors import DataError
from keras_parts.images.bit_depth import has_other_depth, to_eight_bits, white_value
from keras_parts.images.opening import (
    MAX_PIXELS,
    Source,
    decoded,
    load,
    opacity,
    opened,
    rgb_of,
)
from keras_parts.images.orientation import upright

ALPHA_REMARK = "has transparency: the opaque pixels are the object"
LABELS_REMARK = "holds several labels: all but 0 (black) are the object"

_WAY_OUT = (
    "Save the background as 0 and the object as 255, or set mask_threshold=N (--data-option): the "
    "object is then what is brighter than N, from 0 to 254"
)
_SOLID = "Save it without transparency, the background as 0 and the object as 255"
_HALF = 127
"""Larger values of 0 to 255 are white, or opaque."""
_DARK, _BRIGHT = 31, 224
"""A soft mask has values between these two at the border of the object only."""
_BORDERS = 64
"""A soft border is at most about a 64th of the image's longer side wide."""
_MAX_INSIDE = 0.08
"""Largest area of such values elsewhere, as a share of what is not dark, or not bright. Of 80
photographs none is below it, of 80 masks blurred by 3 pixels a fifth is above."""
_MAX_SPREAD = 48
"""Largest difference of the channels of grey that JPEG or WebP has rounded."""
_MAX_LABELS = 32
"""Maximum number of grey values of a map of labels; masks with soft borders have more."""
_MAX_COLOURS = 256
_STRIP = 2**22
_MIN_FLAT = 0.3
"""Share of a label's pixels whose right and lower neighbours have the same label. A soft border is
a pixel or two wide, and has none."""
_MIN_AREA = 0.0005
"""Smallest area of a label, as a share of the image."""


@dataclass(frozen=True, eq=False)
class DecodedMask:
    """The mask in an image file.

    Attributes:
        mask: `(height, width)` bool.
        remarks: sentences for the user where the file is not simply black and white, such as
            "has transparency: the opaque pixels are the object".

    Example:
        >>> from PIL import Image, ImageChops
        >>> from keras_parts.images import decode_mask
        >>> cut_out = Image.new("RGBA", (40, 30), (0, 99, 0, 0))
        >>> cut_out.paste((0, 99, 0, 255), (10, 10, 20, 20))
        >>> cut_out.save("cut-out.png")
        >>> decode_mask("cut-out.png").remarks
        ('has transparency: the opaque pixels are the object',)
    """

    mask: np.ndarray
    remarks: tuple[str, ...] = ()


def read_mask(
    source: Source, threshold: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The foreground mask in an image file, upright: the `mask` of `decode_mask`.

    Args:
        source: path of a file, or a file opened for reading bytes.
        threshold: the largest grey value, 0 to 254, that is background; None see `decode_mask`.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        `(height, width)` bool.

    Raises:
        DataError: as `decode_mask`.

    Example:
        >>> from PIL import Image, ImageChops
        >>> from keras_parts.images import read_mask
        >>> Image.new("1", (40, 30), 1).save("mask.png")
        >>> bool(read_mask("mask.png").all())
        True
    """
    return decode_mask(source, threshold, max_pixels=max_pixels).mask


def decode_mask(
    source: Source, threshold: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> DecodedMask:
    """The foreground mask in an image file, upright, with remarks about the file.

    Files are read as they look, indexed ones with the colours of their palette:

    - transparency that varies is the mask: pixels that are more than half opaque are the object;
    - of two values or colours, the object is the one that is not black, or the brighter one of two
      greys on either side of 127;
    - of several labels in flat areas, in grey or in colours, all but 0 (black) are the object;
    - soft masks, which are nearly black or white except at the border of the object, are divided
      at 127; those in colour by their strongest channel.

    With a threshold, the object is what is brighter than it, and at least half opaque.

    Args:
        source: path of a file, or a file opened for reading bytes.
        threshold: the largest grey value, 0 to 254, that is background; colours are converted to
            grey, and values above 255 scaled to 8 bits. None follows the rules above.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: as `read_image`; or no threshold is given and the file is none of the above, such
            as a photograph, or a map of labels without the value 0.

    Example:
        >>> from PIL import Image, ImageChops
        >>> from keras_parts.images import decode_mask
        >>> mask = Image.new("P", (40, 30))
        >>> mask.putpalette([255, 255, 255, 0, 0, 0])
        >>> mask.save("white.png")
        >>> bool(decode_mask("white.png").mask.all())
        True
    """
    with decoded(source, max_pixels) as image:
        is_lossy = image.format in ("JPEG", "MPO")
        image = upright(image)
        if threshold is not None:
            return DecodedMask(_brighter(image, threshold))
        alpha = opacity(image)
        if alpha is not None and (alpha <= _HALF).any():
            return _of_transparency(image, alpha > _opaque_above(alpha))
        if image.mode == "1":
            return DecodedMask(np.array(image))
        if has_other_depth(image) or image.mode in ("L", "LA", "La"):
            grey = image if has_other_depth(image) else image.convert("L")
            return _of_values(np.array(grey), is_lossy)
        return _of_colours(image, is_lossy)


def read_labels(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The labels in an image file, upright: indices of a palette, or grey values as stored.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        `(height, width)` uint8.

    Raises:
        DataError: as `read_image`; or the image has colours, a value below 0 or above 255, values
            that JPEG has rounded, or a palette whose black is not the label 0.

    Example:
        >>> from PIL import Image, ImageChops
        >>> from keras_parts.images import read_labels
        >>> Image.new("L", (40, 30), 7).save("labels.png")
        >>> int(read_labels("labels.png").max())
        7
    """
    with opened(source, max_pixels) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError("JPEG has rounded the labels: save them as an indexed or grey PNG")
        maximum = _stored_maximum(image)
        load(image)
        image = upright(image)
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise DataError(
                f"an image of mode {image.mode} holds no labels: save labels as an indexed or "
                "grey PNG"
            )
        labels = np.array(image)
        if maximum is not None:  # Pillow has multiplied them
            labels = np.rint(labels * (maximum / 255)).astype(np.int64)
        if image.mode == "P":
            _check_background(image, labels)
        for extreme in (labels.min(), labels.max()):
            if not 0 <= extreme <= 255:
                raise DataError(f"the label {extreme} is outside the range 0 to 255")
        return labels.astype(np.uint8)


def _stored_maximum(image: Any) -> int | None:
    """The largest grey value that a file, not decoded yet, can hold, if it has less than 8 bits."""
    arguments = image.tile[0].args if image.tile and image.mode == "L" else None
    words = arguments if isinstance(arguments, tuple) else (arguments,)
    if image.format == "PPM":
        return next((word for word in words if isinstance(word, int) and word < 255), None)
    return {"L;2": 3, "L;4": 15}.get(str(words[0]))


def _check_background(image: Image.Image, labels: np.ndarray) -> None:
    """Refuse a palette whose black is another label than 0: a program has sorted its colours."""
    palette = np.array(image.getpalette("RGB") or [0, 0, 0]).reshape(-1, 3)
    black = np.flatnonzero(~palette.any(axis=1))
    used = np.intersect1d(black, np.unique(labels))
    if 0 not in black and used.size:
        raise DataError(
            f"black, the background, is the label {used[0]} in the palette of this file: save it "
            "with black as the first colour, without a program that sorts them"
        )


def _brighter(image: Image.Image, threshold: int) -> np.ndarray:
    """The pixels that are brighter than a threshold and at least half opaque. Values up to 255 are
    not scaled: masks of 16 bits may hold 0 and 1, or 0 and 255."""
    if image.mode.startswith("I") and (values := np.array(image)).max() <= 255:
        mask = values > threshold
    else:
        mask = np.array(rgb_of(to_eight_bits(image)[0]).convert("L")) > threshold
    alpha = opacity(image)
    return mask if alpha is None else mask & (alpha > _HALF)


def _opaque_above(alpha: np.ndarray) -> int:
    """The largest opacity of the background. Layers that tools lay over a photograph are nowhere
    opaque: their object has the largest of few values."""
    maximum = int(alpha.max())
    if maximum > _HALF or maximum == alpha.min():
        return _HALF
    levels = np.unique(alpha)
    if levels[0] != 0 or len(levels) > 2:
        raise DataError(f"the most opaque pixels of this mask have {maximum} of 255. {_SOLID}")
    return 0


def _of_transparency(image: Image.Image, opaque: np.ndarray) -> DecodedMask:
    """The mask in an image with transparent pixels: the opaque ones, or the white ones of them if
    they are black and white."""
    if not has_other_depth(image):
        colours = np.array(rgb_of(image))[opaque]
        if colours.size and not (colours % 255).any() and np.ptp(colours, axis=1).max() == 0:
            white = np.array(rgb_of(image).convert("L")) > _HALF
            if 0.05 < white[opaque].mean() < 0.95:
                return DecodedMask(opaque & white)
    return DecodedMask(opaque, (ALPHA_REMARK,))


def _of_values(values: np.ndarray, is_lossy: bool) -> DecodedMask:
    """The mask in grey values: `(height, width)` uint8, larger integers or floats."""
    if np.issubdtype(values.dtype, np.floating):
        white, _ = white_value(values)  # also refuses values that are not finite
        if values.min() < -white / 10:
            raise DataError(f"the mask has negative values, down to {values.min():g}. {_WAY_OUT}")
        whole = values.astype(np.int64)
        values = whole if (whole == values).all() else _scaled(values, white)
    if values.min() < 0:
        raise DataError(f"the mask has negative values, down to {values.min()}. {_WAY_OUT}")
    levels, counts = _count(values)
    is_lossy |= _is_rounded(levels)
    if len(levels) == 1 and not is_lossy:
        return DecodedMask(_of_one_value(values, int(levels[0])))
    low, high = int(levels[0]), int(levels[-1])
    if len(levels) == 2 and not is_lossy and (low == 0 or low <= _HALF < high):
        return DecodedMask(values == high)
    has_few_levels = not is_lossy and len(levels) <= _MAX_LABELS
    if has_few_levels and _cover_areas(values, levels, counts)[1:-1].any():
        if low == 0:
            return DecodedMask(values != 0, (LABELS_REMARK,))
        raise DataError(
            f"the mask holds the labels {_listed(levels)} without 0, the background. {_WAY_OUT}"
        )
    grey = values if high <= 255 else _scaled(values, white_value(values)[0])
    if high <= _HALF and not (is_lossy and high < 16):
        raise DataError(f"the brightest value of this mask is {high} of 255. {_WAY_OUT}")
    return DecodedMask(_of_soft(grey))


def _of_colours(image: Image.Image, is_lossy: bool) -> DecodedMask:
    """The mask in an image with colours, or with a palette."""
    rgb = rgb_of(image)
    red, green, blue = rgb.split()
    if not any(ImageChops.difference(red, other).getbbox() for other in (green, blue)):
        values = np.array(red)
        if image.mode == "P" and values.min() == values.max() and np.ptp(np.array(image)) > 0:
            raise DataError(
                f"all labels have the same colour in the palette of this mask. {_WAY_OUT}, once "
                "it has no palette"
            )
        return _of_values(values, is_lossy)
    pixels = np.array(rgb)
    if np.quantile(np.ptp(pixels, axis=-1), 0.995) <= _MAX_SPREAD:
        return _of_values(np.array(rgb.convert("L")), is_lossy=True)
    colours = None if is_lossy else rgb.getcolors(_MAX_COLOURS)
    object_ = np.asarray(pixels.any(axis=-1))
    if colours is not None and not object_.all():
        if len(colours) == 2:
            return DecodedMask(object_)
        codes = pixels.astype(np.int32) @ (1, 256, 65536)
        if _flat_share(codes, object_) > 0.5 and _cover_areas(codes, *_count(codes))[1:].sum() > 1:
            return DecodedMask(object_, (LABELS_REMARK,))
    if colours is not None and len(colours) <= _MAX_LABELS and object_.all():
        raise DataError(f"the colours of this mask do not include black. {_WAY_OUT}")
    return DecodedMask(_of_soft(pixels.max(axis=-1)))


def _of_one_value(values: np.ndarray, value: int) -> np.ndarray:
    if value not in (0, 1, 255, 65535):
        raise DataError(f"all values of this mask are {value}. {_WAY_OUT}")
    return values != 0


def _of_soft(grey: np.ndarray) -> np.ndarray:
    """The mask in `(height, width)` uint8 values that are soft at the border of the object only.

    Values between dark and bright must lie near a dark pixel and near a bright one; others are
    those of a picture.
    """
    dark, bright = grey <= _DARK, grey >= _BRIGHT
    side = max(2, round(max(grey.shape) / _BORDERS))
    inside = ~dark & ~bright & ~(_near(dark, side) & _near(bright, side))
    minority = grey.size - max(np.count_nonzero(dark), np.count_nonzero(bright))
    if np.count_nonzero(inside) > _MAX_INSIDE * minority:
        raise DataError(
            f"{np.mean(~dark & ~bright):.0%} of this mask is neither dark nor bright, away from "
            f"borders too: it seems to be a photograph or another picture. {_WAY_OUT}"
        )
    return grey > _HALF


def _near(mask: np.ndarray, side: int) -> np.ndarray:
    """The pixels in all squares of a grid that a mask touches, and in their neighbours."""
    height, width = mask.shape
    grid = -(-height // side), -(-width // side)
    padded = np.zeros((grid[0] * side, grid[1] * side), bool)
    padded[:height, :width] = mask
    squares = np.pad(padded.reshape(grid[0], side, grid[1], side).any(axis=(1, 3)), 1)
    rows = squares[:-2] | squares[1:-1] | squares[2:]
    touched = rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:]
    return touched.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


def _is_rounded(levels: np.ndarray) -> bool:
    """Whether grey values are rounded as by JPEG or WebP, which leave nearly black and nearly white
    ones. Labels are small numbers, and 255 for unsure pixels."""
    is_dark, is_bright = (levels > 0) & (levels < 16), (levels >= 240) & (levels < 255)
    return bool(is_dark.any() and is_bright.any())


def _scaled(values: np.ndarray, white: float) -> np.ndarray:
    return np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)


def _count(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distinct values in order, number of pixels of each); values are at least 0."""
    maximum, flat = int(values.max()), values.ravel()
    if maximum <= 65535:
        strips = np.split(flat, range(_STRIP, flat.size, _STRIP))  # bincount makes 8 bytes of each
        counts = np.sum([np.bincount(strip, minlength=maximum + 1) for strip in strips], axis=0)
        levels = np.flatnonzero(counts)
        return levels, counts[levels]
    return np.unique(values, return_counts=True)


def _cover_areas(values: np.ndarray, levels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(levels,) bool: which values cover areas, and not only borders."""
    flat, inner = _flat(values)
    flat_counts = np.zeros(len(levels))
    if flat.any():
        flat_levels, found = _count(inner[flat])
        flat_counts[np.searchsorted(levels, flat_levels)] = found
    return (counts >= max(4, _MIN_AREA * values.size)) & (flat_counts >= _MIN_FLAT * counts)


def _flat(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which pixels equal their right and lower neighbours, and the values of the pixels that have
    such neighbours."""
    inner = values[:-1, :-1]
    return (inner == values[:-1, 1:]) & (inner == values[1:, :-1]), inner


def _flat_share(values: np.ndarray, mask: np.ndarray) -> float:
    """The share of a mask's pixels whose right and lower neighbours have the same value."""
    return float((_flat(values)[0] & mask[:-1, :-1]).sum() / mask.sum())


def _listed(levels: np.ndarray) -> str:
    shown = ", ".join(map(str, levels[:8]))
    return shown if len(levels) <= 8 else f"{shown}, ..."
