"""CIE Lab, written once for tensors (`keras.ops`) and for NumPy arrays."""

from typing import Any

import numpy as np

# Linear sRGB to CIE XYZ over the white point D65, IEC 61966-2-1.
_XYZ = np.array(
    [
        [0.412453, 0.357580, 0.180423],
        [0.212671, 0.715160, 0.072169],
        [0.019334, 0.119193, 0.950227],
    ]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_RGB_TO_XYZ = (_XYZ / _WHITE[:, None]).T.astype("float32")


def lab(image: Any, arrays: Any = np) -> Any:
    """CIE Lab (D65, 2 degrees) of an sRGB image.

    Args:
        image: `(..., 3)` float32 RGB in [0, 1].
        arrays: the library that computes: `numpy` or `keras.ops`.

    Returns:
        `(..., 3)` float32: L in [0, 100], a and b unscaled (about -128 to 128).

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops.lab import lab
        >>> lab(np.ones((1, 3), "float32")).round(1) + 0
        array([[100.,   0.,   0.]], dtype=float32)
    """
    # `where` evaluates both branches and their gradients, so each power gets arguments at which
    # its gradient is finite.
    power = arrays.power((arrays.maximum(image, 0.04045) + 0.055) / 1.055, 2.4)
    linear = arrays.where(image > 0.04045, power, image / 12.92)
    xyz = arrays.matmul(linear, _RGB_TO_XYZ)
    root = arrays.power(arrays.maximum(xyz, 0.008856), 1 / 3)
    root = arrays.where(xyz > 0.008856, root, 7.787 * xyz + 16 / 116)
    x, y, z = root[..., 0], root[..., 1], root[..., 2]
    return arrays.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
