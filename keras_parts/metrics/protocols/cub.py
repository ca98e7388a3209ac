"""The protocols of CUB-200-2011: clustering at keypoints, and landmark regression.

Choudhury et al., *Unsupervised Part Discovery from Contrastive Reconstruction* (NeurIPS 2021),
section 4. The paper resizes every image or crop to a short side of 256 and cuts the sides to
multiples of 16. Here the size rule belongs to the model: `maps` gets the crop as it is, resizes it
by the model's own preprocessing, and its maps come back at the crop's resolution, so that no pixel
and no keypoint is cut off.
"""

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.errors import DataError
from keras_parts.metrics.landmarks import landmark_distances, landmark_error, soft_centres
from keras_parts.metrics.protocols.base import (
    Maps,
    Protocol,
    Result,
    Scorer,
    box_crop,
    foreground_of,
)
from keras_parts.metrics.protocols.partition import FROM, KEYPOINTS, MASKS, NEEDS, choose

# The classes of CUB-001, -002 and -003: by name, since a partial copy may number them otherwise.
SUBSETS = {
    "001": "black footed albatross",
    "002": "laysan albatross",
    "003": "sooty albatross",
}


class CentreScorer(Scorer):
    """Collects part centres, landmarks and the image's midpoint in the frame of the box."""

    def __init__(self, masks: str):
        self._masks = masks
        self._rows = []

    def add(self, sample, logits):
        if sample.box is None or sample.keypoints is None:
            raise DataError(f"{sample.id}: landmark regression needs a box and keypoints")
        origin, size = sample.box[:2], sample.box[2:] - sample.box[:2]
        if self._masks == "given":
            foreground = foreground_of(sample)
        else:
            foreground = _own_foreground(logits)
        height, width = logits.shape[:2]
        midpoint = np.array([[(width - 1) / 2, (height - 1) / 2]])
        self._rows.append(
            (
                (soft_centres(logits[..., 1:], foreground) - origin) / size,
                (midpoint - origin) / size,
                (sample.keypoints - origin) / size,
                sample.visible,
                -1 if sample.category is None else sample.category,
            )
        )

    def arrays(self) -> list[np.ndarray]:
        """Centres `(samples, parts, 2)`, midpoints `(samples, 1, 2)`, landmarks
        `(samples, landmarks, 2)`, visible `(samples, landmarks)` and categories `(samples,)`."""
        return [np.stack(column) for column in zip(*self._rows, strict=True)]


class LandmarkScorer(CentreScorer):
    """Landmark error of the test split, regressed on the train split, with the midpoint's."""

    def __init__(self, dataset: Dataset, masks: str):
        super().__init__(masks)
        self.train = CentreScorer(masks)
        self._subsets = _subsets(dataset.info.categories)

    def result(self):
        train, test = self.train.arrays(), self.arrays()
        values, baseline, distances = {}, {}, {}
        for name, (fit, tested) in self._subsets.items():
            rows = _rows(test, tested)
            fitting, testing = _chosen(train, _rows(train, fit)), _chosen(test, rows)
            if fitting[3].any() and (fitting[3].any(0) & testing[3].any(0)).any():
                values[name] = landmark_error(*_sides(fitting, testing, centres=0))
                baseline[f"{name} of the midpoint"] = landmark_error(
                    *_sides(fitting, testing, centres=1)
                )
                distances[name] = np.full(test[3].shape, np.nan)
                distances[name][rows] = landmark_distances(*_sides(fitting, testing, centres=0))
        if not values:
            raise DataError("no landmark is visible in both the train and the test split")
        return Result(
            values=values | baseline,
            samples=len(test[0]),
            observations=int(test[3].sum()),
            by_image=DistancesByImage(distances),
        )


class DistancesByImage:
    """Distances of regressed landmarks, of which any weighted mean can be taken.

    The regressions stay those of the train split: what varies is who is tested.

    Args:
        distances: {metric: `(images, landmarks)`, NaN where nothing is predicted}.
    """

    def __init__(self, distances: dict[str, np.ndarray]):
        self._sums = {name: np.nansum(one, axis=1) for name, one in distances.items()}
        self._counts = {name: (~np.isnan(one)).sum(1) for name, one in distances.items()}

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """The errors if each image counted as often as `weights` `(images,)` int64 says; a subset
        that is not drawn at all has none (NaN)."""
        counted = {name: weights @ counts for name, counts in self._counts.items()}
        return {
            name: float(100 * (weights @ sums) / counted[name]) if counted[name] else np.nan
            for name, sums in self._sums.items()
        }


def _own_foreground(logits):
    """The model's foreground probability, 1 - p(background), `(height, width)`."""
    logits = np.array(np.moveaxis(logits, -1, 0), np.float64, order="C")  # fast to reduce
    mass = np.exp(logits - logits.max(0))
    return mass[1:].sum(0) / mass.sum(0)


