"""What a protocol is, and the loop over a data set that all protocols share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_parts.data.crops import crop, image_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.metrics.part_model import ImageFunction, PartModel, as_part_model

View = Callable[[Sample], Sample]
"""What of a sample is segmented: all of it, or a crop."""


def whole_image(sample: Sample) -> Sample:
    """The view of protocols that segment the whole image."""
    return sample


def box_crop(sample: Sample) -> Sample:
    """The sample cropped to its ground-truth box at its own resolution: no padding, not square.

    The box's sides move to the nearest pixel borders inside the image. A keypoint outside the crop
    is no longer visible.

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
        values: metric name to per cent (100 x NMI, ARI or a distance in box sizes).
        num_images: number of images that were measured.
        num_observations: number of keypoints or pixels that were counted.
        shares: `(clusters,)` share of the observations in each cluster, summing to 1; with a
            background, cluster 0 is the background. Empty where nothing is clustered.
        counts: `(labels, clusters)` int64 contingency table behind the values, or None.
        labels: names of the table's rows.
        reweighted: the values for another weight of each image, for the bootstrap: a function of
            `(images,)` int64 weights, in the data set's order, to {metric: per cent}.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=4)
        >>> model = metrics.colour_baseline(animals, 2)
        >>> result = metrics.PROTOCOLS["pixels-foreground"](model, animals, 2)
        >>> sorted(result.values), result.num_images, result.foreground_only
        (['FG-ARI', 'FG-NMI'], 4, True)
    """

    values: dict[str, float]
    num_images: int
    num_observations: int
    shares: tuple[float, ...] = ()
    counts: np.ndarray | None = field(default=None, repr=False)
    labels: tuple[str, ...] = field(default=(), repr=False)
    reweighted: Callable[[np.ndarray], dict[str, float]] | None = field(default=None, repr=False)

    @property
    def foreground_only(self) -> bool:
        """Whether the table's columns are the K parts, without a background."""
        return self.counts is not None and any(name.startswith("FG-") for name in self.values)


class Scorer:
    """Collects what one protocol needs, sample by sample.

    Attributes:
        view: function that crops a sample to what is segmented. Scorers with the same view
            share its logits.
        train: a scorer that is given the train split before `result` is called, or None.
    """

    view: View = staticmethod(whole_image)
    train: Scorer | None = None

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        """Count a sample, already cropped to this scorer's view, with its logits."""
        raise NotImplementedError

    def result(self) -> Result:
        """The values over all samples added so far."""
        raise NotImplementedError


@dataclass(frozen=True)
class Protocol:
    """A named benchmark protocol; call it to run it on its own.

    Attributes:
        name: key in `PROTOCOLS`.
        title: one line for tables: what is segmented and what is counted.
        description: what exactly is computed, and its source.
        scorer: `(dataset, num_parts) -> Scorer`.
        needs: what the data must have: fields of `Sample`, "train" for the train split, and
            "background" for a model with a background of its own.
        metrics: names of the values.
        datasets: names of the data sets that it runs on by default; empty for all.
        specialises: name of the general protocol that it replaces on these data sets.
        observed: what is counted, for tables.

    Example:
        >>> from keras_parts import data, metrics
        >>> animals = data.load("toy", "test", count=4)
        >>> model = metrics.colour_baseline(animals, 2)
        >>> protocol = metrics.PROTOCOLS["keypoints-full-given"]
        >>> protocol.needs, sorted(protocol(model, animals, 2).values)
        (('keypoints', 'foreground'), ['ARI', 'NMI'])
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

    def missing(
        self, model: PartModel | ImageFunction, dataset: Dataset, train: Dataset | None = None
    ) -> str:
        """What the protocol lacks to run, judged by the first sample; "" if nothing."""
        first = dataset[0]
        for need in self.needs:
            if need == "train":
                lacking = self._missing_of_train(dataset, train)
            elif need == "background":
                own = as_part_model(model).has_background
                lacking = "" if own else "a model with a background of its own"
            else:
                has = getattr(first, need) is not None
                lacking = "" if has else f"{need}, which {dataset.info.name} does not have"
            if lacking:
                return lacking
        return ""

    def _missing_of_train(self, dataset, train):
        if train is None:
            return "the train split"
        if common := set(train.ids()).intersection(dataset.ids()):
            return f"other images to fit on: {len(common):,} are in both splits"
        if "foreground" in self.needs and train.masks_from != dataset.masks_from:
            return (
                f"masks of both splits from one source; to test on: {dataset.masks_from}; "
                f"to fit on: {train.masks_from}"
            )
        return ""

    def __call__(
        self,
        model: PartModel | ImageFunction,
        dataset: Dataset,
        num_parts: int,
        *,
        train: Dataset | None = None,
        batch_size: int = 16,
        progress: bool = False,
    ) -> Result:
        """Run this protocol alone.

        Args:
            model: what is measured.
            dataset: the test split.
            num_parts: K.
            train: the train split, for protocols that need it.
            batch_size: maximum number of images that the model is given at once.
            progress: show a bar on stderr.

        Raises:
            DataError: the data lacks what the protocol needs, or the model returns anything but
                logits.
        """
        if missing := self.missing(model, dataset, train):
            raise DataError(f"{self.name} needs {missing}")
        scorer = self.scorer(dataset, num_parts)
        run = functools.partial(score, model, batch_size=batch_size, progress=progress)
        if scorer.train is not None and train is not None:
            run(train, [scorer.train], num_parts, title="train")
        run(dataset, [scorer], num_parts, title="test")
        return scorer.result()


def score(
    model: PartModel | ImageFunction,
    dataset: Dataset,
    scorers: Sequence[Scorer],
    num_parts: int,
    *,
    batch_size: int = 16,
    progress: bool = False,
    title: str = "",
) -> None:
    """Give all samples to all scorers: each sample is read once, each view segmented once.

    Raises:
        DataError: the model does not return finite logits `(height, width, 1 + parts)` for each
            image.
    """
    from tqdm import tqdm

    model = as_part_model(model)
    scorers_of: dict[View, list[Scorer]] = {}
    for scorer in scorers:
        scorers_of.setdefault(scorer.view, []).append(scorer)
    with tqdm(total=len(dataset), desc=title, unit="image", disable=not progress) as bar:
        for first in range(0, len(dataset), batch_size):
            last = min(first + batch_size, len(dataset))
            batch = [dataset[index] for index in range(first, last)]
            for view, viewers in scorers_of.items():
                viewed = [view(sample) for sample in batch]
                logits_of = _checked_logits(model, viewed, num_parts)
                for sample, logits in zip(viewed, logits_of, strict=True):
                    for scorer in viewers:
                        scorer.add(sample, logits)
            bar.update(len(batch))


def _checked_logits(
    model: PartModel, samples: Sequence[Sample], num_parts: int
) -> Iterable[np.ndarray]:
    found = model.logits(samples)
    if len(found) != len(samples):
        raise DataError(f"the model returned {len(found)} maps for {len(samples)} images")
    for sample, logits in zip(samples, found, strict=True):
        expected = (*sample.image.shape[:2], 1 + num_parts)
        if np.shape(logits) != expected:
            raise DataError(
                f"{sample.id}: the model's logits are {np.shape(logits)}, expected {expected}: "
                f"the image's height and width, and a background besides {num_parts} parts"
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
