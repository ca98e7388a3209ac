"""How a whole image is brought to a network's input size, and how maps come back to its pixels.

Coordinates are x (right) and y (down) in pixels, (0, 0) the centre of the top-left pixel. Images
are resized as Pillow does it: sides go to sides, so that pixel x of the image lies at
(x + 0.5) * scale - 0.5. A network's map covers its input in one of two ways: with aligned corners
(the map's corner values stand at the *centres* of the input's corner pixels, as in networks for
16 n + 1 pixels) or not (the map's sides are the input's sides).
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError

FitMode = Literal["pad", "stretch", "short"]
FITS: tuple[str, ...] = get_args(FitMode)


@dataclass(frozen=True)
class Fit:
    """Where an image lies in a network's input.

    Args:
        image_size: (height, width) of the image in pixels.
        input_size: (height, width) of the network's input.
        resized: (height, width) of the resized image.
        offset: (y, x) of the resized image's top-left pixel in the input; negative where it is
            cut.
    """

    image_size: tuple[int, int]
    input_size: tuple[int, int]
    resized: tuple[int, int]
    offset: tuple[int, int]

    def apply(self, image: np.ndarray, outside: int = 255) -> np.ndarray:
        """The network's input, antialiased, with `outside` around the image.

        Args:
            image: (height, width, 3) or (height, width) uint8 of the image's size.

        Raises:
            ConfigError: the image has another size.
        """
        if image.shape[:2] != self.image_size:
            raise ConfigError(f"this fit is for {self.image_size} pixels, not {image.shape[:2]}")
        height, width = self.resized
        # One axis after the other: which one Pillow takes first, and so what is rounded, depends on
        # its version and the sizes.
        resized = Image.fromarray(image)
        for size in ((width, resized.height), (width, height)):
            resized = resized.resize(size, Image.Resampling.BICUBIC)
        result = np.full((*self.input_size, *image.shape[2:]), outside, np.uint8)
        shown = np.asarray(resized)[self._overlap(0, -1), self._overlap(1, -1)]
        result[self._overlap(0, 1), self._overlap(1, 1)] = shown
        return result

    def restore(self, maps: np.ndarray, aligned_corners: bool = True) -> np.ndarray:
        """A network's map at the image's own pixels, interpolated bilinearly.

        Pixels of the image that the network did not see have the nearest value that it gave.

        Args:
            maps: (h, w, channels), the network's answer to `apply`, at any stride.
            aligned_corners: how the map covers the input, see the top of this module.

        Returns:
            (height, width, channels) float32.
        """
        for axis in (0, 1):
            cells = maps.shape[axis]
            places = self._to_input(np.arange(self.image_size[axis]), axis)
            if aligned_corners:
                places = places * (cells - 1) / max(self.input_size[axis] - 1, 1)
            else:
                places = (places + 0.5) * cells / self.input_size[axis] - 0.5
            maps = _interpolate(maps, places, axis)
        return maps

    def to_input(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2), x and y in the image, as x and y in the network's input; float64."""
        x, y = np.moveaxis(np.asarray(points, np.float64), -1, 0)
        return np.stack([self._to_input(x, 1), self._to_input(y, 0)], axis=-1)

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2), x and y in the network's input, as x and y in the image; float64."""
        size, resized, offset = (
            np.array(pair[::-1], np.float64)
            for pair in (self.image_size, self.resized, self.offset)
        )
        return (np.asarray(points, np.float64) - offset + 0.5) * size / resized - 0.5

    def _overlap(self, axis, sign):
        """Where image and input meet: a slice of the input's pixels (sign 1) or the image's."""
        length = min(self.resized[axis], self.input_size[axis])
        start = max(sign * self.offset[axis], 0)
        return slice(start, start + length)

    def _to_input(self, places, axis):
        scale = self.resized[axis] / self.image_size[axis]
        return (places + 0.5) * scale - 0.5 + self.offset[axis]


def fit_geometry(
    height: int, width: int, size: int, fit: FitMode = "pad", multiple: int = 16
) -> Fit:
    """How an image of `height` x `width` pixels comes to a network that takes `size` pixels.

    Nothing is ever shifted by half a pixel: what is added or cut is the same on both sides, so
    that a mirrored image has the mirrored input.

    Args:
        height, width: the image's size in pixels.
        size: side of the network's input in pixels.
        fit: "pad" keeps the aspect and fills up to a square; "stretch" makes a square; "short"
            brings the short side to `size` and cuts the long one down to `size` plus a multiple
            of `multiple`.
        multiple: the network's stride, for "short"; even, so that both sides lose the same.

    Raises:
        ConfigError: a size below 1, an odd multiple or a fit that is not known.
    """
    if min(height, width, size) < 1:
        raise ConfigError(f"sizes must be at least 1 pixel, not {height} x {width} to {size}")
    image_size, square = (height, width), (size, size)
    if fit == "stretch":
        return Fit(image_size, square, square, (0, 0))
    if fit == "pad":
        scale = size / max(image_size)
        resized = tuple(_same_parity(side * scale, size) for side in image_size)
        return _centred(image_size, square, resized)
    if fit == "short":
        if multiple < 2 or multiple % 2:
            raise ConfigError(f"multiple must be even and at least 2, not {multiple}")
        scale = size / min(image_size)
        resized = tuple(_same_parity(side * scale, size) for side in image_size)
        inputs = tuple(size + (side - size) // multiple * multiple for side in resized)
        return _centred(image_size, inputs, resized)
    raise ConfigError(f"fit must be one of {', '.join(FITS)}, not {fit!r}")


def fit_image(
    image: np.ndarray, size: int, fit: FitMode = "pad", multiple: int = 16
) -> tuple[np.ndarray, Fit]:
    """An image at a network's input size, and the way back; see `fit_geometry`.

    Args:
        image: (height, width, 3) uint8 RGB.

    Returns:
        (input height, input width, 3) uint8 RGB, white where the image does not reach; the `Fit`.
    """
    geometry = fit_geometry(*image.shape[:2], size, fit, multiple)
    return geometry.apply(image), geometry


def _same_parity(side, size):
    """The whole number nearest to a side that differs from size by an even number, at least 1."""
    return max(size - 2 * round((size - side) / 2), 2 - size % 2)


def _centred(image_size, input_size, resized):
    offset = tuple((whole - part) // 2 for whole, part in zip(input_size, resized, strict=True))
    return Fit(image_size, input_size, resized, offset)


def _interpolate(maps, places, axis):
    """Linear interpolation along one axis at fractional places; float32."""
    places = np.clip(places, 0, maps.shape[axis] - 1)
    before = places.astype(np.intp)
    after = np.minimum(before + 1, maps.shape[axis] - 1)
    share = (places - before).astype(np.float32)
    share = np.expand_dims(share, tuple(range(1, maps.ndim - axis)))
    first = np.take(maps, before, axis).astype(np.float32)
    first += share * (np.take(maps, after, axis).astype(np.float32) - first)
    return first
