"""The NMI and ARI protocols: which pixels are observations, and which cluster each belongs to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.best_parts import best_scores
from keras_parts.metrics.clustering import ari, nmi
from keras_parts.metrics.contingency import ContingencyTable
from keras_parts.metrics.protocols.base import (
    Protocol,
    Result,
    Scorer,
    View,
    foreground_of,
    predicted_foreground,
    whole_image,
)


class Observations(NamedTuple):
    """Pixels of an image that have a true label.

    Attributes:
        labels: `(observations,)` integers.
        logits: `(observations, 1 + parts)`.
        index: selects these pixels of a `(height, width)` array.
    """

    labels: np.ndarray
    logits: np.ndarray
    index: Any


Observe = Callable[[Sample, np.ndarray], Observations]
"""From `(sample, logits (height, width, 1 + parts))` to the sample's observations."""
Assign = Callable[[Sample, Observations], np.ndarray]
"""From `(sample, observations)` to the cluster of each observation, `(observations,)`."""


def at_keypoints(sample: Sample, logits: np.ndarray) -> Observations:
    """The pixels nearest to the visible keypoints inside the image; labels are keypoint ids."""
    if sample.keypoints is None or sample.visible is None:
        raise DataError(f"{sample.id}: this protocol needs keypoints, and the sample has none")
    height, width = logits.shape[:2]
    x, y = np.floor(sample.keypoints.T + 0.5).astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    labels = np.flatnonzero(sample.visible & inside)
    index = (y[labels], x[labels])
    return Observations(labels, logits[index], index)


def at_pixels(sample: Sample, logits: np.ndarray) -> Observations:
    """Every pixel; labels are part labels, 0 the background."""
    labels = _part_labels(sample)
    return _pixels(labels, logits, np.s_[:, :])


def at_part_pixels(sample: Sample, logits: np.ndarray) -> Observations:
    """The pixels of the object's annotated parts: those with a label other than 0."""
    labels = _part_labels(sample)
    return _pixels(labels, logits, np.nonzero(labels))


def _part_labels(sample: Sample) -> np.ndarray:
    if sample.part_labels is None:
        raise DataError(f"{sample.id}: this protocol needs part labels, and the sample has none")
    return sample.part_labels


def _pixels(part_labels, logits, index):
    labels = part_labels[index].reshape(-1)
    return Observations(labels, logits[index].reshape(labels.size, -1), index)


def parts_alone(sample: Sample, observed: Observations) -> np.ndarray:
    """Clusters `0 .. parts - 1`: the most probable part, without regard to the background."""
    return observed.logits[:, 1:].argmax(-1)


def parts_in_given_mask(sample: Sample, observed: Observations) -> np.ndarray:
    """Clusters `0 .. parts`: 0 outside the sample's mask, 1 + the most probable part inside."""
    inside = foreground_of(sample)[observed.index].reshape(-1)
    return np.where(inside, 1 + observed.logits[:, 1:].argmax(-1), 0)


def parts_and_background(sample: Sample, observed: Observations) -> np.ndarray:
    """Clusters `0 .. parts`: 0 where the background is more probable than all parts together, else
    1 + the most probable part, as in `keras_parts.results.parts.Parts.labels`."""
    inside = predicted_foreground(observed.logits)
    return np.where(inside, 1 + observed.logits[:, 1:].argmax(-1), 0)


@dataclass(frozen=True)
class ForegroundSource:
    """Where a protocol takes the foreground from.

    Attributes:
        phrase: how titles and descriptions name the source.
        need: the entry of `Protocol.needs`.
        assign: function that assigns observations to clusters, background included.
        rule: sentences about the rule at a pixel, for descriptions.
    """

    phrase: str
    need: str
    assign: Assign
    rule: str = ""


FOREGROUND_SOURCES: dict[str, ForegroundSource] = {
    "given": ForegroundSource("from given masks", "foreground", parts_in_given_mask),
    "model": ForegroundSource(
        "from the model itself",
        "background",
        parts_and_background,
        "A pixel is foreground where all parts together are more probable than the background. "
        "This is a binary mask, F = [sum of the parts' probabilities > 0.5]. A foreground pixel is "
        "assigned its most probable part, even if the background is more probable than this part, "
        "as in `Parts.labels`.",
    ),
}


def variant_for(variants: Mapping[str, Protocol], masks: str) -> Protocol:
    """The variant of a protocol for a source of the foreground, "given" or "model".

    Raises:
        ConfigError: `masks` is neither.
    """
    if masks not in variants:
        raise ConfigError(f"masks={masks!r}: choose from {', '.join(variants)}")
    return variants[masks]


