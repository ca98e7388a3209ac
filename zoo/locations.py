"""Locations of entries: folders and web addresses with the same layout.

    index.json                     the names, versions and card checksums of the entries
    NAME/VERSION/card.json         the card of an entry
    NAME/VERSION/...               the files of the card

A static web server that serves a folder of this layout makes it available at an address.
"""

import contextlib
import functools
import hashlib
import logging
import re
import shutil
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from keras_parts.environment import (
    OFFLINE_VARIABLE,
    ZOO_VARIABLE,
    cache_path,
    offline,
    zoo_locations,
)
from keras_parts.errors import ConfigError, DownloadError, IntegrityError
from keras_parts.files import atomic_write
from keras_parts.zoo.cards import (
    CARD_FILE,
    MAX_CARD_BYTES,
    Card,
    FileRecord,
    Name,
    Record,
    Version,
    decode,
    read_document,
)
from keras_parts.zoo.hugging_face import FORM, HOW_TO_REQUEST, HUB, HubRepository

INDEX_FILE = "index.json"
_MAX_INDEX_BYTES = 2**24
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*:\d+(/|$)|localhost(/|$)|[\w-]+(\.[\w-]+)+/")
"""The beginning of an address without http://: a host with a port, or with a path."""
_logger = logging.getLogger(__name__)
_T = TypeVar("_T")


class IndexEntry(Record, frozen=True, kw_only=True):
    """An entry of an index: its name and version, and the record of its card."""

    name: Name
    version: Version
    card: FileRecord


class Index(Record, frozen=True, kw_only=True):
    """The entries of a location."""

    format: Literal[2]
    entries: Annotated[tuple[IndexEntry, ...], Meta(max_length=100_000)] = ()


class Folder:
    """A location on the disk.

    Attributes:
        root: path of the folder.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root).expanduser()

    def __str__(self) -> str:
        return str(self.root)

    def below(self, path: str) -> "Folder":
        """A folder inside this one; `path` consists of checked names."""
        return Folder(self.root / path)

    def read(
        self, name: str, parse: Callable[[bytes], _T], *, max_bytes: int, refresh: bool = True
    ) -> _T:
        """The content of a small file.

        Args:
            name: of the file.
            parse: function of the first `max_bytes` + 1 bytes that returns the content, or raises
                `IntegrityError`.
            max_bytes: maximum size that `parse` accepts.
            refresh: ignored; for web addresses.

        Raises:
            DownloadError: there is no such file.
            IntegrityError: of `parse`.
        """
        path = self.root / name
        if not path.is_file():
            raise DownloadError(f"{path}: there is no such file", path=path)
        return parse(read_document(path, max_bytes))

    def fetch(
        self, name: str, record: FileRecord, part: Path, report: Callable[[int], object]
    ) -> None:
        """Copy a file; see `transfer.download`."""
        source = self.root / name
        if not source.is_file():
            raise DownloadError(f"{source}: there is no such file", path=source)
        record.check(source)
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            raise DownloadError(
                f"{part}: cannot be copied from {source}: {error.strerror}", path=part
            ) from error
        report(record.size)
        record.check(part, source=source)


class Address:
    """A location on the web: http(s)://HOST/PATH.

    Indices and cards are cached when they are read. `zoo list`, which makes no request, reads the
    cached copies, and so does every command if the server cannot be reached.

    Attributes:
        url: http or https, without a slash at the end.

    Raises:
        ConfigError: not such an address, or one with a query or with ".." in its path.
    """

    def __init__(self, url: str) -> None:
        self.url = _plain_url(url)

    def __str__(self) -> str:
        return self.url

    def below(self, path: str) -> "Address":
        """An address inside this one; `path` consists of checked names."""
        return Address(f"{self.url}/{path}")

    def parent(self) -> "tuple[Address, str] | None":
        """The address that this one is in, and this one's name there; None for a whole host."""
        above, _, name = self.url.rpartition("/")
        return (Address(above), name) if urlsplit(self.url).path else None

    def contains(self, other: object) -> bool:
        """Whether another location is this one or lies below it."""
        return isinstance(other, Address) and f"{other.url}/".startswith(f"{self.url}/")

    def read(
        self, name: str, parse: Callable[[bytes], _T], *, max_bytes: int, refresh: bool = True
    ) -> _T:
        """The content of a small file.

        What `parse` refuses, such as the page of a login, is not cached. If it comes from the
        cache, where earlier versions kept it, it is removed.

        Args:
            name, parse, max_bytes: as for a folder.
            refresh: request the file from the server; False reads the cached copy.

        Raises:
            DownloadError: the server cannot be reached and there is no cached copy.
            IntegrityError: of `parse`, and there is no cached copy.
        """
        from keras_parts import transfer

        url = f"{self.url}/{name}"
        cached = cache_path(f"zoo/documents/{hashlib.sha256(url.encode()).hexdigest()}")
        if refresh and not offline():
            try:
                content = transfer.read(url, max_bytes=max_bytes)
                parsed = parse(content)
            except (DownloadError, IntegrityError) as error:
                if not cached.is_file():
                    raise
                _logger.warning("%s; using the cached copy", error)
            else:
                _cache(cached, content)
                return parsed
        if not cached.is_file():
            reason = _offline_reason() or f", and there is no cached copy: {HOW_TO_REQUEST}"
            raise DownloadError(f"{url}: not requested{reason}", url=url)
        try:
            return parse(read_document(cached, max_bytes))
        except IntegrityError:
            with contextlib.suppress(OSError):
                cached.unlink()
            raise

    def fetch(
        self, name: str, record: FileRecord, part: Path, report: Callable[[int], object]
    ) -> None:
        """Download a file; see `transfer.download`."""
        fetch_url(f"{self.url}/{name}", record, part, report)


