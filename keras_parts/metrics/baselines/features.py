"""The features that baselines cluster: colours, colours with coordinates, teacher features."""

import hashlib
import typing
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.images.geometry import ResizeGeometry
from keras_parts.images.inputs import host_array
from keras_parts.images.upsampling import Patch, UpsampledLogits
from keras_parts.metrics.protocols.base import box_crop, foreground_of
from keras_parts.ops.lab import lab

_BICUBIC = Image.Resampling.BICUBIC


class FeatureExtractor(typing.Protocol):
    """A function from samples to the features that a baseline clusters.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=4)
        >>> def brightness(samples):
        ...     return [sample.image.mean(-1, keepdims=True) for sample in samples]
        >>> metrics.kmeans_baseline(brightness, animals, 3).centroids.shape
        (3, 1)
    """

    def __call__(self, samples: Sequence[Sample], /) -> Sequence[np.ndarray]:
        """Feature maps `(h, w, channels)`, one for each sample.

        The corner positions of a map are the corner pixels of its image. Maps may differ in size.
        """
        ...


@dataclass(frozen=True)
class NamedFeatures:
    """Features and their name in tables.

    Attributes:
        name: a name such as "efficientnet_lite0 block_14, mirrored".
        extract: function that computes the features.

    Example:
        >>> from keras_parts.metrics import NamedFeatures
        >>> brightness = lambda samples: [s.image.mean(-1, keepdims=True) for s in samples]
        >>> NamedFeatures("brightness", brightness).name
        'brightness'
    """

    name: str
    extract: FeatureExtractor


def lab_features(samples: Sequence[Sample]) -> list[np.ndarray]:
    """The CIE Lab colour of every pixel, `(height, width, 3)` float32."""
    return [lab(sample.image.astype(np.float32) / 255) for sample in samples]


def colour_and_position(samples: Sequence[Sample]) -> list[np.ndarray]:
    """CIE Lab colour, and x and y in the box around the mask (0 to 1), `(height, width, 5)`."""
    colours = lab_features(samples)
    return [
        np.concatenate([colour, coordinates(sample)], axis=-1)
        for colour, sample in zip(colours, samples, strict=True)
    ]


def coordinates(sample: Sample) -> np.ndarray:
    """`(height, width, 2)` float32: x and y of every pixel in the box around the mask (0 to 1).

    Without a mask, or with an empty one, the box is the whole image.
    """
    height, width = sample.size
    box = None if sample.foreground is None else mask_box(sample.foreground)
    box = image_box(height, width) if box is None else box
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (np.stack([x, y], axis=-1) - box[:2]) / (box[2:] - box[:2])


