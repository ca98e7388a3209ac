"""Downloaded entries, each in a folder named after its content.

    $KERAS_PARTS_HOME/zoo/entries/NAME-VERSION-DIGEST/    card.json, written last, and its files

DIGEST is of the card, which has the sha256 of every file: two entries that differ in anything never
share a folder. A file gets its name when it is whole and verified; until then it is NAME.part.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keras_parts.environment import cache_folder
from keras_parts.errors import IntegrityError
from keras_parts.zoo.cards import CARD_FILE, Card, FileRecord, check_files, read_card
from keras_parts.zoo.errors import DownloadError
from keras_parts.zoo.locations import Place, fetch_url

_PART = ".part"
_ROOM_LEFT = 2**20
"""Bytes of the disk that a download leaves free."""


def entry_folder(card: Card) -> Path:
    """Where the files of an entry lie, or would."""
    return _root() / "entries" / f"{card.name}-{card.version}-{card.digest[:16]}"


def is_whole(card: Card) -> bool:
    """Whether the entry is there, verified when it came."""
    return (entry_folder(card) / CARD_FILE).is_file()


def fetch(card: Card, places: Sequence[Place], progress: bool = True) -> Path:
    """The folder of an entry's files, downloaded if need be, each compared with the card.

    Of several processes that want the same entry one downloads, the others wait for it.

    Args:
        card: of the entry.
        places: that may hold its files, asked in order, before the addresses on the card.
        progress: show a bar for what is downloaded, if stderr is a terminal.

    Raises:
        DownloadError: a file cannot be had from any place, or the disk is full.
        IntegrityError: no place has the file that the card says.
    """
    folder = entry_folder(card)
    with contextlib.suppress(IntegrityError):
        if is_whole(card):
            check_files(folder, card)
            return folder
    with _locked(folder, card, progress):
        folder.mkdir(parents=True, exist_ok=True)
        for name, record in card.files.items():
            _fetch_file(card, name, record, folder / name, places, progress)
        from keras_parts.files import atomic_write

        with atomic_write(folder / CARD_FILE) as file:
            file.write(card.encode())
    return folder


def kept() -> list[tuple[Path, Card]]:
    """(folder, card) of every entry that is there."""
    return [(folder, read_card(folder)) for folder in _folders() if (folder / CARD_FILE).is_file()]


def remove(folders: Sequence[Path]) -> int:
    """Remove folders of entries; how many bytes that freed."""
    freed = 0
    for folder in folders:
        with _locked(folder):
            freed += _bytes_in(folder)
            # Without its card an entry counts as not there, whatever happens next.
            (folder / CARD_FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)
    return freed


def superseded() -> list[Path]:
    """Folders of what nobody asks for any more: unfinished downloads, and versions of which a
    later one is there."""
    newest = {}
    for _, card in kept():
        newest[card.name] = max(newest.get(card.name, (0,)), _number(card))
    cards = {folder: card for folder, card in kept()}
    return [
        folder
        for folder in _folders()
        if folder not in cards or _number(cards[folder]) < newest[cards[folder].name]
    ]


def _number(card):
    return tuple(map(int, card.version.split(".")))


def _root():
    return cache_folder() / "zoo"


def _folders():
    return sorted(path for path in (_root() / "entries").glob("*") if path.is_dir())


def _bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@contextlib.contextmanager
def _locked(folder, card=None, progress=False) -> Iterator[None]:
    """One process at a time; the lock of a process that died is free."""
    from filelock import FileLock, Timeout

    locks = _root() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{folder.name}.lock")
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        if progress and card:
            print(f"Another process is downloading {card.id}: waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch_file(card, name, record, path, places, progress):
    """Put one verified file into its place."""
    with contextlib.suppress(IntegrityError):
        record.check(path)
        return
    part = path.with_name(path.name + _PART)
    _check_room(part, record)
    failures = []
    with _bar(card, name, record, progress) as report:
        for source in _sources(name, record, places):
            try:
                source(part, report)
                break
            except (DownloadError, IntegrityError) as error:
                failures.append(error)
        else:
            raise _nowhere(card, name, failures)
    _flush(part)
    os.replace(part, path)


def _sources(name, record, places):
    for place in places:
        yield lambda part, report, place=place: place.fetch(name, record, part, report)
    if record.url:
        yield lambda part, report: fetch_url(record.url, record, part, report)


def _nowhere(card, name, failures):
    wrong = [error for error in failures if isinstance(error, IntegrityError)]
    reasons = "".join(f"\n  {error}" for error in failures) or " no place is known that has it"
    way_out = (
        "\nOn a machine with a network `keras-parts zoo download "
        f"{card.id} --to DIR` makes a folder: let KERAS_PARTS_ZOO name it here."
    )
    kind = IntegrityError if wrong else DownloadError
    return kind(f"{card.id}: {name} cannot be had:{reasons}{way_out}")


def _check_room(part, record: FileRecord):
    missing = record.size - (part.stat().st_size if part.exists() else 0)
    free = shutil.disk_usage(part.parent).free
    if missing + _ROOM_LEFT > free:
        raise DownloadError(
            f"{part}: {missing:,} bytes to come, but the disk has only {free:,} free. Make room, "
            "or let KERAS_PARTS_HOME name another folder"
        )


@contextlib.contextmanager
def _bar(card, name, record, progress):
    """A function to report the bytes to that are there."""
    from tqdm import tqdm

    with tqdm(
        desc=f"{card.id} {name}",
        total=record.size,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None if progress else True,  # None: where stderr is no terminal
        leave=False,
    ) as bar:
        yield lambda have: bar.update(have - bar.n)


def _flush(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