class ImageTables:
    """The contingency table of each image; call it for the scores of their weighted sum.

    Only cells that are not 0 are stored: a few numbers for each image.

    Args:
        shape: (labels, clusters) of a table.
        scores: function from a table to {metric: value in per cent}.
    """

    def __init__(self, shape: tuple[int, int], scores: Callable[[np.ndarray], dict[str, float]]):
        self._shape, self._scores = shape, scores
        self._cells: list[np.ndarray] = []
        self._counts: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, table: ContingencyTable) -> None:
        """Store the table of the next image."""
        counts = table.counts.ravel()
        cells = np.flatnonzero(counts)
        self._cells.append(cells)
        self._counts.append(counts[cells])

    def counts(self, weights: np.ndarray | None = None) -> np.ndarray:
        """`(labels, clusters)` int64: the sum of all tables, each times its weight (1 for None)."""
        total = np.zeros(self._shape[0] * self._shape[1], np.int64)
        if self._cells:
            counts = np.concatenate(self._counts)
            if weights is not None:
                counts = counts * np.repeat(weights, [len(cells) for cells in self._cells])
            np.add.at(total, np.concatenate(self._cells), counts)
        return total.reshape(self._shape)

    def __call__(self, weights: np.ndarray) -> dict[str, float]:
        """The scores of the tables weighted by `weights`, `(images,)` int64."""
        return self._scores(self.counts(np.asarray(weights, np.int64)))


class PartitionScorer(Scorer):
    """NMI and ARI between the labels and the clusters of observations.

    Args:
        observe: selects the observations of a sample.
        assign: assigns each observation to a cluster.
        labels: names of the labels; ids without a name are counted too, below `max_labels`.
        num_parts: K.
        with_background: whether the background is a cluster too, with id 0.
        background_label: whether label 0 is the background.
        prefix: prefix of the metric names, "FG-" for foreground protocols.
        view: function from a sample to what is segmented.
        max_labels: number of possible label ids; None for the number of names.
        many_to_one: whether each cluster is replaced by the label that it covers most often; the
            metrics are then NMI_m and ARI_m.
    """

    def __init__(
        self,
        observe: Observe,
        assign: Assign,
        labels: tuple[str, ...],
        num_parts: int,
        *,
        with_background: bool = False,
        background_label: bool = False,
        prefix: str = "",
        view: View = whole_image,
        max_labels: int | None = None,
        many_to_one: bool = False,
    ):
        self.view = view
        self._observe, self._assign = observe, assign
        self._labels, self._many_to_one = labels, many_to_one
        self._name = f"{prefix}{{}}{'_m' if many_to_one else ''}"
        self._num_parts, self._background_label = num_parts, background_label
        self._shape = max_labels or len(labels), num_parts + with_background
        self._tables = ImageTables(self._shape, self._scores)

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        observed = self._observe(sample, logits)
        table = ContingencyTable(*self._shape)
        try:
            table.update(observed.labels, self._assign(sample, observed))
        except DataError as error:
            raise DataError(f"{sample.id}: {error}") from error
        self._tables.add(table)

    def result(self) -> Result:
        counts = self._tables.counts()
        total = int(counts.sum())
        if total == 0:
            raise DataError("nothing to compare: no image has a labelled pixel or visible keypoint")
        used = max(len(self._labels), 1 + int(counts.sum(1).nonzero()[0].max()))
        unnamed = (f"label {label}" for label in range(len(self._labels), used))
        return Result(
            values=self._scores(counts),
            num_images=len(self._tables),
            num_observations=total,
            shares=tuple((counts.sum(0) / total).tolist()),
            counts=counts[:used],
            labels=(*self._labels, *unnamed),
            best=self._best(counts.sum(1)),
            reweighted=self._tables,
        )

    def _best(self, label_counts):
        found = best_scores(label_counts, self._num_parts, background=self._background_label)
        return {self._name.format(name): value for name, value in found.items()}

    def _scores(self, counts):
        table = merged_clusters(counts) if self._many_to_one else counts
        return {
            self._name.format("NMI"): 100 * nmi(table),
            self._name.format("ARI"): 100 * ari(table),
        }


def merged_clusters(counts: np.ndarray) -> np.ndarray:
    """The contingency table after each cluster has become the label that it covers most often.

    Args:
        counts: `(labels, clusters)` integers.

    Returns:
        `(labels, labels)` integers.

    Example:
        >>> import numpy as np
        >>> from keras_parts.metrics.protocols.partition import merged_clusters
        >>> merged_clusters(np.array([[5, 4, 0], [1, 0, 3]])).tolist()
        [[9, 0], [1, 3]]
    """
    merged = np.zeros((len(counts), len(counts)), counts.dtype)
    np.add.at(merged.T, counts.argmax(0), counts.T)
    return merged


