"""What a protocol is, and the one walk over a data set that feeds all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_parts.data.crops import crop, image_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError

Maps = Callable[[list[np.ndarray]], list[np.ndarray]]
"""A part segmenter as protocols see it: RGB images `(height, width, 3)` uint8 to float32 logits
`(height, width, 1 + parts)` at each image's own size, channel 0 the background. How images are
resized on the way is the model's own preprocessing. An attribute `background = False` says that
channel 0 means nothing, as for clusterings of the foreground; `takes_samples = True` that it is
called with `Sample`s instead of images, as baselines are that see the given masks."""

View = Callable[[Sample], Sample]


def whole_image(sample: Sample) -> Sample:
    """The view of protocols that look at the image as it is."""
    return sample


def box_crop(sample: Sample) -> Sample:
    """The sample cut to its ground-truth box at its own resolution: no padding, not square.

    The box's sides move to the nearest borders of pixels and stay inside the image. A keypoint
    outside the crop is no longer visible.

    Raises:
        DataError: the sample has no box, or the box lies outside the image.
    """
    if sample.box is None:
        raise DataError(f"{sample.id}: this protocol crops to the box, and the sample has none")
    whole = image_box(*sample.size)
    box = np.clip(sample.box, np.tile(whole[:2], 2), np.tile(whole[2:], 2))
    if not (box[:2] < box[2:]).all():
        raise DataError(
            f"{sample.id}: box {sample.box.tolist()} lies outside the image, "
            f"{sample.size[1]} x {sample.size[0]} pixels"
        )
    return crop(sample, box)


@dataclass(frozen=True, eq=False)
class Result:
    """What a protocol measured on one data set.

    Attributes:
        values: metric name to per cent (x 100 of NMI, ARI or a distance in box sizes).
        samples: number of images that were seen.
        observations: number of keypoints or pixels that were counted.
        shares: `(clusters,)` share of the observations that each cluster got, summing to 1; with a
            background, cluster 0 is the background. Empty where nothing is clustered.
        counts: `(labels, clusters)` int64 contingency table behind the values, or None.
        labels: names of the table's rows.
        by_image: the values as a function of how often each image counts, in the data set's order,
            for the bootstrap: weights `(samples,)` int64 to {metric: per cent}.
    """

    values: dict[str, float]
    samples: int
    observations: int
    shares: tuple[float, ...] = ()
    counts: np.ndarray | None = field(default=None, repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)
    by_image: Callable[[np.ndarray], dict[str, float]] | None = field(default=None, repr=False)

    @property
    def of_parts_alone(self) -> bool:
        """Whether the columns of the table are the K parts, with no background before them."""
        return self.counts is not None and any(name.startswith("FG-") for name in self.values)


class Scorer:
    """Collects what one protocol needs, sample by sample.

    Attributes:
        view: function that gives the part of a sample that the protocol looks at. Scorers with the
            same view share its logits.
        train: a scorer that must see the train split before `result` is asked for, or None.
    """

    view: View = staticmethod(whole_image)
    train: Scorer | None = None

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        """Take a sample, already in this scorer's view, and its logits."""
        raise NotImplementedError

    def result(self) -> Result:
        """The values over everything added so far."""
        raise NotImplementedError


