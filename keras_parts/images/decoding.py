"""Decoding: from an image file of any kind to upright RGB, a mask or labels.

An image file holds an orientation, transparency and a bit depth beside its pixels. They are
applied here: the rest of the package sees one kind of image, `(height, width, 3)` uint8 RGB, as a
viewer shows it on a white page.
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
from keras_parts.images.formats import readable_formats

Source = str | PathLike[str] | IO[bytes]
"""Path of a file, or a file opened for reading bytes."""
MAX_PIXELS = 178_956_970
"""Default maximum of pixels in an image; Pillow's own limit."""

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
    """Read an image file as RGB, upright and on white.

    EXIF orientation is applied, transparent pixels are composited on white, 16-bit values are
    scaled to 8 bits, and the first frame of an animation is taken. Colour profiles are ignored:
    CMYK is converted by the plain formula.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        `(height, width, 3)` uint8 RGB.

    Raises:
        DataError: the file is missing, unreadable, not an image, truncated, damaged or too large.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_image
        >>> Image.new("RGBA", (40, 30), (255, 0, 0, 0)).save("clear.png")
        >>> image = read_image("clear.png")
        >>> image.shape, image[0, 0].tolist()
        ((30, 40, 3), [255, 255, 255])
    """
    with _decoded(source, max_pixels) as image:
        return to_rgb(image)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        image: `(height, width, 3)` uint8 RGB, as `read_image` returns.
        remarks: sentences for the user, such as "holds 12 frames: only the first is used".

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_parts.images import decode_image
        >>> file = io.BytesIO()
        >>> frames = [Image.new("L", (40, 30), grey) for grey in (0, 99, 200)]
        >>> frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        >>> decode_image(file.getvalue(), "moving.gif").remarks
        ('holds 3 frames: only the first is used',)
    """

    image: np.ndarray
    remarks: tuple[str, ...] = ()


def decode_image(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Decode the bytes of an image file as `read_image` does, with remarks about the file.

    Args:
        content: all bytes of the file.
        name: of the file, for error messages.
        max_pixels: larger images are refused before they are decoded.

    Raises:
        DataError: as `read_image`.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_parts.images import decode_image
        >>> file = io.BytesIO()
        >>> Image.new("L", (40, 30)).save(file, "PNG")
        >>> decode_image(file.getvalue(), "grey.png").image.shape
        (30, 40, 3)
    """
    with _decoded(_named(content, name), max_pixels) as image:
        remarks = _animation(image)
        return DecodedImage(to_rgb(image), remarks)


