"""keras-parts cache"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from keras_parts.cli.group import NOTHING_TO_DO, Group
from keras_parts.cli.options import Choice, CommandResult, examples, output_options

KINDS = {
    "features": "teacher features",
    "masks": "masks of objects that were found",
    "models": "downloaded models",
    "archives": "archives of data sets",
    "unfinished": "what killed processes left behind",
}
"""Kind of what is cached -> what it is."""
_SUFFIXES = {"features": ".npy", "masks": ".npz"}
"""Kind of computed files -> their suffix, in the folder of the same name."""


@dataclass(frozen=True)
class _Kept:
    """A file or folder in the cache."""

    kind: str
    path: Path
    bytes: int
    used: float
    is_archive: bool = False


@click.group(cls=Group, epilog=examples("cache list", "cache clear features unfinished"))
def cache() -> None:
    """List or clear what is kept between runs.

    Teacher features, masks of objects that were found, downloaded models and archives of data sets
    are kept in the folder that
    KERAS_PARTS_HOME names. They are made or downloaded again when they are needed.
    """


@cache.command("list", epilog=examples("cache list"))
@output_options
def list_kept(quiet: bool) -> CommandResult:
    """List the cached files, their sizes, and when they were last used."""
    from keras_parts.environment import FEATURES_VARIABLE, cache_folder, max_feature_bytes

    folder, found = cache_folder(), list(_kept())
    lines = [
        f"{each.kind:<10}  {in_words(each.bytes):>9}  {_day(each.used)}  {each.path}"
        for each in found
    ]
    total = sum(each.bytes for each in found)
    lines.append(
        f"{in_words(total)} in {folder}; teacher features take at most "
        f"{in_words(max_feature_bytes())} ({FEATURES_VARIABLE})."
    )
    rows = [
        {"kind": one.kind, "path": one.path, "bytes": one.bytes, "used": one.used} for one in found
    ]
    content = {"folder": folder, "bytes": total, "files": rows}
    return CommandResult(content, "\n".join(lines))


@cache.command("clear", epilog=examples("cache clear unfinished", "cache clear all"))
@click.argument("kinds", nargs=-1, required=True, type=Choice([*KINDS, "all"]))
@output_options
def clear(kinds: Sequence[str], quiet: bool) -> CommandResult:
    """Remove cached files of some kinds: features, masks, models, archives, unfinished, or all.

    What a running training writes or reads is kept, and so are unpacked data sets.
    """
    from keras_parts.data.archives import remove_archives
    from keras_parts.files import remove_cached
    from keras_parts.zoo import store

    chosen = [one for one in _kept() if one.kind in kinds or "all" in kinds]
    archives = [one.path for one in chosen if one.is_archive]
    others = [one.path for one in chosen if not one.is_archive]
    files = [path for path in others if path.suffix in _SUFFIXES.values()]
    folders = [path for path in others if path.suffix not in _SUFFIXES.values()]
    freed = remove_cached(files) + store.remove(folders) + remove_archives(archives)
    left = sum(path.exists() for path in files)
    text = f"Removed {in_words(freed)}" + (f"; {left} files are in use, and were kept" * bool(left))
    return CommandResult({"bytes": freed, "kept": left}, f"{text}.", 0 if chosen else NOTHING_TO_DO)


def _kept() -> Iterator[_Kept]:
    """All that is cached."""
    from keras_parts.data.archives import kept_archives, unfinished_folders
    from keras_parts.environment import cache_path
    from keras_parts.files import cached_files, folder_bytes
    from keras_parts.transfer import PART
    from keras_parts.zoo import store

    for kind, suffix in _SUFFIXES.items():
        for file in cached_files(cache_path(kind), suffix):
            is_of = "unfinished" if file.is_unfinished else kind
            yield _Kept(is_of, file.path, file.bytes, file.used)
    for entry in store.kept():
        whole = entry.card or entry.problem
        kind, folder = "models" if whole else "unfinished", entry.folder
        yield _Kept(kind, folder, folder_bytes(folder), folder.stat().st_mtime)
    for archive in kept_archives():
        kind, status = "unfinished" if archive.suffix == PART else "archives", archive.stat()
        yield _Kept(kind, archive, status.st_size, status.st_mtime, is_archive=True)
    for folder in unfinished_folders():
        size, used = folder_bytes(folder), folder.stat().st_mtime
        yield _Kept("unfinished", folder, size, used, is_archive=True)


def in_words(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
