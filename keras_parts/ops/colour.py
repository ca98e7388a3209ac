"""Colour: CIE Lab, greyscale and random jitter of RGB images in [0, 1]."""

from keras import ops

from keras_parts.ops.lab import lab
from keras_parts.ops.replicas import uniform_rows

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def rgb_to_lab(image):
    """CIE Lab (D65, 2 degrees) of an sRGB image.

    Args:
        image: `(..., 3)`, RGB in [0, 1].

    Returns:
        float32 `(..., 3)`: L in [0, 100], a and b unscaled (about -128 to 128).
    """
    return lab(ops.cast(image, "float32"), ops)


def greyscale(image):
    """Luma of an RGB image `(..., 3)`, `(..., 1)`."""
    return _luma(_planes(image))[..., None]


# Sums and extrema over an axis of three are slow on CPUs: what follows works on the three planes.
def _planes(image):
    return image[..., 0], image[..., 1], image[..., 2]


def _luma(planes):
    return sum(weight * plane for weight, plane in zip(_LUMA, planes, strict=True))


def _rotate_hue(planes, turns):
    """Add `turns` (of a full turn, `(batch, 1, 1)`) to the hue; HSV saturation and value stay."""
    red, green, blue = planes
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
    image = ops.cast(image, "float32")
    original = _planes(image)
    shape = (ops.shape(image)[0], 1, 1)

    def uniform(low, high):
        return uniform_rows(shape, low, high, seed)

    def blend(planes, other, factor):
        other = (1 - factor) * other
        return [ops.clip(factor * plane + other, 0.0, 1.0) for plane in planes]

    factor = uniform(1 - brightness, 1 + brightness)
    planes = [ops.clip(factor * plane, 0.0, 1.0) for plane in original]
    mean = ops.mean(_luma(planes), axis=(1, 2), keepdims=True)
    planes = blend(planes, mean, uniform(1 - contrast, 1 + contrast))
    planes = blend(planes, _luma(planes), uniform(1 - saturation, 1 + saturation))
    planes = _rotate_hue(planes, uniform(-hue, hue))
    jittered = uniform(0.0, 1.0) < probability
    planes = [ops.where(jittered, *pair) for pair in zip(planes, original, strict=True)]
    grey, luma = uniform(0.0, 1.0) < grey_probability, _luma(planes)
    return ops.stack([ops.where(grey, luma, plane) for plane in planes], axis=-1)
