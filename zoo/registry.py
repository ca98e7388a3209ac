"""The models that exist: those of the package, then those of `KERAS_PARTS_ZOO`."""

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keras_parts.errors import DownloadError, UnknownModelError
from keras_parts.zoo.cards import CARD_FILE, Card, Name, Version, read_card
from keras_parts.zoo.locations import (
    Folder,
    IndexEntry,
    Location,
    locations,
    read_index,
    read_indexed_card,
)

PACKAGED = Path(__file__).parent / "entries"
"""The models of the package: `PACKAGED/NAME/card.json`, with the files beside it."""


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

    Raises:
        IntegrityError: a card is damaged.
    """
    found = {entry.card.id: entry for entry in _packaged()}
    for location in locations():
        with contextlib.suppress(DownloadError):
            for listed in read_index(location, refresh=refresh).entries:
                if f"{listed.name}@{listed.version}" not in found:
                    entry = _indexed(location, listed, refresh=refresh)
                    found[entry.card.id] = entry
    return sorted(
        found.values(), key=lambda entry: (entry.card.name, version_key(entry.card.version))
    )


def find(specifier: str) -> Entry:
    """The model NAME, or NAME@VERSION.

    Models of the package take precedence, so that a name means the same model wherever the package
    is the same. Then the locations are searched in order; the latest version of the first location
    that has the name is taken, unless a version is given.

    Raises:
        UnknownModelError: there is none; the message suggests one.
        IntegrityError: its card is damaged or differs from the index of its location.
    """
    name, version = _parse(specifier)
    failures = []
    for entry in _packaged() if name else ():
        if entry.card.name == name and version in (None, entry.card.version):
            return entry
    for location in locations() if name else ():
        try:
            matching = [
                listed
                for listed in read_index(location).entries
                if listed.name == name and version in (None, listed.version)
            ]
            if matching:
                latest = max(matching, key=lambda listed: version_key(listed.version))
                return _indexed(location, latest)
        except DownloadError as error:
            failures.append(error)
    raise _unknown(specifier, failures)


def version_key(version: str) -> tuple[int, ...]:
    """A version as numbers, in whose order versions are sorted."""
    return tuple(map(int, version.split(".")))


def _packaged() -> Iterator[Entry]:
    for path in sorted(PACKAGED.glob(f"*/{CARD_FILE}")):
        yield Entry(read_card(path.parent), Folder(path.parent))


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


def _unknown(specifier: str, failures: Sequence[DownloadError]) -> UnknownModelError:
    cards = [entry.card for entry in entries()]
    names = sorted({card.name for card in cards})
    name = specifier.partition("@")[0]
    versions = [card.version for card in cards if card.name == name]
    similar = difflib.get_close_matches(name, names, n=1)
    if versions:
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
