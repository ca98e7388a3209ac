"""Download a file completely and verify it, or raise an error.

An interrupted download resumes from the bytes on the disk, in the same call or in a later process.
The sizes and ranges that the server states are checked at once, and the sha256 of the complete file
at the end.

A server is not trusted: whatever it answers, a call ends within its time limit and reads no more
bytes than it expects. Redirects are followed here, because the HTTP library would read their bodies
without a limit; and each exchange runs in a thread, because the library cannot be interrupted while
it looks up a name or reads the lines of a header.
"""

import contextlib
import itertools
import os
import queue
import random
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import requests.adapters
import urllib3

from keras_parts import __version__
from keras_parts.environment import DOWNLOAD_VARIABLE, max_download_seconds
from keras_parts.errors import DownloadError, IntegrityError

PART = ".part"
"""Suffix of a file that is not complete."""
Report = Callable[[int], object]
"""Called with the number of bytes received."""
_RESERVED_BYTES = 2**20
"""Bytes of the disk that a download leaves free."""
_CHUNK_BYTES = 2**16
_WAITING_CHUNKS = 16
_REDIRECTS = {301, 302, 303, 307, 308}
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
_NUMBER = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_T = TypeVar("_T")


@dataclass(frozen=True)
class TransferLimits:
    """How long to wait for a server, and how often to repeat a request.

    The time for a whole download, with all of its attempts, is
    `keras_parts.environment.max_download_seconds()`.

    Attributes:
        attempts: maximum number of attempts.
        first_wait, max_wait: seconds between two attempts: drawn at random from 0 to `first_wait`,
            which doubles each time, up to `max_wait`; longer if the server asks for it.
        connect_timeout, read_timeout: seconds to wait for a connection, and for further bytes.
        min_speed: bytes per second, on average over `speed_window` seconds; a slower connection
            counts as broken.
        max_redirects: number of redirects that are followed.
        document_seconds: seconds for an index, a card or an image, with all attempts.
    """

    attempts: int = 4
    first_wait: float = 1.0
    max_wait: float = 20.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_speed: float = 512.0
    speed_window: float = 30.0
    max_redirects: int = 8
    document_seconds: float = 90.0


LIMITS = TransferLimits()


class ExpectedFile(Protocol):
    """What is known of a file before its download, such as the record on a model's card."""

    @property
    def size(self) -> int: ...

    def check(self, path: Path, *, source: object = None) -> None:
        """Raise IntegrityError unless the file has the expected size and checksum."""


class _TemporaryError(DownloadError):
    """A failure that may not occur again, so that the request is repeated.

    Attributes:
        retry_after: seconds that the server asks to wait.
    """

    def __init__(self, message: str, *, url: str, retry_after: float = 0.0) -> None:
        super().__init__(message, url=url)
        self.retry_after = retry_after


