"""Decoding: from a picture file of any kind to upright RGB, a mask or labels.

A picture file holds more than pixels: an orientation, transparency, a bit depth. All of it is
resolved here, so that the rest of the package knows one kind of image, `(height, width, 3)` uint8
RGB as a viewer would show it on a white page.
"""

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from keras_parts.errors import DataError

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"}
    | {".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
Source = str | PathLike[str] | IO[bytes]
"""Path of a file, or a file opened for reading bytes."""
MAX_PIXELS = 178_956_970
"""Of an image, by default; Pillow's own limit."""

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


def read_image(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The image in a picture file, upright and on white.

    EXIF orientation is applied, transparent pixels are composited on white, 16-bit values are
    scaled to 8 bits, and the first frame of an animation is taken. Colour profiles are ignored:
    CMYK is converted by the plain formula.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        `(height, width, 3)` uint8 RGB.

    Raises:
        DataError: the file is missing, unreadable, no picture, truncated, damaged or too large.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_image
        >>> Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save("clear.png")
        >>> image = read_image("clear.png")
        >>> image.shape, image[0, 0].tolist()
        ((30, 40, 3), [255, 255, 255])
    """
    with _decoded(source, max_pixels) as picture:
        return to_rgb(picture)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture file.

    Attributes:
        image: `(height, width, 3)` uint8 RGB, as `read_image` gives.
        remarks: such as "holds 12 frames: only the first is used".

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_parts.images import decode_picture
        >>> file = io.BytesIO()
        >>> frames = [Image.new("L", (40, 30), grey) for grey in (0, 99, 200)]
        >>> frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        >>> decode_picture(file.getvalue(), "moving.gif").remarks
        ('holds 3 frames: only the first is used',)
    """

    image: np.ndarray
    remarks: tuple[str, ...] = ()


def decode_picture(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Picture:
    """The image in the bytes of a picture file, as `read_image` gives it, and remarks about it.

    Args:
        content: all bytes of the file.
        name: of the file, for errors.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        DataError: as `read_image`.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_parts.images import decode_picture
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30)).save(file, "PNG")
        >>> decode_picture(file.getvalue(), "grey.png").image.shape
        (30, 40, 3)
    """
    with _decoded(_named(content, name), max_pixels) as picture:
        remarks = _animation(picture)
        return Picture(to_rgb(picture), remarks)


def decode_size(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from the header in the bytes of a picture file.

    Raises:
        DataError: as `read_size`.
    """
    return read_size(_named(content, name), max_pixels=max_pixels)


def read_alpha(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The opacity of a picture, upright.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        `(height, width)` uint8, 255 for opaque pixels; None if the file has neither an alpha
        channel nor a transparent colour.

    Raises:
        DataError: as `read_image`.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_alpha
        >>> Image.new("RGBA", (40, 30), (255, 0, 0, 99)).save("thin.png")
        >>> int(read_alpha("thin.png").max())
        99
    """
    with _decoded(source, max_pixels) as picture:
        return _alpha(_upright(picture))


def read_mask(
    source: Source, threshold: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The foreground mask in a picture file, upright.

    Foreground is: in an indexed picture, every index but 0; in one of one bit, white; in a grey
    one (or a coloured one, by its brightness), every value above the threshold, which is 127 unless
    the picture has only the values 0 and 1. Transparent pixels are background.

    Args:
        source: path of a file, or a file opened for reading bytes.
        threshold: the largest grey value, 0 to 254, that is background.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        `(height, width)` bool.

    Raises:
        DataError: as `read_image`; or, without a threshold, the maximum grey value lies between 2
            and 127, so that the file seems to hold labels and not a mask of 0 and 255.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_mask
        >>> Image.new("1", (40, 30), 1).save("mask.png")
        >>> bool(read_mask("mask.png").all())
        True
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


def read_labels(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """The labels in a picture file, upright: the indices of a palette, or unscaled grey values.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger pictures are refused before they are decoded.

    Returns:
        `(height, width)` uint8.

    Raises:
        DataError: as `read_image`; or the picture has colours, or a value above 255.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_labels
        >>> Image.new("L", (40, 30), 7).save("labels.png")
        >>> int(read_labels("labels.png").max())
        7
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


def read_size(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from the header of a picture file.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger pictures are refused.

    Raises:
        DataError: the file is missing, unreadable, no picture or too large; damage behind the
            header is not noticed.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_size
        >>> Image.new("L", (40, 30)).save("grey.png")
        >>> read_size("grey.png")
        (30, 40)
    """
    with _opened(source, max_pixels) as picture:
        width, height = picture.size
        # Pillow swaps the sides of a TIFF itself.
        is_turned = _orientation(picture) >= 5 and picture.format != "TIFF"
        return (width, height) if is_turned else (height, width)


def has_alpha(source: Source, *, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether a picture has an alpha channel or a transparent colour, by its header.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger pictures are refused.

    Raises:
        DataError: as `read_size`.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import has_alpha
        >>> Image.new("RGBA", (40, 30)).save("clear.png")
        >>> has_alpha("clear.png")
        True
    """
    with _opened(source, max_pixels) as picture:
        return picture.has_transparency_data


def to_rgb(picture: Image.Image) -> np.ndarray:
    """`(height, width, 3)` uint8 RGB of a Pillow image, upright and on white like `read_image`.

    Raises:
        DataError: the image's mode cannot be converted to RGB, or its file is damaged.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import to_rgb
        >>> to_rgb(Image.new("L", (40, 30))).shape
        (30, 40, 3)
    """
    try:
        picture = _upright(picture)
        # Pillow copies even where there is nothing to convert.
        plain = picture if picture.mode == "RGB" else _eight_bit(picture).convert("RGB")
        rgb, alpha = np.array(plain), _alpha(picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"image of mode {picture.mode} cannot be converted to RGB: {error}"
        ) from error
    if alpha is None:
        return rgb
    alpha = alpha[..., None].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _named(content: bytes, name: str) -> IO[bytes]:
    file = io.BytesIO(content)
    file.name = name
    return file


def _animation(picture: Any) -> tuple[str, ...]:
    # A camera's MPO holds previews and other views after the picture: it is no animation.
    if picture.format == "MPO" or not getattr(picture, "is_animated", False):
        return ()
    kind = "pages" if picture.format == "TIFF" else "frames"
    return (f"holds {picture.n_frames} {kind}: only the first is used",)


def _name(source):
    if isinstance(source, str | PathLike):
        return os.fspath(source)
    return getattr(source, "name", None) or "the picture"


def _file(source: Source) -> AbstractContextManager[IO[bytes]]:
    """The open file; given a path, Pillow would map the file into memory, and then it may turn the
    picture the wrong way."""
    return open(source, "rb") if isinstance(source, str | PathLike) else nullcontext(source)


@contextmanager
def _opened(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    """The picture of a source, not decoded yet; every error is a DataError that names it."""
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
        raise DataError(f"{name}: not a picture, or of an unknown format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: too many pixels: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of any kind on damaged files
        raise DataError(f"{name}: cut short or damaged: {error}") from error


@contextmanager
def _decoded(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    with _opened(source, max_pixels) as picture:
        picture.load()
        yield picture


def _orientation(picture):
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture with damaged EXIF data is still a good picture
        return 1


def _upright(picture):
    picture.load()  # Pillow turns a TIFF here
    turn = _UPRIGHT.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _alpha(picture):
    """`(height, width)` uint8 opacity, or None."""
    if picture.mode.startswith("I;16") and "transparency" in picture.info:
        return np.where(np.array(picture) == picture.info["transparency"], 0, 255).astype(np.uint8)
    if not picture.has_transparency_data:
        return None
    return np.array(picture.convert("RGBA").getchannel("A"))


def _brightness(picture):
    """`(height, width)` uint8 of a mask; one of 16 bits may still hold 0 and 1, or 0 and 255."""
    if picture.mode.startswith("I") and (values := np.array(picture)).max() <= 255:
        return values.clip(0).astype(np.uint8)
    return np.array(_eight_bit(picture).convert("RGB").convert("L"))


def _eight_bit(picture):
    """The picture with 8-bit values (or one bit); Pillow itself would clip larger values."""
    if picture.mode.startswith("I"):
        full = 65535
    elif picture.mode == "F":
        full = _float_range(picture)
    else:
        return picture
    values = np.array(picture, np.float32)
    return Image.fromarray(np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8))


def _float_range(picture):
    """The smallest usual range that holds all values: floating-point files do not define white."""
    values = np.array(picture)
    if not np.isfinite(values).all():
        raise DataError("some values are not finite: save the picture with 8 or 16 bits")
    for full in (1, 255, 65535):
        if values.max() <= full:
            return full
    raise DataError(f"values reach {values.max():g}: save the picture with 8 or 16 bits")
