"""Images as people have them: files, bytes, open files, Pillow images, arrays and tensors."""

import io
import logging
import math
import os
from collections.abc import Mapping
from os import PathLike
from typing import IO, Any, TypeGuard, cast

import numpy as np
from PIL import Image

from keras_parts.addresses import is_address, read_address
from keras_parts.environment import max_image_bytes
from keras_parts.errors import DataError, hide_secrets
from keras_parts.images.decoding import DecodedImage, decode_file, decode_image, to_rgb

_LOG = logging.getLogger(__name__)

ImageLike = str | PathLike[str] | bytes | IO[bytes] | Image.Image | np.ndarray | Any
"""A path or an address, such as "s3://bucket/a.jpg"; the content of an image file, or a file opened
for reading bytes; a `PIL.Image`; an array or tensor `(height, width, 3)`, RGB from 0 to 255; or a
`keras_parts.data.Sample`."""


def as_image(image: ImageLike) -> np.ndarray:
    """`(height, width, 3)` uint8 RGB of an image in any form.

    Remarks about a file, such as "has 12 bits, stored in more: white is 4095", are logged.

    Args:
        image: see `ImageLike`. Values of a floating-point array are rounded.

    Raises:
        DataError: a file is missing, damaged or not an image; an array has another shape or range.

    Example:
        >>> import numpy as np
        >>> from PIL import Image
        >>> from keras_parts.images import as_image
        >>> picture = Image.new("L", (40, 30), 99)
        >>> bool((as_image(picture) == as_image(np.full((30, 40, 3), 99.0))).all())
        True
    """
    if is_address(image):
        return _said(decode_image(read_address(image, max_bytes=max_image_bytes()), image), image)
    if isinstance(image, str | PathLike):
        return _said(decode_file(image), image)
    if isinstance(image, bytes | bytearray | memoryview):
        file = _opened(bytes(image))
        return _said(decode_file(file), file.name)
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if is_array(image):
        (found,) = as_batch(image, rank=3)
        return found
    if is_file(image):
        return _said(decode_file(cast(IO[bytes], image)), path_of(image) or "image")
    if is_sample(image):
        return as_image(image.image)
    pairs = isinstance(image, tuple | list | Mapping)
    raise DataError(
        f"{type(image).__name__} is not an image: expected a path, the bytes of an image file, an "
        "open file, a PIL.Image, or an array (height, width, 3)"
        + ("; take the images out of pairs or dictionaries first" if pairs else "")
    )


def _said(decoded: DecodedImage, name: str | PathLike[str]) -> np.ndarray:
    """The image, after logging the remarks about its file."""
    for remark in decoded.remarks:
        _LOG.warning("%s %s", hide_secrets(os.fspath(name)), remark)
    return decoded.image


def as_images(image: Any) -> list[np.ndarray]:
    """The images in one element of a stream: an image, or a batch of them.

    Args:
        image: see `ImageLike`; or an array or tensor `(batch, height, width, 3)`.

    Raises:
        DataError: as `as_image`.
    """
    if is_array(image) and len(image.shape) == 4:
        return as_batch(image)
    return [as_image(image)]


def is_array(value: object) -> TypeGuard[Any]:
    """Whether a value is a NumPy array or a tensor of any backend."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def is_image(value: object) -> bool:
    """Whether a value is meant as one image, and not as several."""
    kinds = (str, PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(value, kinds) or is_array(value) or is_file(value) or is_sample(value)


def is_file(value: object) -> bool:
    """Whether a value is a file that is open for reading."""
    return hasattr(value, "read") and hasattr(value, "seek")


def is_sample(value: object) -> TypeGuard[Any]:
    """Whether a value is a `keras_parts.data.Sample`, or similar: an image and its foreground."""
    return hasattr(value, "image") and hasattr(value, "foreground")


def as_batch(images: Any, *, rank: int = 4) -> list[np.ndarray]:
    """The images `(height, width, 3)` uint8 RGB in an array or tensor.

    Args:
        images: `(batch, height, width, 3)`, or one image with `rank` 3, in 0 to 255.
        rank: expected number of axes.

    Raises:
        DataError: the array has another shape, or values outside the range.
    """
    array = host_array(images)
    shape = array.shape
    expected = "(height, width, 3)" if rank == 3 else "(batch, height, width, 3)"
    if len(shape) != rank or shape[-1] != 3 or not all(shape[-3:]):
        raise DataError(
            f"an array of dtype {array.dtype} and shape {shape} is not an image: expected "
            f"{expected}, RGB in 0 to 255{_way_out(shape, rank)}"
        )
    pixels = _as_bytes(array)
    return list(pixels) if rank == 4 else [pixels]


def host_array(tensor: Any) -> np.ndarray:
    """A tensor as a NumPy array. PyTorch converts neither tensors of a GPU nor bfloat16."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return np.asarray(tensor)


def _way_out(shape: tuple[int, ...], rank: int) -> str:
    if len(shape) == rank and shape[-3] == 3:
        axes = (1, 2, 0) if rank == 3 else (0, 2, 3, 1)
        return f": channels are last, transpose it with {axes}"
    if len(shape) == rank - 1 or (len(shape) == rank and shape[-1] == 1):
        return ": repeat a grey channel three times"
    if len(shape) == rank and shape[-1] == 4:
        return ": for transparency, give a PIL.Image of mode RGBA"
    return ""


def _as_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool or array.dtype.kind not in "iuf" and array.dtype.name != "bfloat16":
        raise DataError(
            f"an array of dtype {array.dtype} is not an image: expected RGB in 0 to 255"
        )
    array = array.astype(np.float32)
    if not array.size:
        return array.astype(np.uint8)
    low, high = float(array.min()), float(array.max())
    if not (0 <= low and high <= 255) or 0 < high <= 1:  # the first also for NaN
        raise DataError(f"the image has {describe_range(low, high, 'it')}")
    return np.rint(array).astype(np.uint8)


def describe_range(low: float, high: float, them: str = "them") -> str:
    """The range of images that are not RGB in 0 to 255, for a message, and the way out.

    Args:
        low, high: the smallest and the largest value.
        them: the pronoun for the images.

    Example:
        >>> from keras_parts.images.inputs import describe_range
        >>> describe_range(0.0, 1.0)
        'values from 0 to 1, expected RGB in 0 to 255: multiply them by 255'
    """
    if math.isnan(low) or math.isnan(high):
        return "values that are not a number (NaN), expected RGB in 0 to 255"
    way_out = ""
    if 0 <= low and high <= 1:
        way_out = f": multiply {them} by 255"
    elif -1 <= low and high <= 1:
        way_out = f": add 1 to {them}, then multiply by 127.5"
    elif -3 <= low and high <= 3:
        way_out = f": give {them} without normalisation by mean and standard deviation"
    return f"values from {low:g} to {high:g}, expected RGB in 0 to 255{way_out}"


def _opened(content: bytes) -> IO[bytes]:
    file = io.BytesIO(content)
    file.name = f"image of {len(content)} bytes"
    return file


def path_of(image: object) -> str | None:
    """The path of the file that an image comes from, without passwords; None if it has none."""
    if isinstance(image, str | PathLike):
        return hide_secrets(os.fspath(image))
    name = getattr(image, "name", None) if is_file(image) else None
    return name if isinstance(name, str) else getattr(image, "filename", None) or None
