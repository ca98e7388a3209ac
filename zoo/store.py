"""The cache of downloaded entries.

    $KERAS_PARTS_HOME/zoo/entries/NAME-VERSION-DIGEST/    card.json, written last, and its files

DIGEST is the checksum of the card, which has the checksum of every file: two entries that differ
in anything have different folders. A file is called NAME.part until it is complete and verified.
"""

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keras_parts.environment import cache_path
from keras_parts.errors import DownloadError, IntegrityError
from keras_parts.files import atomic_write, folder_bytes, locked
from keras_parts.transfer import PART, Report, check_disk_space, complete, progress_bar
from keras_parts.zoo.cards import CARD_FILE, Card, FileRecord, check_files, read_card
from keras_parts.zoo.locations import Location, fetch_url
from keras_parts.zoo.registry import version_key

_FOLDER = re.compile(r"(.+)-(\d+\.\d+\.\d+)-[0-9a-f]{16}")
"""Name of an entry's folder: name, version, and the beginning of the card's checksum."""
_logger = logging.getLogger(__name__)


def entry_folder(card: Card) -> Path:
    """The folder of an entry in the cache, whether it exists or not."""
    return cache_path(f"zoo/entries/{card.name}-{card.version}-{card.digest[:16]}")


def is_downloaded(card: Card) -> bool:
    """Whether the cache has all files of an entry; they were verified when they were downloaded."""
    return (entry_folder(card) / CARD_FILE).is_file()


def fetch(card: Card, locations: Sequence[Location], *, progress: bool = True) -> Path:
    """The folder of an entry's files, downloaded if necessary, each compared with the card.

    If several processes fetch the same entry, one of them downloads and the others wait.

    Args:
        card: of the entry.
        locations: searched in order, before the addresses on the card.
        progress: show a progress bar if stderr is a terminal.

    Raises:
        DownloadError: a file cannot be downloaded from any location, or the disk is full.
        IntegrityError: no location has the file of the card, and at least one has a file of the
            same name that differs from the card.
    """
    folder = entry_folder(card)
    with contextlib.suppress(IntegrityError):
        if is_downloaded(card):
            check_files(folder, card)
            return folder
    with _locked(folder, card):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name in card.files:
                _fetch_file(card, name, folder / name, locations, progress=progress)
        except (DownloadError, IntegrityError):
            with contextlib.suppress(OSError):
                folder.rmdir()  # nothing was received
            raise
        with atomic_write(folder / CARD_FILE) as file:
            file.write(card.encode())
    return folder


@dataclass(frozen=True)
class Kept:
    """What the cache has of an entry.

    Attributes:
        folder: of the entry.
        card: None if the download is incomplete, or if `problem` says why it cannot be read.
        problem: "" for a card that can be read, and for an incomplete download.
    """

    folder: Path
    card: Card | None = None
    problem: str = ""

    @property
    def names(self) -> set[str]:
        """The names by which the entry can be removed."""
        found = _FOLDER.fullmatch(self.folder.name)
        own = {found[1], f"{found[1]}@{found[2]}"} if found else set()
        return own | {self.folder.name}


def kept() -> list[Kept]:
    """The entries in the cache, incomplete and damaged ones too."""
    return list(map(_kept, _folders()))


def downloaded() -> list[tuple[Path, Card]]:
    """(folder, card) of every complete entry in the cache whose card can be read."""
    return [(one.folder, one.card) for one in kept() if one.card]


def remove(folders: Sequence[Path]) -> int:
    """Remove folders of entries; returns the number of bytes freed."""
    freed = 0
    for folder in folders:
        with _locked(folder):
            if folder.is_symlink():  # whatever it leads to is no part of the cache
                folder.unlink()
                continue
            freed += folder_bytes(folder)
            # Without its card an entry is incomplete, even if the removal is interrupted.
            with contextlib.suppress(OSError):
                (folder / CARD_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)
    return freed


def superseded() -> list[Path]:
    """Folders of incomplete downloads, and of versions of which a later one was downloaded.

    An entry whose card cannot be read is not among them: a warning of the logger names it.
    """
    entries = kept()
    latest: dict[str, tuple[int, ...]] = {}
    for one in entries:
        if one.card:
            newest = latest.get(one.card.name, (0,))
            latest[one.card.name] = max(newest, version_key(one.card.version))
        if one.problem:
            _logger.warning(
                "%s; the entry is kept: `keras-parts zoo remove %s` removes it",
                one.problem,
                one.folder.name,
            )
    return [
        one.folder
        for one in entries
        if not one.problem
        and (one.card is None or version_key(one.card.version) < latest[one.card.name])
    ]


def _kept(folder: Path) -> Kept:
    if not os.path.lexists(folder / CARD_FILE):
        return Kept(folder)
    try:
        return Kept(folder, read_card(folder))
    except IntegrityError as error:
        return Kept(folder, problem=str(error))


def _folders() -> list[Path]:
    return sorted(path for path in cache_path("zoo/entries").glob("*") if path.is_dir())


@contextlib.contextmanager
def _locked(folder: Path, card: Card | None = None) -> Iterator[None]:
    """Exclude other processes; the lock of a process that died is released."""
    locks = cache_path("zoo/locks", writable=True)
    locks.mkdir(parents=True, exist_ok=True)
    waiting = f"Another process is downloading {card.id}: waiting for it." if card else ""
    with locked(locks / f"{folder.name}.lock", waiting):
        yield


def _fetch_file(
    card: Card, name: str, path: Path, locations: Sequence[Location], *, progress: bool
) -> None:
    """Download and verify one file, unless `path` already has it."""
    record = card.files[name]  # type: ignore[index]
    with contextlib.suppress(IntegrityError):
        record.check(path)
        return
    part = path.with_name(path.name + PART)
    check_disk_space(part, record.size)
    failures: list[DownloadError | IntegrityError] = []
    with progress_bar(f"{card.id} {name}", record.size, progress=progress) as report:
        for fetch_file in _sources(name, record, locations):
            try:
                fetch_file(part, report)
                break
            except (DownloadError, IntegrityError) as error:
                failures.append(error)
        else:
            raise _cannot_download(card, name, failures)
    complete(part, path)


def _sources(
    name: str, record: FileRecord, locations: Sequence[Location]
) -> Iterator[Callable[[Path, Report], None]]:
    for location in locations:
        yield partial(location.fetch, name, record)
    if record.url:
        yield partial(fetch_url, record.url, record)


def _cannot_download(
    card: Card, name: str, failures: Sequence[DownloadError | IntegrityError]
) -> DownloadError | IntegrityError:
    damaged = any(isinstance(error, IntegrityError) for error in failures)
    reasons = "".join(f"\n  {error}" for error in failures) or " no location has it"
    way_out = (
        f"\nOn a machine with a network, `keras-parts zoo download {card.id} --to DIR` makes a "
        "folder: copy it here and set KERAS_PARTS_ZOO to it."
    )
    kind = IntegrityError if damaged else DownloadError
    return kind(f"{card.id}: {name} cannot be downloaded:{reasons}{way_out}")
