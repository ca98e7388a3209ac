"""Baselines that run through the same protocols as a model: k-means on colour and on features."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols.base import box_crop, foreground_of

Embed = Callable[[list[np.ndarray]], list[np.ndarray]]
"""RGB images `(height, width, 3)` uint8 to feature maps `(h, w, channels)`, one an image, each
covering its image with aligned corners; all images may have the same map size, or each its own."""

_BICUBIC = Image.Resampling.BICUBIC
_BACKGROUND = -1e6  # a logit that no softmax notices: these baselines know no background

# Linear sRGB to CIE XYZ, divided by the white point D65 (IEC 61966-2-1).
_RGB_TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
) / np.array([[0.95047], [1.0], [1.08883]])


class CentroidMaps:
    """A `maps` callable that assigns every pixel to the nearest of K centroids.

    The logits are those of equal isotropic Gaussians around the centroids, so that a softmax gives
    soft parts; the best channel is the nearest centroid. Channel 0 means nothing: protocols that
    need the model's own background leave these out.

    Args:
        embed: images to feature maps.
        centroids: `(parts, channels)`.
        variance: within-cluster variance a channel; sets how soft the parts are.
        centre: `(channels,)` subtracted from features, which are then brought to length 1; None
            leaves features as they are.
    """

    background = False

    def __init__(
        self,
        embed: Embed,
        centroids: np.ndarray,
        variance: float = 1.0,
        centre: np.ndarray | None = None,
    ):
        self.embed = embed
        self.centroids = np.asarray(centroids, np.float32)
        self.variance = variance
        self.centre = centre

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32 at each image's own size."""
        features = self.embed(images)
        return [
            self._logits(np.asarray(one, np.float32), image.shape[:2])
            for one, image in zip(features, images, strict=True)
        ]

    def _logits(self, features, size):
        features = _prepared(features, self.centre)
        # -|f - c|^2 without |f|^2, which all parts share: linear in f, so that interpolating it
        # assigns the interpolated features exactly.
        score = 2 * features @ self.centroids.T - (self.centroids**2).sum(-1)
        parts = _resize_aligned(score / (2 * self.variance), size)
        background = np.full((*size, 1), _BACKGROUND, np.float32)
        return np.concatenate([background, parts], -1)


def kmeans_baseline(
    embed: Embed,
    dataset: Dataset,
    parts: int,
    seed: int = 0,
    normalise: bool = False,
    images: int = 200,
    vectors: int = 20_000,
) -> CentroidMaps:
    """K-means on the foreground features of a train split.

    Args:
        embed: images to feature maps.
        dataset: the train split, with masks; images with a box are cropped to it.
        parts: K.
        seed: draws vectors and starts k-means.
        normalise: centre the vectors on their mean, then bring each to length 1.
        images: at most so many images, evenly spread over the data set.
        vectors: at most so many vectors in all, drawn at random, the same number an image.

    Returns:
        A callable for `evaluate` and the protocols.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
        ConfigError: `parts`, `images` or `vectors` is below 1.
    """
    from sklearn.cluster import KMeans

    if min(parts, images, vectors) < 1:
        raise ConfigError(f"parts={parts}, images={images}, vectors={vectors}: all must be >= 1")
    rng = np.random.default_rng(seed)
    places = np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round())
    share = max(vectors // max(len(places), 1), 1)
    drawn = [_foreground_vectors(embed, dataset[int(place)], share, rng) for place in places]
    found = np.concatenate(drawn) if drawn else np.zeros((0, 1), np.float32)
    if len(found) < parts:
        raise DataError(
            f"{dataset.info.name}: {len(found)} foreground vectors are too few for {parts} parts"
        )
    centre = found.mean(0) if normalise else None
    found = _prepared(found, centre)
    fitted = KMeans(parts, n_init=4, random_state=seed).fit(found)
    variance = fitted.inertia_ / found.size
    return CentroidMaps(embed, fitted.cluster_centers_, variance or 1.0, centre)


def colour_baseline(dataset: Dataset, parts: int, seed: int = 0, **options) -> CentroidMaps:
    """K-means on the CIE Lab colour of foreground pixels; see `kmeans_baseline`."""
    return kmeans_baseline(_lab_maps, dataset, parts, seed, **options)


def feature_baseline(
    features: Embed, dataset: Dataset, parts: int, seed: int = 0, **options
) -> CentroidMaps:
    """K-means on a teacher's features, centred and of length 1; see `kmeans_baseline`.

    Args:
        features: the teacher: images to `(h, w, channels)` maps.
    """
    return kmeans_baseline(features, dataset, parts, seed, **({"normalise": True} | options))


def stretched(network: Callable[[np.ndarray], np.ndarray], size: int) -> Embed:
    """An `Embed` out of a network that takes batches of squares, such as a teacher.

    Args:
        network: `(batch, size, size, 3)` float32 RGB in [0, 1] to `(batch, h, w, channels)`.
        size: side that every image is stretched to, in pixels.
    """

    def embed(images):
        squares = [Image.fromarray(image).resize((size, size), _BICUBIC) for image in images]
        batch = np.stack([np.asarray(square, np.float32) for square in squares]) / 255
        return list(np.asarray(network(batch)))

    return embed


def lab(image: np.ndarray) -> np.ndarray:
    """CIE Lab (D65, 2 degrees) of an RGB image, without a Keras backend.

    Args:
        image: `(height, width, 3)` uint8.

    Returns:
        `(height, width, 3)` float32: L in [0, 100], a and b unscaled.
    """
    levels = np.arange(256) / 255
    linear = np.where(levels > 0.04045, ((levels + 0.055) / 1.055) ** 2.4, levels / 12.92)
    xyz = linear.astype(np.float32)[image] @ _RGB_TO_XYZ.T.astype(np.float32)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1).astype(np.float32)


def _lab_maps(images):
    return [lab(image) for image in images]


def _foreground_vectors(embed, sample, most, rng):
    """At most `most` vectors `(vectors, channels)` at map places whose pixel is foreground."""
    if sample.box is not None:
        sample = box_crop(sample)
    mask = foreground_of(sample)
    (features,) = embed([sample.image])
    features = np.asarray(features, np.float32)
    rows, columns = (
        np.linspace(0, pixels - 1, places).round().astype(int)
        for pixels, places in zip(mask.shape, features.shape[:2], strict=True)
    )
    inside = features[mask[np.ix_(rows, columns)]]
    return inside[rng.choice(len(inside), min(most, len(inside)), replace=False)]


def _prepared(features, centre):
    if centre is None:
        return features
    features = features - centre
    return features / np.sqrt((features**2).sum(-1, keepdims=True) + 1e-12)


def _resize_aligned(maps, size):
    """Bilinear resizing of `(h, w, channels)` with aligned corners; the identity at equal size."""
    if maps.shape[:2] == tuple(size):
        return maps
    rows, columns = (
        _interpolation(pixels, places) for pixels, places in zip(size, maps.shape[:2], strict=True)
    )
    return np.einsum("yh,hwc,xw->yxc", rows, maps, columns, optimize=True)


def _interpolation(pixels, places):
    """`(pixels, places)` weights of linear interpolation between aligned ends."""
    position = np.linspace(0, places - 1, pixels)[:, None]
    return np.maximum(1 - np.abs(position - np.arange(places)), 0).astype(np.float32)