def _subsets(categories):
    """Name to (categories to fit on, categories to test on); None is all."""
    names = [name.lower() for name in categories]
    found = {number: names.index(name) for number, name in SUBSETS.items() if name in names}
    subsets = {number: (list(found.values()), [category]) for number, category in found.items()}
    return subsets | {"all": (None, None)}


def _rows(arrays, categories):
    """(samples,) bool: those of the categories; None is all."""
    if categories is None:
        return np.full(len(arrays[4]), True)
    return np.isin(arrays[4], categories)


def _chosen(arrays, rows):
    return [array[rows] for array in arrays]


def _sides(train, test, centres):
    return train[centres], train[2], train[3], test[centres], test[2], test[3]


FOREGROUND = KEYPOINTS.foreground(
    name="cub-foreground",
    title="box crop, parts at visible keypoints, no background",
    description=(
        "The image cropped to the ground-truth box (no padding, not square); at the pixel nearest "
        "to each visible keypoint inside, the best of the K parts; 15 labels. NMI (arithmetic) "
        "and ARI over the whole split. Choudhury et al., 2021."
    ),
    view=box_crop,
    needs=("keypoints", "box"),
    datasets=("cub",),
    specialises="keypoints-foreground",
)

FULL = KEYPOINTS.full(
    prefix="cub",
    title="whole image, parts and background at visible keypoints, background {}",
    description=(
        "The whole image; at the pixel nearest to each visible keypoint, the background or "
        "the best of the K parts; the background is taken {}. NMI and ARI over the whole split."
    ),
    notes={
        "given": "Choudhury et al., 2021, who take masks of a supervised network.",
        "model": (
            "PDiscoNet, PDiscoFormer and MPAE measure whole images with their own background too; "
            "they may take the largest of all channels, by which fewer pixels are object."
        ),
    },
    datasets=("cub",),
)


def _landmark_scorer(masks):
    return lambda dataset, parts: LandmarkScorer(dataset, masks)


LANDMARKS = {
    masks: Protocol(
        name=f"cub-landmarks-{masks}",
        title=f"whole image, landmarks regressed from part centres, foreground {FROM[masks]}",
        description=(
            "Centres of mass of p_k F relative to the ground-truth box, F "
            f"{FROM[masks]}; a linear regression a landmark, fit on the train split; mean L2 "
            "distance in per cent of the box. 001, 002, 003: fit on classes 1 to 3, tested on "
            "each; all: fit and tested on everything. Beside it the same regression from the "
            "image's midpoint."
        ),
        scorer=_landmark_scorer(masks),
        needs=("keypoints", "box", "train", NEEDS[masks]),
        metrics=("001", "002", "003", "all"),
        datasets=("cub",),
    )
    for masks in MASKS
}


def cub_foreground(maps: Maps, dataset: Dataset, parts: int, **options) -> Result:
    """FG-NMI and FG-ARI in per cent: parts at the visible keypoints inside the ground-truth box.

    The image is cropped to the box (see `box_crop` for the rounding; no padding, not square), and
    each visible keypoint inside gets the best of the K parts at its nearest pixel. The paper's
    "short side 256" is the model's own size rule here.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`.
        dataset: with keypoints and boxes.
        parts: K.
        options: `batch_size`, `progress`, as of `Protocol`.
    """
    return FOREGROUND(maps, dataset, parts, **options)


def cub_full(maps: Maps, dataset: Dataset, parts: int, masks: str = "given", **options) -> Result:
    """NMI and ARI in per cent at the visible keypoints of whole images, clusters 0 .. K.

    Args:
        maps, dataset, parts, options: as of `cub_foreground`.
        masks: "given": cluster 0 outside the data set's mask, inside the best part; "model": 0
            where the background outweighs all parts together, else the best part, as later work
            measures with masks of the model's own.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(FULL, masks)(maps, dataset, parts, **options)


def cub_landmarks(
    maps: Maps, train: Dataset, dataset: Dataset, parts: int, masks: str = "given", **options
) -> Result:
    """Landmark error of linear regression from part centres, in per cent of the box.

    Args:
        maps: the model, see `keras_parts.metrics.Maps`.
        train: `Dataset` with keypoints and boxes that the regression is fit on.
        dataset: the same for the test split.
        parts: K.
        masks: whose foreground weighs the parts' probabilities: "given", the data set's masks, or
            "model", the probability that the model gives to the foreground.
        options: `batch_size`, `progress`, as of `Protocol`.

    Returns:
        `Result` with "001", "002", "003" (fit on the first three classes, tested on each; left out
        where the data lacks the class) and "all", and for each "... of the midpoint": the same
        regression from the image's midpoint alone.

    Raises:
        ConfigError: no such choice of masks.
    """
    return choose(LANDMARKS, masks)(maps, dataset, parts, train=train, **options)
