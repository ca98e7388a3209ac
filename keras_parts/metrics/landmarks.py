"""Landmark error: how well part centres predict annotated landmarks, the protocol of SCOPS.

Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction* (NeurIPS 2021),
section 4, after Hung et al., *SCOPS* (CVPR 2019).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.errors import DataError


class LandmarkData(NamedTuple):
    """Part centres and landmarks of samples, in one frame such as the object's box (0 to 1).

    Attributes:
        centres: `(samples, parts, 2)` x and y of each part's centre, or the same values as
            `(samples, 2 * parts)`.
        landmarks: `(samples, landmarks, 2)` x and y; values of invisible landmarks are ignored.
        visible: `(samples, landmarks)` bool, or 0 and 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import LandmarkData
        >>> data = LandmarkData(np.zeros((5, 4, 2)), np.zeros((5, 15, 2)), np.ones((5, 15), bool))
        >>> data.visible.shape
        (5, 15)
    """

    centres: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray


def landmark_error(train: LandmarkData, test: LandmarkData) -> float:
    """Mean distance of landmarks regressed from part centres, in per cent of the frame.

    Each landmark has a linear regression without intercept from all part centres. It is fitted on
    the training samples in which the landmark is visible; both sides are standardised. A landmark
    that is visible in no training sample is left out of the mean.

    Args:
        train: samples to fit the regressions on.
        test: samples to predict landmarks of.

    Returns:
        100 x the L2 distance, averaged over all visible test landmarks.

    Raises:
        DataError: shapes do not agree, a centre or a visible landmark is not finite, or no
            landmark is visible in both splits.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import LandmarkData, landmark_error
        >>> centres = np.random.default_rng(0).random((30, 4, 2))
        >>> data = LandmarkData(centres, centres[:, :2] / 2, np.ones((30, 2), bool))
        >>> round(landmark_error(data, data), 6)
        0.0
    """
    distances = landmark_distances(train, test).T
    return float(100 * distances[~np.isnan(distances)].mean())


def landmark_distances(train: LandmarkData, test: LandmarkData) -> np.ndarray:
    """Distance of each predicted landmark from the annotated one; see `landmark_error`.

    Args:
        train, test: as in `landmark_error`.

    Returns:
        `(test samples, landmarks)` float64 L2 distances in units of the frame, NaN where the
        landmark is not visible or is visible in no training sample.

    Raises:
        DataError: as `landmark_error`.
    """
    train, test = _checked("train", *train), _checked("test", *test)
    for name in ("centres", "landmarks"):
        shapes = getattr(train, name).shape, getattr(test, name).shape
        if shapes[0][1:] != shapes[1][1:]:
            raise DataError(
                f"train and test {name} have shapes {shapes[0]} and {shapes[1]}: only the number "
                "of samples may differ"
            )
    distances = np.full(test.visible.shape, np.nan)
    for landmark in range(train.landmarks.shape[1]):
        in_train, in_test = train.visible[:, landmark], test.visible[:, landmark]
        if in_train.any() and in_test.any():
            predicted = _regress(
                train.centres[in_train], train.landmarks[in_train, landmark], test.centres[in_test]
            )
            error = predicted - test.landmarks[in_test, landmark]
            distances[in_test, landmark] = np.linalg.norm(error, axis=-1)
    if np.isnan(distances).all():
        raise DataError("no landmark is visible in both the train and the test samples")
    return distances


def soft_centres(logits: ArrayLike, foreground: ArrayLike | None = None) -> np.ndarray:
    """Centre of mass of each part's probability inside the foreground.

    Args:
        logits: `(height, width, parts)` part logits without the background; their softmax is the
            probabilities.
        foreground: `(height, width)` mask, bool or weights in [0, 1]; None for the whole image.

    Returns:
        `(parts, 2)` float64, x and y in pixels, where (0, 0) is the centre of the top-left pixel.
        A part without mass, as with an empty mask, has the centre of the image, so that no centre
        is NaN.

    Raises:
        DataError: `logits` is not three-dimensional, or the mask has another size.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics import soft_centres
        >>> soft_centres(np.zeros((5, 9, 2))).tolist()
        [[4.0, 2.0], [4.0, 2.0]]
    """
    if np.ndim(logits) != 3:
        raise DataError(f"part logits must be (height, width, parts), got {np.shape(logits)}")
    # Parts first, so that sums over parts and pixels read memory in order.
    logits = np.array(np.moveaxis(np.asarray(logits), -1, 0), np.float64, order="C")
    _, height, width = logits.shape
    mass = np.exp(logits - logits.max(0))
    mass /= mass.sum(0)
    if foreground is not None:
        foreground = np.asarray(foreground, np.float64)
        if foreground.shape != (height, width):
            raise DataError(f"the mask is {foreground.shape}, expected {(height, width)}")
        mass *= foreground
    total = mass.sum((1, 2))
    moments = np.stack([mass.sum(1) @ np.arange(width), mass.sum(2) @ np.arange(height)], -1)
    midpoint = np.array([(width - 1) / 2, (height - 1) / 2])
    has_mass = total > 0
    centres = moments / np.where(has_mass, total, 1)[:, None]
    return np.where(has_mass[:, None], centres, midpoint)


def _regress(centres, landmark, new_centres):
    """The landmark predicted from `new_centres`, `(samples, 2)`; see `landmark_error`."""
    centre_mean, centre_scale = _mean_and_scale(centres)
    mean, scale = _mean_and_scale(landmark)
    weights, *_ = np.linalg.lstsq(
        (centres - centre_mean) / centre_scale, (landmark - mean) / scale, rcond=None
    )
    return (new_centres - centre_mean) / centre_scale @ weights * scale + mean


def _mean_and_scale(values):
    """Mean and standard deviation of each column; a constant column (an empty part) has scale 1."""
    mean, variance = values.mean(0), values.var(0)
    samples, eps = len(values), np.finfo(np.float64).eps
    constant = variance <= samples * eps * variance + (samples * mean * eps) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _checked(
    split: str, centres: np.ndarray, landmarks: np.ndarray, visible: np.ndarray
) -> LandmarkData:
    centres = np.asarray(centres, np.float64)
    landmarks = np.asarray(landmarks, np.float64)
    visible = np.asarray(visible).astype(bool)
    if centres.ndim not in (2, 3) or landmarks.shape != (*visible.shape, 2) or visible.ndim != 2:
        raise DataError(
            f"{split}: centres, landmarks and visible are {centres.shape}, {landmarks.shape} and "
            f"{visible.shape}, but must be (samples, parts, 2), (samples, landmarks, 2) and "
            "(samples, landmarks)"
        )
    if len(centres) != len(landmarks):
        raise DataError(
            f"{split}: centres of {len(centres)} samples, but landmarks of {len(landmarks)}"
        )
    centres = centres.reshape(len(centres), int(np.prod(centres.shape[1:])))
    if not np.isfinite(centres).all():
        raise DataError(f"{split}: a part centre is not finite")
    if not np.isfinite(landmarks[visible]).all():
        raise DataError(f"{split}: a visible landmark is not finite")
    return LandmarkData(centres, landmarks, visible)
