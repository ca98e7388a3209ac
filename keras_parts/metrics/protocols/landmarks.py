"""The landmark protocols of CUB-200-2011: landmarks regressed from the centres of the parts.

Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction* (NeurIPS 2021),
section 4. The image is not cropped: the model receives it at its original size.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.readers.cub import SUBSETS, subset_category
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.metrics.landmarks import (
    LandmarkData,
    landmark_distances,
    landmark_error,
    soft_centres,
)
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols.base import Protocol, Result, Scorer, foreground_of
from keras_parts.metrics.protocols.partition import FOREGROUND_SOURCES, variant_for


class BoxFrame(NamedTuple):
    """Points of a split in coordinates of each sample's box (0 to 1).

    Attributes:
        centres: `(samples, parts, 2)` centres of the parts.
        midpoint: `(samples, 1, 2)` the image's midpoint.
        landmarks: `(samples, landmarks, 2)`.
        visible: `(samples, landmarks)` bool.
        categories: `(samples,)` integers, -1 where the sample has none.
    """

    centres: np.ndarray
    midpoint: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    categories: np.ndarray

    def of_categories(self, categories: Sequence[int] | None) -> "BoxFrame":
        """The samples of some categories; None for all."""
        return self if categories is None else self.rows(self.rows_of(categories))

    def rows_of(self, categories: Sequence[int] | None) -> np.ndarray:
        """`(samples,)` bool: the samples of some categories; None for all."""
        if categories is None:
            return np.full(len(self.categories), True)
        return np.isin(self.categories, categories)

    def rows(self, chosen: np.ndarray) -> "BoxFrame":
        """The chosen samples, `(samples,)` bool."""
        return BoxFrame(*(array[chosen] for array in self))

    def data(self, centres: np.ndarray) -> LandmarkData:
        """The input of `landmark_error` with these centres."""
        return LandmarkData(centres, self.landmarks, self.visible)


class CentreScorer(Scorer):
    """Collects the points of `BoxFrame`, sample by sample.

    Args:
        masks: "given" or "model", see `cub_landmarks`.
    """

    def __init__(self, masks: str):
        self._masks = masks
        self._samples: list[tuple] = []

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        if sample.box is None or sample.keypoints is None:
            raise DataError(
                f"{sample.id}: landmark regression needs a box and keypoints, but one is missing"
            )
        origin, size = sample.box[:2], sample.box[2:] - sample.box[:2]
        given = self._masks == "given"
        foreground = foreground_of(sample) if given else _foreground_probability(logits)
        height, width = logits.shape[:2]
        midpoint = np.array([[(width - 1) / 2, (height - 1) / 2]])
        self._samples.append(
            (
                (soft_centres(logits[..., 1:], foreground) - origin) / size,
                (midpoint - origin) / size,
                (sample.keypoints - origin) / size,
                sample.visible,
                -1 if sample.category is None else sample.category,
            )
        )

    def frame(self) -> BoxFrame:
        """The points of all samples added so far."""
        return BoxFrame(*(np.stack(column) for column in zip(*self._samples, strict=True)))


class LandmarkScorer(CentreScorer):
    """Landmark errors on the test split, of regressions from the parts and from the midpoint.

    Args:
        dataset: the test split, whose categories define the subsets.
        masks: "given" or "model", see `cub_landmarks`.
    """

    def __init__(self, dataset: Dataset, masks: str):
        super().__init__(masks)
        self._train = CentreScorer(masks)
        self.train = self._train
        self._subsets = _subsets(dataset.info.categories)

    def result(self) -> Result:
        train, test = self._train.frame(), self.frame()
        values, of_midpoint, distances = {}, {}, {}
        for name, (fitted, tested) in self._subsets.items():
            train_part, rows = train.of_categories(fitted), test.rows_of(tested)
            test_part = test.rows(rows)
            if not (train_part.visible.any(0) & test_part.visible.any(0)).any():
                continue
            pair = train_part.data(train_part.centres), test_part.data(test_part.centres)
            values[name] = landmark_error(*pair)
            distances[name] = np.full(test.visible.shape, np.nan)
            distances[name][rows] = landmark_distances(*pair)
            of_midpoint[f"{name} of the midpoint"] = landmark_error(
                train_part.data(train_part.midpoint), test_part.data(test_part.midpoint)
            )
        if not values:
            raise DataError("no landmark is visible in both the train and the test split")
        return Result(
            values=values | of_midpoint,
            num_images=len(test.visible),
            num_observations=int(test.visible.sum()),
            reweighted=ImageDistances(distances),
        )


class ImageDistances:
    """Distances of regressed landmarks; call it for their weighted mean.

    The regressions are not fitted again: only the weights of the test images vary.

    Args:
        distances: {metric: `(images, landmarks)`, NaN where no landmark is predicted}.
    """

    def __init__(self, distances: dict[str, np.ndarray]):
        self._sums = {name: np.nansum(one, axis=1) for name, one in distances.items()}
        self._counts = {name: (~np.isnan(one)).sum(1) for name, one in distances.items()}

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """The errors with `weights`, `(images,)` int64; NaN for a subset with no weight."""
        counted = {name: weights @ counts for name, counts in self._counts.items()}
        return {
            name: float(100 * (weights @ sums) / counted[name]) if counted[name] else np.nan
            for name, sums in self._sums.items()
        }


def _foreground_probability(logits):
    """The model's foreground probability 1 - p(background), `(height, width)`."""
    logits = np.array(np.moveaxis(logits, -1, 0), np.float64, order="C")  # see `soft_centres`
    mass = np.exp(logits - logits.max(0))
    return mass[1:].sum(0) / mass.sum(0)