class NetworkFeatures:
    """Features of a network whose input is batches of square images.

    Args:
        network: `(batch, image_size, image_size, 3)` uint8 RGB to
            `(batch, h, w, channels)`, any array that NumPy can convert.
        image_size: side in pixels of the square that images are stretched to.
        batch_size: maximum number of images in a call of the network.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=2)
        >>> features = metrics.NetworkFeatures(lambda batch: batch[:, ::16, ::16], 33)
        >>> [one.shape for one in features(animals)]
        [(3, 3, 3), (3, 3, 3)]
    """

    def __init__(
        self, network: Callable[[np.ndarray], Any], image_size: int, *, batch_size: int = 16
    ):
        self._network, self._batch_size = network, batch_size
        self._size = image_size, image_size

    def __call__(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        maps: list[np.ndarray] = []
        for first in range(0, len(samples), self._batch_size):
            batch = np.stack(
                [self._square(one) for one in samples[first : first + self._batch_size]]
            )
            maps += list(host_array(self._network(batch)))
        return maps

    def _square(self, sample):
        return np.asarray(Image.fromarray(sample.image).resize(self._size, _BICUBIC))


class CachedFeatures:
    """Features that are computed once for each image and cached in float16.

    The network then runs once for all baselines of the same features and all protocols with the
    same crops.

    Args:
        extract: function that computes features from the image alone.
        max_megabytes: memory for the cache; the least recently used features are removed first.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=2)
        >>> network = metrics.NetworkFeatures(lambda batch: batch[:, ::16, ::16], 33)
        >>> metrics.CachedFeatures(network)(animals)[0].shape
        (3, 3, 3)
    """

    def __init__(self, extract: FeatureExtractor, *, max_megabytes: int = 1024):
        self._extract = extract
        self._cached: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._free = max_megabytes * 2**20

    def __call__(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        cached = self._cached
        keys = [_hash(sample.image) for sample in samples]
        found = {key: cached[key] for key in keys if key in cached}
        new = {key: one for key, one in zip(keys, samples, strict=True) if key not in found}
        for key, features in zip(new, self._extract(list(new.values())), strict=True):
            found[key] = cached[key] = np.asarray(features, np.float16)
            self._free -= cached[key].nbytes
        for key in keys:
            cached.move_to_end(key)
        while self._free < 0 and len(cached) > 1:
            self._free += cached.popitem(last=False)[1].nbytes
        return [found[key].astype(np.float32) for key in keys]


def _hash(image):
    return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).digest()


def teacher_features(
    teacher: Any,
    image_size: int,
    *,
    name: str,
    views: Sequence[str] = (),
    show_size: bool = False,
    max_megabytes: int = 1024,
) -> NamedFeatures:
    """The cached teacher features of images that are stretched to a square.

    Args:
        teacher: a `keras_parts.discovery.teachers.Teacher`.
        image_size: side of the square in pixels.
        name: name of the network, for tables.
        views: transformed images over which the teacher averages, such as "mirrored", for tables.
        show_size: add `image_size` to the name.
        max_megabytes: memory for the cache.

    Example:
        >>> import types
        >>> from keras_parts import data, metrics
        >>> teacher = types.SimpleNamespace(layer_names=["block_14"], predict_on_batch=abs)
        >>> metrics.teacher_features(teacher, 33, name="small", views=["mirrored"]).name
        'small block_14, mirrored'
    """
    title = f"{name} {'+'.join(teacher.layer_names)}"
    if show_size:
        title += f" at {image_size} px"
    title = ", ".join(filter(None, (title, " and ".join(views))))
    features = NetworkFeatures(teacher.predict_on_batch, image_size)
    return NamedFeatures(title, CachedFeatures(features, max_megabytes=max_megabytes))


def foreground_vectors(
    extract: FeatureExtractor,
    dataset: Dataset,
    rng: np.random.Generator,
    *,
    max_images: int = 200,
    max_vectors: int = 20_000,
    num_parts: int = 1,
) -> np.ndarray:
    """Features at random foreground positions of a train split.

    Args:
        extract: function that computes the features.
        dataset: the train split, with masks; images that have a box are cropped to it.
        rng: random generator for choosing the positions.
        max_images: maximum number of images, spread evenly over the data set.
        max_vectors: maximum number of vectors in total, the same number from each image.
        num_parts: K; at least as many vectors are needed.

    Returns:
        `(vectors, channels)` float32.

    Raises:
        DataError: an image has no mask, or there are fewer foreground vectors than parts.
        ConfigError: `num_parts`, `max_images` or `max_vectors` is below 1.
    """
    if min(max_images, max_vectors, num_parts) < 1:
        raise ConfigError(
            f"num_parts={num_parts}, max_images={max_images}, max_vectors={max_vectors}: "
            "all must be at least 1"
        )
    indices = np.linspace(0, len(dataset) - 1, min(max_images, len(dataset))).round()
    indices = np.unique(indices.astype(int))
    share = max(max_vectors // max(len(indices), 1), 1)
    found = [_vectors_of(extract, dataset[int(index)], share, rng) for index in indices]
    vectors = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    if len(vectors) < num_parts:
        raise DataError(
            f"{dataset.info.name}: {len(vectors)} foreground vectors are too few for {num_parts} "
            "parts: give more images, or larger masks"
        )
    return vectors


def _vectors_of(extract, sample, max_vectors, rng):
    """At most `max_vectors` features at random foreground positions, `(vectors, channels)`."""
    if sample.box is not None:
        sample = box_crop(sample)
    mask = foreground_of(sample)
    (features,) = extract([sample])
    features = np.asarray(features, np.float32)
    rows, columns = (
        np.linspace(0, pixels - 1, positions).round().astype(int)
        for pixels, positions in zip(mask.shape, features.shape[:2], strict=True)
    )
    inside = features[mask[np.ix_(rows, columns)]]
    return inside[rng.choice(len(inside), min(max_vectors, len(inside)), replace=False)]


def at_pixels(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps `(h, w, channels)` upsampled to the pixels of an image, bilinear with aligned corners.

    Returns:
        `(height, width, channels)` float32; `maps` itself if it has this size.
    """
    if maps.shape[:2] == tuple(size):
        return maps
    geometry = ResizeGeometry(size, size, size, (0, 0))
    return np.asarray(UpsampledLogits(size, [Patch.from_output(maps, geometry)]))
