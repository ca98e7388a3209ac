"""NMI and ARI at keypoints of whole images, for any data set that has keypoints."""

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.protocols.base import Maps, Result
from keras_parts.metrics.protocols.partition import KEYPOINTS, choose

FOREGROUND = KEYPOINTS.foreground(
    title="whole image, parts at visible keypoints, no background",
    description=(
        "At the pixel nearest to each visible keypoint, the best of the K parts; the label is the "
        "keypoint's id. NMI (arithmetic) and ARI over the whole split."
    ),
)

FULL = KEYPOINTS.full(
    title="whole image, parts and background at visible keypoints, background {}",
    description=(
        "At the pixel nearest to each visible keypoint, the background or the best of the K "
        "parts; the background is taken {}. NMI and ARI over the whole split."
    ),
)


def keypoints_foreground(maps: Maps, dataset: Dataset, parts: int, **options) -> Result:
    """FG-NMI and FG-ARI in per cent at the visible keypoints of whole images.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`. The size rule belongs to it.
        dataset: with keypoints.
        parts: K.
        options: `batch_size`, `progress`, as of `Protocol`.
    """
    return FOREGROUND(maps, dataset, parts, **options)


def keypoints_full(
    maps: Maps, dataset: Dataset, parts: int, masks: str = "given", **options
) -> Result:
    """NMI and ARI in per cent at the visible keypoints of whole images, background included.

    Args:
        maps, dataset, parts, options: as of `keypoints_foreground`.
        masks: "given", the data set's masks, or "model", the model's own background.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(FULL, masks)(maps, dataset, parts, **options)
