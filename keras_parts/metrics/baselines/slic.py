"""SLIC: every object divided into K superpixels, which are matched to parts across images.

Achanta et al.: *SLIC Superpixels Compared to State-of-the-art Superpixel Methods*, PAMI 2012;
inside masks after Irving: *maskSLIC*, 2016. Superpixels are not comparable across images. Therefore
k-means on colour and coordinates over the train split finds K parts, and the superpixels of each
image are matched to these parts, each part to at most one superpixel as far as possible.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError
from keras_parts.extras import import_from_extra
from keras_parts.metrics.baselines.centroids import (
    CentroidModel,
    normalised,
    position_baseline,
    with_empty_background,
)
from keras_parts.metrics.protocols.base import foreground_of

_ASSIGNED_LOGIT = 10.0  # of the assigned part; the other parts have 0
_COMPACTNESS = 10.0  # the default of scikit-image


class SuperpixelModel:
    """A `PartModel` that divides the mask of each sample into superpixels.

    Args:
        parts: the parts' colours and coordinates, from `position_baseline`.
    """

    has_background = False

    def __init__(self, parts: CentroidModel):
        self._parts = parts

    def logits(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32; pixels outside the mask have the part of the
        nearest superpixel."""
        return [self._logits(sample) for sample in samples]

    def _logits(self, sample):
        num_parts = len(self._parts.centroids)
        superpixels = _superpixels(sample, num_parts)
        (features,) = self._parts.extract([sample])
        means = _means(normalised(features, None, self._parts.scale), superpixels)
        parts = _matched(means, self._parts.centroids)[_nearest(superpixels)]
        return with_empty_background(_ASSIGNED_LOGIT * (parts[..., None] == np.arange(num_parts)))


def slic_baseline(
    dataset: Dataset, num_parts: int, seed: int = 0, **options: Any
) -> SuperpixelModel:
    """SLIC superpixels of the masks, K in each image.

    Args:
        dataset: the train split, with masks.
        num_parts: K.
        seed, options: arguments of `position_baseline`, which finds the parts to match.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise ConfigError("slic needs scikit-image: pip install 'keras-parts[segments]'") from error
    return SuperpixelModel(position_baseline(dataset, num_parts, seed, **options))


def _superpixels(sample, count):
    """`(height, width)` int: 0, 1, ... inside the mask, -1 outside; the whole image instead of a
    mask of at most `count` pixels."""
    from skimage.segmentation import relabel_sequential, slic

    mask = foreground_of(sample)
    mask = np.array(mask if mask.sum() > count else np.ones_like(mask))
    image = np.array(sample.image)  # a copy: the compiled code needs writable arrays
    found = slic(image, count, _COMPACTNESS, mask=mask, start_label=1, channel_axis=-1)
    return relabel_sequential(found)[0].astype(int) - 1


def _means(features, superpixels):
    """`(superpixels, channels)` mean features."""
    inside, count = superpixels >= 0, superpixels.max() + 1
    labels = superpixels[inside]
    sizes = np.bincount(labels, minlength=count)
    sums = [np.bincount(labels, channel[inside], count) for channel in np.moveaxis(features, -1, 0)]
    return np.stack([total / sizes for total in sums], axis=-1)


def _matched(means, centroids):
    """The part of each superpixel: a different part for each, or the nearest once all are used."""
    optimize = import_from_extra("scipy.optimize", "train")
    distance = ((means[:, None] - centroids) ** 2).sum(-1)
    matched = distance.argmin(1)
    superpixels, parts = optimize.linear_sum_assignment(distance)
    matched[superpixels] = parts
    return matched


def _nearest(superpixels):
    """The superpixel of each pixel; pixels without one get the nearest."""
    ndimage = import_from_extra("scipy.ndimage", "train")
    if (superpixels >= 0).all():
        return superpixels
    rows, columns = ndimage.distance_transform_edt(
        superpixels < 0, return_distances=False, return_indices=True
    )
    return superpixels[rows, columns]
