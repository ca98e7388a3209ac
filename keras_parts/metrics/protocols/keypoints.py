"""NMI and ARI at the keypoints of whole images, for any data set with keypoints.

The protocol of Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction*
(NeurIPS 2021), section 4, without the crop of CUB: an observation is the pixel nearest to a visible
keypoint inside the image, and its label is the keypoint's id.
"""

from typing import Any

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols.base import Result
from keras_parts.metrics.protocols.partition import KEYPOINTS, variant_for

FOREGROUND = KEYPOINTS.foreground_protocol(
    title="whole image, parts at visible keypoints, no background",
    description=(
        "At the pixel nearest to each visible keypoint, the most probable of the K parts is "
        "compared with the keypoint's id. NMI (arithmetic mean) and ARI over the whole split."
    ),
)

FULL = KEYPOINTS.full_protocols(
    title="whole image, parts and background at visible keypoints, background {}",
    description=(
        "At the pixel nearest to each visible keypoint, the background or the most probable of the "
        "K parts is compared with the keypoint's id; the background is taken {}. NMI and ARI over "
        "the whole split."
    ),
)


def keypoints_foreground(
    model: PartModel | ImageFunction, dataset: Dataset, num_parts: int, **options: Any
) -> Result:
    """FG-NMI and FG-ARI in per cent at the visible keypoints of whole images.

    Args:
        model: the model to measure; it resizes images to its input by its own rule.
        dataset: a data set with keypoints.
        num_parts: K.
        options: `batch_size` and `progress`, see `Protocol.__call__`.
    """
    return FOREGROUND(model, dataset, num_parts, **options)


def keypoints_full(
    model: PartModel | ImageFunction,
    dataset: Dataset,
    num_parts: int,
    *,
    masks: str = "given",
    **options: Any,
) -> Result:
    """NMI and ARI in per cent at the visible keypoints of whole images, background included.

    Args:
        model, dataset, num_parts, options: as in `keypoints_foreground`.
        masks: "given" for the data set's masks, "model" for the model's own background.

    Raises:
        ConfigError: `masks` is neither "given" nor "model".
    """
    return variant_for(FULL, masks)(model, dataset, num_parts, **options)