class ShareScorer(Scorer):
    """The share of the object's pixels at which each part is the most probable one.

    The object is the sample's mask or, without one, the pixels where all parts together are more
    probable than the background.
    """

    def __init__(self, num_parts: int, *, view: View = whole_image):
        self.view = view
        self._counts = np.zeros(num_parts, np.int64)

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        given = sample.foreground is not None
        inside = foreground_of(sample) if given else predicted_foreground(logits)
        parts = logits[..., 1:][inside].argmax(-1)
        self._counts += np.bincount(parts, minlength=len(self._counts))

    @property
    def shares(self) -> tuple[float, ...]:
        """`(parts,)` shares, summing to 1; all 0 if no pixel belongs to an object."""
        return tuple((self._counts / max(self._counts.sum(), 1)).tolist())


def keypoint_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the data set's keypoints; "keypoint 1", ... if it does not name all of them."""
    keypoints = dataset[0].keypoints
    count = 0 if keypoints is None else len(keypoints)
    names = tuple(dataset.info.landmarks)
    return names if len(names) == count else tuple(f"keypoint {i + 1}" for i in range(count))


def part_label_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of the part labels, the background first."""
    return ("background", *dataset.info.part_names)


@dataclass(frozen=True)
class Annotation:
    """A kind of annotation that parts are compared with, and the factory of its protocols.

    Attributes:
        name: prefix of the protocols' names.
        field: field of `Sample` that contains the labels.
        observed: what is counted, for tables.
        on_object: selects the observations on the object.
        everywhere: selects all observations.
        names: function from a data set to the names of its labels.
        max_labels: number of possible label ids; None for the number of names.
    """

    name: str
    field: str
    observed: str
    on_object: Observe
    everywhere: Observe
    names: Callable[[Dataset], tuple[str, ...]]
    max_labels: int | None = None

    def foreground_protocol(
        self, title: str, description: str, *, view: View = whole_image, **fields: Any
    ) -> Protocol:
        """The `Protocol` of the parts alone: FG-NMI and FG-ARI of observations on the object.

        Args:
            title, description: fields of `Protocol`.
            view: function from a sample to what is segmented.
            fields: other fields of `Protocol`.
        """

        def scorer(dataset: Dataset, num_parts: int) -> Scorer:
            return PartitionScorer(
                self.on_object, parts_alone, self.names(dataset), num_parts, prefix="FG-",
                view=view, max_labels=self.max_labels,
            )  # fmt: skip

        return Protocol(
            title=title,
            description=description,
            scorer=scorer,
            metrics=("FG-NMI", "FG-ARI"),
            observed=self.observed,
            **({"name": f"{self.name}-foreground", "needs": (self.field,)} | fields),
        )

    def full_protocols(
        self,
        title: str,
        description: str,
        *,
        prefix: str = "",
        notes: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> dict[str, Protocol]:
        """{source of the foreground: `Protocol`} of parts and background: NMI and ARI everywhere.

        Args:
            title, description: fields of `Protocol`; "{}" stands for the source's phrase.
            prefix: prefix of the protocols' names; "" for the annotation's name.
            notes: last sentence of the description for each source of the foreground.
            fields: other fields of `Protocol`.
        """
        prefix = prefix or self.name
        return {
            masks: Protocol(
                name=f"{prefix}-full-{masks}",
                title=title.format(source.phrase),
                description=_joined(
                    description.format(source.phrase), source.rule, (notes or {}).get(masks)
                ),
                scorer=self._full_scorer(source),
                needs=(self.field, source.need),
                metrics=("NMI", "ARI"),
                observed=self.observed,
                specialises=f"{self.name}-full-{masks}" if prefix != self.name else "",
                **fields,
            )
            for masks, source in FOREGROUND_SOURCES.items()
        }

    def _full_scorer(self, source: ForegroundSource) -> Callable[[Dataset, int], Scorer]:
        def scorer(dataset: Dataset, num_parts: int) -> Scorer:
            names = self.names(dataset)
            return PartitionScorer(
                self.everywhere, source.assign, names, num_parts, with_background=True,
                background_label=self.everywhere is not self.on_object,
                max_labels=self.max_labels,
            )  # fmt: skip

        return scorer


def _joined(*sentences):
    return " ".join(filter(None, sentences))


KEYPOINTS = Annotation(
    name="keypoints",
    field="keypoints",
    observed="keypoints",
    on_object=at_keypoints,
    everywhere=at_keypoints,
    names=keypoint_names,
)
PIXELS = Annotation(
    name="pixels",
    field="part_labels",
    observed="pixels",
    on_object=at_part_pixels,
    everywhere=at_pixels,
    names=part_label_names,
    max_labels=256,  # part labels are uint8
)
