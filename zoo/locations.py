"""Places that hold entries: folders and addresses of one layout.

    index.json                     which entries there are
    NAME/VERSION/card.json         each with its card
    NAME/VERSION/...               and the files of the card

Any folder of this layout, put on a static web server, is an address of this layout.
"""

import contextlib
import hashlib
import shutil
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from keras_parts.environment import (
    OFFLINE_VARIABLE,
    cache_folder,
    hugging_face_address,
    offline,
    zoo_locations,
)
from keras_parts.errors import ConfigError, IntegrityError
from keras_parts.zoo.cards import (
    CARD_FILE,
    MAX_CARD,
    Card,
    FileRecord,
    Name,
    Record,
    Version,
    decode,
    read_limited,
)
from keras_parts.zoo.errors import DownloadError

INDEX_FILE = "index.json"
_MAX_INDEX = 2**24
HUB = "hf://"
"""How the address of a Hugging Face repository begins."""


class Listed(Record, kw_only=True):
    """An entry of an index: where it lies, and what its card must be."""

    name: Name
    version: Version
    card: FileRecord


class Index(Record, kw_only=True):
    """What a place holds."""

    format: Literal[2]
    entries: Annotated[tuple[Listed, ...], Meta(max_length=100_000)] = ()


class Folder:
    """A place on the disk."""

    def __init__(self, root: str | PathLike):
        self.root = Path(root).expanduser()

    def __str__(self):
        return str(self.root)

    def below(self, path: str) -> "Folder":
        """A place inside this one; `path` is made of checked names."""
        return Folder(self.root / path)

    def read(self, name: str, limit: int, ask: bool = True) -> bytes:
        """A small file's content, but not more than a byte over the limit.

        Raises:
            DownloadError: there is no such file.
        """
        if not (self.root / name).is_file():
            raise DownloadError(f"{self.root / name}: there is no such file")
        return read_limited(self.root / name, limit)

    def fetch(
        self, name: str, record: FileRecord, part: Path, report: Callable[[int], None]
    ) -> None:
        """Bring `part` to the content of a file; raises as `transfer.download` does."""
        source = self.root / name
        if not source.is_file():
            raise DownloadError(f"{source}: there is no such file")
        record.check(source)
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            raise DownloadError(
                f"{part}: cannot be copied from {source}: {error.strerror}"
            ) from error
        report(record.size)
        record.check(part, where=source)


class Address:
    """A place behind http or https, or hf://USER/REPOSITORY.

    What it said of indices and cards is remembered: for `zoo list`, which asks nobody, and for
    when the server cannot be reached.

    Raises:
        ConfigError: not such an address, or one with a query, or with ".." in its path.
    """

    def __init__(self, url: str):
        self.url = _plain_url(url)

    def __str__(self):
        return self.url

    def below(self, path: str) -> "Address":
        """A place inside this one; `path` is made of checked names."""
        return Address(f"{self.url}/{path}")

    def holds(self, other: "Address") -> bool:
        """Whether another address is this one or lies below it."""
        return f"{other.url}/".startswith(f"{self.url}/")

    def read(self, name: str, limit: int, ask: bool = True) -> bytes:
        """A small file's content, but not more than a byte over the limit.

        Args:
            name: of the file. limit: in bytes.
            ask: False for what it said the last time.

        Raises:
            DownloadError: it cannot be had now and has not been had before.
        """
        from keras_parts.zoo import transfer

        url = f"{self.url}/{name}"
        memory = cache_folder() / "zoo" / "documents" / hashlib.sha256(url.encode()).hexdigest()
        if ask and not offline():
            try:
                content = transfer.read(url, limit)
            except DownloadError as error:
                if not memory.is_file():
                    raise
                warnings.warn(f"{error}; taking what it said the last time", stacklevel=2)
            else:
                _remember(memory, content)
                return content
        if not memory.is_file():
            raise DownloadError(f"{url}: not asked" + _why_offline())
        return read_limited(memory, limit)

    def fetch(
        self, name: str, record: FileRecord, part: Path, report: Callable[[int], None]
    ) -> None:
        """See `transfer.download`."""
        fetch_url(f"{self.url}/{name}", record, part, report)


Place = Folder | Address


def fetch_url(url: str, record: FileRecord, part: Path, report: Callable[[int], None]) -> None:
    """`transfer.download`, unless addresses are not to be asked."""
    from keras_parts.zoo import transfer

    if offline():
        raise DownloadError(f"{url}: not asked{_why_offline()}")
    transfer.download(url, record, part, report)


def place(text: str) -> Place:
    """The folder or the address that a text names."""
    return Address(text) if is_address(text) else Folder(text)


def is_address(text: str) -> bool:
    """Whether a text names an address, by its first letters."""
    return text.lower().startswith(("http://", "https://", HUB))


def places() -> list[Place]:
    """The places that `KERAS_PARTS_ZOO` names, in order."""
    return [place(text) for text in zoo_locations()]


def read_index(place: Place, ask: bool = True) -> Index:
    """What a place holds.

    Raises:
        DownloadError: it cannot be had. IntegrityError: it is no index.
    """
    content = place.read(INDEX_FILE, _MAX_INDEX, ask)
    return decode(content, Index, f"{place}/{INDEX_FILE}", _MAX_INDEX)


def read_listed_card(place: Place, listed: Listed, ask: bool = True) -> Card:
    """The card of an entry of a place's index, which says what it must be.

    Raises:
        DownloadError: it cannot be had. IntegrityError: it is another one, or no card.
    """
    home = place.below(f"{listed.name}/{listed.version}")
    content = home.read(CARD_FILE, MAX_CARD, ask)
    where = f"{home}/{CARD_FILE}"
    listed.card.check_content(content, where)
    card = Card.decode(content, where)
    if (card.name, card.version) != (listed.name, listed.version):
        raise IntegrityError(f"{where}: is {card.id}, expected {listed.name}@{listed.version}")
    return card


def _plain_url(text):
    url = text
    if text.lower().startswith(HUB):
        user, _, rest = text[len(HUB) :].strip("/").partition("/")
        repository, _, inside = rest.partition("/")
        if not (user and repository):
            raise ConfigError(f"{text}: expected {HUB}USER/REPOSITORY")
        url = f"{hugging_face_address()}/{user}/{repository}/resolve/main/{inside}"
    url = url.removesuffix(f"/{CARD_FILE}").rstrip("/")
    with contextlib.suppress(ValueError):
        split = urlsplit(url)
        bad_path = {".", ".."} & set(unquote(split.path).replace("\\", "/").split("/"))
        plain = not (split.query or split.fragment or bad_path)
        if split.scheme.lower() in ("http", "https") and split.hostname and plain:
            return url
    raise ConfigError(
        f"{text}: not an address of a zoo or an entry: expected http(s)://HOST/PATH or "
        f"{HUB}USER/REPOSITORY, without a query and without .. in its path"
    )


def _remember(memory, content):
    from keras_parts.files import atomic_write

    # A cache that cannot be written must not keep anybody from what was just read.
    with contextlib.suppress(OSError):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(memory) as file:
            file.write(content)


def _why_offline():
    return f", for {OFFLINE_VARIABLE} is set" if offline() else " before"
