"""`Protocol`, and the loop over a data set that all protocols share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from keras_parts.data.crops import crop, image_box
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.errors import DataError
from keras_parts.images.labelling import foreground_logits
from keras_parts.metrics.part_model import ImageFunction, PartModel, as_part_model

_IN_WORDS = {"foreground": "masks", "part_labels": "part labels", "box": "boxes"}
"""Field of a sample -> what it is in messages, where that is another word."""
View = Callable[[Sample], Sample]
"""From a sample to what a protocol segments: the sample itself or a crop of it."""


def whole_image(sample: Sample) -> Sample:
    """The view of protocols that segment the whole image."""
    return sample


def box_crop(sample: Sample) -> Sample:
    """The sample cropped to its ground-truth box: no padding, not square, not resized.

    The sides of the box are rounded to pixel borders inside the image. Keypoints outside the crop
    become invisible.

    Raises:
        DataError: the sample has no box, or the box lies outside the image.
    """
    if sample.box is None:
        raise DataError(f"{sample.id}: this protocol crops to the box, but the sample has none")
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
    """The result of a protocol on one data set.

    Attributes:
        values: metric name to per cent (100 x NMI, ARI or a distance in box sizes).
        num_images: number of images that were measured.
        num_observations: number of keypoints or pixels that were counted.
        shares: `(clusters,)` share of the observations in each cluster, summing to 1. In full
            protocols cluster 0 is the background. Empty for landmark regression.
        counts: `(labels, clusters)` int64 contingency table behind the values, or None.
        labels: names of the table's rows.
        best: metric name to the largest value in per cent that K parts can have on these labels,
            see `keras_parts.metrics.best_scores`; empty where there is none.
        notes: sentences about what was left out, for tables.
        reweighted: function for the bootstrap that recomputes the values with a weight for each
            image: `(images,)` int64 in the data set's order to {metric: value in per cent}.

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
    best: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    reweighted: Callable[[np.ndarray], dict[str, float]] | None = field(default=None, repr=False)

    @property
    def foreground_only(self) -> bool:
        """Whether the table's columns are the K parts, without a background."""
        return self.counts is not None and any(name.startswith("FG-") for name in self.values)


class Scorer:
    """Collects what one protocol measures, sample by sample.

    Attributes:
        view: function from a sample to what is segmented. Scorers with the same view share the
            logits.
        train: scorer that receives the train split before `result` is called, or None.
    """

    view: View = staticmethod(whole_image)
    train: Scorer | None = None

    def add(self, sample: Sample, logits: np.ndarray) -> None:
        """Add a sample, already cropped by `view`, with its logits."""
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
        scorer: `(dataset, num_parts)` to a new `Scorer`.
        needs: what it needs to run: fields of `Sample`, "train" for the train split, "background"
            for a model that predicts the background.
        metrics: names of the values.
        datasets: names of the data sets that it runs on by default; empty for all.
        specialises: name of the general protocol that it replaces on these data sets.
        observed: what is counted, "keypoints" or "pixels", for tables.
        only_named: whether it runs only if it is named, such as the protocol of one publication.

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
    only_named: bool = False

    def missing(
        self, model: PartModel | ImageFunction, dataset: Dataset, train: Dataset | None = None
    ) -> str:
        """What the protocol needs but lacks, judged by the first sample; "" if nothing."""
        first = dataset[0]
        for need in self.needs:
            if need == "train":
                lacking = self._missing_of_train(dataset, train)
            elif need == "background":
                predicted = as_part_model(model).has_background
                lacking = "" if predicted else "a model with a background of its own"
            else:
                present = getattr(first, need) is not None
                what = _IN_WORDS.get(need, need)
                lacking = "" if present else f"{what}, which {dataset.info.name} does not have"
            if lacking:
                return lacking
        return ""

    def _missing_of_train(self, dataset, train):
        if train is None:
            return "the train split"
        if common := set(train.ids()).intersection(dataset.ids()):
            return f"a train split without test images: {len(common):,} are in both splits"
        if "foreground" in self.needs and train.masks_from != dataset.masks_from:
            return (
                f"masks of both splits from one source; test split: {dataset.masks_from}; "
                f"train split: {train.masks_from}"
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
            model: the model to measure.
            dataset: the test split.
            num_parts: K.
            train: the train split, for protocols that need it.
            batch_size: maximum number of images in a call of the model.
            progress: show a bar with the remaining time on stderr.

        Raises:
            DataError: the data lacks what the protocol needs, or the model's logits have a wrong
                shape or are not finite.
        """
        if missing := self.missing(model, dataset, train):
            way_out = "; --mask-folder gives others" if missing.startswith("masks, ") else ""
            raise DataError(f"the protocol {self.name} needs {missing}{way_out}")
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
    """Add all samples to all scorers: each sample is read once, each view segmented once.

    Raises:
        DataError: the model does not return finite logits `(height, width, 1 + parts)` for each
            image.
    """
    from tqdm import tqdm

    model = as_part_model(model)
    by_view: dict[View, list[Scorer]] = {}
    for scorer in scorers:
        by_view.setdefault(scorer.view, []).append(scorer)
    with tqdm(total=len(dataset), desc=title, unit="image", disable=not progress) as bar:
        for first in range(0, len(dataset), batch_size):
            last = min(first + batch_size, len(dataset))
            batch = [dataset[index] for index in range(first, last)]
            for view, scorers_of_view in by_view.items():
                crops = [view(sample) for sample in batch]
                predictions = _checked_logits(model, crops, num_parts)
                for sample, logits in zip(crops, predictions, strict=True):
                    for scorer in scorers_of_view:
                        scorer.add(sample, logits)
            bar.update(len(batch))


def _checked_logits(
    model: PartModel, samples: Sequence[Sample], num_parts: int
) -> Iterable[np.ndarray]:
    predictions = model.logits(samples)
    if len(predictions) != len(samples):
        raise DataError(f"the model returned {len(predictions)} maps for {len(samples)} images")
    for sample, logits in zip(samples, predictions, strict=True):
        expected = (*sample.image.shape[:2], 1 + num_parts)
        if np.shape(logits) != expected:
            raise DataError(
                f"{sample.id}: the model's logits are {np.shape(logits)}, expected {expected}: the "
                f"image's height and width, and channels for the background and {num_parts} parts"
            )
        if not np.isfinite(logits).all():
            raise DataError(f"{sample.id}: the model's logits contain NaN or infinity")
        yield np.asarray(logits)


def foreground_of(sample: Sample) -> np.ndarray:
    """`(height, width)` bool mask of the object.

    Raises:
        DataError: the sample has no mask.
    """
    if sample.foreground is None:
        raise DataError(
            f"{sample.id}: there is no mask of the object, which is needed here: name a folder of "
            "masks (--mask-folder), or choose protocols and methods without given masks"
        )
    return sample.foreground


def predicted_foreground(logits: np.ndarray) -> np.ndarray:
    """Where all parts together are more probable than the background, channel 0.

    Args:
        logits: `(..., 1 + parts)`.

    Returns:
        `(...)` bool: the foreground, as in `keras_parts.results.parts.Parts.labels`.
    """
    return foreground_logits(logits) > 0
