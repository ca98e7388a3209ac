"""Models by name, folder or address: what `keras_parts.zoo` offers."""

import builtins
import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    GOLDEN_FILE,
    MAX_CARD,
    WEIGHTS_FILE,
    Card,
    check_files,
    decode,
    read_card,
    read_limited,
)
from keras_parts.zoo.errors import NotTrusted, UnknownModel

_IN_RUN = "segmenter"
"""Where a training run keeps its segmenter."""


def list(
    dataset: str | None = None, parts: int | None = None, refresh: bool = False
) -> builtins.list[Card]:
    """The cards of all models, by name and version.

    Args:
        dataset: only those trained on this data set. parts: only those with so many parts.
        refresh: ask the addresses of KERAS_PARTS_ZOO what they hold; otherwise, at once, what they
            said the last time.

    Raises:
        IntegrityError: a card is damaged.
    """
    from keras_parts.zoo.registry import entries

    cards = [entry.card for entry in entries(ask=refresh)]
    return [
        card
        for card in cards
        if dataset in (None, card.training.dataset) and parts in (None, card.parts)
    ]


def info(model: str | PathLike, trust: bool = False) -> Card:
    """The card of one model; of the model nothing is downloaded.

    Args:
        model, trust: see `load`.

    Raises:
        UnknownModel: there is none of this name; the message suggests one.
        NotTrusted: see `load`.
        IntegrityError: its card is damaged.
    """
    card = _locate(model, trust).card
    if card is None:
        raise UnknownModel(f"{os.fspath(model)} has no card: `zoo pack` makes one of a run")
    return card


def path(model: str | PathLike, trust: bool = False, progress: bool = True) -> Path:
    """The folder of a model's files, downloaded if need be, each compared with its card.

    Args:
        model, trust, progress: see `load`.

    Raises:
        As `load`.
    """
    from keras_parts.zoo import store

    found = _locate(model, trust)
    if found.folder is None:
        return store.fetch(found.card, found.places, progress)
    if found.card is not None:
        check_files(found.folder, found.card)
    return found.folder


def load(model: str | PathLike, trust: bool = False, progress: bool = True):
    """A `PartSegmenter` that is ready to segment.

    Args:
        model: NAME or NAME@VERSION out of `list()`; the folder of a training run, of an entry, or
            of what `PartSegmenter.save_preset` wrote; or the address of an entry, http(s)://... or
            hf://USER/REPOSITORY. A name of the zoo goes before a folder of the same name: write
            "./name" for that.
        trust: take a model from an address that KERAS_PARTS_ZOO does not name. Nothing of it is
            executed, but it segments as whoever published it wants.
        progress: show a bar for what is downloaded, if stderr is a terminal.

    Raises:
        UnknownModel: neither a model's name nor a folder that holds a segmenter.
        NotTrusted: an address that needs `trust`.
        DownloadError: a file cannot be had.
        IntegrityError: a file differs from its card, or is not what it should be.
    """
    return _open(path(model, trust, progress))


def verify(model: str | PathLike, trust: bool = False) -> dict[str, float]:
    """Check all of a model: its files, its weights, and its golden pair on the current backend.

    Args:
        model, trust: see `load`; something with a card.

    Returns:
        "difference" of the logits and the "tolerance" that it is within.

    Raises:
        IntegrityError: a file differs, or the logits do.
        And as `load`.
    """
    card, folder = info(model, trust), path(model, trust)
    from keras_parts.zoo.golden import golden_difference

    difference = golden_difference(_open(folder), folder / GOLDEN_FILE)
    if not difference <= card.golden_tolerance:
        raise IntegrityError(
            f"{card.id}: logits differ by up to {difference:.2g} from those of {GOLDEN_FILE}, "
            f"expected {card.golden_tolerance:g} at most: this backend or device computes "
            "something else (a GPU may round to TF32: compare with --device cpu)"
        )
    return {"difference": difference, "tolerance": card.golden_tolerance}


