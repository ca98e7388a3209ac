"""SLIC: every object cut into K superpixels, which are then named alike in all images.

Achanta et al.: *SLIC Superpixels Compared to State-of-the-art Superpixel Methods*, PAMI 2012;
inside masks after Irving: *maskSLIC*, 2016. Superpixels mean nothing across images: they get the
part whose colour and place, by k-means over the train split, fit best, each part at most once.
"""

from collections.abc import Sequence

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError
from keras_parts.metrics.baselines.centroids import (
    CentroidMaps,
    position_baseline,
    prepared,
    without_background,
)
from keras_parts.metrics.protocols.base import foreground_of

_CERTAIN = 10.0  # the logit of the chosen part
_COMPACTNESS = 10.0  # scikit-image's own default


class SuperpixelMaps:
    """A `maps` callable on samples with masks.

    Args:
        parts: the parts' colours and places, from `position_baseline`.
    """

    background = False
    takes_samples = True

    def __init__(self, parts: CentroidMaps):
        self._parts = parts

    def __call__(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        """Logits `(height, width, 1 + parts)` float32. Outside the mask, the nearest superpixel's
        part."""
        return [self._logits(sample) for sample in samples]

    def _logits(self, sample):
        count = len(self._parts.centroids)
        segments = _superpixels(sample, count)
        (features,) = self._parts.embed([sample])
        features = prepared(features, None, self._parts.scale)
        inside = segments >= 0
        total = segments.max() + 1
        sizes = np.bincount(segments[inside], minlength=total)
        means = np.stack(
            [
                np.bincount(segments[inside], channel[inside], total) / sizes
                for channel in np.moveaxis(features, -1, 0)
            ],
            axis=-1,
        )
        chosen = _matched(means, self._parts.centroids)
        parts = chosen[_nearest(segments)]
        return without_background(_CERTAIN * (parts[..., None] == np.arange(count)))


def slic_baseline(dataset: Dataset, parts: int, seed: int = 0, **options) -> SuperpixelMaps:
    """SLIC superpixels of the masks, K an image.

    Args:
        dataset: the train split, with masks.
        parts: K.
        seed, options: of `position_baseline`, whose parts name the superpixels.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        import skimage.segmentation  # noqa: F401
    except ImportError as error:
        raise ConfigError("slic takes scikit-image: pip install 'keras-parts[segments]'") from error
    return SuperpixelMaps(position_baseline(dataset, parts, seed, **options))


def _superpixels(sample, count):
    """`(height, width)` int: 0, 1, ... inside the mask, -1 outside; an empty mask is all."""
    from skimage.segmentation import relabel_sequential, slic

    mask = foreground_of(sample)
    mask = np.array(mask if mask.sum() > count else np.ones_like(mask))
    image = np.array(sample.image)  # a copy: compiled code wants arrays that can be written
    segments = slic(image, count, _COMPACTNESS, mask=mask, start_label=1, channel_axis=-1)
    return relabel_sequential(segments)[0].astype(int) - 1


def _matched(means, centroids):
    """The part of each superpixel: one each as far as parts go, then the nearest."""
    from scipy.optimize import linear_sum_assignment

    distance = ((means[:, None] - centroids) ** 2).sum(-1)
    chosen = distance.argmin(1)
    superpixels, parts = linear_sum_assignment(distance)
    chosen[superpixels] = parts
    return chosen


def _nearest(segments):
    """The segment at each pixel or, where there is none, nearest to it."""
    from scipy.ndimage import distance_transform_edt

    if (segments >= 0).all():
        return segments
    rows, columns = distance_transform_edt(
        segments < 0, return_distances=False, return_indices=True
    )
    return segments[rows, columns]
