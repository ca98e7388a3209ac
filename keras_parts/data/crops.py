"""Boxes, crops and mirror images of samples, with all their annotations.

Coordinates are those of `Sample`: (0, 0) is the centre of the top-left pixel. As in Pillow,
resizing maps the *sides* of the box to the sides of the crop, so a point x of the image is at
(x - x0) * size / (x1 - x0) - 0.5 in the crop.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageFilter

from keras_parts.data.dataset import DatasetInfo
from keras_parts.data.sample import Sample
from keras_parts.data.sides import mirrored_order
from keras_parts.errors import ConfigError, DataError
from keras_parts.settings import Settings, integer, number

WHITE = 255
_FILTER_RADIUS = 2  # of the bicubic filter, in pixels of the coarser grid


def image_box(height: int, width: int) -> np.ndarray:
    """(4,) float32: the box of a whole image."""
    return np.array([-0.5, -0.5, width - 0.5, height - 0.5], np.float32)


def mask_box(mask: np.ndarray) -> np.ndarray | None:
    """(4,) float32: the smallest box around the object in a mask; None for an empty mask.

    Args:
        mask: (height, width), nonzero on the object.

    Example:
        >>> import numpy as np
        >>> from keras_parts.data.crops import mask_box
        >>> mask = np.zeros((6, 8), bool)
        >>> mask[2:4, 1:7] = True
        >>> mask_box(mask).tolist()
        [0.5, 1.5, 6.5, 3.5]
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    sides = columns[0] - 0.5, rows[0] - 0.5, columns[-1] + 0.5, rows[-1] + 0.5
    return np.array(sides, np.float32)


def pad_box(box: np.ndarray, fraction: float) -> np.ndarray:
    """(4,) float32: the box with each side moved outwards by a fraction of its width or height.

    Raises:
        DataError: the fraction is -0.5 or less, which leaves no box.
    """
    box = _checked_box(box)
    width, height = box[2] - box[0], box[3] - box[1]
    return _checked_box(box + fraction * np.array([-width, -height, width, height])).astype(
        np.float32
    )