@dataclass(frozen=True)
class Protocol:
    """A named benchmark protocol; call it to run it on its own.

    Attributes:
        name: key in the registry.
        title: one line for tables: where it looks and what it counts.
        description: what is computed, exactly, and where it stems from.
        scorer: `(dataset, parts) -> Scorer`.
        needs: what the data must have: fields of `Sample`, "train" for the train split, and
            "background" for a model with a background of its own.
        metrics: names of the values.
        datasets: names of the data sets that it runs on unasked; empty for all.
        specialises: the general protocol that it takes the place of on those.
        observed: what is counted, for tables.
    """

    name: str
    title: str
    description: str
    scorer: Callable[[Dataset, int], Scorer] = field(repr=False)
    needs: tuple[str, ...]
    metrics: tuple[str, ...]
    datasets: tuple[str, ...] = ()
    specialises: str = ""
    observed: str = "keypoints"

    def missing(self, maps: Maps, dataset: Dataset, train: Dataset | None = None) -> str:
        """What the protocol lacks to run, by the first sample of the data; "" if nothing."""
        first = dataset[0]
        for need in self.needs:
            if need == "train":
                if train is None:
                    return "the train split"
                if common := set(train.ids()).intersection(dataset.ids()):
                    return f"other images to fit on: {len(common):,} are in both splits"
                if "foreground" in self.needs and train.masks_from != dataset.masks_from:
                    return (
                        f"masks of both splits from one source; to test on: {dataset.masks_from}; "
                        f"to fit on: {train.masks_from}"
                    )
            elif need == "background":
                if not getattr(maps, "background", True):
                    return "a model with a background of its own"
            elif getattr(first, need) is None:
                return f"{need}, which {dataset.info.name} does not have"
        return ""

    def __call__(
        self,
        maps: Maps,
        dataset: Dataset,
        parts: int,
        train: Dataset | None = None,
        batch_size: int = 16,
        progress: bool = False,
    ) -> Result:
        """Run this protocol alone.

        Args:
            maps: the model, see `Maps`.
            dataset: the test split.
            parts: K.
            train: the train split, for protocols that need it.
            batch_size: how many images `maps` gets at once.
            progress: show a bar on stderr.

        Raises:
            DataError: the data lacks what the protocol needs, or `maps` returns something else
                than logits.
        """
        if missing := self.missing(maps, dataset, train):
            raise DataError(f"{self.name} needs {missing}")
        scorer = self.scorer(dataset, parts)
        if scorer.train is not None:
            score(maps, train, [scorer.train], parts, batch_size, progress, "train")
        score(maps, dataset, [scorer], parts, batch_size, progress, "test")
        return scorer.result()


def score(
    maps: Maps,
    dataset: Dataset,
    scorers: Sequence[Scorer],
    parts: int,
    batch_size: int = 16,
    progress: bool = False,
    title: str = "",
) -> None:
    """Walk once over a data set and feed all scorers: every sample is read once, and every
    distinct view of it segmented once.

    Raises:
        DataError: `maps` does not return finite logits `(height, width, 1 + parts)` for each image.
    """
    from tqdm import tqdm

    views: dict[View, list[Scorer]] = {}
    for scorer in scorers:
        views.setdefault(scorer.view, []).append(scorer)
    with tqdm(total=len(dataset), desc=title, unit="image", disable=not progress) as bar:
        for start in range(0, len(dataset), batch_size):
            stop = min(start + batch_size, len(dataset))
            batch = [dataset[index] for index in range(start, stop)]
            for view, viewers in views.items():
                seen = [view(sample) for sample in batch]
                for sample, logits in zip(seen, _segment(maps, seen, parts), strict=True):
                    for scorer in viewers:
                        scorer.add(sample, logits)
            bar.update(len(batch))


def _segment(maps: Maps, samples: Sequence[Sample], parts: int) -> Iterable[np.ndarray]:
    takes_samples = getattr(maps, "takes_samples", False)
    answers = maps(list(samples) if takes_samples else [sample.image for sample in samples])
    if len(answers) != len(samples):
        raise DataError(f"the model answered {len(answers)} maps for {len(samples)} images")
    for sample, logits in zip(samples, answers, strict=True):
        expected = (*sample.image.shape[:2], 1 + parts)
        if np.shape(logits) != expected:
            raise DataError(
                f"{sample.id}: the model's logits are {np.shape(logits)}, expected {expected}: "
                f"the image's height and width, and a background besides {parts} parts"
            )
        if not np.isfinite(logits).all():
            raise DataError(f"{sample.id}: the model's logits are not all finite")
        yield np.asarray(logits)


def foreground_of(sample: Sample) -> np.ndarray:
    """`(height, width)` bool mask of the object.

    Raises:
        DataError: the sample has none.
    """
    if sample.foreground is None:
        raise DataError(
            f"{sample.id}: no foreground mask; give one or use the model's own background"
        )
    return sample.foreground
