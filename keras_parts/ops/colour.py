"""Colour: CIE Lab, greyscale and random jitter of RGB images in [0, 1]."""

import numpy as np
from keras import ops

from keras_parts.ops.replicas import uniform_rows

# Linear sRGB to CIE XYZ over the D65 white point, IEC 61966-2-1.
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_LUMA = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601


def rgb_to_lab(image):
    """CIE Lab (D65, 2 degrees) of an sRGB image.

    Args:
        image: `(..., 3)`, RGB in [0, 1].

    Returns:
        float32 `(..., 3)`: L in [0, 100], a and b unscaled (about -128 to 128).
    """
    image = ops.cast(image, "float32")
    # Both branches of `where` are evaluated: the powers get arguments on which they are smooth.
    power = ops.power((ops.maximum(image, 0.04045) + 0.055) / 1.055, 2.4)
    linear = ops.where(image > 0.04045, power, image / 12.92)
    xyz = ops.matmul(linear, ops.convert_to_tensor((_XYZ / _WHITE[:, None]).T.astype("float32")))
    root = ops.power(ops.maximum(xyz, 0.008856), 1 / 3)
    f = ops.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return ops.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def greyscale(image):
    """Luma of an RGB image `(..., 3)`, `(..., 1)`."""
    return ops.sum(image * ops.convert_to_tensor(_LUMA), axis=-1, keepdims=True)


def _rotate_hue(image, turns):
    """Add `turns` (of a full turn, `(batch, 1, 1)`) to the hue; HSV saturation and value stay."""
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = ops.max(image, axis=-1)
    chroma = value - ops.min(image, axis=-1)
    safe = ops.where(chroma > 0, chroma, 1.0)
    hue = ops.where(
        value == red,
        (green - blue) / safe,
        ops.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns

    def channel(offset):
        sextant = ops.mod(offset + hue, 6.0)
        return value - chroma * ops.clip(ops.minimum(sextant, 4 - sextant), 0.0, 1.0)

    return ops.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)


def colour_jitter(
    image,
    seed,
    brightness=0.3,
    contrast=0.3,
    saturation=0.2,
    hue=0.2,
    probability=0.8,
    grey_probability=0.2,
):
    """Random colour jitter, then greyscale, drawn for every image by itself; the defaults are
    the paper's.

    Args:
        image: `(batch, height, width, 3)`, RGB in [0, 1].
        seed: a `keras.random.SeedGenerator`.
        brightness, contrast, saturation: factors are drawn from U(1 - x, 1 + x).
        hue: the turn is drawn from U(-hue, hue), in full turns.
        probability: of the jitter. grey_probability: of greyscale.

    Returns:
        float32 of the same shape, clipped to [0, 1].
    """
    original = ops.cast(image, "float32")
    shape = (ops.shape(original)[0], 1, 1, 1)

    def uniform(low, high):
        return uniform_rows(shape, low, high, seed)

    def blend(first, second, factor):
        return ops.clip(factor * first + (1 - factor) * second, 0.0, 1.0)

    image = ops.clip(original * uniform(1 - brightness, 1 + brightness), 0.0, 1.0)
    mean = ops.mean(greyscale(image), axis=(1, 2), keepdims=True)
    image = blend(image, mean, uniform(1 - contrast, 1 + contrast))
    image = blend(image, greyscale(image), uniform(1 - saturation, 1 + saturation))
    image = _rotate_hue(image, uniform(-hue, hue)[..., 0])
    image = ops.where(uniform(0.0, 1.0) < probability, image, original)
    return ops.where(uniform(0.0, 1.0) < grey_probability, greyscale(image), image)