class _Deadline:
    """The end of the time for a download."""

    def __init__(self, seconds: float, way_out: str) -> None:
        self._seconds, self._way_out = seconds, way_out
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds that are left, 0 at least."""
        return max(0.0, self._end - time.monotonic())

    def error(self, url: str) -> DownloadError:
        return DownloadError(
            f"{url}: not complete after {self._seconds:g} s, the maximum{self._way_out}", url=url
        )


def fingerprint(url: str) -> str:
    """A text that changes when a file does, by what the server states; "" if it states nothing.

    Raises:
        DownloadError: it cannot be read.
    """
    deadline = _document_deadline()

    def attempt() -> str:
        with _request(url, {}, deadline) as (head, _):
            stated = head.headers.get("ETag") or head.headers.get("Last-Modified")
            return f"{head.length} {stated}" if stated else ""

    return _with_retries(attempt, deadline)


def _document_deadline() -> _Deadline:
    seconds = min(LIMITS.document_seconds, max_download_seconds())
    return _Deadline(seconds, " for an index, a card or an image")


def read(url: str, *, max_bytes: int) -> bytes:
    """The first `max_bytes` + 1 bytes of a file, so that a larger file is noticed.

    Raises:
        DownloadError: it cannot be read.
    """
    deadline = _document_deadline()

    def attempt() -> bytes:
        content = bytearray()
        with _request(url, {}, deadline) as (head, chunks):
            if head.status != 200:
                raise DownloadError(f"{url}: HTTP {head.status} for the whole file", url=url)
            if (encoding := head.headers.get("Content-Encoding", "identity")) != "identity":
                raise DownloadError(
                    f"{url}: is compressed ({encoding:.40}), although that was not requested",
                    url=url,
                )
            for chunk in chunks:
                content += chunk
                if len(content) > max_bytes:
                    return bytes(content[: max_bytes + 1])
            if head.length is not None and len(content) < head.length:
                raise _TemporaryError(
                    f"{url}: ended after {len(content):,} of {head.length:,} bytes", url=url
                )
        return bytes(content)

    return _with_retries(attempt, deadline)


def download(
    url: str,
    record: ExpectedFile,
    part: Path,
    report: Report = lambda received: None,
) -> None:
    """Download a file, resuming from the bytes that `part` already has.

    Args:
        url: http or https.
        record: size and sha256 of the file.
        part: the file to write. After a `DownloadError` it keeps the bytes received so far; after
            an `IntegrityError` it is removed.
        report: called with the number of bytes in `part` after each chunk.

    Raises:
        DownloadError: the server cannot be reached, does not have the file, breaks every
            connection or is too slow; or the disk is full.
        IntegrityError: the server sends another file: names address, expected and found.
    """
    deadline = _Deadline(
        max_download_seconds(),
        f" for a file ({DOWNLOAD_VARIABLE}); the bytes received are kept, and the next download "
        "continues from them",
    )

    def attempt() -> bool:
        return _attempt(url, record, part, report, deadline)

    try:
        had_bytes = _size(part) > 0
        resumed = _with_retries(attempt, deadline)
        try:
            record.check(part, source=url)
        except IntegrityError:
            if not (had_bytes or resumed):
                raise
            # The file was assembled from pieces, one of which may be of another file: download
            # all of it in one piece.
            part.unlink()
            _with_retries(attempt, deadline)
            record.check(part, source=url)
    except IntegrityError:
        part.unlink(missing_ok=True)
        raise


def check_disk_space(part: Path, size: int) -> None:
    """Raise DownloadError unless the disk has room for the bytes of a file that `part` lacks."""
    missing = size - _size(part)
    free = shutil.disk_usage(part.parent).free
    if missing + _RESERVED_BYTES > free:
        raise DownloadError(
            f"{part}: {missing:,} bytes are missing, but the disk has only {free:,} free. Free "
            "some space, or set KERAS_PARTS_HOME to another folder",
            path=part,
        )


@contextlib.contextmanager
def progress_bar(title: str, size: int, *, progress: bool) -> Iterator[Report]:
    """Show a progress bar if stderr is a terminal; yields the function that updates it."""
    from tqdm import tqdm

    with tqdm(
        desc=title,
        total=size,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None if progress else True,  # None: only if stderr is not a terminal
        leave=False,
    ) as bar:
        yield lambda received: bar.update(received - bar.n)


def complete(part: Path, path: Path) -> None:
    """Give a complete file its name, after it is on the disk."""
    with open(part, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _attempt(
    url: str,
    record: ExpectedFile,
    part: Path,
    report: Report,
    deadline: _Deadline,
) -> bool:
    """One request; returns whether the server resumed from the bytes of `part`."""
    received = _size(part)
    if received > record.size:
        part.unlink()
        received = 0
    if received == record.size:
        return received > 0
    requested = {"Range": f"bytes={received}-"} if received else {}
    with _request(url, requested, deadline) as (head, chunks):
        resumed = received > 0 and head.status == 206
        if head.status != 200:
            _check_range(head, url, received, record, part)
        if not resumed:
            received = 0
        if head.length is not None and received + head.length != record.size:
            raise IntegrityError(
                f"{url}: announces {received + head.length:,} bytes, expected {record.size:,}",
                path=url,
                expected=record.size,
                found=received + head.length,
            )
        received = _write(chunks, url, received, record, part, report)
    if received < record.size:
        raise _TemporaryError(f"{url}: ended after {received:,} of {record.size:,} bytes", url=url)
    return resumed


def _write(
    chunks: Iterator[bytes],
    url: str,
    received: int,
    record: ExpectedFile,
    part: Path,
    report: Report,
) -> int:
    """Append the body to the `received` bytes of `part`; returns the new size of `part`."""
    with _open_part(part, received, record) as file:
        for chunk in chunks:
            received += len(chunk)
            if received > record.size:
                raise IntegrityError(
                    f"{url}: sends more than the expected {record.size:,} bytes",
                    path=url,
                    expected=record.size,
                )
            file.write(chunk)
            report(received)
    return received


def _check_range(head: "_Head", url: str, received: int, record: ExpectedFile, part: Path) -> None:
    """Raise unless the body continues `part`; the next attempt then downloads the whole file."""
    stated = head.headers.get("Content-Range", "none")
    if not received:
        raise DownloadError(
            f"{url}: the whole file was requested, the server sent HTTP {head.status} with "
            f"Content-Range {stated:.100}",
            url=url,
        )
    found = _RANGE.fullmatch(stated)
    if not found or int(found[1]) != received or found[2] not in ("*", str(record.size)):
        part.unlink(missing_ok=True)
        raise _TemporaryError(
            f"{url}: bytes from {received:,} of {record.size:,} were requested, the server sent "
            f"HTTP {head.status} with Content-Range {stated:.100}",
            url=url,
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextlib.contextmanager
def _open_part(part: Path, received: int, record: ExpectedFile) -> Iterator[IO[bytes]]:
    """Open the part to append to its `received` bytes, or empty it if that is 0.

    Bytes that are written before an error are kept.
    """
    try:
        with open(part, "ab" if received else "wb") as file:
            yield file
    except OSError as error:
        raise DownloadError(
            f"{part}: cannot be written ({error.strerror}); the file has {record.size:,} bytes. "
            "Free some space, or set KERAS_PARTS_HOME to another folder",
            path=part,
        ) from error


def _with_retries(attempt: Callable[[], _T], deadline: _Deadline) -> _T:
    """The result of `attempt`, repeated after temporary errors."""
    for number in itertools.count(1):
        try:
            return attempt()
        except _TemporaryError as error:
            if number >= LIMITS.attempts:
                raise DownloadError(f"{error} (after {number} attempts)", url=error.url) from error
            longest = min(LIMITS.max_wait, LIMITS.first_wait * 2 ** (number - 1))
            wait = max(error.retry_after, random.uniform(0, longest))
            if wait >= deadline.remaining():
                asked = f" and asks to wait for {wait:,.0f} s" if error.retry_after else ""
                raise DownloadError(f"{error}{asked}: try again later", url=error.url) from error
            time.sleep(wait)
    raise AssertionError  # `count` has no end


@dataclass(frozen=True)
class _Head:
    """What precedes the body of a response.

    Attributes:
        status: 200, 206 or 416.
        headers: by name, in any case.
        length: bytes of the body as the header states it, or None.
    """

    status: int
    headers: Mapping[str, str]
    length: int | None


@contextlib.contextmanager
def _request(
    url: str, headers: Mapping[str, str], deadline: _Deadline
) -> Iterator[tuple[_Head, Iterator[bytes]]]:
    """The head of the response to one request, and the body in chunks as they arrive."""
    exchange = _Exchange(url, headers)
    threading.Thread(target=exchange.run, name="keras-parts download", daemon=True).start()

    def items() -> Iterator[Any]:
        while True:
            try:
                item = exchange.items.get(timeout=deadline.remaining())
            except queue.Empty:
                raise deadline.error(url) from None
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            yield item
            if not deadline.remaining():
                raise deadline.error(url)

    try:
        received = items()
        yield next(received), received
    finally:
        exchange.stop()


@dataclass
class _Exchange:
    """One request with its redirects, in a thread.

    Attributes:
        url, headers: of the request.
        items: the `_Head`, the chunks of the body, and None; or, at any point, an exception.
    """

    url: str
    headers: Mapping[str, str]
    items: "queue.Queue[Any]" = field(default_factory=lambda: queue.Queue(_WAITING_CHUNKS))
    _stopped: threading.Event = field(default_factory=threading.Event)
    _adapter: "_Adapter" = field(default_factory=lambda: _Adapter())

    def run(self) -> None:
        """Fill `items`; for the thread."""
        try:
            with _Session(self._adapter) as session, self._open(session) as response:
                self._put(_head(response, self.url))
                for chunk in self._chunks(response):
                    self._put(chunk)
            self._put(None)
        except DownloadError as error:
            self._put(error)
        except Exception as error:  # of several libraries, for whatever a server sends
            if _is_refused(error):
                server = "{0.scheme}://{0.netloc}".format(urlsplit(self.url))
                problem = f"{self.url}: no server answers at {server}"
                self._put(DownloadError(problem, url=self.url))
                return
            kind = _TemporaryError if _may_pass(error) else DownloadError
            self._put(kind(f"{self.url}: {_root_cause(error)}", url=self.url))

    def stop(self) -> None:
        """End the thread, which may be waiting for the server; its connection is useless then."""
        self._stopped.set()
        self._adapter.disconnect()

    def _put(self, item: Any) -> None:
        """Append to `items`; dropped if nobody waits for it any more."""
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self.items.put(item, timeout=0.1)
                return

    def _open(self, session: requests.Session) -> requests.Response:
        """The response after all redirects, whose bodies are not read."""
        url = self.url
        headers = {
            "User-Agent": f"keras-parts/{__version__}",
            "Accept-Encoding": "identity",
            **self.headers,
        }
        timeout = (LIMITS.connect_timeout, LIMITS.read_timeout)
        for _ in range(LIMITS.max_redirects + 1):
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or target is None:
                return response
            response.close()
            url = _redirected(self.url, url, target)
        raise DownloadError(f"{self.url}: more than {LIMITS.max_redirects} redirects", url=self.url)

    def _chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body, not decompressed."""
        received, started = 0, time.monotonic()
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
            yield chunk
            received += len(chunk)
            seconds = time.monotonic() - started
            if seconds >= LIMITS.speed_window:
                if received < LIMITS.min_speed * seconds:
                    raise _TemporaryError(
                        f"{self.url}: only {received:,} bytes in {seconds:.0f} s", url=self.url
                    )
                received, started = 0, time.monotonic()


