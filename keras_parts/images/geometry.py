"""How an image of any size is resized to a network's input, and how points map between the two.

Coordinates are x (right) and y (down) in pixels, (0, 0) the centre of the top-left pixel. Images
are resized as Pillow does it: sides map to sides, so that pixel x of the image lies at
(x + 0.5) * scale - 0.5. A network's map covers its input in one of two ways: with aligned corners
(the corner positions of the map lie at the *centres* of the input's corner pixels, as in networks
for 16 n + 1 pixels) or without (the sides of the map are the sides of the input).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError

ResizeMode = Literal["pad", "stretch", "short"]
RESIZE_MODES: tuple[str, ...] = get_args(ResizeMode)
STRIDE = 16
"""The largest output stride of a segmenter: inputs are multiples of it, or multiples plus 1."""
MAX_ASPECT = 4
"""Longest side of an image, in short sides, that the mode "short" keeps: longer strips are padded,
or the network's input could have any length."""


@dataclass(frozen=True)
class ResizeGeometry:
    """Where an image lies in a network's input.

    Args:
        original_size: (height, width) of the image in pixels.
        input_size: (height, width) of the network's input.
        resized_size: (height, width) of the resized image.
        offset: (y, x) of the resized image's top-left pixel in the input; negative where the image
            is cropped.

    Example:
        >>> from keras_parts.images import resize_geometry
        >>> geometry = resize_geometry(60, 90, image_size=33)
        >>> geometry.resized_size, geometry.offset
        ((21, 33), (6, 0))
        >>> geometry.to_input([[44.5, 29.5]])
        array([[16., 16.]])
    """

    original_size: tuple[int, int]
    input_size: tuple[int, int]
    resized_size: tuple[int, int]
    offset: tuple[int, int]

    def apply(self, image: np.ndarray, outside: int = 255) -> np.ndarray:
        """The network's input: the image, resized with antialiasing, with `outside` around it.

        Args:
            image: `(height, width, 3)` or `(height, width)` uint8, of `original_size`.
            outside: value of the pixels beyond the image, 0 to 255.

        Returns:
            uint8, `input_size` by the channels of the image.

        Raises:
            ConfigError: the image has another size.
        """
        if image.shape[:2] != self.original_size:
            raise ConfigError(
                f"the image has {image.shape[:2]} pixels, but this geometry is for "
                f"{self.original_size}"
            )
        height, width = self.resized_size
        # The width first, then the height: left to itself, Pillow chooses the order by version and
        # size, and what is rounded in between depends on it.
        resized = Image.fromarray(image)
        for size in ((width, resized.height), (width, height)):
            resized = resized.resize(size, Image.Resampling.BICUBIC)
        result = np.full((*self.input_size, *image.shape[2:]), outside, np.uint8)
        visible = np.asarray(resized)[self._overlap(0, -1), self._overlap(1, -1)]
        result[self._overlap(0, 1), self._overlap(1, 1)] = visible
        return result

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 2)`, x and y in the image, as x and y in the network's input; float64."""
        original, resized, offset = self._xy()
        return (np.asarray(points, np.float64) + 0.5) * (resized / original) - 0.5 + offset

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points `(..., 2)`, x and y in the network's input, as x and y in the image; float64."""
        original, resized, offset = self._xy()
        return (np.asarray(points, np.float64) - offset + 0.5) * original / resized - 0.5

    def _xy(self):
        """Original size, resized size and offset in the order x, y; float64."""
        pairs = (self.original_size, self.resized_size, self.offset)
        return (np.array(pair[::-1], np.float64) for pair in pairs)

    def _overlap(self, axis, sign):
        """Where image and input meet: a slice of the input's pixels (sign 1) or the image's."""
        length = min(self.resized_size[axis], self.input_size[axis])
        start = max(sign * self.offset[axis], 0)
        return slice(start, start + length)


def resize_geometry(
    height: int, width: int, image_size: int, resize_mode: str = "pad"
) -> ResizeGeometry:
    """How an image of `height` x `width` pixels is resized to a network's input.

    Nothing is ever shifted by half a pixel: both sides are padded or cropped by the same number of
    pixels, so that a mirrored image has the mirrored input.

    Args:
        height, width: size of the image in pixels.
        image_size: side of the network's input in pixels.
        resize_mode: "pad" keeps the aspect ratio and pads to a square; "stretch" makes a square;
            "short" resizes the short side to `image_size` and crops the long one to `image_size`
            plus a multiple of `STRIDE`. Images longer than `MAX_ASPECT` short sides are padded in
            the mode "short" too.

    Raises:
        ConfigError: a size below 1, or an unknown resize mode.

    Example:
        >>> from keras_parts.images import resize_geometry
        >>> resize_geometry(100, 150, 64, "short").input_size
        (64, 96)
        >>> resize_geometry(100, 1600, 64, "short").input_size
        (64, 64)
    """
    if min(height, width, image_size) < 1:
        raise ConfigError(f"sizes must be at least 1 pixel, not {height} x {width} to {image_size}")
    if resize_mode not in RESIZE_MODES:
        raise ConfigError(
            f"resize_mode is {resize_mode!r}, expected one of {', '.join(RESIZE_MODES)}"
        )
    original, square = (height, width), (image_size, image_size)
    if resize_mode == "stretch":
        return ResizeGeometry(original, square, square, (0, 0))
    if resize_mode == "short" and max(original) <= MAX_ASPECT * min(original):
        resized = _resized_sides(original, image_size, image_size / min(original))
        inputs = [image_size + (side - image_size) // STRIDE * STRIDE for side in resized]
        return _centred(original, (inputs[0], inputs[1]), resized)
    resized = _resized_sides(original, image_size, image_size / max(original))
    return _centred(original, square, resized)


def resize_image(
    image: np.ndarray, image_size: int, resize_mode: str = "pad"
) -> tuple[np.ndarray, ResizeGeometry]:
    """An image as a network's input, and its geometry; see `resize_geometry`.

    Args:
        image: `(height, width, 3)` uint8 RGB.
        image_size: side of the network's input in pixels.
        resize_mode: "pad", "stretch" or "short".

    Returns:
        `(input height, input width, 3)` uint8 RGB, white beyond the image; the `ResizeGeometry`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import resize_image
        >>> inputs, geometry = resize_image(np.zeros((60, 90, 3), np.uint8), 33)
        >>> inputs.shape, geometry.original_size
        ((33, 33, 3), (60, 90))
    """
    geometry = resize_geometry(image.shape[0], image.shape[1], image_size, resize_mode)
    return geometry.apply(image), geometry


def _resized_sides(original: tuple[int, int], size: int, scale: float) -> tuple[int, int]:
    """Both sides times `scale`, each rounded to the nearest whole number, at least 1, that differs
    from `size` by an even number."""
    height, width = (
        max(size - 2 * round((size - side * scale) / 2), 2 - size % 2) for side in original
    )
    return height, width


def _centred(
    original: tuple[int, int], input_size: tuple[int, int], resized: tuple[int, int]
) -> ResizeGeometry:
    top, left = ((whole - part) // 2 for whole, part in zip(input_size, resized, strict=True))
    return ResizeGeometry(original, input_size, resized, (top, left))
