"""Find and load models by name, folder or address."""

import builtins
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_parts.errors import (
    ConfigError,
    DataError,
    IntegrityError,
    UnknownModelError,
    UntrustedAddressError,
)
from keras_parts.extras import check_keras
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    GOLDEN_FILE,
    MAX_CARD_BYTES,
    Card,
    Licences,
    check_files,
    decode,
    read_card,
    read_document,
)

if TYPE_CHECKING:
    from keras_parts.models.predictor import Predictor
    from keras_parts.models.segmenter import PartSegmenter
    from keras_parts.zoo.hugging_face import HubRepository
    from keras_parts.zoo.locations import Address, Location

_logger = logging.getLogger(__name__)
_FOLDER_IN_RUN = "segmenter"
"""The folder of the segmenter in a run folder."""


def list(
    *,
    dataset: str | None = None,
    num_parts: int | None = None,
    commercial: bool = False,
    refresh: bool = False,
) -> builtins.list[Card]:
    """The cards of all models, sorted by name and version.

    Args:
        dataset: only models trained on this data set.
        num_parts: only models with this number of parts.
        commercial: only models whose terms allow commercial use, see
            `keras_parts.zoo.terms.commercial_use`.
        refresh: request the indices of the addresses in KERAS_PARTS_ZOO; by default the cached
            copies are read, without any request.

    A location or a card that cannot be read is reported in a warning of the logger, and the others
    are listed.

    Example:
        >>> import keras_parts
        >>> [card.name for card in keras_parts.zoo.list(dataset="toy")]
        ['toy']
    """
    from keras_parts.zoo.registry import entries
    from keras_parts.zoo.terms import commercial_use

    cards = [entry.card for entry in entries(refresh=refresh)]
    return [
        card
        for card in cards
        if dataset in (None, card.training.dataset)
        and num_parts in (None, card.num_parts)
        and (commercial_use(card.licences) or not commercial)
    ]


def info(model: str | PathLike[str], *, trust: bool = False) -> Card:
    """The card of a model; its files are not downloaded.

    Args:
        model, trust: as for `load`.

    Raises:
        UnknownModelError: there is no such model; the message suggests one.
        UntrustedAddressError: see `load`.
        IntegrityError: its card is damaged.

    Example:
        >>> import keras_parts
        >>> keras_parts.zoo.info("toy").num_parts
        5
    """
    card = _locate(model, trust).card
    if card is None:
        name = os.fspath(model)
        raise UnknownModelError(
            f"{name} has no card: `keras-parts zoo pack` makes one from a run folder", model=name
        )
    return card


def path(model: str | PathLike[str], *, trust: bool = False, progress: bool = True) -> Path:
    """The folder of a model's files, downloaded if necessary, each compared with its card.

    Args:
        model, trust, progress: as for `load`.

    Raises:
        As `load`.

    Example:
        >>> import keras_parts
        >>> (keras_parts.zoo.path("toy") / "segmenter.json").is_file()
        True
    """
    from keras_parts.zoo import store

    found = _locate(model, trust)
    if found.folder is None:
        assert found.card is not None
        return store.fetch(found.card, found.locations, progress=progress)
    if found.card is not None:
        check_files(found.folder, found.card)
    return found.folder


def load(
    model: str | PathLike[str],
    *,
    trust: bool = False,
    progress: bool = True,
    dtype: Any = None,
    name: str | None = None,
) -> "PartSegmenter":
    """Load a segmenter.

    If the terms on its card or of its run forbid commercial use, a warning of the logger says so
    once.

    Args:
        model: NAME or NAME@VERSION from `list()`; the folder of a training run, of an entry, or
            one that `PartSegmenter.save_preset` wrote; or the address of an entry,
            http(s)://... or hf://USER/REPOSITORY[@REVISION] (extra `hf`); without a version, as
            in http://HOST/NAME, it is that of the latest one in the zoo's index. A name of the zoo
            takes precedence over a folder of the same name: write "./name" for the folder.
        trust: accept a model from an address that KERAS_PARTS_ZOO does not name. A model cannot
            run code here, but its publisher decides what it segments.
        progress: show a progress bar for downloads if stderr is a terminal.
        dtype: dtype policy of the network, such as "mixed_bfloat16"; Keras' global one if None.
        name: of the Keras model.

    Raises:
        UnknownModelError: neither the name of a model nor a folder with a segmenter.
        UntrustedAddressError: an address that needs `trust`.
        DownloadError: a file cannot be downloaded.
        IntegrityError: a file differs from its card or is damaged.

    Example:
        >>> import keras_parts
        >>> segmenter = keras_parts.zoo.load("toy")
        >>> len(segmenter.part_names)
        5
    """
    folder = path(model, trust=trust, progress=progress)
    from keras_parts.zoo.terms import licences_of

    if found := licences_of(folder):
        _say_terms(*found)
    return _open(folder, dtype=dtype, name=name)


