"""`evaluate`: every protocol that a data set allows, in one walk over it."""

from collections.abc import Sequence

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols import PROTOCOLS, Maps, Protocol
from keras_parts.metrics.protocols.base import score
from keras_parts.metrics.protocols.partition import ShareScorer
from keras_parts.metrics.report import Report


def evaluate(
    maps: Maps,
    dataset: Dataset,
    parts: int,
    protocols: Sequence[str] | None = None,
    train: Dataset | None = None,
    progress: bool = True,
    batch_size: int = 16,
    method: str = "this model",
    split: str = "",
    subset: str = "",
    supervision: str = "",
) -> Report:
    """Run protocols on a data set; each image is read once, each of its crops segmented once.

    Args:
        maps: the model: images `(height, width, 3)` uint8 to logits `(height, width, 1 + parts)`,
            see `keras_parts.metrics.Maps`; `PartSegmenter.maps` is one.
        dataset: the split to measure on.
        parts: K.
        protocols: names out of `PROTOCOLS`; None for all that the data set's fields allow.
        train: the train split, for the protocols that fit landmarks on it.
        progress: show a bar with the remaining time on stderr.
        batch_size: how many images `maps` gets at once.
        method: the model's name in tables.
        split: what `dataset` is of its whole, for tables: published numbers stand beside "test"
            alone. "" if it is not known.
        subset: what was taken of the split, such as "classes=[1]", for tables; "" for all of it.
        supervision: what the model was trained with, for tables, such as "masks".

    Raises:
        ConfigError: a protocol has an unknown name, or `parts` or `batch_size` is below 1.
        DataError: the data set is empty, lacks what a named protocol needs, or allows none; or
            `maps` returns something else than logits.
    """
    if parts < 1 or batch_size < 1:
        raise ConfigError(f"parts and batch_size must be at least 1, got {parts}, {batch_size}")
    if len(dataset) == 0:
        raise DataError(f"{dataset.info.name} has no images in this split: nothing to evaluate")
    if protocols is None:
        chosen, skipped = _runnable(maps, dataset, train)
    else:
        chosen, skipped = [_named(name, maps, dataset, train) for name in protocols], {}
    if not chosen:
        reasons = "; ".join(f"{name} needs {missing}" for name, missing in skipped.items())
        raise DataError(f"{dataset.info.name} allows no protocol: {reasons}")
    scorers = {protocol.name: protocol.scorer(dataset, parts) for protocol in chosen}
    fitted = [scorer.train for scorer in scorers.values() if scorer.train is not None]
    if fitted:
        score(maps, train, fitted, parts, batch_size, progress, "train")
    # Shares need no view of their own.
    shares = ShareScorer(parts, next(iter(scorers.values())).view)
    score(maps, dataset, [*scorers.values(), shares], parts, batch_size, progress, "test")
    return Report(
        dataset=dataset.info.name,
        parts=parts,
        samples=len(dataset),
        results={name: scorer.result() for name, scorer in scorers.items()},
        shares=shares.shares,
        skipped=skipped,
        method=method,
        masks=dataset.masks_from,
        split=split,
        subset=subset,
        supervision=supervision,
        notes=dataset.notes,
    )


def fitted_on_train(dataset: Dataset, protocols: Sequence[str] | None = None) -> bool:
    """Whether any of the protocols, or of those meant for a data set, fits on the train split."""
    if protocols is None:
        chosen = _meant(dataset)
    else:
        chosen = [PROTOCOLS[name] for name in protocols if name in PROTOCOLS]
    return any("train" in protocol.needs for protocol in chosen)


def _meant(dataset):
    """Protocols that run unasked on the data set, if its fields allow."""
    name = dataset.info.name
    meant = [
        protocol
        for protocol in PROTOCOLS.values()
        if not protocol.datasets or name in protocol.datasets
    ]
    replaced = {protocol.specialises for protocol in meant}
    return [protocol for protocol in meant if protocol.name not in replaced]


def _runnable(maps, dataset, train):
    """Protocols meant for the data set that can run, and what the others lack."""
    lacks = {protocol: protocol.missing(maps, dataset, train) for protocol in _meant(dataset)}
    chosen = [protocol for protocol, missing in lacks.items() if not missing]
    return chosen, {protocol.name: missing for protocol, missing in lacks.items() if missing}


def _named(name, maps, dataset, train) -> Protocol:
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol is called {name!r}: choose from {', '.join(PROTOCOLS)}")
    if missing := PROTOCOLS[name].missing(maps, dataset, train):
        raise DataError(f"{name} needs {missing}")
    return PROTOCOLS[name]
