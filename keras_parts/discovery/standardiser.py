"""The standardiser: brings the features of any teacher to a common scale."""

from dataclasses import dataclass

import numpy as np
from keras import ops

from keras_parts.errors import ConfigError, DataError
from keras_parts.ops import reduce_aligned


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Brings the features of any teacher to a common measure: `(features - mean) @ matrix`.

    After `fit_standardiser`, the variance of the features within the foreground of an image,
    summed over the channels, is 1 on average: the feature consistency of a single part is 1, and
    loss weights carry over from one teacher to another.

    Attributes:
        mean: `(channels,)` float32.
        matrix: `(channels, channels)` float32.

    Raises:
        ConfigError: the shapes do not fit, or values are not finite.
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __post_init__(self):
        for name in ("mean", "matrix"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), "float32"))
        if self.mean.ndim != 1 or self.matrix.shape != self.mean.shape * 2:
            raise ConfigError(
                f"standardiser: mean {self.mean.shape} and matrix {self.matrix.shape} do not fit, "
                "expected (channels,) and (channels, channels)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.matrix).all()):
            raise ConfigError("standardiser: mean and matrix must be finite")

    def apply(self, features):
        """Standardised features.

        Args:
            features: `(..., channels)`.

        Returns:
            float32 tensor of the same shape.
        """
        return ops.matmul(ops.cast(features, "float32") - self.mean, self.matrix)


def fit_standardiser(crops, noise=None, noise_floor=10.0):
    """The `Standardiser` of a training set, in one pass over it and in double precision.

    Every channel gets the same variance. Then, where the noise of the features is known, the
    directions that are noisier than others are shrunk, to `(noise + floor) ** -1/2` (a whitening
    of the noise, not of the features): what a teacher says differently of the same place seen
    another way tells no part from another.

    Every image counts alike, and in it every position as much as it is foreground.

    Args:
        crops: iterable of features `(batch, h, w, channels)` and foregrounds
            `(batch, height, width, 1)` in [0, 1], not smaller than the features.
        noise: `(channels, channels)` covariance of the noise, see `mirror_noise`; or None.
        noise_floor: the floor, in multiples of the mean noise of a channel.

    Raises:
        DataError: there is no foreground, or the features do not vary within it.
    """
    moments = _Moments()
    for features, foreground in crops:
        moments.add(ops.convert_to_numpy(features), foreground)
    mean, covariance = moments.mean, moments.covariance
    variance = np.diag(covariance) if moments.images else np.zeros(1)
    total = variance.sum()
    # below is what rounding leaves of a constant
    if not moments.images or not np.isfinite(total) or total <= 1e-12 * np.square(mean).sum():
        raise DataError(
            "standardiser: the features do not vary within the foreground of "
            f"{moments.images} images; are the masks empty?"
        )
    # What hardly varies is noise: it is kept small, not blown up to the measure of the others.
    alive = variance > 1e-6 * total / len(variance)
    matrix = np.diag(np.where(alive, variance, total) ** -0.5)
    if noise is not None:
        matrix = matrix @ _noise_whitening(matrix @ noise @ matrix, noise_floor)
    return Standardiser(mean, matrix / np.sqrt(np.trace(matrix.T @ covariance @ matrix)))


def mirror_noise(teacher, crops):
    """How a teacher's features of objects differ from those of their mirror images.

    Args:
        teacher: a `Teacher`.
        crops: iterable of images `(batch, height, width, 3)`, RGB in [0, 1], and foregrounds
            `(batch, height, width, 1)` in [0, 1].

    Returns:
        `(channels, channels)` float64: within the foreground of an image, the mean covariance of
        half the difference, which is the noise in the mean of both.
    """
    moments = _Moments()
    for images, foreground in crops:
        own, mirrored = teacher.mirrored_pair(ops.convert_to_tensor(images))
        moments.add(ops.convert_to_numpy(0.5 * (own - mirrored)), foreground)
    return moments.covariance


def _noise_whitening(noise, floor):
    """The symmetric matrix `(noise + floor) ** -1/2`, the floor in multiples of the mean noise."""
    values, vectors = np.linalg.eigh(noise)
    values = np.maximum(values, 0)
    if not values.any():
        return np.eye(len(values))
    return (vectors * (values + floor * values.mean()) ** -0.5) @ vectors.T


class _Moments:
    """Running mean `(channels,)`, and covariance within the foreground of an image."""

    def __init__(self):
        self.images, self.mean, self.covariance = 0, 0.0, 0.0

    def add(self, features, foreground):
        weights = ops.convert_to_numpy(reduce_aligned(foreground, features.shape[1:3]))
        for image, weight in zip(features, weights, strict=True):
            weight = weight.reshape(-1, 1).astype("float64")
            if weight.sum() < 1e-6:
                continue
            weight = weight / weight.sum()
            values = image.reshape(-1, image.shape[-1]).astype("float64")
            mean = (weight * values).sum(0)
            centred = np.sqrt(weight) * (values - mean)
            self.images += 1
            self.mean = self.mean + (mean - self.mean) / self.images
            self.covariance = (
                self.covariance + (centred.T @ centred - self.covariance) / self.images
            )
