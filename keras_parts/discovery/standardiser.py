"""The standardiser transforms the features of any teacher to a common scale."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from keras_parts.discovery.views import Tensor
from keras_parts.errors import ConfigError, DataError
from keras_parts.ops import downsample_aligned


@dataclass(frozen=True, eq=False)
class Standardiser:
    """Transforms teacher features to a common scale: `(features - mean) @ matrix`.

    With the standardiser of `fit_standardiser`, the variance of the features within the foreground
    of an image, summed over the channels, is 1 on average. The feature consistency of a single
    part is then 1, so that loss weights can be used with another teacher.

    Attributes:
        mean: `(channels,)` float32.
        matrix: `(channels, channels)` float32.

    Raises:
        ConfigError: the shapes do not match, or values are not finite.

    Example:
        >>> import numpy as np
        >>> from keras_parts.discovery import Standardiser
        >>> standardiser = Standardiser(np.ones(2), 0.5 * np.eye(2))
        >>> [float(value) for value in standardiser.apply(np.array([3.0, 1.0]))]
        [1.0, 0.0]
    """

    mean: np.ndarray
    matrix: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mean", "matrix"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), "float32"))
        if self.mean.ndim != 1 or self.matrix.shape != self.mean.shape * 2:
            raise ConfigError(
                f"standardiser: mean {self.mean.shape} and matrix {self.matrix.shape} do not "
                "match, expected (channels,) and (channels, channels)"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.matrix).all()):
            raise ConfigError("standardiser: mean and matrix must be finite")

    def __repr__(self) -> str:
        return f"<Standardiser of {len(self.mean)} channels>"

    def apply(self, features: Tensor) -> Tensor:
        """Standardised features.

        Args:
            features: `(..., channels)`.

        Returns:
            float32 tensor of the same shape.
        """
        # `ops.subtract` makes a tensor of the mean: on PyTorch, `-` takes no NumPy array on a GPU.
        return ops.matmul(ops.subtract(ops.cast(features, "float32"), self.mean), self.matrix)


def fit_standardiser(
    crops: Iterable[tuple[Tensor, Tensor]],
    *,
    noise: np.ndarray | None = None,
    noise_floor: float = 10.0,
) -> Standardiser:
    """The `Standardiser` of a training set, computed in one pass and in double precision.

    Every channel gets the same variance. If the noise of the features is given, noisy directions
    are then scaled down by `(noise + floor) ** -1/2`. This whitens the noise, not the features:
    noise is how the features of a position change with the view, and does not tell parts apart.

    All images have the same weight; within an image, the foreground weights the positions.

    Args:
        crops: batches of features `(batch, h, w, channels)` and foregrounds
            `(batch, height, width, 1)` in [0, 1], not smaller than the features.
        noise: `(channels, channels)` covariance of the noise, see `mirror_noise`; or None.
        noise_floor: the floor, in multiples of the mean noise of a channel.

    Raises:
        DataError: there is no foreground, or the features are constant within it.

    Example:
        >>> import numpy as np
        >>> from keras_parts.discovery import fit_standardiser
        >>> features = np.random.default_rng(0).normal(size=(2, 5, 5, 3))
        >>> fit_standardiser([(features, np.ones((2, 20, 20, 1), "float32"))]).matrix.shape
        (3, 3)
    """
    moments = _Moments()
    for features, foreground in crops:
        moments.add(ops.convert_to_numpy(features), foreground)
    mean, covariance = moments.mean, moments.covariance
    variance = np.diag(covariance) if moments.num_images else np.zeros(1)
    total = variance.sum()
    # Rounding errors give constant features a variance of up to this share of their squared mean.
    rounding = 1e-12 * np.square(mean).sum()
    if not moments.num_images or not np.isfinite(total) or total <= rounding:
        raise DataError(
            "standardiser: the features do not vary within the foreground of "
            f"{moments.num_images} images: are the masks empty? Check them with "
            "`keras-parts data check`"
        )
    # A channel that hardly varies is noise: it must not get the variance of the others.
    varies = variance > 1e-6 * total / len(variance)
    matrix = np.diag(np.where(varies, variance, total) ** -0.5)
    if noise is not None:
        matrix = matrix @ _noise_whitening(matrix @ noise @ matrix, noise_floor)
    return Standardiser(mean, matrix / np.sqrt(np.trace(matrix.T @ covariance @ matrix)))


def mirror_noise(teacher: Any, crops: Iterable[tuple[Tensor, Tensor]]) -> np.ndarray:
    """Covariance of the noise: how much features of objects and of their mirror images differ.

    Args:
        teacher: a `Teacher`.
        crops: batches of images `(batch, height, width, 3)`, RGB in 0 to 255, and foregrounds
            `(batch, height, width, 1)` in [0, 1].

    Returns:
        float64 `(channels, channels)`: the covariance of half the difference within the foreground
        of an image, averaged over images. This is the noise of the mean of both features.
    """
    moments = _Moments()
    for images, foreground in crops:
        upright, mirrored = teacher.mirrored_pair(ops.convert_to_tensor(images))
        moments.add(ops.convert_to_numpy(0.5 * (upright - mirrored)), foreground)
    return moments.covariance


def _noise_whitening(noise: np.ndarray, floor: float) -> np.ndarray:
    """The symmetric matrix `(noise + floor) ** -1/2`, the floor in multiples of the mean noise."""
    values, vectors = np.linalg.eigh(noise)
    values = np.maximum(values, 0)
    if not values.any():
        return np.eye(len(values))
    return (vectors * (values + floor * values.mean()) ** -0.5) @ vectors.T


class _Moments:
    """Running means over images: of their mean `(channels,)`, and of their covariance.

    Both are those within the foreground. Images without foreground are left out.
    """

    def __init__(self) -> None:
        self.num_images = 0
        self.mean: Any = 0.0
        self.covariance: Any = 0.0

    def add(self, features: np.ndarray, foreground: Tensor) -> None:
        weights = ops.convert_to_numpy(downsample_aligned(foreground, features.shape[1:3]))
        for image, weight in zip(features, weights, strict=True):
            weight = weight.reshape(-1, 1).astype("float64")
            if weight.sum() < 1e-6:
                continue
            weight = weight / weight.sum()
            values = image.reshape(-1, image.shape[-1]).astype("float64")
            mean = (weight * values).sum(0)
            centred = np.sqrt(weight) * (values - mean)
            self.num_images += 1
            self.mean = self.mean + (mean - self.mean) / self.num_images
            self.covariance = (
                self.covariance + (centred.T @ centred - self.covariance) / self.num_images
            )
