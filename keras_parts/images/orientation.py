"""EXIF orientation: how stored pixels are turned to be upright."""

import numpy as np
from PIL import Image

from keras_parts.errors import DataError

_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 is upright."""
    try:
        number = int(image.getexif().get(_TAG, 1))
    except DataError:  # the time is over, for example
        raise
    except Exception:  # the pixels may be good although the EXIF data is damaged
        return 1
    return number if number in _UPRIGHT else 1


def upright(image: Image.Image) -> Image.Image:
    """The image, decoded and turned by its EXIF orientation."""
    image.load()  # Pillow turns a TIFF here
    turn = _UPRIGHT.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def turn_map(stored: np.ndarray, orientation: int) -> np.ndarray:
    """A mask or label map of the stored pixels, turned upright.

    Args:
        stored: `(height, width)`, of the image as it is stored.
        orientation: of the image, 1 to 8.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images.orientation import turn_map
        >>> turn_map(np.array([[1, 2, 3]]), 6).tolist()
        [[1], [2], [3]]
    """
    if orientation in (2, 3, 6, 7):
        stored = stored[:, ::-1] if orientation in (2, 3) else stored[::-1]
    if orientation in (3, 4, 7, 8):
        stored = stored[::-1] if orientation in (3, 4) else stored[:, ::-1]
    return np.ascontiguousarray(stored.T if orientation >= 5 else stored)


def turn_points(stored: np.ndarray, orientation: int, stored_size: tuple[int, int]) -> np.ndarray:
    """Points in the stored pixels, turned upright.

    Args:
        stored: `(points, 2)` x and y; (0, 0) is the centre of the top-left pixel.
        orientation: of the image, 1 to 8.
        stored_size: (height, width) of the image as it is stored.

    Example:
        >>> from keras_parts.images.orientation import turn_points
        >>> turn_points([[2, 0]], 6, stored_size=(1, 3)).tolist()
        [[0, 2]]
    """
    x, y = np.asarray(stored).T
    height, width = stored_size
    if orientation in (2, 3, 7, 8):
        x = width - 1 - x
    if orientation in (3, 4, 6, 7):
        y = height - 1 - y
    return np.stack([y, x] if orientation >= 5 else [x, y], axis=-1)