class _Session(requests.Session):
    """A session that follows no redirect: `requests` reads the whole body of each, at any size."""

    def __init__(self, adapter: "_Adapter") -> None:
        super().__init__()
        self.mount("http://", adapter)
        self.mount("https://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _Adapter(requests.adapters.HTTPAdapter):
    """Keeps its sockets, so that another thread can end them."""

    def __init__(self) -> None:
        super().__init__()
        self._sockets: list[socket.socket] = []
        self._ended = False

    def disconnect(self) -> None:
        """End all connections, and those that are being made."""
        self._ended = True
        for one in self._sockets:
            with contextlib.suppress(OSError):  # it is closed already
                one.shutdown(socket.SHUT_RDWR)

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **options)
        adapter, kind = self, pool.ConnectionCls

        class Connection(kind):  # type: ignore[valid-type, misc]
            def connect(self) -> None:
                super().connect()
                adapter._sockets.append(self.sock)
                if adapter._ended:
                    adapter.disconnect()

        Connection.__name__ = kind.__name__  # messages of urllib3 contain it
        pool.ConnectionCls = Connection
        return pool


def _head(response: requests.Response, url: str) -> _Head:
    code = response.status_code
    if code not in (200, 206, 416):
        message = f"{url}: HTTP {code} {response.reason or ''}".rstrip()
        if code not in _RETRIED_STATUS:
            raise DownloadError(message, url=url, status=code)
        wait = _retry_after(response.headers.get("Retry-After", ""))
        raise _TemporaryError(message, url=url, retry_after=wait)
    stated = response.headers.get("Content-Length")
    if stated is not None and not _NUMBER.fullmatch(stated):
        raise DownloadError(
            f"{url}: Content-Length is {stated!r:.60}, expected a number of bytes", url=url
        )
    return _Head(code, response.headers, None if stated is None else int(stated))


