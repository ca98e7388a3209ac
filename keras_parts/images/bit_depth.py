"""Scale images of more than 8 bits, and of floating-point values, to 8 bits.

Files do not say which value is white: cameras store 10 or 12 bits in 16, and reflectances a little
above 1. The range is chosen by the maximum, and remarks say what was chosen.
"""

import numpy as np
from PIL import Image

from keras_parts.errors import DataError

_BITS = {255: 8, 1023: 10, 4095: 12, 16383: 14, 65535: 16}
"""Value of white -> bits of a camera."""
_TOLERANCE = 1.05  # floating-point values may exceed their range a little
_USUAL_WHITE = (1, 255, 65535)
_DARK = 64


def has_other_depth(image: Image.Image) -> bool:
    """Whether the image has more than 8 bits or floating-point values."""
    return image.mode.startswith("I") or image.mode == "F"


def to_eight_bits(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """The image, scaled to 8 bits if it has more, and remarks about the chosen range.

    Raises:
        DataError: values are not finite, or exceed 65535.
    """
    if not has_other_depth(image):
        return image, ()
    values = np.array(image)
    # Pillow scales PPM files by the maximum that they state.
    white, remarks = (65535.0, ()) if image.format == "PPM" else white_value(values)
    grey = np.rint(np.clip(values.astype(np.float32) / white, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(grey), remarks


def white_value(values: np.ndarray) -> tuple[float, tuple[str, ...]]:
    """The value of white in an image of unknown range, and remarks.

    White is the smallest of 255, 1023, 4095, 16383 and 65535 (8, 10, 12, 14 and 16 bits) that no
    value exceeds. Floating-point values up to 2 have the range 0 to 1; for those up to 16, white is
    the maximum.

    Args:
        values: `(height, width)` integers or floating-point numbers.

    Raises:
        DataError: values are not finite, or exceed 65535.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.bit_depth import white_value
        >>> white_value(np.array([[0, 4000]], np.uint16))
        (4095, ('has 12 bits, stored in more: white is 4095',))
    """
    is_float = np.issubdtype(values.dtype, np.floating)
    if is_float and not np.isfinite(values).all():
        raise DataError("some values are not finite: save the image with 8 or 16 bits")
    maximum, minimum = float(values.max()), float(values.min())
    white = _white_of_floats(maximum) if is_float else _white_of(maximum, 1.0)
    remarks = []
    if is_float and white not in _USUAL_WHITE:
        remarks.append(f"has floating-point values: white is {white:g}")
    if not is_float and white < 65535 and maximum > 0:
        remarks.append(f"has {_BITS[int(white)]} bits, stored in more: white is {white}")
    if maximum > white * (1 + 1 / 255):
        remarks.append(f"has values above {white:g}: they are white")
    if minimum < -white / 255:
        remarks.append("has negative values: they are black")
    return white, tuple(remarks)


def darkness(image: np.ndarray) -> tuple[str, ...]:
    """A remark if an image `(height, width, 3)` uint8 is dark.

    Pillow keeps the upper 8 of 16 bits of a colour: of 14 bits, as cameras store them, the values
    stay below 64, and of 8 bits they are 0.
    """
    if image.max() >= _DARK:
        return ()
    return (f"is dark: all values are below {_DARK} of 255",)


def _white_of_floats(maximum):
    if maximum <= 2:
        return 1
    return maximum if maximum <= 16 else _white_of(maximum, _TOLERANCE)


def _white_of(maximum, tolerance):
    for white in _BITS:
        if maximum <= white * tolerance:
            return white
    raise DataError(
        f"values reach {maximum:g}, expected at most 65535: save the image with 8 or 16 bits"
    )
