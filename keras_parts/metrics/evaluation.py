"""`evaluate`: run all protocols that a data set allows, in one pass over it."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError, DataError, suggestion
from keras_parts.metrics.baselines import Baseline, NamedFeatures, baseline_named
from keras_parts.metrics.part_model import ImageFunction, PartModel
from keras_parts.metrics.protocols import PROTOCOLS, Protocol
from keras_parts.metrics.protocols.base import score
from keras_parts.metrics.protocols.partition import ShareScorer
from keras_parts.metrics.report import Report, Runs


@dataclass(frozen=True)
class Evaluation:
    """The data and protocols with which models and baselines are measured.

    Attributes:
        dataset: the split to measure on.
        train: the train split, for protocols and baselines that are fitted on it.
        protocols: names from `PROTOCOLS`; None or empty for all that the data set's fields allow.
        split: name of the split that `dataset` is, for tables, which show published numbers for
            "test" only; "" if unknown.
        subset: the reader options that selected a subset of the split, such as "classes=[1]", for
            tables; "" for the whole split.
        batch_size: maximum number of images in a call of the model.
        progress: show a bar with the remaining time on stderr.

    Raises:
        ConfigError: `batch_size` is below 1.

    Example:
        >>> from keras_parts import data, metrics
        >>> from keras_parts.metrics import Evaluation
        >>> train = data.load("toy", "train", count=4)
        >>> evaluation = Evaluation(data.load("toy", "test", count=4), train=train)
        >>> (runs,) = evaluation.baselines(["kmeans-colour"], 2)
        >>> runs.method, runs.num_images
        ('k-means on Lab colour', 4)
    """

    dataset: Dataset
    train: Dataset | None = None
    protocols: Sequence[str] | None = None
    split: str = ""
    subset: str = ""
    batch_size: int = 16
    progress: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {self.batch_size}")

    def model(
        self,
        model: PartModel | ImageFunction,
        num_parts: int,
        *,
        method: str = "this model",
        supervision: str = "",
    ) -> Report:
        """Measure a model: each image is read once, each crop of it is segmented once.

        Args:
            model: a `PartModel`, or a function from images to logits `(height, width, 1 + parts)`.
            num_parts: K.
            method: the model's name in tables.
            supervision: what the model was trained with, for tables, such as "masks".

        Raises:
            ConfigError: a protocol has an unknown name, or `num_parts` is below 1.
            DataError: the data set is empty, allows no protocol, or lacks what a named protocol
                needs; or the model's logits have a wrong shape or are not finite.
        """
        if num_parts < 1:
            raise ConfigError(f"num_parts must be at least 1, got {num_parts}")
        name = self.dataset.info.name
        if len(self.dataset) == 0:
            raise DataError(f"{name} has no images in this split: choose another split or subset")
        chosen, skipped = self._choose(model)
        scorers = {protocol.name: protocol.scorer(self.dataset, num_parts) for protocol in chosen}
        shares = ShareScorer(num_parts, view=next(iter(scorers.values())).view)
        run = functools.partial(
            score, model, num_parts=num_parts, batch_size=self.batch_size, progress=self.progress
        )
        fitted = [scorer.train for scorer in scorers.values() if scorer.train is not None]
        if fitted and self.train is not None:
            run(self.train, fitted, title="train")
        run(self.dataset, [*scorers.values(), shares], title="test")
        return Report(
            dataset=name,
            num_parts=num_parts,
            num_images=len(self.dataset),
            results={name: scorer.result() for name, scorer in scorers.items()},
            shares=shares.shares,
            skipped=skipped,
            method=method,
            masks=self.dataset.masks_from,
            split=self.split,
            subset=self.subset,
            supervision=supervision,
            notes=self.dataset.notes,
        )

    def baselines(
        self,
        names: Sequence[str],
        num_parts: int,
        *,
        seeds: Sequence[int] = (0,),
        features: Callable[[], NamedFeatures] | None = None,
    ) -> Iterator[Runs]:
        """Fit baselines on the train split and measure them.

        A baseline that can run none of the named protocols is left out.

        Args:
            names: names from `BASELINES`.
            num_parts: K.
            seeds: each baseline is fitted and measured once for each seed.
            features: returns the features for baselines that cluster features; only called for
                those.

        Yields:
            The runs of each baseline.

        Raises:
            ConfigError: a baseline has an unknown name or lacks its features, or there is no train
                split.
        """
        if self.train is None:
            raise ConfigError("baselines are fitted on the train split: give `train`")
        for name in names:
            baseline = baseline_named(name)
            named = features() if features and baseline.needs_features else None
            extract = named.extract if named else None
            reports = []
            for seed in seeds:
                model = baseline(self.train, num_parts, seed, extract)
                report = self._measure_baseline(model, num_parts, baseline, named)
                reports += [report] if report else []
            if reports:
                yield Runs(tuple(reports))

    def _measure_baseline(
        self,
        model: PartModel,
        num_parts: int,
        baseline: Baseline,
        features: NamedFeatures | None,
    ) -> Report | None:
        """The report of the protocols that a baseline can run; None if it can run none."""
        protocols = None
        if self.protocols:
            protocols = [
                name
                for name in self.protocols
                if not _protocol_named(name).missing(model, self.dataset, self.train)
            ]
            if not protocols:
                return None
        title = baseline.title.format(features=features.name if features else "features")
        return replace(self, protocols=protocols).model(
            model, num_parts, method=title, supervision=baseline.supervision
        )

    def _choose(self, model: PartModel | ImageFunction) -> tuple[list[Protocol], dict[str, str]]:
        """(protocols to run, {name of a skipped protocol: what it lacks})."""
        named = [_protocol_named(name) for name in self.protocols or ()]
        candidates = named or _default_protocols(self.dataset)
        lacking = {
            protocol: protocol.missing(model, self.dataset, self.train) for protocol in candidates
        }
        chosen = [protocol for protocol, missing in lacking.items() if not missing]
        skipped = {protocol.name: missing for protocol, missing in lacking.items() if missing}
        reasons = [f"{name} needs {missing}" for name, missing in skipped.items()]
        if named and skipped:
            raise DataError("; ".join(reasons))
        if not chosen:
            raise DataError(f"{self.dataset.info.name} allows no protocol: {'; '.join(reasons)}")
        return chosen, skipped


def evaluate(
    model: PartModel | ImageFunction,
    dataset: Dataset,
    num_parts: int,
    protocols: Sequence[str] | None = None,
    *,
    train: Dataset | None = None,
    batch_size: int = 16,
    progress: bool = True,
    method: str = "this model",
    split: str = "",
    subset: str = "",
    supervision: str = "",
) -> Report:
    """Measure a model on a data set: each image is read once, each crop of it is segmented once.

    Args:
        model: a `PartModel` such as `SegmenterModel`, or a function of images
            `(height, width, 3)` uint8 to logits `(height, width, 1 + parts)`, such as
            `PartSegmenter.maps`.
        dataset: the split to measure on.
        num_parts: K.
        protocols: names from `PROTOCOLS`; None or empty for all that the data set's fields allow.
        train: the train split, for protocols that are fitted on it.
        batch_size: maximum number of images in a call of the model.
        progress: show a bar with the remaining time on stderr.
        method, supervision: see `Evaluation.model`.
        split, subset: see `Evaluation`.

    Raises:
        ConfigError: a protocol has an unknown name, or `num_parts` or `batch_size` is below 1.
        DataError: the data set is empty, allows no protocol, or lacks what a named protocol needs;
            or the model's logits have a wrong shape or are not finite.

    Example:
        >>> from keras_parts import data, metrics
        >>> from keras_parts.metrics import evaluate
        >>> animals = data.load("toy", "test", count=4)
        >>> model = metrics.colour_baseline(animals, 2)
        >>> report = evaluate(model, animals, 2, ["pixels-full-given"], progress=False)
        >>> sorted(report.values["pixels-full-given"])
        ['ARI', 'NMI']
    """
    evaluation = Evaluation(
        dataset,
        train=train,
        protocols=protocols,
        split=split,
        subset=subset,
        batch_size=batch_size,
        progress=progress,
    )
    return evaluation.model(model, num_parts, method=method, supervision=supervision)


def needs_train_split(dataset: Dataset, protocols: Sequence[str] | None = None) -> bool:
    """Whether any of the protocols is fitted on the train split.

    Args:
        dataset: the split to measure on.
        protocols: names from `PROTOCOLS`; None or empty for the default ones of the data set.

    Raises:
        ConfigError: a protocol has an unknown name.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.metrics import needs_train_split
        >>> needs_train_split(data.load("toy", "test", count=2), ["cub-landmarks-given"])
        True
    """
    if protocols:
        chosen = [_protocol_named(name) for name in protocols]
    else:
        chosen = _default_protocols(dataset)
    return any("train" in protocol.needs for protocol in chosen)


def _default_protocols(dataset: Dataset) -> list[Protocol]:
    """The protocols for a data set, its fields aside; special ones replace general ones."""
    name = dataset.info.name
    chosen = [
        protocol
        for protocol in PROTOCOLS.values()
        if not protocol.only_named and (not protocol.datasets or name in protocol.datasets)
    ]
    replaced = {protocol.specialises for protocol in chosen}
    return [protocol for protocol in chosen if protocol.name not in replaced]


def _protocol_named(name: str) -> Protocol:
    if name not in PROTOCOLS:
        raise ConfigError(
            f"no protocol is called {name!r}: choose from {', '.join(PROTOCOLS)}"
            f"{suggestion(name, PROTOCOLS)}"
        )
    return PROTOCOLS[name]
