"""Entries to where others get them: a folder for any static web server, or Hugging Face."""

import shutil
from os import PathLike, fspath
from pathlib import Path

import msgspec

from keras_parts.environment import hugging_face_address
from keras_parts.errors import ConfigError
from keras_parts.files import atomic_path, atomic_write
from keras_parts.zoo.cards import CARD_FILE, Card, FileRecord, check_files, read_card
from keras_parts.zoo.errors import DownloadError, ZooError
from keras_parts.zoo.locations import (
    HUB,
    INDEX_FILE,
    Folder,
    Index,
    Listed,
    read_index,
)
from keras_parts.zoo.registry import number
from keras_parts.zoo.rendering import hub_readme


def publish(entry: str | PathLike, destination: str | PathLike, private: bool = False) -> Card:
    """Give an entry to others.

    Args:
        entry: its folder, as `pack` makes it.
        destination: a folder: the entry goes to NAME/VERSION/ and into index.json, so that the
            folder, put on any web server, is an address for KERAS_PARTS_ZOO; or
            hf://USER/REPOSITORY, with the token that `hf auth login` stored.
        private: of a repository that is made by this.

    Returns:
        The card.

    Raises:
        IntegrityError: the entry differs from its card.
        ZooError: this version was published before and differs; or Hugging Face refuses.
        ConfigError: the library for Hugging Face is not installed.
    """
    entry = Path(entry)
    card = read_card(entry)
    check_files(entry, card)
    if fspath(destination).lower().startswith(HUB):
        _to_hub(entry, card, fspath(destination), private)
    else:
        _to_folder(entry, card, Path(destination).expanduser())
    return card


def _to_folder(entry, card, root):
    from filelock import FileLock

    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".index.lock"):
        listed = _listed(root)
        record = FileRecord.of(entry / CARD_FILE)
        before = listed.get((card.name, card.version))
        if before and before.card != record:
            raise ZooError(
                f"{root} has another {card.id} already: a version that was published never "
                "changes, give this one a higher number (zoo pack --version)"
            )
        home = root / card.name / card.version
        home.mkdir(parents=True, exist_ok=True)
        for name in (*card.files, CARD_FILE):
            with atomic_path(home / name) as path:
                shutil.copyfile(entry / name, path)
        listed[card.name, card.version] = Listed(name=card.name, version=card.version, card=record)
        _write_index(root, listed)


def _listed(root):
    try:
        index = read_index(Folder(root))
    except DownloadError:  # there is none yet
        return {}
    return {(listed.name, listed.version): listed for listed in index.entries}


def _write_index(root, listed):
    entries = sorted(listed.values(), key=lambda one: (one.name, number(one.version)))
    content = msgspec.json.encode(Index(format=2, entries=tuple(entries)))
    with atomic_write(root / INDEX_FILE) as file:
        file.write(msgspec.json.format(content, indent=2) + b"\n")


def _to_hub(entry, card, destination, private):
    """All files in one commit, with a model card for people."""
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ConfigError(
            f"{destination}: publishing there takes {error.name}: pip install keras-parts[hf]"
        ) from error
    repository = destination[len(HUB) :].strip("/")
    if repository.count("/") != 1:
        raise ConfigError(f"{destination}: expected {HUB}USER/REPOSITORY")
    contents = {name: str(entry / name) for name in (*card.files, CARD_FILE)}
    contents["README.md"] = hub_readme(card).encode()
    operations = [
        CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        for name, content in contents.items()
    ]
    api = HfApi(endpoint=hugging_face_address())
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        api.create_commit(repository, operations, commit_message=f"{card.name} {card.version}")
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise ZooError(f"{destination}: Hugging Face refuses: {error}") from error
