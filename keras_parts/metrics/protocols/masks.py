"""How good the model's own foreground is, for any data set with masks.

Parts are measured inside a given mask or with the model's own background; without a mask, a method
is as good as its background. This protocol measures that alone.
"""

from typing import Any

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.metrics.masks import mask_scores
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols.base import (
    Protocol,
    Result,
    Scorer,
    foreground_of,
    predicted_foreground,
)

_LOW_IOU = 0.5
_MAX_NAMED = 3


class MaskScorer(Scorer):
    """IoU and boundary F of each image; call it for their values with a weight for each image.

    Images whose given mask is empty are left out of the values.
    """

    def __init__(self) -> None:
        self._iou: list[float] = []
        self._boundary_f: list[float] = []
        self._empty: list[str] = []

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        given = foreground_of(sample)
        if given.any():
            scores: tuple[float, float] = mask_scores(predicted_foreground(logits), given)
        else:
            scores = (np.nan, np.nan)
            self._empty.append(sample.id)
        self._iou.append(scores[0])
        self._boundary_f.append(scores[1])

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """The values with `weights`, `(images,)` integers; NaN if no image has a weight."""
        iou, boundary_f = np.array(self._iou), np.array(self._boundary_f)
        weights = np.where(np.isnan(iou), 0, weights)
        if not weights.any():
            return dict.fromkeys(METRICS, np.nan)
        kept = weights > 0
        iou, boundary_f, weights = iou[kept], boundary_f[kept], weights[kept]
        shares = weights / weights.sum()
        values = (
            shares @ iou,
            _median(iou, weights),
            shares @ (iou < _LOW_IOU),
            shares @ boundary_f,
        )
        return {name: 100 * float(value) for name, value in zip(METRICS, values, strict=True)}

    def result(self) -> Result:
        measured = len(self._iou) - len(self._empty)
        if not measured:
            raise DataError("nothing to compare: the mask of every image is empty")
        return Result(
            values=self(np.ones(len(self._iou), np.int64)),
            num_images=len(self._iou),
            num_observations=measured,
            notes=self._notes(),
            reweighted=self,
        )

    def _notes(self):
        if not self._empty:
            return ()
        named = ", ".join(self._empty[:_MAX_NAMED]) + ", ..." * (len(self._empty) > _MAX_NAMED)
        return (f"left out, because their mask is empty: {len(self._empty):,} images ({named})",)


def _median(values, weights):
    """The median of values that occur `weights` times."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    middle = np.array([(total[-1] - 1) // 2, total[-1] // 2])
    return values[order][np.searchsorted(total, middle, side="right")].mean()


METRICS = ("IoU", "median IoU", "IoU below 0.5", "boundary F")
MASKS = Protocol(
    name="masks",
    title="whole image, the model's own foreground beside the mask",
    description=(
        "At each image's own size, the pixels where all parts together are more probable than the "
        "background are compared with the mask. IoU: mean over images, and median; the share of "
        "images whose IoU is below 0.5. Boundary F: mean over images of the F measure of outline "
        "pixels that have a pixel of the other outline within 0.75 % of the image's diagonal, "
        "rounded up to whole pixels and at least 2; the outline is the mask without its erosion "
        "by 3 x 3 pixels, and the frame of the image is no outline. All in "
        "per cent. Images with an empty mask are left out. Perazzi et al., 2016."
    ),
    scorer=lambda dataset, num_parts: MaskScorer(),
    needs=("foreground", "background"),
    metrics=METRICS,
    observed="masks",
)


def foreground_masks(
    model: PartModel | ImageFunction, dataset: Dataset, num_parts: int, **options: Any
) -> Result:
    """IoU and boundary F of the model's own foreground on whole images, in per cent.

    Args:
        model: the model to measure; it predicts the background.
        dataset: a data set with masks.
        num_parts: K.
        options: `batch_size` and `progress`, see `Protocol.__call__`.

    Returns:
        `Result` with "IoU" (mean over images), "median IoU", "IoU below 0.5" (per cent of the
        images) and "boundary F" (mean over images). `num_images` counts all images,
        `num_observations` those whose mask is not empty.
    """
    return MASKS(model, dataset, num_parts, **options)