def has_network(model: str | PathLike[str]) -> bool:
    """Whether ONNX Runtime can run a model without Keras: the package has a graph for its own.

    Example:
        >>> from keras_parts.zoo.models import has_network
        >>> has_network("cub"), has_network("runs/mine")
        (True, False)
    """
    return _packaged_network(os.fspath(model)) is not None


def load_network(model: str | PathLike[str], **options: Any) -> "Predictor":
    """Load a model for ONNX Runtime, without Keras; says its terms as `load` does.

    Args:
        model: one that `has_network`.
        options: of `keras_parts.exports.network.load_network`.

    Raises:
        UnknownModelError: the model has no graph.
        IntegrityError: a file differs from the card.
        ConfigError: as `keras_parts.exports.network.load_network`.

    Example:
        >>> from keras_parts.zoo.models import load_network
        >>> load_network("toy", batch_size=1).names[0]  # doctest: +SKIP
        'head'
    """
    from keras_parts.exports import network

    found = _packaged_network(os.fspath(model))
    if found is None:
        raise UnknownModelError(f"{model} has no graph for ONNX Runtime", model=os.fspath(model))
    folder, card = found
    check_files(folder, card)
    _say_terms(card.id, card.licences)
    return network.load_network(folder, card.part_names, **options)


def _packaged_network(model: str) -> tuple[Path, Card] | None:
    """Folder and card of a model of the package that has a graph."""
    from keras_parts.exports.network import NETWORK_FILE
    from keras_parts.zoo.registry import packaged_folder

    folder = packaged_folder(model)
    if folder is None or not (folder / NETWORK_FILE).is_file():
        return None
    return folder, read_card(folder)


def _say_terms(model: str, licences: Licences) -> None:
    from keras_parts.zoo.terms import forbids_commercial_use, say_terms

    for kind, terms in (("training data", licences.data), ("weights", licences.weights)):
        if forbids_commercial_use(terms):
            say_terms(model, terms, kind)
            return


def verify(model: str | PathLike[str], *, trust: bool = False) -> dict[str, float]:
    """Check a model: its files, its weights, and its golden pair on the current backend.

    Args:
        model, trust: as for `load`; the model has a card.

    Returns:
        "difference", the maximum difference of the logits, and "tolerance", the largest difference
        that is accepted.

    Raises:
        IntegrityError: a file differs from the card, or the logits from the golden pair.
        Others: as `load`.

    Example:
        >>> import keras_parts
        >>> found = keras_parts.zoo.verify("toy")
        >>> found["difference"] <= found["tolerance"]
        True
    """
    card, folder = info(model, trust=trust), path(model, trust=trust)
    from keras_parts.zoo.golden import golden_difference

    difference = golden_difference(_open(folder), folder / GOLDEN_FILE)
    if not difference <= card.golden_tolerance:
        raise IntegrityError(
            f"{card.id}: logits differ by up to {difference:.2g} from those of {GOLDEN_FILE}, "
            f"expected {card.golden_tolerance:g} at most: this backend or device computes other "
            "values (a GPU may round to TF32: compare with --device cpu)",
            path=folder / GOLDEN_FILE,
        )
    return {"difference": difference, "tolerance": card.golden_tolerance}


def remove(*names: str) -> int:
    """Remove downloaded models.

    Args:
        names: NAME for all versions, NAME@VERSION, or the name of a folder in the cache. A model
            whose card cannot be read is removed too.

    Returns:
        The number of bytes freed.

    Raises:
        UnknownModelError: no model of this name was downloaded.

    Example:
        >>> import keras_parts
        >>> keras_parts.zoo.remove()
        0
    """
    from keras_parts.zoo import store

    chosen: builtins.list[Path] = []
    for name in names:
        found = [kept.folder for kept in store.kept() if name in kept.names]
        if not found:
            raise UnknownModelError(
                f"no downloaded model is called {name!r}: see `keras-parts zoo list`", model=name
            )
        chosen += [folder for folder in found if folder not in chosen]
    return store.remove(chosen)


def prune() -> int:
    """Remove incomplete downloads, and versions of which a later one was downloaded.

    A model whose card cannot be read is kept, because a later version of the package may have
    downloaded it; a warning of the logger names it.

    Returns:
        The number of bytes freed.

    Example:
        >>> import keras_parts
        >>> freed = keras_parts.zoo.prune()  # doctest: +SKIP
    """
    from keras_parts.zoo import store

    return store.remove(store.superseded())


