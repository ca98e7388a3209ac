"""How well part centres predict annotated landmarks: the regression protocol of SCOPS.

Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction* (NeurIPS 2021),
section 4, after Hung et al., *SCOPS* (CVPR 2019).
"""

import numpy as np

from keras_parts.errors import DataError


def landmark_error(
    train_centres,
    train_landmarks,
    train_visible,
    test_centres,
    test_landmarks,
    test_visible,
) -> float:
    """Mean distance of landmarks regressed from part centres, in per cent.

    For each landmark, centres and positions of the training samples that show it are standardised,
    and a linear regression without intercept maps all part centres to the position. A landmark that
    no training sample shows has no regression, and is left out of the mean.

    Args:
        train_centres, test_centres: `(samples, parts, 2)` x and y of each part, in a frame such as
            the object's box, which is 0..1; also `(samples, 2 * parts)`.
        train_landmarks, test_landmarks: `(samples, landmarks, 2)` positions in the same frame;
            what is not visible may hold anything.
        train_visible, test_visible: `(samples, landmarks)` bool or 0 and 1.

    Returns:
        100 x the L2 distance, averaged over all visible test landmarks.

    Raises:
        DataError: shapes do not fit, a centre or a visible landmark is not finite, or no test
            landmark can be predicted.
    """
    distances = landmark_distances(
        train_centres, train_landmarks, train_visible, test_centres, test_landmarks, test_visible
    ).T
    return float(100 * distances[~np.isnan(distances)].mean())


def landmark_distances(
    train_centres,
    train_landmarks,
    train_visible,
    test_centres,
    test_landmarks,
    test_visible,
) -> np.ndarray:
    """The distances that `landmark_error` is the mean of.

    Args:
        train_centres, train_landmarks, train_visible, test_centres, test_landmarks, test_visible:
            as there.

    Returns:
        `(test samples, landmarks)` float64 L2 distances, NaN where a landmark is not visible or
        has no regression.

    Raises:
        DataError: as `landmark_error`.
    """
    train = _checked("train", train_centres, train_landmarks, train_visible)
    test = _checked("test", test_centres, test_landmarks, test_visible)
    for what, fitted, tested in zip(("centres", "landmarks"), train, test, strict=False):
        if fitted.shape[1:] != tested.shape[1:]:
            raise DataError(f"train and test {what}: {fitted.shape} does not fit {tested.shape}")
    distances = np.full(test[2].shape, np.nan)
    for landmark in range(train[1].shape[1]):
        fit, predict = train[2][:, landmark], test[2][:, landmark]
        if fit.any() and predict.any():
            predicted = _regress(train[0][fit], train[1][fit, landmark], test[0][predict])
            error = predicted - test[1][predict, landmark]
            distances[predict, landmark] = np.linalg.norm(error, axis=-1)
    if np.isnan(distances).all():
        raise DataError("no landmark is visible in both the train and the test samples")
    return distances


def soft_centres(logits, foreground=None) -> np.ndarray:
    """Centre of mass of every part's probability inside the foreground.

    Args:
        logits: `(height, width, parts)` part logits, without the background; they become
            probabilities by a softmax over the parts.
        foreground: `(height, width)` mask, bool or weights in 0..1; None for everywhere.

    Returns:
        `(parts, 2)` float64, x and y in pixels, where (0, 0) is the centre of the top-left pixel.
        A part without any mass (an empty mask) lies at the centre of the image, so that no centre
        is NaN.

    Raises:
        DataError: `logits` is not three-dimensional or the mask's size differs.
    """
    if np.ndim(logits) != 3:
        raise DataError(f"part logits are (height, width, parts), got {np.shape(logits)}")
    logits = np.array(np.moveaxis(logits, -1, 0), np.float64, order="C")  # fast to reduce
    _, height, width = logits.shape
    mass = np.exp(logits - logits.max(0))
    mass /= mass.sum(0)
    if foreground is not None:
        foreground = np.asarray(foreground, np.float64)
        if foreground.shape != (height, width):
            raise DataError(f"a mask of {foreground.shape} for logits of {(height, width)}")
        mass *= foreground
    total = mass.sum((1, 2))
    moments = np.stack([mass.sum(1) @ np.arange(width), mass.sum(2) @ np.arange(height)], -1)
    midpoint = np.array([(width - 1) / 2, (height - 1) / 2])
    alive = total > 0
    return np.where(alive[:, None], moments / np.where(alive, total, 1)[:, None], midpoint)


def _regress(centres, positions, new_centres):
    """Standardise both sides, regress without intercept, predict `(samples, 2)` positions."""
    centre_mean, centre_scale = _standard(centres)
    mean, scale = _standard(positions)
    weights, *_ = np.linalg.lstsq(
        (centres - centre_mean) / centre_scale, (positions - mean) / scale, rcond=None
    )
    return (new_centres - centre_mean) / centre_scale @ weights * scale + mean


def _standard(values):
    """Mean and standard deviation by column; a constant column (a dead part) has scale 1."""
    mean, variance = values.mean(0), values.var(0)
    samples, eps = len(values), np.finfo(np.float64).eps
    constant = variance <= samples * eps * variance + (samples * mean * eps) ** 2
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def _checked(split, centres, landmarks, visible):
    centres = np.asarray(centres, np.float64)
    landmarks = np.asarray(landmarks, np.float64)
    visible = np.asarray(visible).astype(bool)
    if centres.ndim not in (2, 3) or landmarks.shape != (*visible.shape, 2) or visible.ndim != 2:
        raise DataError(
            f"{split}: centres {centres.shape}, landmarks {landmarks.shape} and visible "
            f"{visible.shape} must be (samples, parts, 2), (samples, landmarks, 2) and "
            "(samples, landmarks)"
        )
    if len(centres) != len(landmarks):
        raise DataError(f"{split}: {len(centres)} centres for {len(landmarks)} samples' landmarks")
    centres = centres.reshape(len(centres), int(np.prod(centres.shape[1:])))
    if not np.isfinite(centres).all():
        raise DataError(f"{split}: a part centre is not finite")
    if not np.isfinite(landmarks[visible]).all():
        raise DataError(f"{split}: a visible landmark's position is not finite")
    return centres, landmarks, visible
