"""Decoding: from an image file of any kind to upright RGB.

An image file holds an orientation, transparency and a bit depth beside its pixels. They are
applied here: the rest of the package sees one kind of image, `(height, width, 3)` uint8 RGB, as a
viewer shows it on a white page.
"""

import io
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from keras_parts.errors import DataError
from keras_parts.images.bit_depth import darkness, has_other_depth, to_eight_bits
from keras_parts.images.opening import (
    MAX_PIXELS,
    Source,
    decoded,
    load,
    opacity,
    opened,
)
from keras_parts.images.orientation import orientation, upright

_MAX_PAGES = 100  # that are counted: Pillow needs a second for a thousand pages of a TIFF


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
    with decoded(source, max_pixels) as image:
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
        >>> frames = [Image.new("L", (40, 30), grey) for grey in (50, 99, 200)]
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
        >>> Image.new("L", (40, 30), 99).save(file, "PNG")
        >>> decode_image(file.getvalue(), "grey.png").image.shape
        (30, 40, 3)
    """
    with opened(_named(content, name), max_pixels) as image:
        remarks = _animation(image)
        load(image)
        rgb, more = _rgb(image)
        return DecodedImage(rgb, (*remarks, *more))


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
    with decoded(source, max_pixels) as image:
        return opacity(upright(image))


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
    with opened(source, max_pixels) as image:
        return _facts(image).size


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image file says.

    Attributes:
        size: (height, width) as displayed, after the EXIF turn.
        orientation: the EXIF orientation, 1 to 8; 1 is upright.
        remarks: sentences for the user, as in `DecodedImage`.

    Example:
        >>> from keras_parts.images import ImageFacts
        >>> ImageFacts((40, 30), orientation=6).stored_size
        (30, 40)
    """

    size: tuple[int, int]
    orientation: int = 1
    remarks: tuple[str, ...] = ()

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the pixels as they are stored, before the EXIF turn."""
        height, width = self.size
        return (width, height) if self.orientation >= 5 else (height, width)


def read_facts(source: Source, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """The size, orientation and peculiarities of an image file.

    Only the header is read, except for images of more than 8 bits.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels: larger images are refused.

    Raises:
        DataError: as `read_size`; or an image of more than 8 bits is damaged.

    Example:
        >>> from PIL import Image
        >>> from keras_parts.images import read_facts
        >>> Image.new("L", (40, 30)).save("grey.png")
        >>> read_facts("grey.png")
        ImageFacts(size=(30, 40), orientation=1, remarks=())
    """
    with opened(source, max_pixels) as image:
        facts, remarks = _facts(image), _animation(image)
        if has_other_depth(image):
            load(image)
            remarks += _rgb(image)[1]
        return replace(facts, remarks=remarks)


def _facts(image: Image.Image) -> ImageFacts:
    turn, (width, height) = orientation(image), image.size
    # Pillow swaps the sides of a TIFF itself.
    is_swapped = turn >= 5 and image.format != "TIFF"
    return ImageFacts((width, height) if is_swapped else (height, width), turn)


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
    with opened(source, max_pixels) as image:
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
    return _rgb(image)[0]


def _rgb(image):
    """`to_rgb`, and remarks."""
    try:
        image = upright(image)
        eight_bits, remarks = to_eight_bits(image)
        # Without this condition Pillow would copy images that are RGB already.
        plain = eight_bits if eight_bits.mode == "RGB" else eight_bits.convert("RGB")
        rgb, alpha = np.array(plain), opacity(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"image of mode {image.mode} cannot be converted to RGB: {error}"
        ) from error
    remarks += darkness(rgb)
    if alpha is None:
        return rgb, remarks
    alpha = alpha[..., None].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8), remarks


def _named(content: bytes, name: str) -> IO[bytes]:
    file = io.BytesIO(content)
    file.name = name
    return file


def _animation(image: Any) -> tuple[str, ...]:
    # The further images of a camera's MPO file are previews and other views, no animation.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return ()
    if image.format != "TIFF":
        return (f"holds {image.n_frames} frames: only the first is used",)
    pages = _pages(image)
    count = pages if pages <= _MAX_PAGES else f"more than {_MAX_PAGES}"
    return (f"holds {count} pages: only the first is used",)


def _pages(tiff: Any) -> int:
    """The number of pages, counted up to one more than `_MAX_PAGES`."""
    pages = 1
    try:
        while pages <= _MAX_PAGES:
            tiff.seek(pages)
            pages += 1
    except EOFError:
        pass
    tiff.seek(0)
    return pages