def download(
    *models: str, to: str | PathLike[str], trust: bool = False, progress: bool = True
) -> builtins.list[Card]:
    """Copy models into a folder for a machine without a network.

    Set KERAS_PARTS_ZOO to the folder on that machine.

    Args:
        models, trust, progress: as for `load`.
        to: the folder, created if necessary; other models in it are kept.

    Returns:
        The cards.

    Raises:
        As `load`.

    Example:
        >>> import keras_parts
        >>> [card.name for card in keras_parts.zoo.download("toy", to="models")]
        ['toy']
    """
    from keras_parts.zoo.publishing import publish

    return [publish(path(model, trust=trust, progress=progress), to) for model in models]


def check_model(model: str, *, trust: bool = False) -> None:
    """Raise an error if `load` could not find a model; addresses are not requested.

    Args:
        model, trust: as for `load`.

    Raises:
        UnknownModelError: neither the name of a model nor a folder with a segmenter.
        UntrustedAddressError: an address that needs `trust`.
        ConfigError: it looks like an address, but is none.

    Example:
        >>> from keras_parts.zoo.models import check_model
        >>> check_model("toy")
    """
    from keras_parts.zoo.locations import address, is_address
    from keras_parts.zoo.registry import find

    if is_address(model):
        _check_trust(address(model), trust)
        return
    try:
        find(model)
    except UnknownModelError:
        if _segmenter_folder(model) is None:
            raise


@dataclass(frozen=True)
class _Found:
    """Where a model is.

    Attributes:
        card: None for a folder without one.
        locations: where its files may be.
        folder: a folder that has all files, or None.
    """

    card: Card | None = None
    locations: "Sequence[Location]" = ()
    folder: Path | None = None


def _locate(model: str | PathLike[str], trust: bool) -> _Found:
    from keras_parts.zoo.locations import is_address, locations
    from keras_parts.zoo.registry import find

    model = os.fspath(model)
    if is_address(model):
        return _at_address(model, trust)
    try:
        entry = find(model)
    except UnknownModelError:
        folder = _segmenter_folder(model)
        if folder is None:
            raise
        card = read_card(folder) if (folder / CARD_FILE).is_file() else None
        return _Found(card, folder=folder)
    subfolder = f"{entry.card.name}/{entry.card.version}"
    mirrors = [location.below(subfolder) for location in locations()]
    return _Found(entry.card, [*mirrors, entry.home], entry.packaged)


def _at_address(model: str, trust: bool) -> _Found:
    from keras_parts.zoo.locations import address as address_of
    from keras_parts.zoo.registry import find_at

    address = address_of(model)
    _check_trust(address, trust)
    entry = find_at(address)
    return _Found(entry.card, [entry.home])


def _check_trust(address: "Address | HubRepository", trust: bool) -> None:
    from keras_parts.zoo.locations import Folder, locations

    named = [location for location in locations() if not isinstance(location, Folder)]
    if not trust and not any(location.contains(address) for location in named):
        raise UntrustedAddressError(
            f"{address} is not an address of KERAS_PARTS_ZOO. A model cannot run code here, but "
            "its publisher decides what it segments: pass trust=True (--trust) to accept that, or "
            "set KERAS_PARTS_ZOO to the address of a zoo, and give the model's name",
            address=str(address),
        )


def _segmenter_folder(model: str) -> Path | None:
    """The folder with the files of a segmenter; None if `model` is not a folder."""
    if not model or not os.path.isdir(model):
        return None
    for folder in (Path(model), Path(model, _FOLDER_IN_RUN)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    from keras_parts.training.run_folder import not_finished

    expected = f"{Path(model, CONFIG_FILE)}, or {Path(model, _FOLDER_IN_RUN, CONFIG_FILE)} of a run"
    raise UnknownModelError(
        not_finished(model) or f"{model} has no segmenter: expected {expected}", model=model
    )


def _open(folder: Path, **options: Any) -> "PartSegmenter":
    """The segmenter of a folder whose files were compared with its card, if it has one."""
    check_keras()
    from keras_parts.models.segmenter import PartSegmenter

    _check_configuration(folder)
    try:
        return PartSegmenter.from_preset(folder, **options)
    except (ConfigError, DataError) as error:
        raise IntegrityError(str(error), path=folder) from error


def _check_configuration(folder: Path) -> None:
    """Raise IntegrityError unless the configuration is small, and the same as on the card."""
    path = folder / CONFIG_FILE
    content = read_document(path, MAX_CARD_BYTES)
    values = decode(content, dict, path, max_bytes=MAX_CARD_BYTES)
    if (folder / CARD_FILE).is_file() and read_card(folder).segmenter != values:
        raise IntegrityError(f"{path}: differs from the configuration on {CARD_FILE}", path=path)
