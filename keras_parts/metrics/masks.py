"""IoU and boundary F: how well a predicted mask of the object agrees with a given one."""

import math
from typing import NamedTuple

import numpy as np

from keras_parts.errors import DataError
from keras_parts.extras import import_from_extra

TOLERANCE = 0.0075
"""Distance up to which outline pixels agree, as a fraction of the image's diagonal; it is rounded
up to whole pixels."""
MIN_TOLERANCE = 2
"""The same in pixels, for small images."""


class MaskScores(NamedTuple):
    """Agreement of two masks, see `mask_scores`.

    Attributes:
        iou: intersection over union, 0 to 1.
        boundary_f: F measure of the outlines, 0 to 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import mask_scores
        >>> mask = np.ones((40, 60), bool)
        >>> mask_scores(mask, mask)
        MaskScores(iou=1.0, boundary_f=1.0)
    """

    iou: float
    boundary_f: float


def mask_scores(predicted: np.ndarray, given: np.ndarray) -> MaskScores:
    """IoU and boundary F of two masks of the same image.

    The outline of a mask is the mask without its erosion by 3 x 3 pixels: its pixels with one of
    their eight neighbours in the background. The frame of the image is no outline: an object that
    it cuts continues outside. An outline pixel agrees with the other outline if a pixel of that
    lies within 0.75 % of the image's diagonal, rounded up to whole pixels and at least 2 (Euclidean
    distance of pixel centres). Precision is the share of the predicted outline that agrees, recall
    the share of the given one, and boundary F = 2 precision recall / (precision + recall). This is
    the boundary measure of Perazzi et al., *A Benchmark Dataset and Evaluation Methodology for
    Video Object Segmentation*, CVPR 2016.

    Args:
        predicted: (height, width) bool, True on the object.
        given: (height, width) bool.

    Returns:
        Both scores. Two empty masks have an IoU of 1, two masks without outline a boundary F of 1.

    Raises:
        DataError: the masks are not bool, or differ in size.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import mask_scores
        >>> given = np.zeros((60, 80), bool)
        >>> given[20:40, 20:40] = True
        >>> moved = np.roll(given, 5, axis=1)  # 15 of 25 columns are in both
        >>> scores = mask_scores(moved, given)
        >>> scores.iou, scores.boundary_f == mask_scores(given, moved).boundary_f
        (0.6, True)
    """
    for name, mask in (("predicted", predicted), ("given", given)):
        if mask.ndim != 2 or mask.dtype != np.bool_:
            raise DataError(
                f"the {name} mask must be (height, width) bool, not {mask.shape} {mask.dtype}"
            )
    if predicted.shape != given.shape:
        raise DataError(f"the predicted mask is {predicted.shape}, the given one {given.shape}")
    tolerance = max(math.ceil(TOLERANCE * math.hypot(*given.shape)), MIN_TOLERANCE)
    return MaskScores(
        _iou(predicted, given), _boundary_f(_outline(predicted), _outline(given), tolerance)
    )


def _iou(predicted, given):
    union = np.count_nonzero(predicted | given)
    return float(np.count_nonzero(predicted & given) / union) if union else 1.0


def _outline(mask):
    """(pixels, 2): row and column of each pixel of a mask that has a neighbour outside of it."""
    rows = mask.copy()
    rows[1:] &= mask[:-1]
    rows[:-1] &= mask[1:]
    inner = rows.copy()
    inner[:, 1:] &= rows[:, :-1]
    inner[:, :-1] &= rows[:, 1:]
    return np.argwhere(mask & ~inner)


def _boundary_f(predicted, given, tolerance):
    if not len(predicted) or not len(given):
        return float(len(predicted) == len(given))
    precision, recall = _near(predicted, given, tolerance), _near(given, predicted, tolerance)
    return 2 * precision * recall / max(precision + recall, np.finfo(float).tiny)


def _near(pixels, others, tolerance):
    """The share of pixels with one of the others within the tolerance."""
    KDTree = import_from_extra("scipy.spatial", "train").KDTree
    # The bound of the query is exclusive.
    bound = np.nextafter(tolerance, np.inf)
    distances, _ = KDTree(others).query(pixels, distance_upper_bound=bound)
    return float(np.isfinite(distances).mean())
