"""Publish entries: to a folder for a static web server, or to Hugging Face."""

import shutil
from os import PathLike, fspath
from pathlib import Path

import msgspec

from keras_parts.addresses import is_address
from keras_parts.environment import hugging_face_address
from keras_parts.errors import ConfigError, DownloadError, ZooError
from keras_parts.extras import import_from_extra
from keras_parts.files import atomic_path, atomic_write
from keras_parts.zoo.cards import CARD_FILE, OLDEST_FORMAT, Card, FileRecord, check_files, read_card
from keras_parts.zoo.hub_page import hub_page
from keras_parts.zoo.hugging_face import FORM, HUB, HubRepository
from keras_parts.zoo.locations import INDEX_FILE, Folder, Index, IndexEntry, read_index
from keras_parts.zoo.registry import version_key

_Index = dict[tuple[str, str], IndexEntry]
"""(name, version) -> entry."""


def publish(
    entry: str | PathLike[str], destination: str | PathLike[str], *, private: bool = False
) -> Card:
    """Publish an entry.

    Args:
        entry: its folder, as `pack` makes it.
        destination: a folder: the entry is copied to NAME/VERSION/ and listed in index.json, so
            that the folder on any web server is an address for KERAS_PARTS_ZOO; or
            hf://USER/REPOSITORY[@BRANCH], with the token that `hf auth login` or HF_TOKEN gave.
        private: make a new repository on Hugging Face private.

    Returns:
        The card.

    Raises:
        IntegrityError: the entry differs from its card.
        ZooError: this version was published before and differs; the folder cannot be written; or
            Hugging Face refuses.
        ConfigError: `entry` has no card; the library for Hugging Face is not installed; or the
            destination is another address, or has links in it.

    Example:
        >>> import keras_parts
        >>> keras_parts.zoo.publish(keras_parts.zoo.path("toy"), "public").name
        'toy'
    """
    entry = Path(entry)
    if entry.is_dir() and not (entry / CARD_FILE).exists():
        raise ConfigError(
            f"{entry} is no entry, as it has no {CARD_FILE}: `keras-parts zoo pack {entry} "
            "--output my-entry` makes one of a run",
            path=entry,
        )
    card = read_card(entry)
    check_files(entry, card)
    if fspath(destination).lower().startswith(HUB):
        _to_hub(entry, card, fspath(destination), private)
    elif not fspath(destination) or is_address(fspath(destination)):
        raise ConfigError(
            f"destination is {fspath(destination)!r}, expected a folder or {FORM}: "
            "publish to a folder, and copy that to the server",
            value=fspath(destination),
        )
    else:
        try:
            _to_folder(entry, card, Path(destination).expanduser())
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            if isinstance(error, ConfigError):
                raise
            raise ZooError(
                f"{destination}: cannot be written: {getattr(error, 'strerror', None) or error}. "
                "Choose another folder",
                path=destination,
            ) from error
    return card


def _to_folder(entry: Path, card: Card, root: Path) -> None:
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".index.lock"):
        index = _read_index(root)
        record = FileRecord.of(entry / CARD_FILE)
        published = index.get((card.name, card.version))
        if published and published.card != record:
            raise ZooError(
                f"{root} has another {card.id} already: a published version never changes, give "
                "this one a higher version (keras-parts zoo pack --version)",
                path=root,
            )
        folder = root / card.name / card.version
        for part in (folder.parent, folder):
            if part.is_symlink():  # what it points to may lie outside of the folder
                raise ConfigError(f"{part} is a link: remove it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*card.files, CARD_FILE):
            with atomic_path(folder / name) as path:
                shutil.copyfile(entry / name, path)
        index[card.name, card.version] = IndexEntry(
            name=card.name, version=card.version, card=record
        )
        _write_index(root, index)


def _read_index(root: Path) -> _Index:
    try:
        index = read_index(Folder(root))
    except DownloadError:  # the folder has no index yet
        return {}
    return {(listed.name, listed.version): listed for listed in index.entries}


def _write_index(root: Path, index: _Index) -> None:
    entries = sorted(index.values(), key=lambda entry: (entry.name, version_key(entry.version)))
    content = msgspec.json.encode(Index(format=OLDEST_FORMAT, entries=tuple(entries)))
    with atomic_write(root / INDEX_FILE) as file:
        file.write(msgspec.json.format(content, indent=2) + b"\n")


def _to_hub(entry: Path, card: Card, destination: str, private: bool) -> None:
    """Commit all files at once, with the card as the repository's README."""
    hub = import_from_extra("huggingface_hub", "hf")
    repository = HubRepository(destination)
    if repository.path:
        raise ConfigError(f"{destination}: expected {FORM}", value=destination)
    contents: dict[str, str | bytes] = {
        name: str(entry / name) for name in (*card.files, CARD_FILE)
    }
    contents["README.md"] = hub_page(card, str(repository)).encode()
    operations = [
        hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in contents.items()
    ]
    api = hub.HfApi(endpoint=hugging_face_address())
    try:
        api.create_repo(repository.name, private=private, exist_ok=True)
        api.create_commit(
            repository.name,
            operations,
            commit_message=f"{card.name} {card.version}",
            revision=repository.revision or None,
        )
    except (hub.errors.HfHubHTTPError, OSError, ValueError) as error:
        raise ZooError(
            f"{destination}: Hugging Face refuses: {error}. Log in with `hf auth login`, or set "
            "HF_TOKEN to a token that may write there"
        ) from error
