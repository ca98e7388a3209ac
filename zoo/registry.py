"""The models that exist: those of the package, then those of `KERAS_PARTS_ZOO`."""

import difflib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from keras_parts.environment import offline
from keras_parts.errors import DownloadError, IntegrityError, UnknownModelError, suggestion
from keras_parts.zoo.cards import CARD_FILE, MAX_CARD_BYTES, Card, Name, Version, read_card
from keras_parts.zoo.hugging_face import HubRepository
from keras_parts.zoo.locations import (
    Address,
    Folder,
    Index,
    IndexEntry,
    Location,
    locations,
    read_index,
    read_indexed_card,
)

PACKAGED = Path(__file__).parent / "entries"
"""The models of the package: `PACKAGED/NAME/card.json`, with the files beside it."""
_logger = logging.getLogger(__name__)
_Failure = DownloadError | IntegrityError
_NOT_THERE = (401, 403, 404, 410)
"""HTTP codes of a file that a server does not have, or does not say whether it has."""


@dataclass(frozen=True)
class Entry:
    """A model of the registry.

    Attributes:
        card: of the model.
        home: the location of the card.
    """

    card: Card
    home: Location

    @property
    def packaged(self) -> Path | None:
        """The folder in the package that has all files of the entry; None if there is none."""
        if not isinstance(self.home, Folder) or self.home.root.parent != PACKAGED:
            return None
        complete = all((self.home.root / name).is_file() for name in self.card.files)
        return self.home.root if complete else None


def entries(*, refresh: bool = False) -> list[Entry]:
    """All models, sorted by name and version; of several with the same id, the first one found.

    Args:
        refresh: request the indices of web addresses; False reads the cached copies.

    A location or a card that cannot be read is reported in a warning, and the others are listed.
    """
    found, failures = _survey(refresh)
    _report(failures)
    return found


def _survey(refresh: bool) -> tuple[list[Entry], list[_Failure]]:
    """The models that can be read, and why others cannot."""
    found: dict[str, Entry] = {}
    failures: list[_Failure] = []
    for path in _packaged():
        try:
            entry = _packaged_entry(path)
            found[entry.card.id] = entry
        except IntegrityError as error:
            failures.append(error)
    for location in locations():
        try:
            index = read_index(location, refresh=refresh)
        except (DownloadError, IntegrityError) as error:
            failures.append(error)
            continue
        for listed in index.entries:
            if f"{listed.name}@{listed.version}" not in found:
                try:
                    entry = _indexed(location, listed, refresh=refresh)
                    found[entry.card.id] = entry
                except (DownloadError, IntegrityError) as error:
                    failures.append(error)
    in_order = sorted(
        found.values(), key=lambda entry: (entry.card.name, version_key(entry.card.version))
    )
    return in_order, failures


def _report(failures: Sequence[_Failure]) -> None:
    for error in failures:
        _logger.warning("Not listed: %s", error)


def find(specifier: str) -> Entry:
    """The model NAME, or NAME@VERSION.

    Models of the package take precedence, so that a name means the same model wherever the package
    is the same. Then the locations are searched in order; the latest version of the first location
    that has the name is taken, unless a version is given. A location that cannot be read is passed
    over, with a warning if the model is found elsewhere.

    Raises:
        UnknownModelError: there is none; the message suggests one.
        IntegrityError: its card is damaged or differs from the index of its location.
    """
    name, version = _parse(specifier)
    failures: list[_Failure] = []
    for path in _packaged() if name else ():
        if path.name == name:
            entry = _packaged_entry(path)
            if version in (None, entry.card.version):
                return entry
    for location in locations() if name else ():
        try:
            index = read_index(location)
        except (DownloadError, IntegrityError) as error:
            failures.append(error)
            continue
        latest = _latest(index, name, version)
        if latest:
            try:
                entry = _indexed(location, latest)
            except DownloadError as error:
                failures.append(error)
                continue
            _report(failures)
            return entry
    raise _unknown(specifier, failures)


def packaged_folder(specifier: str) -> Path | None:
    """The folder of a model of the package, NAME or NAME@VERSION; None if it has no such model."""
    name, version = _parse(specifier)
    folder = PACKAGED / name
    if not name or not (folder / CARD_FILE).is_file():
        return None
    return folder if version in (None, read_card(folder).version) else None


