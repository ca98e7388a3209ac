"""Which models there are: those that the package knows, then those of `KERAS_PARTS_ZOO`."""

import contextlib
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from keras_parts.zoo.cards import CARD_FILE, Card, Name, Version, read_card
from keras_parts.zoo.errors import DownloadError, UnknownModel
from keras_parts.zoo.locations import Folder, Place, places, read_index, read_listed_card

PACKAGED = Path(__file__).parent / "entries"
"""The models that come with the package: `PACKAGED/NAME/card.json`, and files beside it."""


@dataclass(frozen=True)
class Entry:
    """A model of the registry.

    Attributes:
        card: of the model.
        home: where the card was found.
    """

    card: Card
    home: Place

    @property
    def packaged(self) -> Path | None:
        """The folder in the package that has all files of the entry; None if there is none."""
        if not isinstance(self.home, Folder) or self.home.root.parent != PACKAGED:
            return None
        whole = all((self.home.root / name).is_file() for name in self.card.files)
        return self.home.root if whole else None


def entries(ask: bool = False) -> list[Entry]:
    """All models, by name and version; of several with the same id the first one found.

    Args:
        ask: ask addresses what they hold, instead of taking what they said the last time.

    Raises:
        IntegrityError: a card is damaged.
    """
    found = {}
    for entry in _packaged():
        found[entry.card.id] = entry
    for place in places():
        with contextlib.suppress(DownloadError):
            for listed in read_index(place, ask).entries:
                if f"{listed.name}@{listed.version}" not in found:
                    entry = _listed(place, listed, ask)
                    found[entry.card.id] = entry
    return sorted(found.values(), key=lambda entry: (entry.card.name, number(entry.card.version)))


def find(specifier: str) -> Entry:
    """The model NAME, or NAME@VERSION.

    The package's own go first: the same name is the same model wherever the package is the same.
    Then the places are asked, each for its latest version unless one is given.

    Raises:
        UnknownModel: there is none; the message suggests one.
        IntegrityError: its card is damaged or not the one that its place promises.
    """
    name, version = _parsed(specifier)
    failures = []
    for entry in _packaged() if name else ():
        if entry.card.name == name and version in (None, entry.card.version):
            return entry
    for place in places() if name else ():
        try:
            fitting = [
                listed
                for listed in read_index(place).entries
                if listed.name == name and version in (None, listed.version)
            ]
            if fitting:
                return _listed(place, max(fitting, key=lambda one: number(one.version)))
        except DownloadError as error:
            failures.append(error)
    raise UnknownModel(_unknown(specifier, failures))


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, which compare as versions do."""
    return tuple(map(int, version.split(".")))


def _packaged() -> Iterator[Entry]:
    for path in sorted(PACKAGED.glob(f"*/{CARD_FILE}")):
        yield Entry(read_card(path.parent), Folder(path.parent))


def _listed(place, listed, ask=True):
    home = place.below(f"{listed.name}/{listed.version}")
    return Entry(read_listed_card(place, listed, ask), home)


def _parsed(specifier):
    """(name, version or None); ("", None) for what is neither."""
    name, at, version = specifier.partition("@")
    try:
        return msgspec.convert(name, Name), msgspec.convert(version, Version) if at else None
    except msgspec.ValidationError:
        return "", None


def _unknown(specifier, failures):
    known = [entry.card for entry in entries()]
    names = sorted({card.name for card in known})
    name = specifier.partition("@")[0]
    versions = [card.version for card in known if card.name == name]
    close = difflib.get_close_matches(name, names, n=1)
    if versions:
        hint = f"there are the versions {', '.join(versions)}"
    elif close:
        hint = f"did you mean {close[0]!r}?"
    else:
        hint = f"there are: {', '.join(names) or 'none'}"
    unasked = "".join(f"\nCould not be asked: {error}" for error in failures)
    return f"no model is called {specifier!r}, and there is no such folder; {hint}{unasked}"
