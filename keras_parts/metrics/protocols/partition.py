"""Scorers of the NMI and ARI protocols: which observations count, and which cluster each gets."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.clustering import ari, nmi
from keras_parts.metrics.contingency import ContingencyTable
from keras_parts.metrics.protocols.base import (
    Protocol,
    Result,
    Scorer,
    View,
    foreground_of,
    whole_image,
)


class Observations(NamedTuple):
    """Places of an image that carry a true label.

    Attributes:
        labels: `(places,)` integers.
        logits: `(places, 1 + parts)`.
        where: the places' index into `(height, width)` planes.
    """

    labels: np.ndarray
    logits: np.ndarray
    where: tuple


def at_keypoints(sample: Sample, logits: np.ndarray) -> Observations:
    """The pixels nearest to the visible keypoints inside the image; labels are keypoint ids."""
    if sample.keypoints is None:
        raise DataError(f"{sample.id}: this protocol looks at keypoints, and the sample has none")
    height, width = logits.shape[:2]
    x, y = np.floor(sample.keypoints.T + 0.5).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    labels = np.flatnonzero(sample.visible & inside)
    where = (y[labels], x[labels])
    return Observations(labels, logits[where], where)


def at_pixels(sample: Sample, logits: np.ndarray) -> Observations:
    """Every pixel; labels are part labels, 0 the background."""
    return _pixels(sample, logits, np.s_[:, :])


def at_part_pixels(sample: Sample, logits: np.ndarray) -> Observations:
    """The pixels of the object's annotated parts, which is those with a label other than 0."""
    return _pixels(sample, logits, None)


def _pixels(sample, logits, where):
    if sample.part_labels is None:
        raise DataError(f"{sample.id}: this protocol compares part labels, the sample has none")
    if where is None:
        where = np.nonzero(sample.part_labels)
    labels = sample.part_labels[where].reshape(-1)
    return Observations(labels, logits[where].reshape(labels.size, -1), where)


def parts_alone(sample: Sample, seen: Observations) -> np.ndarray:
    """Clusters `0 .. parts - 1`: the best part, the background is no choice."""
    return seen.logits[:, 1:].argmax(-1)


def parts_in_given_mask(sample: Sample, seen: Observations) -> np.ndarray:
    """Clusters `0 .. parts`: 0 outside the sample's mask, inside 1 + the best part."""
    inside = foreground_of(sample)[seen.where].reshape(-1)
    return np.where(inside, 1 + seen.logits[:, 1:].argmax(-1), 0)


def parts_and_background(sample: Sample, seen: Observations) -> np.ndarray:
    """Clusters `0 .. parts`: 0 where the background outweighs all parts together, else the best
    part, as in `keras_parts.parts.Parts.labels`."""
    background, parts = seen.logits[:, 0], seen.logits[:, 1:]
    inside = np.logaddexp.reduce(parts, axis=-1) > background
    return np.where(inside, 1 + parts.argmax(-1), 0)


MASKS = {"given": parts_in_given_mask, "model": parts_and_background}
NEEDS = {"given": "foreground", "model": "background"}
FROM = {"given": "from the data's masks", "model": "from the model itself"}


def choose(variants: dict[str, Protocol], masks: str) -> Protocol:
    """The variant of a protocol for a choice of masks.

    Raises:
        ConfigError: there is no such variant.
    """
    if masks not in variants:
        raise ConfigError(f"masks={masks!r}: choose from {', '.join(variants)}")
    return variants[masks]


class PartitionScorer(Scorer):
    """NMI and ARI between the labels of observations and the clusters they are given.

    Args:
        observe: `(sample, logits) -> Observations`.
        assign: `(sample, Observations) -> (places,)` clusters.
        labels: names of the labels; ids beyond them, up to `capacity`, are counted all the same.
        clusters: number of clusters.
        prefix: put before the metrics' names, "FG-" for the foreground's.
        view: what is looked at.
        capacity: number of label ids that can occur.
    """

    def __init__(
        self,
        observe: Callable[[Sample, np.ndarray], Observations],
        assign: Callable[[Sample, Observations], np.ndarray],
        labels: tuple[str, ...],
        clusters: int,
        prefix: str = "",
        view: View = whole_image,
        capacity: int | None = None,
    ):
        self.view = view
        self._observe, self._assign = observe, assign
        self._labels, self._prefix = labels, prefix
        self._table = ContingencyTable(capacity or len(labels), clusters)
        self._samples = 0

    def add(self, sample, logits):
        seen = self._observe(sample, logits)
        try:
            self._table.update(seen.labels, self._assign(sample, seen))
        except DataError as error:
            raise DataError(f"{sample.id}: {error}") from error
        self._samples += 1

    def result(self):
        counts = self._table.counts
        observations = int(counts.sum())
        if observations == 0:
            raise DataError("nothing to compare: no labelled place lies inside the images")
        used = max(len(self._labels), 1 + int(counts.sum(1).nonzero()[0].max()))
        names = [*self._labels, *(f"label {label}" for label in range(len(self._labels), used))]
        return Result(
            values={
                f"{self._prefix}NMI": 100 * nmi(counts),
                f"{self._prefix}ARI": 100 * ari(counts),
            },
            samples=self._samples,
            observations=observations,
            shares=tuple((counts.sum(0) / observations).tolist()),
            counts=counts[:used],
            labels=tuple(names),
        )


class ShareScorer(Scorer):
    """The share of each part of the object's pixels, by the best part at each.

    The object is the sample's mask; without one, what the model itself does not call background.
    """

    def __init__(self, parts: int, view: View = whole_image):
        self.view = view
        self._counts = np.zeros(parts, np.int64)

    def add(self, sample, logits):
        if sample.foreground is None:
            inside = logits.argmax(-1) > 0
        else:
            inside = foreground_of(sample)
        best = logits[..., 1:][inside].argmax(-1)
        self._counts += np.bincount(best, minlength=len(self._counts))

    @property
    def shares(self) -> tuple[float, ...]:
        """`(parts,)` summing to 1; all 0 if there was no object."""
        return tuple((self._counts / max(self._counts.sum(), 1)).tolist())


def landmark_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the data set's keypoints, numbered where it has no names for them."""
    count = len(dataset[0].keypoints)
    names = tuple(dataset.info.landmarks)
    return names if len(names) == count else tuple(f"keypoint {i + 1}" for i in range(count))