def find_at(address: Address | HubRepository) -> Entry:
    """The model at an address: of an entry, or of one above it for the latest version.

    Without a card at the address, an index there that lists a single name, or the index one folder
    above, says which versions there are.

    Raises:
        DownloadError: there is no card, and no index that names it.
        UnknownModelError: the index lists several names, or others; the message has them.
        IntegrityError: the card is damaged or differs from the index.
    """
    source = f"{address}/{CARD_FILE}"
    try:
        card = address.read(
            CARD_FILE, partial(Card.decode, source=source), max_bytes=MAX_CARD_BYTES
        )
    except DownloadError as error:
        # Otherwise the server cannot be reached for an index either.
        entry = _latest_at(address) if error.status in _NOT_THERE or offline() else None
        if entry is None:
            raise
        return entry
    return Entry(card, address)


def _latest_at(address: Address | HubRepository) -> Entry | None:
    """The latest version of the model that an index at the address, or above it, lists."""
    for location, name in filter(None, [(address, ""), address.parent()]):
        try:
            index = read_index(location)
        except (DownloadError, IntegrityError):  # a page of the server, say
            continue
        names = sorted({listed.name for listed in index.entries})
        latest = _latest(index, names[0] if not name and len(names) == 1 else name)
        if latest:
            return _indexed(location, latest)
        addresses = ", ".join(f"{location}/{each}" for each in names) or "none"
        raise UnknownModelError(
            f"{address} is not the address of one model: those of this zoo are {addresses}",
            model=str(address),
        )
    return None


def _latest(index: Index, name: str, version: str | None = None) -> IndexEntry | None:
    """The latest version of a name, or this version of it."""
    matching = [
        listed
        for listed in index.entries
        if listed.name == name and version in (None, listed.version)
    ]
    return max(matching, key=lambda listed: version_key(listed.version), default=None)


def version_key(version: str) -> tuple[int, ...]:
    """A version as numbers, in whose order versions are sorted."""
    return tuple(map(int, version.split(".")))


def _packaged() -> Iterator[Path]:
    """The folders of the package's models, which have the models' names."""
    for path in sorted(PACKAGED.glob(f"*/{CARD_FILE}")):
        yield path.parent


def _packaged_entry(folder: Path) -> Entry:
    return Entry(read_card(folder), Folder(folder))


def _indexed(location: Location, listed: IndexEntry, *, refresh: bool = True) -> Entry:
    home = location.below(f"{listed.name}/{listed.version}")
    return Entry(read_indexed_card(location, listed, refresh=refresh), home)


def _parse(specifier: str) -> tuple[str, str | None]:
    """(name, version or None); ("", None) if it is not valid."""
    name, at, version = specifier.partition("@")
    try:
        return msgspec.convert(name, Name), msgspec.convert(version, Version) if at else None
    except msgspec.ValidationError:
        return "", None


def _unknown(specifier: str, failures: Sequence[_Failure]) -> UnknownModelError:
    found, _ = _survey(refresh=False)
    cards = [entry.card for entry in found]
    names = sorted({card.name for card in cards})
    name = specifier.partition("@")[0]
    versions = [card.version for card in cards if card.name == name]
    similar = difflib.get_close_matches(name, names, n=1)
    if os.path.dirname(specifier):
        hint = _runs_hint(specifier)
    elif versions:
        hint = f"there are the versions {', '.join(versions)}"
    elif similar:
        hint = f"did you mean {similar[0]!r}?"
    else:
        hint = f"there are: {', '.join(names) or 'none'}"
    unread = "".join(f"\nThis location could not be read: {error}" for error in failures)
    return UnknownModelError(
        f"no model is called {specifier!r}, and there is no such folder; {hint}{unread}",
        model=specifier,
        similar=similar,
    )


def _runs_hint(specifier: str) -> str:
    """The end of the message about a path that does not exist: the finished runs here."""
    from keras_parts.training.run_folder import RUNS_FOLDER, finished_runs

    runs = [str(run.path) for run in finished_runs(RUNS_FOLDER)]
    listed = ", ".join(runs) or "none"
    return suggestion(specifier, runs).removeprefix("; ") or f"the finished runs here are: {listed}"
