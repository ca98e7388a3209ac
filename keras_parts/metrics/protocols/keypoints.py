"""NMI and ARI at keypoints of whole images, for any data set that has keypoints."""

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.protocols.base import Maps, Protocol, Result, View, whole_image
from keras_parts.metrics.protocols.partition import (
    FROM,
    MASKS,
    NEEDS,
    PartitionScorer,
    at_keypoints,
    choose,
    landmark_names,
    parts_alone,
)


def foreground_scorer(view: View = whole_image):
    """Scorer factory: parts alone at the visible keypoints of a view."""

    def scorer(dataset, parts):
        names = landmark_names(dataset)
        return PartitionScorer(at_keypoints, parts_alone, names, parts, "FG-", view)

    return scorer


def full_scorer(masks: str, view: View = whole_image):
    """Scorer factory: background and parts at the visible keypoints of a view."""

    def scorer(dataset, parts):
        names = landmark_names(dataset)
        return PartitionScorer(at_keypoints, MASKS[masks], names, 1 + parts, view=view)

    return scorer


FOREGROUND = Protocol(
    name="keypoints-foreground",
    title="whole image, parts at visible keypoints, no background",
    description=(
        "At the pixel nearest to each visible keypoint, the best of the K parts; the label is the "
        "keypoint's id. NMI (arithmetic) and ARI over the whole split."
    ),
    scorer=foreground_scorer(),
    needs=("keypoints",),
    metrics=("FG-NMI", "FG-ARI"),
)

FULL = {
    masks: Protocol(
        name=f"keypoints-full-{masks}",
        title=f"whole image, parts and background at visible keypoints, background {FROM[masks]}",
        description=(
            "At the pixel nearest to each visible keypoint, the background or the best of the K "
            f"parts; the background is taken {FROM[masks]}. NMI and ARI over the whole split."
        ),
        scorer=full_scorer(masks),
        needs=("keypoints", NEEDS[masks]),
        metrics=("NMI", "ARI"),
    )
    for masks in MASKS
}


def keypoints_foreground(maps: Maps, dataset: Dataset, parts: int, **options) -> Result:
    """FG-NMI and FG-ARI at the visible keypoints of whole images.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`. The size rule belongs to it.
        dataset: `Dataset` with keypoints.
        parts: K.
        **options: `batch_size`, `progress`, as of `Protocol`.

    Returns:
        `Result` with "FG-NMI" and "FG-ARI" in per cent.
    """
    return FOREGROUND(maps, dataset, parts, **options)


def keypoints_full(
    maps: Maps, dataset: Dataset, parts: int, masks: str = "given", **options
) -> Result:
    """NMI and ARI at the visible keypoints of whole images, background included.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`. The size rule belongs to it.
        dataset: `Dataset` with keypoints, and masks for `masks="given"`.
        parts: K.
        masks: "given", the data set's masks, or "model", the model's own background.
        **options: `batch_size`, `progress`, as of `Protocol`.

    Returns:
        `Result` with "NMI" and "ARI" in per cent.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(FULL, masks)(maps, dataset, parts, **options)