def remove(*names: str) -> int:
    """Remove downloaded models, all versions unless NAME@VERSION says one; how many bytes of it.

    Raises:
        UnknownModel: nothing of this name was downloaded.
    """
    from keras_parts.zoo import store

    chosen = []
    for name in names:
        found = [folder for folder, card in store.kept() if name in (card.name, card.id)]
        if not found:
            raise UnknownModel(f"nothing downloaded is called {name!r}: see `zoo list`")
        chosen += [folder for folder in found if folder not in chosen]
    return store.remove(chosen)


def prune() -> int:
    """Remove unfinished downloads, and versions of which a later one is there; how many bytes."""
    from keras_parts.zoo import store

    return store.remove(store.superseded())


def download(
    *models: str, to: str | PathLike, trust: bool = False, progress: bool = True
) -> builtins.list[Card]:
    """Make a folder with models for a machine without a network: KERAS_PARTS_ZOO names it there.

    Args:
        models, trust, progress: see `load`.
        to: the folder, made if need be; what it holds stays.

    Returns:
        The cards.

    Raises:
        As `load`.
    """
    from keras_parts.zoo.publishing import publish

    return [publish(path(model, trust, progress), to) for model in models]


def pack(*runs: str | PathLike, **options) -> Card:
    """See `keras_parts.zoo.packing.pack`."""
    from keras_parts.zoo.packing import pack

    return pack(*runs, **options)


def publish(entry: str | PathLike, destination: str | PathLike, **options) -> Card:
    """See `keras_parts.zoo.publishing.publish`."""
    from keras_parts.zoo.publishing import publish

    return publish(entry, destination, **options)


@dataclass(frozen=True)
class _Found:
    """Where a model is.

    Attributes:
        card: None for a folder without one.
        places: that may hold its files.
        folder: that holds all of them already, or None.
    """

    card: Card | None = None
    places: Sequence = ()
    folder: Path | None = None


def _locate(model, trust):
    from keras_parts.zoo.locations import is_address, places
    from keras_parts.zoo.registry import find

    model = os.fspath(model)
    if is_address(model):
        return _at_address(model, trust)
    try:
        entry = find(model)
    except UnknownModel:
        folder = _folder(model)
        if folder is None:
            raise
        card = read_card(folder) if (folder / CARD_FILE).is_file() else None
        return _Found(card, folder=folder)
    mirrors = [place.below(f"{entry.card.name}/{entry.card.version}") for place in places()]
    return _Found(entry.card, [*mirrors, entry.home], entry.packaged)


def _at_address(model, trust):
    from keras_parts.zoo.locations import Address, places

    address = Address(model)
    named = [place for place in places() if isinstance(place, Address)]
    if not trust and not any(place.holds(address) for place in named):
        raise NotTrusted(
            f"{address} is no address of KERAS_PARTS_ZOO. A model cannot run code here, but it "
            "segments as whoever published it wants: if that is fine, say so with trust=True "
            "(--trust)"
        )
    content = address.read(CARD_FILE, MAX_CARD)
    return _Found(Card.decode(content, f"{address}/{CARD_FILE}"), [address])


def _folder(model):
    """Where the files of a segmenter lie; None if there is no such folder."""
    if not model or not os.path.isdir(model):
        return None
    for folder in (Path(model), Path(model, _IN_RUN)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UnknownModel(f"{model} holds no segmenter: expected {Path(model, CONFIG_FILE)}")


def _open(folder):
    """The segmenter of a folder whose files have been compared with its card, if it has one."""
    from keras_parts.models.segmenter import PartSegmenter
    from keras_parts.zoo.weight_checks import check_weights_file, weights_layout

    check_weights_file(folder / WEIGHTS_FILE)
    _check_configuration(folder)
    try:
        segmenter = PartSegmenter.from_preset(folder)
    except (ConfigError, DataError) as error:
        raise IntegrityError(str(error)) from error
    # Keras passes over what is missing or too much in some places of a file.
    check_weights_file(folder / WEIGHTS_FILE, weights_layout(segmenter))
    return segmenter


def _check_configuration(folder):
    """It is small, and what the card shows of it is true."""
    where = folder / CONFIG_FILE
    values = decode(read_limited(where, MAX_CARD), dict, where, MAX_CARD)
    if (folder / CARD_FILE).is_file() and read_card(folder).segmenter != values:
        raise IntegrityError(f"{where}: is not the configuration that {CARD_FILE} shows")
