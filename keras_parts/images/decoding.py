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
    rgb_of,
)
from keras_parts.images.orientation import orientation, upright

REDUCED_PIXELS = 2**26
"""JPEG files with more pixels may be decoded at a part of their size."""
_STRIP_PIXELS = 2**22
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
        size: (height, width) of the image as displayed; larger than `image` if that is reduced.
        box: left, top, right and bottom of the whole image in `image`, in pixels, if that is
            reduced: its last pixels may be fractions of pixels.

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from keras_parts.images import decode_image
        >>> file = io.BytesIO()
        >>> frames = [Image.new("L", (40, 30), grey) for grey in (90, 99, 200)]
        >>> frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
        >>> decode_image(file.getvalue(), "moving.gif").remarks
        ('holds 3 frames: only the first is used',)
    """

    image: np.ndarray
    remarks: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None
    size: tuple[int, int] = (0, 0)


def decode_image(
    content: bytes,
    name: str,
    max_pixels: int = MAX_PIXELS,
    *,
    enough: int | None = None,
) -> DecodedImage:
    """Decode the bytes of an image file as `read_image` does, with remarks about the file.

    Args:
        content: all bytes of the file.
        name: of the file, for error messages.
        max_pixels: larger images are refused before they are decoded.
        enough: length of the shorter side that suffices, in pixels: JPEG files of more than
            `REDUCED_PIXELS` are decoded at a half, a quarter or an eighth of their size, as long as
            it is reached. None decodes all pixels.

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
    return decode_file(_named(content, name), max_pixels=max_pixels, enough=enough)


def decode_file(
    source: Source, *, max_pixels: int = MAX_PIXELS, enough: int | None = None
) -> DecodedImage:
    """Decode an image file as `read_image` does, with remarks about the file.

    Args:
        source: path of a file, or a file opened for reading bytes.
        max_pixels, enough: as for `decode_image`.

    Raises:
        DataError: as `read_image`.
    """
    with opened(source, max_pixels) as image:
        remarks, facts = _animation(image), _facts(image)
        reduction = 1 if enough is None else _reduce(image, enough)
        load(image)
        rgb, more = _rgb(image)
        if reduction == 1:
            return DecodedImage(rgb, (*remarks, *more), size=facts.size)
        more += (f"is large: the network sees it at 1/{reduction} of its size",)
        box = _box_in_reduced(rgb.shape, facts, reduction)
        return DecodedImage(rgb, (*remarks, *more), box, facts.size)


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


def _rgb(image: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """`to_rgb`, and remarks. The pixels are converted strip by strip: intermediate values would
    need several times the memory of a large image."""
    try:
        image = upright(image)
        eight_bits, remarks = to_eight_bits(image)
        rgb = np.empty((image.height, image.width, 3), np.uint8)
        rows = max(1, _STRIP_PIXELS // image.width)
        for top in range(0, image.height, rows):
            strips = eight_bits, image
            if rows < image.height:
                box = (0, top, image.width, min(top + rows, image.height))
                strips = eight_bits.crop(box), image.crop(box)
            rgb[top : top + rows] = _on_white(*strips)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(
            f"image of mode {image.mode} cannot be converted to RGB: {error}"
        ) from error
    return rgb, remarks + darkness(rgb)


def _on_white(eight_bits: Image.Image, image: Image.Image) -> np.ndarray:
    """RGB of an image that was scaled to 8 bits, on white where the image itself is transparent."""
    rgb, alpha = np.asarray(rgb_of(eight_bits)), opacity(image)
    if alpha is None:
        return rgb
    alpha = alpha[..., None].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _reduce(image: Any, enough: int) -> int:
    """Let Pillow decode a large JPEG file at a part of its size; returns 1, 2, 4 or 8."""
    width, height = image.size
    if image.format not in ("JPEG", "MPO") or width * height <= REDUCED_PIXELS:
        return 1
    parts = [part for part in (8, 4, 2) if min(width, height) // part >= enough]
    if not parts or image.draft(None, (width // parts[0], height // parts[0])) is None:
        return 1
    return round(width / image.size[0])


def _box_in_reduced(
    shape: tuple[int, ...], facts: ImageFacts, reduction: int
) -> tuple[float, float, float, float]:
    """Where the whole image lies in a reduced one, whose sides are rounded up: at the end of the
    stored pixels, which the EXIF turn may bring to the left or the top."""
    height, width = (side / reduction for side in facts.size)
    left = shape[1] - width if facts.orientation in (2, 3, 6, 7) else 0.0
    top = shape[0] - height if facts.orientation in (3, 4, 7, 8) else 0.0
    return (left, top, left + width, top + height)


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
