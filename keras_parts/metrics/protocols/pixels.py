"""NMI and ARI over pixels, for data sets with part labels (DeepFashion, PASCAL-Part, faces, toy).

The protocol of Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction*
(NeurIPS 2021), section 4, on DeepFashion, but at each image's own size: the model resizes images by
its own rule and returns logits at their original size.
"""

from typing import Any

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols.base import Result
from keras_parts.metrics.protocols.partition import PIXELS, variant_for

FOREGROUND = PIXELS.foreground_protocol(
    title="whole image, parts at all pixels with a part label, no background",
    description=(
        "At every pixel whose part label is not 0, the most probable of the K parts is compared "
        "with the label. NMI (arithmetic mean) and ARI over all such pixels of the split."
    ),
)

FULL = PIXELS.full_protocols(
    title="whole image, parts and background at all pixels, background {}",
    description=(
        "At every pixel, the background or the most probable of the K parts is compared with the "
        "part label, which is 0 for the background; the background is taken {}. NMI and ARI over "
        "all pixels of the split."
    ),
)


def pixels_foreground(
    model: PartModel | ImageFunction, dataset: Dataset, num_parts: int, **options: Any
) -> Result:
    """FG-NMI and FG-ARI in per cent over the pixels that have a part label other than 0.

    Args:
        model: the model to measure.
        dataset: a data set with part labels.
        num_parts: K.
        options: `batch_size` and `progress`, see `Protocol.__call__`.
    """
    return FOREGROUND(model, dataset, num_parts, **options)


def pixels_full(
    model: PartModel | ImageFunction,
    dataset: Dataset,
    num_parts: int,
    *,
    masks: str = "given",
    **options: Any,
) -> Result:
    """NMI and ARI in per cent over all pixels, background included.

    Args:
        model, dataset, num_parts, options: as in `pixels_foreground`.
        masks: "given" for the data set's masks, "model" for the model's own background.

    Raises:
        ConfigError: `masks` is neither "given" nor "model".
    """
    return variant_for(FULL, masks)(model, dataset, num_parts, **options)
