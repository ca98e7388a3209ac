"""Scenes: squares of a photograph around an object's crop, up to the whole photograph.

Training on crops alone shows every object at one size and in the middle. In a scene it is as small,
or as far from the middle, as in the photographs that users have; or it is cut by the frame; or
there is none.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_parts.data.crops import image_box, mask_box, square_box
from keras_parts.data.sample import Sample
from keras_parts.settings import Settings, number

_LARGEST_CUT = 0.95
_SMALLEST_CUT = 0.5
"""Sides of scenes that cut the object, in sides of the object."""
_SMALLEST_EMPTY = 0.25
"""Minimum side of a scene without an object, in sides of the photograph's shorter side."""


@dataclass(frozen=True, kw_only=True)
class SceneSettings(Settings):
    """How scenes are drawn for the second view of a training step.

    Attributes:
        share: share of the samples whose second view is a scene, in [0, 1]; that of the others is
            the crop. With 0 there are no scenes (the paper).
        whole: share of the scenes that are the whole photograph.
        cut: share of the scenes whose frame cuts the object.
        empty: share of the scenes without an object, if there is room beside it.

    Raises:
        ConfigError: a value is outside its range.

    Example:
        >>> from keras_parts.data import SceneSettings
        >>> SceneSettings(share=0.5).whole
        0.3
    """

    prefix: ClassVar[str] = "scenes."

    share: float = number(0.0, 0, 1)
    whole: float = number(0.3, 0, 1)
    cut: float = number(0.1, 0, 1)
    empty: float = number(0.05, 0, 1)


def draw_scene(
    sample: Sample, crop_box: np.ndarray, settings: SceneSettings, rng: np.random.Generator
) -> np.ndarray:
    """The square of a scene, `(4,)` float32: x0, y0, x1, y1 in pixels of the photograph.

    Args:
        sample: a sample. Without a foreground, scenes are whole photographs.
        crop_box: `(4,)`, the square of the object's crop.
        settings: the shares of the kinds of scenes.
        rng: generator of the random draws.

    Returns:
        `crop_box` itself if no scene is drawn. A square may extend beyond the photograph.
    """
    kind, size = rng.random(2)
    if rng.random() >= settings.share:
        return crop_box
    photograph = square_box(image_box(*sample.size))
    box = None if sample.foreground is None else mask_box(sample.foreground)
    if box is None or kind < settings.whole:
        return photograph
    if kind < settings.whole + settings.empty:
        empty = _beside(sample, size, rng)
        if empty is not None:
            return empty
    side = (box[2:] - box[:2]).max()
    if kind < settings.whole + settings.empty + settings.cut:
        length = side * (_SMALLEST_CUT + size * (_LARGEST_CUT - _SMALLEST_CUT))
    else:
        largest = max(photograph[2] - photograph[0], side)
        length = side * math.exp(size * math.log(largest / side))
    centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.5, 0.5, 2) * abs(length - side)
    return _square_within(centre, length, sample.size)


def _beside(sample, size, rng, attempts=8):
    """A square without any pixel of the object; None if none was found."""
    height, width = sample.size
    for _ in range(attempts):
        length = min(height, width) * (_SMALLEST_EMPTY + size * (1 - _SMALLEST_EMPTY))
        centre = rng.uniform(0, 1, 2) * (width, height) - 0.5
        square = _square_within(centre, length, sample.size)
        left, top, right, bottom = np.round(square + 0.5).astype(int)
        if not sample.foreground[max(top, 0) : bottom, max(left, 0) : right].any():
            return square
        size = rng.random() * size
    return None


def _square_within(centre, length, image_size):
    """A square, moved into the photograph along the axes along which it fits; centred on the
    photograph along the others."""
    sides = np.array(image_size[::-1], np.float64)
    low = np.minimum(length, sides) / 2 - 0.5
    high = sides - 1 - low
    fits = length <= sides
    centre = np.where(fits, np.clip(centre, low, np.maximum(low, high)), (sides - 1) / 2)
    return np.concatenate([centre - length / 2, centre + length / 2]).astype(np.float32)


def relative_square(square: np.ndarray, crop_box: np.ndarray, image_size: int) -> np.ndarray:
    """How coordinates in a scene map to those in a crop: `(3,)` float32, scale and offsets of x, y.

    Coordinates are in [-1, 1], from the centre of the first pixel to that of the last, as in
    `keras_parts.ops.grid_sample`: crop = scale * scene + offset.

    Args:
        square, crop_box: `(4,)`, the squares of the scene and of the crop in the photograph.
        image_size: side of both in pixels after resizing.
    """
    scale = (square[2] - square[0]) / (crop_box[2] - crop_box[0])
    # Pixel v of the scene is pixel `scale * (v + 0.5) + shift - 0.5` of the crop.
    shift = (square[:2] - crop_box[:2]) * image_size / (crop_box[2] - crop_box[0])
    offset = scale - 1 + 2 * (shift + 0.5 * (scale - 1)) / (image_size - 1)
    return np.array([scale, *offset], np.float32)
