"""Picture files of any kind in, upright RGB or a mask out; files written whole or not at all.

A picture file says more than its pixels: which way up it is shown, what shines through, how many
bits a value has. Everything is resolved here, so that the rest of the package knows one kind of
image, (height, width, 3) uint8 RGB as a viewer would show it on a white page.
"""

import io
import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_parts.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = 178_956_970  # Pillow's own limit

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(source: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The picture in a file, upright and on white.

    EXIF orientation is applied, alpha and transparent colours are composited on white, 16-bit
    values are scaled to 8 bits, and of an animation the first frame is taken. Colour profiles are
    not: CMYK is converted by the plain formula.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: refuse larger pictures before decoding them.

    Returns:
        (height, width, 3) uint8 RGB.

    Raises:
        DataError: the file is missing, unreadable, no picture, cut short, damaged or too large.
    """
    with _decoded(source, max_pixels) as picture:
        return to_rgb(picture)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture file.

    Attributes:
        image: (height, width, 3) uint8 RGB, as `read_image` gives.
        remarks: what its user may want to know, such as "holds 12 frames: only the first is used".
    """

    image: np.ndarray
    remarks: tuple[str, ...] = ()


def decode_picture(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in the bytes of a file, as `read_image` gives it, and remarks about it.

    Args:
        content: all of the file.
        name: of the file, for errors.
        max_pixels: refuse larger pictures before decoding them.

    Raises:
        DataError: as `read_image`.
    """
    with _decoded(_named(content, name), max_pixels) as picture:
        remarks = _animation(picture)
        return Picture(to_rgb(picture), remarks)


def size_of(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from the bytes of a picture file, without decoding them.

    Raises:
        DataError: as `read_size`.
    """
    return read_size(_named(content, name), max_pixels)


def read_alpha(
    source: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS
) -> np.ndarray | None:
    """The opacity of a picture, upright.

    Returns:
        (height, width) uint8, 255 where nothing shines through; None if the file has neither an
        alpha channel nor a transparent colour.

    Raises:
        DataError: as `read_image`.
    """
    with _decoded(source, max_pixels) as picture:
        return _alpha(_upright(picture))


def read_mask(
    source: str | PathLike | IO[bytes],
    threshold: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """The object's mask in a picture file, upright.

    Indexed: every index but 0. One bit: white. Grey (or colour, by its brightness): above the
    threshold, which is 127 unless the picture has only the values 0 and 1. Transparent is outside.

    Args:
        source: path of a file, or a file opened for reading bytes.
        threshold: the largest grey value, 0 to 254, that is still outside.
        max_pixels: refuse larger pictures before decoding them.

    Returns:
        (height, width) bool.

    Raises:
        DataError: as `read_image`; or, without a threshold, the largest grey value lies between 2
            and 127, so that the file is no mask of 0 and 255 but, it seems, one of labels.
    """
    with _decoded(source, max_pixels) as picture:
        picture = _upright(picture)
        if picture.mode == "P":
            return np.array(picture) != 0
        grey = _brightness(picture)
        alpha = _alpha(picture)
        if alpha is not None:
            grey[alpha <= 127] = 0
        if threshold is None:
            brightest = int(grey.max())
            if 2 <= brightest <= 127:
                raise DataError(
                    f"the brightest value of this mask is {brightest} of 255. Save it as 0 and 255 "
                    "(or 0 and 1), or save labels as an indexed PNG"
                )
            threshold = 0 if brightest == 1 else 127
        return grey > threshold


def read_labels(source: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The labels in a picture file, upright: the indices of a palette, or grey values as they are.

    Returns:
        (height, width) uint8.

    Raises:
        DataError: as `read_image`; or the picture has colours, or a value above 255.
    """
    with _decoded(source, max_pixels) as picture:
        picture = _upright(picture)
        if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
            raise DataError(
                f"a picture of mode {picture.mode} holds no labels: save them as an indexed or "
                "grey PNG"
            )
        labels = np.array(picture)
        if labels.max() > 255:
            raise DataError(f"the label {labels.max()} is larger than 255")
        return labels.astype(np.uint8)


def read_size(source: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from a picture file's header alone.

    Raises:
        DataError: the file is missing, unreadable, no picture or too large; damage behind the
            header is not seen.
    """
    with _opened(source, max_pixels) as picture:
        width, height = picture.size
        turned = _orientation(picture) >= 5 and picture.format != "TIFF"  # there Pillow swaps them
        return (width, height) if turned else (height, width)


def has_alpha(source: str | PathLike | IO[bytes], max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a picture's header promises an alpha channel or a transparent colour.

    Raises:
        DataError: as `read_size`.
    """
    with _opened(source, max_pixels) as picture:
        return picture.has_transparency_data


def to_rgb(picture: Image.Image) -> np.ndarray:
    """(height, width, 3) uint8 RGB of a Pillow image, upright and on white as `read_image` gives.

    Raises:
        DataError: the image's mode has no way to RGB, or its file is damaged.
    """
    try:
        picture = _upright(picture)
        # Pillow copies even where there is nothing to convert.
        plain = picture if picture.mode == "RGB" else _eight_bit(picture).convert("RGB")
        rgb, alpha = np.array(plain), _alpha(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"image of mode {picture.mode} cannot be made RGB: {error}") from error
    if alpha is None:
        return rgb
    alpha = alpha[..., None].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _named(content, name):
    file = io.BytesIO(content)
    file.name = name
    return file


def _animation(picture):
    # A camera's MPO holds previews and other views behind the picture: nothing moves.
    if picture.format == "MPO" or not getattr(picture, "is_animated", False):
        return ()
    kind = "pages" if picture.format == "TIFF" else "frames"
    return (f"holds {picture.n_frames} {kind}: only the first is used",)


def _name(source):
    if isinstance(source, str | PathLike):
        return os.fspath(source)
    return getattr(source, "name", None) or "the picture"


def _file(source):
    """The open file, and never a path for Pillow: what it maps into memory it may turn wrongly."""
    return open(source, "rb") if isinstance(source, str | PathLike) else nullcontext(source)


@contextmanager
def _opened(source, max_pixels):
    """The picture behind a source, not decoded yet; every error is a DataError with its name."""
    name = _name(source)
    try:
        with _file(source) as file, Image.open(file) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise DataError(
                    f"{width} x {height} pixels are more than the limit of {max_pixels}"
                )
            yield picture
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{name}: this is a folder, not a picture file") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read this file") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a picture, or of a kind that is not known") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: too many pixels: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever their damaged input leads them to
        raise DataError(f"{name}: cut short or damaged: {error}") from error


@contextmanager
def _decoded(source, max_pixels):
    with _opened(source, max_pixels) as picture:
        picture.load()
        yield picture


def _orientation(picture):
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data must not cost a good picture
        return 1


def _upright(picture):
    picture.load()  # turns a TIFF by itself
    turn = _UPRIGHT.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _alpha(picture):
    """(height, width) uint8 opacity, or None."""
    if picture.mode.startswith("I;16") and "transparency" in picture.info:
        return np.where(np.array(picture) == picture.info["transparency"], 0, 255).astype(np.uint8)
    if not picture.has_transparency_data:
        return None
    return np.array(picture.convert("RGBA").getchannel("A"))


def _brightness(picture):
    """(height, width) uint8 of a mask; one with 16 bits may still hold 0 and 1, or 0 and 255."""
    if picture.mode.startswith("I") and (values := np.array(picture)).max() <= 255:
        return values.clip(0).astype(np.uint8)
    return np.array(_eight_bit(picture).convert("RGB").convert("L"))


def _eight_bit(picture):
    """A picture of 8-bit values (or of one bit): Pillow would clip larger ones."""
    if picture.mode.startswith("I"):
        full = 65535
    elif picture.mode == "F":
        full = _float_range(picture)
    else:
        return picture
    values = np.array(picture, np.float32)
    return Image.fromarray(np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8))


def _float_range(picture):
    """Floating-point files do not say what is white: the least usual range that holds them."""
    values = np.array(picture)
    if not np.isfinite(values).all():
        raise DataError("some values are not finite: save the picture with 8 or 16 bits")
    for full in (1, 255, 65535):
        if values.max() <= full:
            return full
    raise DataError(f"values reach {values.max():g}: save the picture with 8 or 16 bits")
