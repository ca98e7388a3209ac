"""The NMI and ARI protocols: which observations count, and which cluster each gets."""

from collections.abc import Callable
from dataclasses import dataclass
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
    part, as in `keras_parts.results.parts.Parts.labels`."""
    return np.where(_on_object(seen.logits), 1 + seen.logits[:, 1:].argmax(-1), 0)


def _on_object(logits):
    """Where all parts together outweigh the background, channel 0 of the last axis."""
    return np.logaddexp.reduce(logits[..., 1:], axis=-1) > logits[..., 0]


MASKS = {"given": parts_in_given_mask, "model": parts_and_background}
NEEDS = {"given": "foreground", "model": "background"}
FROM = {"given": "from given masks", "model": "from the model itself"}
RULES = {
    "given": "",
    "model": (
        "A pixel is object where all parts together outweigh the background: the mask is binary, "
        "F = [sum of the parts' probabilities > 0.5]. There it gets the best part, even one less "
        "probable than the background, as in `Parts.labels`."
    ),
}
"""What the choice of masks means at a pixel, for descriptions."""


def choose(variants: dict[str, Protocol], masks: str) -> Protocol:
    """The variant of a protocol for a choice of masks.

    Raises:
        ConfigError: there is no such variant.
    """
    if masks not in variants:
        raise ConfigError(f"masks={masks!r}: choose from {', '.join(variants)}")
    return variants[masks]


class TableByImage:
    """The contingency tables of images, of which any weighted sum can be scored.

    Only cells that are not 0 are kept: a few numbers an image.

    Args:
        size: (labels, clusters) of a table.
        scores: a table to {metric: per cent}.
    """

    def __init__(self, size: tuple[int, int], scores: Callable[[np.ndarray], dict[str, float]]):
        self._size, self._scores = size, scores
        self._cells, self._counts = [], []

    def __len__(self):
        return len(self._cells)

    def add(self, table: ContingencyTable) -> None:
        """Take the table of the next image."""
        counts = table.counts.ravel()
        cells = np.flatnonzero(counts)
        self._cells.append(cells)
        self._counts.append(counts[cells])

    def counts(self, weights: np.ndarray | None = None) -> np.ndarray:
        """`(labels, clusters)` int64: the sum of the tables, each as often as `weights` says."""
        total = np.zeros(self._size[0] * self._size[1], np.int64)
        if self._cells:
            counts = np.concatenate(self._counts)
            if weights is not None:
                counts = counts * np.repeat(weights, [len(cells) for cells in self._cells])
            np.add.at(total, np.concatenate(self._cells), counts)
        return total.reshape(self._size)

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """The scores if each image counted as often as `weights` `(images,)` int64 says."""
        return self._scores(self.counts(np.asarray(weights, np.int64)))


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
        self._size = capacity or len(labels), clusters
        self._by_image = TableByImage(self._size, self._scores)

    def add(self, sample, logits):
        seen = self._observe(sample, logits)
        table = ContingencyTable(*self._size)
        try:
            table.update(seen.labels, self._assign(sample, seen))
        except DataError as error:
            raise DataError(f"{sample.id}: {error}") from error
        self._by_image.add(table)

    def result(self):
        counts = self._by_image.counts()
        observations = int(counts.sum())
        if observations == 0:
            raise DataError("nothing to compare: no labelled place lies inside the images")
        used = max(len(self._labels), 1 + int(counts.sum(1).nonzero()[0].max()))
        names = [*self._labels, *(f"label {label}" for label in range(len(self._labels), used))]
        return Result(
            values=self._scores(counts),
            samples=len(self._by_image),
            observations=observations,
            shares=tuple((counts.sum(0) / observations).tolist()),
            counts=counts[:used],
            labels=tuple(names),
            by_image=self._by_image,
        )

    def _scores(self, counts):
        return {
            f"{self._prefix}NMI": 100 * nmi(counts),
            f"{self._prefix}ARI": 100 * ari(counts),
        }


class ShareScorer(Scorer):
    """The share of each part of the object's pixels, by the best part at each.

    The object is the sample's mask; without one, where all parts together outweigh the background.
    """

    def __init__(self, parts: int, view: View = whole_image):
        self.view = view
        self._counts = np.zeros(parts, np.int64)

    def add(self, sample, logits):
        if sample.foreground is None:
            inside = _on_object(logits)
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


def pixel_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the part labels, the background first."""
    return ("background", *dataset.info.part_names)


@dataclass(frozen=True)
class Places:
    """The places of an image that protocols compare, and the labels there.

    Attributes:
        name: protocols' names begin with it.
        needs: field of `Sample` that holds the labels.
        observed: what the places are called.
        on_object, everywhere: `(sample, logits) -> Observations` at places of the object alone,
            and at all.
        names: data set to names of the labels.
        capacity: number of label ids that can occur; None for those that have names.
    """

    name: str
    needs: str
    observed: str
    on_object: Callable
    everywhere: Callable
    names: Callable[[Dataset], tuple[str, ...]]
    capacity: int | None = None

    def foreground(self, title: str, description: str, view: View = whole_image, **about):
        """The `Protocol` of parts alone: FG-NMI and FG-ARI at places of the object."""

        def scorer(dataset, parts):
            names = self.names(dataset)
            return PartitionScorer(
                self.on_object, parts_alone, names, parts, "FG-", view, self.capacity
            )

        return Protocol(
            title=title,
            description=description,
            scorer=scorer,
            metrics=("FG-NMI", "FG-ARI"),
            observed=self.observed,
            **({"name": f"{self.name}-foreground", "needs": (self.needs,)} | about),
        )

    def full(self, title: str, description: str, prefix: str = "", notes=None, **about):
        """{masks: `Protocol`} of parts and background: NMI and ARI at all places.

        `title` and `description` are filled with where the background is taken from, and the
        rule of the choice is added; `prefix` takes the place of the name's beginning; `notes` end
        descriptions, by masks.
        """
        return {
            masks: self._full(masks, title, description, prefix or self.name, notes or {}, about)
            for masks in MASKS
        }

    def _full(self, masks, title, description, prefix, notes, about):
        def scorer(dataset, parts):
            return PartitionScorer(
                self.everywhere, MASKS[masks], self.names(dataset), 1 + parts,
                capacity=self.capacity,
            )  # fmt: skip

        specialises = f"{self.name}-full-{masks}" if prefix != self.name else ""
        sentences = (description.format(FROM[masks]), RULES[masks], notes.get(masks))
        return Protocol(
            name=f"{prefix}-full-{masks}",
            title=title.format(FROM[masks]),
            description=" ".join(filter(None, sentences)),
            scorer=scorer,
            needs=(self.needs, NEEDS[masks]),
            metrics=("NMI", "ARI"),
            observed=self.observed,
            specialises=specialises,
            **about,
        )


KEYPOINTS = Places(
    "keypoints", "keypoints", "keypoints", at_keypoints, at_keypoints, landmark_names
)
PIXELS = Places(
    "pixels", "part_labels", "pixels", at_part_pixels, at_pixels, pixel_names, capacity=256
)
"""Part labels are uint8."""
