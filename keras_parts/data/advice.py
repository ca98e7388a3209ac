"""What in a data set makes a training unlikely to find good parts, said before it begins."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_parts.data.crops import image_box, mask_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.prefetch import computed_ahead
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.foreground.found import surround

_LOOKED_AT = 200
"""Maximum number of samples that are read."""
_FEW = 30
_THUMBNAIL = 16
_ALIKE = 0.95
"""Correlation of thumbnails above which two objects count as the same picture. Among 200 birds, 200
faces, and 200 people in street clothes, no two have more than 0.91."""
_SMALL_PIXELS = 64
_SMALL_SHARE = 0.1
"""Share of the image's longer side: in an image of which the network sees 257 pixels, the object
has 26, fewer than two positions of the coarsest features."""
_LONG = 4.0
_SURROUNDS = 0.5
"""Share of three sides of the image above which a mask looks like background. Of 80 faces in
portraits, 5 % cover so much."""
_MANY_SURROUND = 0.25
_MANY = 0.1
"""Share of the samples from which on small objects and long images are said."""


class _Facts(NamedTuple):
    """What is measured of a sample.

    Attributes:
        aspect: longer side of the image, divided by the shorter one.
        pixels: longer side of the object's box in pixels.
        share: the same, divided by the longer side of the image.
        surround: see `keras_parts.foreground.found.surround`; 0 without a mask.
        has_object: whether the mask has any pixel; True without a mask.
        thumbnail: `(_THUMBNAIL ** 2,)` grey values in the box, their mean 0 and their length 1; all
            0 if they are equal.
    """

    aspect: float
    pixels: float
    share: float
    surround: float
    has_object: bool
    thumbnail: np.ndarray


def advice(dataset: Dataset, *, max_samples: int = _LOOKED_AT) -> tuple[str, ...]:
    """Sentences about what makes good parts unlikely, each with the way out.

    They are about too few samples, pictures that repeat, images without an object, masks that look
    like background, objects that are too small, and very long images. Samples that cannot be read
    are passed over: `data.check.check` reports them.

    Args:
        dataset: training samples.
        max_samples: of a larger data set, so many are read, at regular distances.

    Returns:
        A sentence for each finding; nothing where there is none.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.advice import advice
        >>> advice(data.load("toy", "train", count=40, size=129))
        ()
        >>> advice(data.load("toy", "train", count=3, size=129))
        ('There are only 3 images: thirty different photographs are a start, and ...',)
    """
    chosen = np.linspace(0, len(dataset) - 1, min(max_samples, len(dataset))).round()

    def read(index: int) -> _Facts | None:
        try:
            return _facts(dataset[index])
        except DataError:
            return None

    found = [facts for facts in computed_ahead(read, map(int, chosen)) if facts is not None]
    said = [_few(len(dataset))]
    if found:
        images = f"the {len(found)} images"
        if len(found) < len(dataset):
            images += f" looked at ({len(dataset):,} in all)"
        checks = (_alike, _without_object, _background, _small, _long)
        said += [check(found, images) for check in checks]
    return tuple(sentence for sentence in said if sentence)


def _facts(sample: Sample) -> _Facts:
    height, width = sample.size
    mask = sample.foreground
    box = sample.box if mask is None else mask_box(mask)
    whole = image_box(height, width)
    has_object = mask is None or box is not None
    box = whole if box is None else np.clip(box, np.tile(whole[:2], 2), np.tile(whole[2:], 2))
    x0, y0, x1, y1 = (box + 0.5).tolist()
    pixels = max(x1 - x0, y1 - y0)
    thumbnail = np.zeros(_THUMBNAIL**2)
    if x1 > x0 and y1 > y0:
        grey = Image.fromarray(sample.image).convert("L")
        size, inside = (_THUMBNAIL, _THUMBNAIL), (x0, y0, x1, y1)
        values = np.asarray(grey.resize(size, Image.Resampling.BOX, inside), np.float64).ravel()
        values -= values.mean()
        thumbnail = values / max(float(np.linalg.norm(values)), 1e-9)
    return _Facts(
        max(height, width) / min(height, width),
        pixels,
        pixels / max(height, width),
        0.0 if mask is None else surround(mask),
        has_object,
        thumbnail,
    )


def _few(samples: int) -> str:
    if samples >= _FEW:
        return ""
    images = "There is only 1 image" if samples == 1 else f"There are only {samples} images"
    return f"{images}: thirty different photographs are a start, and a few hundred are better"


def _alike(found: Sequence[_Facts], images: str) -> str:
    distinct = _count_distinct(np.stack([facts.thumbnail for facts in found]))
    if distinct > len(found) / 2 and (distinct >= _FEW or distinct == len(found)):
        return ""
    return (
        f"Only {distinct} of {images} differ from the others: parts need objects in several "
        "poses and colours, so leave out copies and neighbouring frames, and add other photographs"
    )


def _count_distinct(thumbnails: np.ndarray) -> int:
    """The number of pictures that are like no earlier one that was counted."""
    correlation = thumbnails @ thumbnails.T
    flat = np.logical_not(np.any(thumbnails, axis=1, keepdims=True))
    alike = (correlation > _ALIKE) | (flat & flat.T)
    distinct: list[int] = []
    for index in range(len(thumbnails)):
        if not alike[index, distinct].any():
            distinct.append(index)
    return len(distinct)


def _without_object(found: Sequence[_Facts], images: str) -> str:
    count = sum(not facts.has_object for facts in found)
    if not count:
        return ""
    return (
        f"{count} of {images} have an empty mask: correct it, or leave these images out "
        "with --skip-bad"
    )


def _background(found: Sequence[_Facts], images: str) -> str:
    count = sum(facts.surround > _SURROUNDS for facts in found)
    if count <= _MANY_SURROUND * len(found):
        return ""
    return (
        f"In {count} of {images}, the mask covers most of three sides of the image, as background "
        "does and an object rarely: look at the masks, and leave out images without an object"
    )


def _small(found: Sequence[_Facts], images: str) -> str:
    in_pixels = sum(facts.pixels < _SMALL_PIXELS for facts in found)
    if in_pixels > _MANY * len(found):
        return (
            f"In {in_pixels} of {images}, the object is smaller than "
            f"{_SMALL_PIXELS} pixels: its parts can hardly be seen, so use larger images"
        )
    in_image = sum(facts.share < _SMALL_SHARE for facts in found)
    if in_image > _MANY * len(found):
        return (
            f"In {in_image} of {images}, the object takes less than a tenth of the "
            "image's side: cut the photographs to the object, or segment later with --tile 512"
        )
    return ""


def _long(found: Sequence[_Facts], images: str) -> str:
    count = sum(facts.aspect > _LONG for facts in found)
    if count <= _MANY * len(found):
        return ""
    return (
        f"{count} of {images} are more than {_LONG:.0f} times as long as high, or as high "
        "as long: the network sees a square, in which their objects are small, so cut them"
    )
