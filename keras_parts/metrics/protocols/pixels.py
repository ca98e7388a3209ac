"""NMI and ARI over pixels, for data sets with part labels (DeepFashion, PASCAL-Part, faces, toy).

The paper's protocol on DeepFashion, at the images' own resolution: the size rule belongs to the
model, whose maps come back at each image's size.
"""

from keras_parts.data.dataset import Dataset
from keras_parts.metrics.protocols.base import Maps, Result
from keras_parts.metrics.protocols.partition import PIXELS, choose

FOREGROUND = PIXELS.foreground(
    title="whole image, parts at all pixels with a part label, no background",
    description=(
        "At every pixel whose part label is not 0, the best of the K parts. NMI (arithmetic) and "
        "ARI over all such pixels of the split."
    ),
)

FULL = PIXELS.full(
    title="whole image, parts and background at all pixels, background {}",
    description=(
        "At every pixel, the background or the best of the K parts, against the part labels "
        "with 0 for the background; the background is taken {}. NMI and ARI over all pixels of "
        "the split."
    ),
)


def pixels_foreground(maps: Maps, dataset: Dataset, parts: int, **options) -> Result:
    """FG-NMI and FG-ARI in per cent over the pixels that carry a part label.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`.
        dataset: with part labels.
        parts: K.
        options: `batch_size`, `progress`, as of `Protocol`.
    """
    return FOREGROUND(maps, dataset, parts, **options)


def pixels_full(
    maps: Maps, dataset: Dataset, parts: int, masks: str = "given", **options
) -> Result:
    """NMI and ARI in per cent over all pixels, background included.

    Args:
        maps, dataset, parts, options: as of `pixels_foreground`.
        masks: "given", the data set's masks, or "model", the model's own background.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(FULL, masks)(maps, dataset, parts, **options)
