"""SLIC: every object divided into K superpixels, which are matched to parts across images.

Achanta et al.: *SLIC Superpixels Compared to State-of-the-art Superpixel Methods*, PAMI 2012;
inside masks after Irving: *maskSLIC*, 2016. Superpixels of different images have no common names:
each is assigned the part whose colour and coordinates, by k-means over the train split, match it
best, each part at most once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError
from keras_parts.metrics.baselines.centroids import (
    CentroidModel,
    normalised,
    position_baseline,
    with_empty_background,
)
from keras_parts.metrics.protocols.base import foreground_of

_CERTAIN = 10.0  # the logit of the assigned part
_COMPACTNESS = 10.0  # scikit-image's own default


class SuperpixelModel:
    """A `PartModel` that needs masks.

    Args:
        parts: the parts' colours and coordinates, from `position_baseline`.
    """

    has_background = False

    def __init__(self, parts: CentroidModel):
        self._parts = parts

    def logits(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32; a pixel outside the mask is assigned the
        part of the nearest superpixel."""
        return [self._logits(sample) for sample in samples]

    def _logits(self, sample):
        num_parts = len(self._parts.centroids)
        superpixels = _superpixels(sample, num_parts)
        (features,) = self._parts.extract([sample])
        means = _means(normalised(features, None, self._parts.scale), superpixels)
        parts = _matched(means, self._parts.centroids)[_nearest(superpixels)]
        return with_empty_background(_CERTAIN * (parts[..., None] == np.arange(num_parts)))


def slic_baseline(
    dataset: Dataset, num_parts: int, seed: int = 0, **options: Any
) -> SuperpixelModel:
    """SLIC superpixels of the masks, K an image.

    Args:
        dataset: the train split, with masks.
        num_parts: K.
        seed, options: of `position_baseline`, whose parts superpixels are matched to.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise ConfigError("slic needs scikit-image: pip install 'keras-parts[segments]'") from error
    return SuperpixelModel(position_baseline(dataset, num_parts, seed, **options))


def _superpixels(sample, count):
    """`(height, width)` int: 0, 1, ... inside the mask, -1 outside; the whole image if the mask is
    empty."""
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
    """The part of each superpixel: different parts as far as possible, then the nearest."""
    from scipy.optimize import linear_sum_assignment

    distance = ((means[:, None] - centroids) ** 2).sum(-1)
    matched = distance.argmin(1)
    superpixels, parts = linear_sum_assignment(distance)
    matched[superpixels] = parts
    return matched


def _nearest(superpixels):
    """The superpixel at each pixel or, where there is none, the nearest one."""
    from scipy.ndimage import distance_transform_edt

    if (superpixels >= 0).all():
        return superpixels
    rows, columns = distance_transform_edt(
        superpixels < 0, return_distances=False, return_indices=True
    )
    return superpixels[rows, columns]