def _subsets(categories):
    """{name: (categories to fit on, categories to test on)}; None for all."""
    found = {}
    for number in SUBSETS:
        category = subset_category(number, categories)
        if category is not None:
            found[number] = category
    subsets = {number: (list(found.values()), [category]) for number, category in found.items()}
    return subsets | {"all": (None, None)}


def _landmark_scorer(masks: str) -> Callable[[Dataset, int], Scorer]:
    return lambda dataset, num_parts: LandmarkScorer(dataset, masks)


LANDMARKS = {
    masks: Protocol(
        name=f"cub-landmarks-{masks}",
        title=f"whole image, landmarks regressed from part centres, foreground {source.phrase}",
        description=(
            "Landmarks are predicted from the centres of mass of p_k F relative to the "
            "ground-truth box, where p_k is the probability of part k and F the foreground, taken "
            f"{source.phrase}. Each landmark has a linear regression, fitted on the train split; "
            "the error is the mean L2 distance in per cent of the box. 001, 002, 003: fitted on "
            "classes 1 to 3, tested on each; all: fitted and tested on all classes. For "
            "comparison, the same regression from the image's midpoint."
        ),
        scorer=_landmark_scorer(masks),
        needs=("keypoints", "box", "train", source.need),
        metrics=("001", "002", "003", "all"),
        datasets=("cub",),
    )
    for masks, source in FOREGROUND_SOURCES.items()
}


def cub_landmarks(
    model: PartModel | ImageFunction,
    train: Dataset | None,
    dataset: Dataset,
    num_parts: int,
    *,
    masks: str = "given",
    **options: Any,
) -> Result:
    """Landmark error of linear regression from part centres, in per cent of the box.

    Args:
        model: the model to measure.
        train: the train split, with keypoints and boxes, to fit the regressions on.
        dataset: the test split.
        num_parts: K.
        masks: the foreground that part probabilities are multiplied by: "given" for the data set's
            masks, "model" for the model's foreground probability.
        options: `batch_size` and `progress`, see `Protocol.__call__`.

    Returns:
        `Result` with the errors "001", "002", "003" (fitted on the first three classes, tested on
        each; absent if the data lacks the class) and "all", and for each of them "... of the
        midpoint": the error of the same regression from the image's midpoint.

    Raises:
        ConfigError: `masks` is neither "given" nor "model".
    """
    return variant_for(LANDMARKS, masks)(model, dataset, num_parts, train=train, **options)