def jitter_box(box: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """(4,) float32: the box with each side moved at random.

    The distances are drawn from U(-fraction, fraction), separately for each side, in units of the
    box's width or height.

    Raises:
        ConfigError: the fraction is outside [0, 0.5), so that opposite sides could cross.
    """
    if not 0 <= fraction < 0.5:
        raise ConfigError(f"jitter must lie in [0, 0.5), not {fraction}")
    box = _checked_box(box)
    extent = np.tile(box[2:] - box[:2], 2)
    return (box + rng.uniform(-fraction, fraction, 4) * extent).astype(np.float32)


def square_box(box: np.ndarray) -> np.ndarray:
    """(4,) float32: the square with the box's centre and its longer side."""
    box = _checked_box(box)
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def crop(sample: Sample, box: np.ndarray, size: int | tuple[int, int] | None = None) -> Sample:
    """Crop a sample to a box, which may extend beyond the image.

    Outside the image a crop is white and background. A keypoint outside the crop is not visible.
    The image is resized with an antialiased bicubic filter; a pixel of a mask is set where the
    object covers at least half of it.

    Args:
        sample: any sample.
        box: (4,) x0, y0, x1, y1 in pixels.
        size: side of the crop in pixels, or its (height, width), to which the box is stretched;
            None keeps the resolution and rounds the box's sides to pixel borders.

    Raises:
        DataError: the box is empty or not finite.
        ConfigError: the size is less than 1.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.data.crops import crop
        >>> sample = data.load("toy", "train", count=1)[0]
        >>> crop(sample, sample.box, (64, 96)).foreground.shape
        (64, 96)
    """
    box = _checked_box(box)
    if size is None:
        box = np.floor(box + 1) - 0.5  # borders of pixels lie at halves
        box[2:] = np.maximum(box[2:], box[:2] + 1)
        size = int(box[3] - box[1]), int(box[2] - box[0])
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if height < 1 or width < 1:
        raise ConfigError(f"a crop must be at least 1 x 1 pixels, not {height} x {width}")
    window = _Window(box, sample.size, (height, width))
    changes: dict[str, Any] = {"image": window.image(sample.image)}
    if sample.foreground is not None:
        changes["foreground"] = window.mask(sample.foreground)
    if sample.part_labels is not None:
        changes["part_labels"] = window.labels(sample.part_labels)
    if sample.keypoints is not None and sample.visible is not None:
        changes["keypoints"] = window.points(sample.keypoints)
        changes["visible"] = sample.visible & _inside(changes["keypoints"], height, width)
    if sample.box is not None:
        changes["box"] = window.points(sample.box.reshape(2, 2)).reshape(4)
    return replace(sample, **changes)


def mirror(sample: Sample, info: DatasetInfo) -> Sample:
    """The mirror image of a sample.

    Left and right landmarks are exchanged by `info.mirror_order`, left and right part labels by
    their names.

    Raises:
        DataError: the numbers of keypoints and of landmarks in `info` differ.
    """
    changes: dict[str, Any] = {
        field: np.ascontiguousarray(getattr(sample, field)[:, ::-1])
        for field in ("image", "foreground", "part_labels")
        if getattr(sample, field) is not None
    }
    if sample.part_labels is not None:
        changes["part_labels"] = _mirrored_labels(info.part_names)[changes["part_labels"]]
    right = np.float32(sample.size[1] - 1)
    if sample.keypoints is not None and sample.visible is not None:
        order = list(info.mirror_order or range(len(sample.keypoints)))
        if len(order) != len(sample.keypoints):
            raise DataError(
                f"sample {sample.id!r} has {len(sample.keypoints)} keypoints, but its data set "
                f"{info.name} has {len(order)} landmarks"
            )
        mirrored = np.stack([right - sample.keypoints[:, 0], sample.keypoints[:, 1]], axis=1)
        changes["keypoints"], changes["visible"] = mirrored[order], sample.visible[order]
    if sample.box is not None:
        x0, y0, x1, y1 = sample.box
        changes["box"] = np.array([right - x1, y0, right - x0, y1], np.float32)
    return replace(sample, **changes)


def _mirrored_labels(part_names):
    """(256,) uint8: the label in the mirror image for each label in the image."""
    labels = np.arange(256, dtype=np.uint8)
    labels[1 : 1 + len(part_names)] = 1 + np.array(mirrored_order(part_names), np.uint8)
    return labels


class _Window:
    """Crops and resizes one box of an image, in the same way for every field of a sample."""

    def __init__(self, box, image_size, size):
        self.box, self.image_size, self.size = box, image_size, size
        corner, far_corner = box[:2] + 0.5, box[2:] + 0.5  # from the image's top-left corner
        scale = (far_corner - corner) / (size[1], size[0])
        margin = np.ceil(_FILTER_RADIUS * np.maximum(scale, 1))
        self.origin = np.floor(corner - margin).astype(int)
        self.extent = np.ceil(far_corner + margin).astype(int) - self.origin
        self.inner_box = (*(corner - self.origin).tolist(), *(far_corner - self.origin).tolist())

    def image(self, image):
        return self._resize(self._padded_region(image, WHITE), Image.Resampling.BICUBIC)

    def mask(self, mask):
        return self._coverage(mask) > 127

    def labels(self, labels):
        """Each pixel that parts cover at least half gets the label of the largest of them."""
        parts = np.setdiff1d(labels, [0])
        result = np.zeros(self.size, np.uint8)
        if len(parts):
            coverage = [self._coverage(labels == part) for part in parts]
            foreground = self.mask(labels > 0)
            result[foreground] = parts[np.argmax(coverage, axis=0)][foreground]
        return result

    def points(self, points):
        scale = np.array(self.size[::-1]) / (self.box[2:] - self.box[:2])
        return ((points - self.box[:2]) * scale - 0.5).astype(np.float32)

    def _coverage(self, mask):
        """(height, width) uint8: the share of each pixel that a mask covers, times 255."""
        grey = self._padded_region(mask.astype(np.uint8) * np.uint8(255), 0)
        return self._resize(grey, Image.Resampling.BILINEAR)

    def _padded_region(self, array, fill):
        """The region around the box that the filter reads; `fill` outside the image."""
        (left, top), (width, height) = self.origin, self.extent
        result = np.full((height, width, *array.shape[2:]), fill, np.uint8)
        rows = slice(max(top, 0), max(min(top + height, self.image_size[0]), 0))
        columns = slice(max(left, 0), max(min(left + width, self.image_size[1]), 0))
        inside = array[rows, columns]
        if inside.size:
            y, x = rows.start - top, columns.start - left
            result[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return result

    def _resize(self, array, resample):
        height, width = self.size
        image = Image.fromarray(array)
        return np.array(image.resize((width, height), resample, self.inner_box))


def _checked_box(box):
    box = np.asarray(box, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or not (box[:2] < box[2:]).all():
        raise DataError(f"a box must be finite with x0 < x1 and y0 < y1, not {box.tolist()}")
    return box


def _inside(points, height, width):
    x, y = points.T
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


@dataclass(frozen=True, kw_only=True)
class CropSettings(Settings):
    """How objects are cropped for training (Choudhury et al., section 4).

    Args:
        padding: each side of the box is moved outwards by this fraction of the box's width or
            height, between -0.5 and 10.
        jitter: each side is then moved at random, by U(-jitter, jitter) of the padded box's width
            or height. In [0, 0.5); 0 gives the same crop every time.
        mirror: probability that a crop is mirrored, in [0, 1].
        erode: width in pixels, 0 to 4096, of the border that is removed from the crop's mask,
            because masks are least certain there.

    Raises:
        ConfigError: a value is outside its range.

    Example:
        >>> from keras_parts.data import CropSettings
        >>> CropSettings(padding=0.1, jitter=0.0).mirror
        0.5
    """

    prefix: ClassVar[str] = "crops."

    padding: float = number(0.05, -0.5, 10, exclude_minimum=True, exclude_maximum=True)
    jitter: float = number(0.05, 0, 0.5, exclude_maximum=True)
    mirror: float = number(0.5, 0, 1)
    erode: int = integer(0, 0, 4096)


def object_square(
    sample: Sample, settings: CropSettings, rng: np.random.Generator | None = None
) -> np.ndarray:
    """The square of `object_crop` in the image, `(4,)` float32: x0, y0, x1, y1 in pixels."""
    box = image_box(*sample.size) if sample.box is None else sample.box
    box = pad_box(box, settings.padding)
    return square_box(box if rng is None else jitter_box(box, settings.jitter, rng))


def object_crop(
    sample: Sample,
    settings: CropSettings,
    image_size: int,
    rng: np.random.Generator | None = None,
) -> Sample:
    """The square crop around a sample's object (or the whole image, if it has no box).

    Args:
        sample: any sample.
        settings: padding, jitter and erosion; crops are not mirrored here.
        image_size: side of the crop in pixels.
        rng: generator of the jitter; None for no jitter.

    Returns:
        A sample of size (image_size, image_size), its annotations in coordinates of the crop. Only
        `foreground` is eroded.

    Example:
        >>> from keras_parts import data
        >>> sample = data.load("toy", "train", count=1)[0]
        >>> data.object_crop(sample, data.CropSettings(), 65).size
        (65, 65)
    """
    return square_crop(sample, object_square(sample, settings, rng), settings, image_size)


def square_crop(
    sample: Sample, square: np.ndarray, settings: CropSettings, image_size: int
) -> Sample:
    """`object_crop` with a square of `object_square`."""
    result = crop(sample, square, image_size)
    if settings.erode and result.foreground is not None:
        result = replace(result, foreground=_eroded(result.foreground, settings.erode))
    return result


def _eroded(mask, pixels):
    """The mask without its border; unchanged if nothing would remain."""
    image = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    eroded = np.asarray(image.filter(ImageFilter.MinFilter(2 * pixels + 1))) > 0
    return eroded if eroded.any() else mask