def _retry_after(stated: str) -> float:
    """Seconds to wait, by a header with seconds or a date; 0 without a valid one."""
    if _NUMBER.fullmatch(stated):
        return float(stated)
    try:
        return max(0.0, (parsedate_to_datetime(stated) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: a date without a time zone
        return 0.0


def _redirected(first: str, url: str, target: str) -> str:
    """The address to which a redirect from `url` leads.

    Raises:
        DownloadError: it is none, is not on the web, or is not encrypted although `url` is.
    """
    with contextlib.suppress(UnicodeError):
        target = target.encode("latin-1").decode("utf-8")  # http.client decodes bytes as Latin-1
    try:
        old, new = urlsplit(url), urlsplit(urljoin(url, target))
        same_server = (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port)
    except ValueError as error:
        raise DownloadError(
            f"{first}: redirects to {target!r:.200}, which is no address: {error}", url=first
        ) from error
    if new.scheme not in ("http", "https") or not new.hostname:
        raise DownloadError(
            f"{first}: redirects to {target!r:.200}, expected http or https", url=first
        )
    if old.scheme == "https" and new.scheme != "https":
        raise DownloadError(
            f"{first}: redirects to {new.geturl():.200}, which is not encrypted", url=first
        )
    if same_server and "@" in old.netloc and "@" not in new.netloc:
        new = new._replace(netloc=f"{old.netloc.rpartition('@')[0]}@{new.netloc}")
    return new.geturl()


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed later."""
    if isinstance(error, requests.exceptions.SSLError | ValueError):
        return False  # an invalid certificate or address remains so
    if isinstance(error, requests.RequestException):
        return isinstance(error, requests.ConnectionError | requests.Timeout)
    return isinstance(error, urllib3.exceptions.HTTPError | OSError)


def _is_refused(error: BaseException | None) -> bool:
    """Whether nothing listens at the server's port: another attempt would not find it either."""
    while error is not None:
        if isinstance(error, ConnectionRefusedError):
            return True
        inner = getattr(error, "reason", None) or next(iter(error.args), None)
        nested = inner if isinstance(inner, Exception) else None
        error = nested or error.__cause__ or error.__context__
    return False


def _root_cause(error: BaseException) -> str:
    """The innermost of the nested errors of requests, urllib3 and the operating system."""
    for inner in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(inner, Exception):
            return _root_cause(inner)
    return f"{str(error) or type(error).__name__:.500}"
