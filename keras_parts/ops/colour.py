"""Colour: CIE Lab, greyscale and random jitter of RGB images in [0, 1]."""

from typing import Any

import keras
from keras import ops

from keras_parts.ops.lab import lab
from keras_parts.ops.replicas import uniform_rows

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def rgb_to_lab(image: Any) -> Any:
    """CIE Lab (D65, 2 degrees) of an sRGB image.

    Args:
        image: `(..., 3)`, RGB in [0, 1].

    Returns:
        float32 `(..., 3)`: L in [0, 100], a and b unscaled (about -128 to 128).

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import rgb_to_lab
        >>> tuple(rgb_to_lab(np.ones((32, 32, 3))).shape)
        (32, 32, 3)
    """
    return lab(ops.cast(image, "float32"), ops)


def greyscale(image: Any) -> Any:
    """Luma (ITU-R BT.601) of an RGB image: 0.299 R + 0.587 G + 0.114 B.

    Args:
        image: `(..., 3)`, RGB in any range.

    Returns:
        `(..., 1)` in the same range and dtype.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import greyscale
        >>> tuple(greyscale(np.ones((32, 32, 3), "float32")).shape)
        (32, 32, 1)
    """
    return _luma(_channels(image))[..., None]


# The channels are kept apart, because sums and extrema over an axis of length 3 are slow on CPUs.
def _channels(image):
    return image[..., 0], image[..., 1], image[..., 2]


def _luma(channels):
    return sum(weight * channel for weight, channel in zip(_LUMA, channels, strict=True))


def _rotate_hue(channels, turns):
    """Add `turns` (full turns, `(batch, 1, 1)`) to the hue; HSV saturation and value are kept."""
    red, green, blue = channels
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    scale = 1 / ops.where(chroma > 0, chroma, 1.0)
    hue = ops.where(
        value == red,
        (green - blue) * scale,
        ops.where(value == green, 2 + (blue - red) * scale, 4 + (red - green) * scale),
    )
    hue = hue + 6 * turns

    def channel(offset):
        sextant = offset + hue
        sextant = sextant - 6 * ops.floor(sextant / 6)
        return value - chroma * ops.clip(ops.minimum(sextant, 4 - sextant), 0.0, 1.0)

    return channel(5.0), channel(3.0), channel(1.0)


def colour_jitter(
    image: Any,
    seed: keras.random.SeedGenerator,
    *,
    brightness: float = 0.3,
    contrast: float = 0.3,
    saturation: float = 0.2,
    hue: float = 0.2,
    probability: float = 0.8,
    grey_probability: float = 0.2,
) -> Any:
    """Jitter the colours of each image at random, then turn some images grey.

    The defaults are the paper's.

    Args:
        image: `(batch, height, width, 3)`, RGB in [0, 1].
        seed: generator of the random draws.
        brightness, contrast, saturation: each factor is drawn from U(1 - x, 1 + x).
        hue: the hue is shifted by U(-hue, hue) full turns.
        probability: probability that an image is jittered.
        grey_probability: probability that an image becomes greyscale.

    Returns:
        float32 of the same shape, clipped to [0, 1].

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.ops import colour_jitter
        >>> images = np.random.default_rng(0).uniform(size=(2, 32, 32, 3))
        >>> tuple(colour_jitter(images, keras.random.SeedGenerator(0)).shape)
        (2, 32, 32, 3)
    """
    image = ops.cast(image, "float32")
    original = _channels(image)
    shape = (ops.shape(image)[0], 1, 1)

    def uniform(low, high):
        return uniform_rows(shape, low, high, seed)

    def blend(channels, other, factor):
        other = (1 - factor) * other
        return [ops.clip(factor * channel + other, 0.0, 1.0) for channel in channels]

    factor = uniform(1 - brightness, 1 + brightness)
    channels = [ops.clip(factor * channel, 0.0, 1.0) for channel in original]
    mean = ops.mean(_luma(channels), axis=(1, 2), keepdims=True)
    channels = blend(channels, mean, uniform(1 - contrast, 1 + contrast))
    channels = blend(channels, _luma(channels), uniform(1 - saturation, 1 + saturation))
    channels = _rotate_hue(channels, uniform(-hue, hue))
    jittered = uniform(0.0, 1.0) < probability
    channels = [ops.where(jittered, *pair) for pair in zip(channels, original, strict=True)]
    grey, luma = uniform(0.0, 1.0) < grey_probability, _luma(channels)
    return ops.stack([ops.where(grey, luma, channel) for channel in channels], axis=-1)