Location = Folder | Address | HubRepository


def fetch_url(url: str, record: FileRecord, part: Path, report: Callable[[int], object]) -> None:
    """Download a file as `transfer.download` does, unless network requests are forbidden."""
    from keras_parts import transfer

    if offline():
        raise DownloadError(f"{url}: not requested{_offline_reason()}", url=url)
    transfer.download(url, record, part, report)


def location(text: str) -> Location:
    """The folder or the address that a text names.

    Raises:
        ConfigError: it is no folder, and looks like an address without http://.
    """
    if is_address(text):
        return address(text)
    folder = Folder(text)
    if _HOST.match(text) and not folder.root.exists():
        raise ConfigError(
            f"{text}: there is no such folder, and an address begins with http:// or https://: "
            f"write http://{text}",
            value=text,
        )
    return folder


def address(text: str) -> Address | HubRepository:
    """The address that a text names, on Hugging Face or elsewhere on the web."""
    return HubRepository(text) if text.lower().startswith(HUB) else Address(text)


def is_address(text: str) -> bool:
    """Whether a text names an address: by its prefix."""
    return text.lower().startswith(("http://", "https://", HUB))


def locations() -> list[Location]:
    """The locations in `KERAS_PARTS_ZOO`, in order.

    What looks like an address but is none is left out, with a warning.
    """
    found = map(_named_location, zoo_locations())
    return [one for one in found if one is not None]


@functools.cache  # the warning comes once
def _named_location(text: str) -> Location | None:
    try:
        return location(text)
    except ConfigError as error:
        _logger.warning("%s; left out of %s", error, ZOO_VARIABLE)
        return None


def read_index(location: Location, *, refresh: bool = True) -> Index:
    """The index of a location.

    Args:
        location: a folder or an address.
        refresh: request it from the server; False reads the cached copy.

    Raises:
        DownloadError: it cannot be read.
        IntegrityError: it is not an index, or one of a later format.
    """

    def parse(content: bytes) -> Index:
        return decode(content, Index, f"{location}/{INDEX_FILE}", max_bytes=_MAX_INDEX_BYTES)

    return location.read(INDEX_FILE, parse, max_bytes=_MAX_INDEX_BYTES, refresh=refresh)


def read_indexed_card(location: Location, listed: IndexEntry, *, refresh: bool = True) -> Card:
    """The card of an entry of a location's index, compared with the index.

    Args:
        location, refresh: as for `read_index`.
        listed: the entry of the index.

    Raises:
        DownloadError: it cannot be read.
        IntegrityError: it differs from the index, or is not a card.
    """
    home = location.below(f"{listed.name}/{listed.version}")
    source = f"{home}/{CARD_FILE}"

    def parse(content: bytes) -> Card:
        listed.card.check_content(content, source=source)
        card = Card.decode(content, source)
        if (card.name, card.version) != (listed.name, listed.version):
            raise IntegrityError(
                f"{source}: is {card.id}, expected {listed.name}@{listed.version}", path=source
            )
        return card

    return home.read(CARD_FILE, parse, max_bytes=MAX_CARD_BYTES, refresh=refresh)


def _plain_url(text: str) -> str:
    url = text.removesuffix(f"/{CARD_FILE}").rstrip("/")
    with contextlib.suppress(ValueError):
        split = urlsplit(url)
        bad_path = {".", ".."} & set(unquote(split.path).replace("\\", "/").split("/"))
        plain = not (split.query or split.fragment or bad_path)
        if split.scheme.lower() in ("http", "https") and split.hostname and plain:
            return url
    raise ConfigError(
        f"{text}: not an address of a zoo or an entry: expected http(s)://HOST/PATH or "
        f"{FORM}, without a query and without .. in its path",
        value=text,
    )


def _cache(path: Path, content: bytes) -> None:
    # The caller has the content: a cache folder that cannot be written must not be an error.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(content)


def _offline_reason() -> str:
    return f", because {OFFLINE_VARIABLE} is set" if offline() else ""
