"""What baselines cluster: colours, colours with positions, and the features of a teacher."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols.base import box_crop, foreground_of
from keras_parts.ops.lab import lab

Embed = Callable[[list[np.ndarray]], list[np.ndarray]]
"""RGB images `(height, width, 3)` uint8 to feature maps `(h, w, channels)`, one an image, each
covering its image with aligned corners; all images may have the same map size, or each its own.
An attribute `takes_samples = True` says that it takes `Sample`s instead, to see their masks."""

_BICUBIC = Image.Resampling.BICUBIC


def lab_maps(images: list[np.ndarray]) -> list[np.ndarray]:
    """An `Embed`: the Lab colour of every pixel, 3 channels."""
    return [_lab(image) for image in images]


def colour_and_position(samples: Sequence[Sample]) -> list[np.ndarray]:
    """An `Embed` that takes samples: Lab, and x and y in the box around the mask (0 to 1), 5
    channels. Without a mask, or with an empty one, the box is the whole image."""
    return [np.concatenate([_lab(sample.image), positions(sample)], axis=-1) for sample in samples]


colour_and_position.takes_samples = True


def positions(sample: Sample) -> np.ndarray:
    """`(height, width, 2)` float32: x and y of every pixel in the box around the mask."""
    height, width = sample.size
    box = None if sample.foreground is None else mask_box(sample.foreground)
    box = image_box(height, width) if box is None else box
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (np.stack([x, y], axis=-1) - box[:2]) / (box[2:] - box[:2])


def _lab(image):
    return lab(image.astype(np.float32) / 255)


def stretched(network: Callable[[np.ndarray], np.ndarray], size: int, batch: int = 16) -> Embed:
    """An `Embed` out of a network that takes batches of squares, such as a teacher.

    Args:
        network: `(batch, size, size, 3)` float32 RGB in [0, 1] to `(batch, h, w, channels)`; what
            numpy can take.
        size: side that every image is stretched to, in pixels.
        batch: at most so many images at once.
    """

    def embed(images):
        squares = [Image.fromarray(image).resize((size, size), _BICUBIC) for image in images]
        maps = []
        for start in range(0, len(squares), batch):
            some = np.stack([np.asarray(one) for one in squares[start : start + batch]])
            maps += list(np.asarray(network(some.astype(np.float32) / 255)))
        return maps

    return embed


def teacher_features(teacher, size: int) -> Embed:
    """The features of a `keras_parts.discovery.teachers.Teacher`, of images stretched to a square.

    Args:
        teacher: the frozen network.
        size: side of the square in pixels.
    """
    return stretched(teacher.predict_on_batch, size)


def remembered(embed: Embed, megabytes: int = 1024) -> Embed:
    """An `Embed` that answers at once for images that it has seen, in float16.

    Several baselines on the same features, and several protocols on the same crops, cost one pass.

    Args:
        embed: takes images.
        megabytes: memory for what is kept; what was not asked for longest goes first.
    """
    kept, free = OrderedDict(), megabytes * 2**20

    def answer(images):
        nonlocal free
        keys = [hashlib.sha256(repr(one.shape).encode() + one.tobytes()).digest() for one in images]
        unknown = {key: image for key, image in zip(keys, images, strict=True) if key not in kept}
        found = {key: kept[key] for key in keys if key in kept}
        for key, features in zip(unknown, embed(list(unknown.values())), strict=True):
            found[key] = kept[key] = np.asarray(features, np.float16)
            free -= kept[key].nbytes
        for key in keys:
            kept.move_to_end(key)
        while free < 0 and len(kept) > 1:
            free += kept.popitem(last=False)[1].nbytes
        return [found[key].astype(np.float32) for key in keys]

    return answer


def asked(embed: Embed, samples: Sequence[Sample]) -> list[np.ndarray]:
    """The answer of an `Embed` for samples, whichever of image and sample it takes."""
    takes_samples = getattr(embed, "takes_samples", False)
    return embed(list(samples) if takes_samples else [sample.image for sample in samples])


def foreground_vectors(
    embed: Embed,
    dataset: Dataset,
    rng: np.random.Generator,
    images: int = 200,
    vectors: int = 20_000,
    least: int = 1,
) -> np.ndarray:
    """Features at places of the foreground, from all over a train split.

    Args:
        embed: what is drawn from.
        dataset: with masks; images with a box are cropped to it.
        rng: draws the places.
        images: at most so many images, evenly spread over the data set.
        vectors: at most so many vectors in all, the same number an image.
        least: number of vectors that are needed.

    Returns:
        `(vectors, channels)` float32.

    Raises:
        DataError: an image has no mask, or there are fewer than `least` vectors.
        ConfigError: `images` or `vectors` is below 1.
    """
    if min(images, vectors, least) < 1:
        raise ConfigError(f"parts={least}, images={images}, vectors={vectors}: all must be >= 1")
    places = np.unique(np.linspace(0, len(dataset) - 1, min(images, len(dataset))).round())
    share = max(vectors // max(len(places), 1), 1)
    drawn = [_vectors_of(embed, dataset[int(place)], share, rng) for place in places]
    found = np.concatenate(drawn) if drawn else np.zeros((0, 1), np.float32)
    if len(found) < least:
        raise DataError(
            f"{dataset.info.name}: {len(found)} foreground vectors are too few for {least} parts"
        )
    return found


def _vectors_of(embed, sample, most, rng):
    """At most `most` vectors `(vectors, channels)` at map places whose pixel is foreground."""
    if sample.box is not None:
        sample = box_crop(sample)
    mask = foreground_of(sample)
    (features,) = asked(embed, [sample])
    features = np.asarray(features, np.float32)
    rows, columns = (
        np.linspace(0, pixels - 1, places).round().astype(int)
        for pixels, places in zip(mask.shape, features.shape[:2], strict=True)
    )
    inside = features[mask[np.ix_(rows, columns)]]
    return inside[rng.choice(len(inside), min(most, len(inside)), replace=False)]


def resize_aligned(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
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
