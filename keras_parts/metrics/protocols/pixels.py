"""NMI and ARI over pixels, for data sets with part labels (DeepFashion, PASCAL-Part, toy)."""

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.protocols.base import Maps, Protocol, Result
from keras_parts.metrics.protocols.partition import (
    FROM,
    MASKS,
    NEEDS,
    PartitionScorer,
    at_part_pixels,
    at_pixels,
    choose,
    parts_alone,
)

_LABELS = 256  # part labels are uint8


def _names(dataset):
    return ("background", *dataset.info.part_names)


def _foreground_scorer(dataset, parts):
    return PartitionScorer(
        at_part_pixels, parts_alone, _names(dataset), parts, "FG-", capacity=_LABELS
    )


def _full_scorer(masks):
    def scorer(dataset, parts):
        return PartitionScorer(
            at_pixels, MASKS[masks], _names(dataset), 1 + parts, capacity=_LABELS
        )

    return scorer


FOREGROUND = Protocol(
    name="pixels-foreground",
    title="whole image, parts at all pixels with a part label, no background",
    description=(
        "At every pixel whose part label is not 0, the best of the K parts. NMI (arithmetic) and "
        "ARI over all such pixels of the split."
    ),
    scorer=_foreground_scorer,
    needs=("part_labels",),
    metrics=("FG-NMI", "FG-ARI"),
)

FULL = {
    masks: Protocol(
        name=f"pixels-full-{masks}",
        title=f"whole image, parts and background at all pixels, background {FROM[masks]}",
        description=(
            "At every pixel, the background or the best of the K parts, against the part labels "
            f"with 0 for the background; the background is taken {FROM[masks]}. NMI and ARI over "
            "all pixels of the split."
        ),
        scorer=_full_scorer(masks),
        needs=("part_labels", NEEDS[masks]),
        metrics=("NMI", "ARI"),
    )
    for masks in MASKS
}


def pixels_foreground(maps: Maps, dataset: Dataset, parts: int, **options) -> Result:
    """FG-NMI and FG-ARI over the pixels that carry a part label.

    The paper's protocol on DeepFashion, at the images' own resolution: the size rule belongs to
    the model, whose maps come back at each image's size.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`.
        dataset: `Dataset` with part labels.
        parts: K.
        **options: `batch_size`, `progress`, as of `Protocol`.

    Returns:
        `Result` with "FG-NMI" and "FG-ARI" in per cent.
    """
    return FOREGROUND(maps, dataset, parts, **options)


def pixels_full(
    maps: Maps, dataset: Dataset, parts: int, masks: str = "given", **options
) -> Result:
    """NMI and ARI over all pixels, background included.

    The paper's protocol on DeepFashion, at the images' own resolution: the size rule belongs to
    the model, whose maps come back at each image's size.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`.
        dataset: `Dataset` with part labels, and masks for `masks="given"`.
        parts: K.
        masks: "given", the data set's masks, or "model", the model's own background.
        **options: `batch_size`, `progress`, as of `Protocol`.

    Returns:
        `Result` with "NMI" and "ARI" in per cent.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(FULL, masks)(maps, dataset, parts, **options)
