"""The protocols of CUB-200-2011 that cluster at keypoints; `landmarks.py` has the regression.

Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction* (NeurIPS 2021),
section 4. The paper resizes every image or crop to a short side of 256 and cuts both sides to
multiples of 16. Here the model receives the image or crop at its original size, resizes it by its
own rule and returns logits at the original size, so that no pixel and no keypoint is cut off.
"""

from typing import Any

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols.base import Result, box_crop
from keras_parts.metrics.protocols.partition import KEYPOINTS, variant_for

FOREGROUND = KEYPOINTS.foreground_protocol(
    name="cub-foreground",
    title="box crop, parts at visible keypoints, no background",
    description=(
        "The image is cropped to the ground-truth box (no padding, not square). At the pixel "
        "nearest to each visible keypoint inside, the most probable of the K parts is compared "
        "with the keypoint's id (15 labels). NMI (arithmetic mean) and ARI over the whole split. "
        "Choudhury et al., 2021."
    ),
    view=box_crop,
    needs=("keypoints", "box"),
    datasets=("cub",),
    specialises="keypoints-foreground",
)

FULL = KEYPOINTS.full_protocols(
    prefix="cub",
    title="whole image, parts and background at visible keypoints, background {}",
    description=(
        "At the pixel nearest to each visible keypoint of the whole image, the background or the "
        "most probable of the K parts is compared with the keypoint's id; the background is taken "
        "{}. NMI and ARI over the whole split."
    ),
    notes={
        "given": "Choudhury et al., 2021, who take the masks from a supervised network.",
        "model": (
            "PDiscoFormer and MPAE, which also predict the background, have their own protocols: a "
            "square image, and the largest of all channels, which makes fewer pixels foreground."
        ),
    },
    datasets=("cub",),
)


def cub_foreground(
    model: PartModel | ImageFunction, dataset: Dataset, num_parts: int, **options: Any
) -> Result:
    """FG-NMI and FG-ARI in per cent: parts at the visible keypoints inside the ground-truth box.

    The image is cropped to the box (no padding, not square; see `box_crop` for the rounding). Each
    visible keypoint inside is assigned the most probable of the K parts at its nearest pixel. The
    model resizes the crop by its own rule instead of the paper's short side of 256 pixels.

    Args:
        model: the model to measure.
        dataset: a data set with keypoints and boxes.
        num_parts: K.
        options: `batch_size` and `progress`, see `Protocol.__call__`.
    """
    return FOREGROUND(model, dataset, num_parts, **options)


def cub_full(
    model: PartModel | ImageFunction,
    dataset: Dataset,
    num_parts: int,
    *,
    masks: str = "given",
    **options: Any,
) -> Result:
    """NMI and ARI in per cent at the visible keypoints of whole images, background included.

    Args:
        model, dataset, num_parts, options: as in `cub_foreground`.
        masks: "given": the background is outside the data set's mask, as in the paper; "model": it
            is where it is more probable than all parts together, as in later work.

    Raises:
        ConfigError: `masks` is neither "given" nor "model".
    """
    return variant_for(FULL, masks)(model, dataset, num_parts, **options)
