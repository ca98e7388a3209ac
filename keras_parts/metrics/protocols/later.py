"""The protocols of later methods, so that their published numbers stand beside nothing else.

They measure whole images with K + 1 channels and no given mask: a position belongs to the largest
channel, which may be the background. The methods differ in how an image becomes a square:

- PDiscoFormer (Aniraj et al., ECCV 2024) resizes its short side and crops the centre, at 518 pixels
  on birds and 224 on PartImageNet; keypoints outside the crop are not counted.
- MPAE (Xia et al., ICCV 2025) squashes it, to 448 pixels on birds and 224 on PartImageNet.
- DisParQ (arXiv 2610.09802) reports many-to-one variants, NMI_m and ARI_m: each part stands for the
  label that it covers most often, and parts of the same label count as one.

They run only if they are named.
"""

import functools
from typing import Any

import numpy as np

from keras_parts.data.crops import crop, image_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.metrics.protocols.base import Protocol, Scorer, View, whole_image
from keras_parts.metrics.protocols.partition import (
    KEYPOINTS,
    PIXELS,
    Annotation,
    Observations,
    PartitionScorer,
)


def centre_square(sample: Sample, size: int) -> Sample:
    """The sample resized to a short side of `size` pixels and cropped to the square in its centre.

    Keypoints outside the square become invisible.
    """
    height, width = sample.size
    cut = np.array([width - min(height, width), height - min(height, width)]) // 2
    box = np.concatenate([cut, cut + min(height, width)]) - 0.5
    return crop(sample, box, size)


def squashed(sample: Sample, size: int) -> Sample:
    """The whole sample stretched to `size` x `size` pixels."""
    return crop(sample, image_box(*sample.size), size)


def largest_channel(sample: Sample, observed: Observations) -> np.ndarray:
    """Clusters `0 .. parts`: the most probable of all channels, 0 for the background."""
    return observed.logits.argmax(-1)


def _protocol(
    annotation: Annotation, method: str, view: View, seen: str, source: str, **options: Any
) -> Protocol:
    """`METHOD-keypoints` or `METHOD-pixels`.

    Args:
        annotation: what parts are compared with.
        method: name of the method.
        view: function from a sample to what is segmented.
        seen: the same in words.
        source: the publication.
        options: of `PartitionScorer`.
    """
    of_pixels = annotation is PIXELS
    where = "all pixels" if of_pixels else "visible keypoints"
    at = "At every pixel" if of_pixels else "At the pixel nearest to each visible keypoint"
    label = "the part label, which is 0 for the background" if of_pixels else "the keypoint's id"
    many_to_one = options.get("many_to_one", False)
    merged = (
        " Each channel is replaced by the label that it covers most often (many-to-one)."
        if many_to_one
        else ""
    )
    suffix = "_m" if many_to_one else ""

    def scorer(dataset: Dataset, num_parts: int) -> Scorer:
        return PartitionScorer(
            annotation.everywhere, largest_channel, annotation.names(dataset), num_parts,
            with_background=True, background_label=of_pixels, view=view,
            max_labels=annotation.max_labels, **options,
        )  # fmt: skip

    return Protocol(
        name=f"{method.lower()}-{annotation.name}",
        title=f"{seen}, largest of K + 1 channels at {where}",
        description=(
            f"The protocol of {method}: {seen}. {at}, the largest of the K + 1 channels, which may "
            f"be the background, is compared with {label}.{merged} NMI{suffix} and ARI{suffix} "
            f"over the whole split. {source}."
        ),
        scorer=scorer,
        needs=(annotation.field, "background"),
        metrics=(f"NMI{suffix}", f"ARI{suffix}"),
        observed=annotation.observed,
        only_named=True,
    )


_PDISCOFORMER = "Aniraj et al., ECCV 2024, and its public code"
_MPAE = "Xia et al., ICCV 2025, and its public code"
LATER: tuple[Protocol, ...] = (
    _protocol(
        KEYPOINTS, "PDiscoFormer", functools.partial(centre_square, size=518),
        "short side resized to 518 pixels, square in the centre", _PDISCOFORMER,
    ),
    _protocol(
        PIXELS, "PDiscoFormer", functools.partial(centre_square, size=224),
        "short side resized to 224 pixels, square in the centre", _PDISCOFORMER,
    ),
    _protocol(
        KEYPOINTS, "MPAE", functools.partial(squashed, size=448),
        "whole image squashed to 448 x 448 pixels", _MPAE,
    ),
    _protocol(
        PIXELS, "MPAE", functools.partial(squashed, size=224),
        "whole image squashed to 224 x 224 pixels",
        f"{_MPAE}, which compares at 128 x 128 pixels",
    ),
    _protocol(
        KEYPOINTS, "DisParQ", whole_image, "whole image",
        "arXiv 2610.09802; the size of its images is not known here", many_to_one=True,
    ),
)  # fmt: skip
"""The protocols of PDiscoFormer, MPAE and DisParQ."""