def decode_size(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from the header in the bytes of an image file.

    Raises:
        DataError: as `read_size`.
    """
    return read_size(_named(content, name), max_pixels=max_pixels)


def read_alpha(source: Source, *, max_pixels: int = MAX_PIXELS) -> np.ndarray | None:
    """The opacity of an image, upright.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused before they are decoded.

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
    with _decoded(source, max_pixels) as image:
        return _alpha(_upright(image))


def read_mask(
    source: Source, threshold: int | None = None, *, max_pixels: int = MAX_PIXELS
) -> np.ndarray:
    """The foreground mask in an image file, upright.

    The foreground is every index but 0 of an indexed image, and white in an image of one bit. In
    grey images it is every value above the threshold; coloured images are converted to grey first.
    Pixels that are at least half transparent are background, except in indexed images.

    Args:
        source: path of a file, or a file opened for reading bytes.
        threshold: the largest grey value, 0 to 254, that is background. None takes 127, or 0 where
            the image has no value above 1.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        `(height, width)` bool.

    Raises:
        DataError: as `read_image`; or no threshold is given and the maximum grey value is 2 to 127:
            the file seems to hold labels instead of a mask of 0 and 255.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_mask
        >>> Image.new("1", (40, 30), 1).save("mask.png")
        >>> bool(read_mask("mask.png").all())
        True
    """
    with _decoded(source, max_pixels) as image:
        image = _upright(image)
        if image.mode == "P":
            return np.array(image) != 0
        grey = _brightness(image)
        alpha = _alpha(image)
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
    """The labels in an image file, upright: indices of a palette, or grey values as stored.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        `(height, width)` uint8.

    Raises:
        DataError: as `read_image`; or the image has colours, or a value above 255.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_labels
        >>> Image.new("L", (40, 30), 7).save("labels.png")
        >>> int(read_labels("labels.png").max())
        7
    """
    with _decoded(source, max_pixels) as image:
        image = _upright(image)
        if image.mode not in ("1", "L", "P") and not image.mode.startswith("I"):
            raise DataError(
                f"an image of mode {image.mode} holds no labels: save labels as an indexed or "
                "grey PNG"
            )
        labels = np.array(image)
        if labels.max() > 255:
            raise DataError(f"the label {labels.max()} is larger than 255, the maximum")
        return labels.astype(np.uint8)


def read_size(source: Source, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as displayed, from the header of an image file.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused.

    Raises:
        DataError: the file is missing, unreadable, not an image or too large. Damage behind the
            header is not noticed.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_size
        >>> Image.new("L", (40, 30)).save("grey.png")
        >>> read_size("grey.png")
        (30, 40)
    """
    with _opened(source, max_pixels) as image:
        width, height = image.size
        # Pillow swaps the sides of a TIFF itself.
        is_turned = _orientation(image) >= 5 and image.format != "TIFF"
        return (width, height) if is_turned else (height, width)


def has_alpha(source: Source, *, max_pixels: int = MAX_PIXELS) -> bool:
    """Whether the header of an image declares an alpha channel or a transparent colour.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused.

    Raises:
        DataError: as `read_size`.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import has_alpha
        >>> Image.new("RGBA", (40, 30)).save("clear.png")
        >>> has_alpha("clear.png")
        True
    """
    with _opened(source, max_pixels) as image:
        return image.has_transparency_data


def to_rgb(image: Image.Image) -> np.ndarray:
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
        image = _upright(image)
        # Without this condition Pillow would copy images that are RGB already.
        plain = image if image.mode == "RGB" else _eight_bit(image).convert("RGB")
        rgb, alpha = np.array(plain), _alpha(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"image of mode {image.mode} cannot be converted to RGB: {error}"
        ) from error
    if alpha is None:
        return rgb
    alpha = alpha[..., None].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _named(content: bytes, name: str) -> IO[bytes]:
    file = io.BytesIO(content)
    file.name = name
    return file


def _animation(image: Any) -> tuple[str, ...]:
    # The further images of a camera's MPO file are previews and other views, no animation.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return ()
    kind = "pages" if image.format == "TIFF" else "frames"
    return (f"holds {image.n_frames} {kind}: only the first is used",)


def _name(source):
    if isinstance(source, str | PathLike):
        return os.fspath(source)
    return getattr(source, "name", None) or "unnamed file"


def _file(source: Source) -> AbstractContextManager[IO[bytes]]:
    """The open file. Pillow maps a file into memory if it gets the path, and may then turn the
    image the wrong way."""
    return open(source, "rb") if isinstance(source, str | PathLike) else nullcontext(source)


@contextmanager
def _opened(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    """The image of a source, not decoded yet. Every error becomes a DataError that names the
    source."""
    name = _name(source)
    try:
        with _file(source) as file, Image.open(file, formats=readable_formats()) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise DataError(f"{width} x {height} pixels exceed the limit of {max_pixels}")
            yield image
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file") from None
    except IsADirectoryError:
        raise DataError(f"{name}: this is a folder, not an image file") from None
    except PermissionError:
        raise DataError(f"{name}: no permission to read this file") from None
    except UnidentifiedImageError:
        raise DataError(
            f"{name}: not an image of a format that is read: {', '.join(readable_formats())}"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: too many pixels: {error}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise errors of any kind on damaged files
        raise DataError(f"{name}: truncated or damaged: {error}") from error


@contextmanager
def _decoded(source: Source, max_pixels: int) -> Iterator[Image.Image]:
    with _opened(source, max_pixels) as image:
        image.load()
        yield image


def _orientation(image):
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # the pixels may be good although the EXIF data is damaged
        return 1


def _upright(image):
    image.load()  # Pillow turns a TIFF here
    turn = _UPRIGHT.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _alpha(image):
    """`(height, width)` uint8 opacity, or None."""
    if image.mode.startswith("I;16") and "transparency" in image.info:
        return np.where(np.array(image) == image.info["transparency"], 0, 255).astype(np.uint8)
    if not image.has_transparency_data:
        return None
    return np.array(image.convert("RGBA").getchannel("A"))


def _brightness(image):
    """`(height, width)` uint8 grey values of a mask. Values up to 255 are not scaled: masks of 16
    bits may hold 0 and 1, or 0 and 255."""
    if image.mode.startswith("I") and (values := np.array(image)).max() <= 255:
        return values.clip(0).astype(np.uint8)
    return np.array(_eight_bit(image).convert("RGB").convert("L"))


def _eight_bit(image):
    """The image, scaled to 8 bits if it has more; Pillow itself would clip larger values."""
    if image.mode.startswith("I"):
        full = 65535
    elif image.mode == "F":
        full = _float_range(image)
    else:
        return image
    values = np.array(image, np.float32)
    return Image.fromarray(np.rint(np.clip(values / full, 0, 1) * 255).astype(np.uint8))


def _float_range(image):
    """The value of white: the smallest of 1, 255 and 65535 that no value exceeds, as floating-point
    files do not define it."""
    values = np.array(image)
    if not np.isfinite(values).all():
        raise DataError("some values are not finite: save the image with 8 or 16 bits")
    for full in (1, 255, 65535):
        if values.max() <= full:
            return full
    raise DataError(
        f"values reach {values.max():g}, expected at most 65535: save the image with 8 or 16 bits"
    )
