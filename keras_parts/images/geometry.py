"""How an image of any size is resized to a network's input, and how points map between the two.

Coordinates are x (right) and y (down) in pixels; (0, 0) is the centre of the top-left pixel. Images
are resized as in Pillow: their edges map to the edges of the result, so that pixel x of the image
lies at (x + 0.5) * scale - 0.5. A network's map covers its input in one of two ways. With aligned
corners, the corner positions of the map lie at the *centres* of the input's corner pixels, as in
networks for 16 n + 1 pixels. Without, the edges of the map are the edges of the input.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError

ResizeMode = Literal["pad", "stretch", "short"]
RESIZE_MODES: tuple[str, ...] = get_args(ResizeMode)
STRIDE = 16
"""The maximum output stride of a segmenter: a side of its input is a multiple of it, or a multiple
plus 1."""
MAX_ASPECT = 4
"""The mode "short" pads images whose long side exceeds this many short sides, so that the length of
the network's input is limited."""


@dataclass(frozen=True)
class ResizeGeometry:
    """Where an image lies in a network's input.

    Args:
        original_size: (height, width) of the image in pixels.
        input_size: (height, width) of the network's input.
        resized_size: (height, width) of the resized image.
        offset: (y, x) of the resized image's top-left pixel in the input, in pixels; negative where
            the image is cropped.

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

    def apply(
        self,
        image: np.ndarray,
        outside: int = 255,
        *,
        box: tuple[float, float, float, float] | None = None,
    ) -> np.ndarray:
        """The network's input: the image, resized with antialiasing and padded or cropped.

        Args:
            image: `(height, width, 3)` or `(height, width)` uint8, of `original_size`.
            outside: value of the padding, 0 to 255.
            box: left, top, right and bottom of the original image in `image`, if that is a reduced
                copy, see `keras_parts.images.DecodedImage`.

        Returns:
            `(input height, input width, 3)` uint8, without the last axis if the image has none.

        Raises:
            ConfigError: the image has another size.
        """
        if box is None and image.shape[:2] != self.original_size:
            raise ConfigError(
                f"the image has (height, width) = {image.shape[:2]}, but this geometry is for "
                f"{self.original_size}"
            )
        height, width = self.resized_size
        # The width first, then the height: Pillow rounds between the two, and the order that it
        # would choose depends on its version and on the size.
        resized = Image.fromarray(image)
        left, top, right, bottom = box or (0, 0, *resized.size)
        for size, part in (
            ((width, resized.height), (left, 0, right, resized.height)),
            ((width, height), (0, top, width, bottom)),
        ):
            resized = resized.resize(size, Image.Resampling.BICUBIC, part)
        result = np.full((*self.input_size, *image.shape[2:]), outside, np.uint8)
        visible = np.asarray(resized)[self.overlap(0, -1), self.overlap(1, -1)]
        result[self.overlap(0, 1), self.overlap(1, 1)] = visible
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

    def overlap(self, axis: int, sign: int) -> slice:
        """Slice of the input's pixels (sign 1) or of the resized image's (sign -1) that the two
        share along an axis, 0 for rows or 1 for columns."""
        length = min(self.resized_size[axis], self.input_size[axis])
        start = max(sign * self.offset[axis], 0)
        return slice(start, start + length)


def resize_geometry(
    height: int, width: int, image_size: int, resize_mode: str = "pad"
) -> ResizeGeometry:
    """How an image of `height` x `width` pixels is resized to a network's input.

    Opposite sides are padded or cropped by the same whole number of pixels, so that a mirrored
    image has the mirrored input.

    Args:
        height, width: size of the image in pixels.
        image_size: side of the network's input in pixels.
        resize_mode: "pad" keeps the aspect ratio and pads to a square; "stretch" makes a square;
            "short" resizes the short side to `image_size` and crops the long one to `image_size`
            plus a multiple of `STRIDE`, but pads as "pad" does if the long side exceeds
            `MAX_ASPECT` short sides.

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
        raise ConfigError(
            f"an image of {height} x {width} pixels and image_size={image_size}: each must be at "
            "least 1"
        )
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
    """Resize an image to a network's input, see `resize_geometry`.

    Args:
        image: `(height, width, 3)` uint8 RGB.
        image_size: side of the network's input in pixels.
        resize_mode: "pad", "stretch" or "short".

    Returns:
        The input `(input height, input width, 3)` uint8 RGB, with white padding, and its
        `ResizeGeometry`.

    Raises:
        ConfigError: as for `resize_geometry`.

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
