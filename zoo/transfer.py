"""Download a file completely and verify it, or raise an error.

An interrupted download resumes from the bytes on the disk, in the same call or in a later process.
The sizes and ranges that the server states are checked at once, and the sha256 of the complete file
at the end.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import requests
import tenacity
import urllib3

from keras_parts import __version__
from keras_parts.errors import DownloadError, IntegrityError
from keras_parts.zoo.cards import FileRecord

_CHUNK_BYTES = 2**16
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_T = TypeVar("_T")


@dataclass(frozen=True)
class TransferLimits:
    """How long to wait for a server, and how often to repeat a request.

    Attributes:
        attempts: maximum number of requests.
        first_wait, max_wait: seconds between two requests: drawn at random from 0 to `first_wait`,
            which doubles each time, up to `max_wait`.
        connect_timeout, read_timeout: seconds to wait for a connection, and for further bytes.
        min_speed: bytes per second, on average over `speed_window` seconds; a slower connection
            counts as broken.
        max_redirects: number of redirects that are followed.
    """

    attempts: int = 4
    first_wait: float = 1.0
    max_wait: float = 20.0
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    min_speed: float = 512.0
    speed_window: float = 30.0
    max_redirects: int = 8


LIMITS = TransferLimits()


class _TemporaryError(DownloadError):
    """A failure that may not occur again, so that the request is repeated."""


def read(url: str, *, max_bytes: int) -> bytes:
    """The first `max_bytes` + 1 bytes of a file, so that a larger file is noticed.

    Raises:
        DownloadError: it cannot be read.
    """

    def attempt() -> bytes:
        content = b""
        with _request(url) as response:
            for chunk in _chunks(response, url):
                content += chunk
                if len(content) > max_bytes:
                    return content[: max_bytes + 1]
            length = _content_length(response)
            if length is not None and len(content) < length:
                raise _TemporaryError(
                    f"{url}: ended after {len(content):,} of {length:,} bytes", url=url
                )
        return content

    return _with_retries(attempt)


def download(
    url: str,
    record: FileRecord,
    part: Path,
    report: Callable[[int], object] = lambda received: None,
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
    try:
        had_bytes = _size(part) > 0
        resumed = _with_retries(lambda: _attempt(url, record, part, report))
        try:
            record.check(part, source=url)
        except IntegrityError:
            if not (had_bytes or resumed):
                raise
            # The file was assembled from pieces, one of which may be of another file: download
            # all of it in one piece.
            part.unlink()
            _with_retries(lambda: _attempt(url, record, part, report))
            record.check(part, source=url)
    except IntegrityError:
        part.unlink(missing_ok=True)
        raise


def _attempt(url: str, record: FileRecord, part: Path, report: Callable[[int], object]) -> bool:
    """One request; returns whether the server resumed from the bytes of `part`."""
    received = _size(part)
    if received > record.size:
        part.unlink()
        received = 0
    if received == record.size:
        return received > 0
    with _request(url, {"Range": f"bytes={received}-"} if received else {}) as response:
        resumed = received > 0 and response.status_code == 206
        if resumed or response.status_code == 416:
            _check_range(response, url, received, record, part)
        else:
            received = 0
        length = _content_length(response)
        if length is not None and received + length != record.size:
            raise IntegrityError(
                f"{url}: announces {received + length:,} bytes, expected {record.size:,}",
                path=url,
                expected=record.size,
                found=received + length,
            )
        received = _write(response, url, received, record, part, report)
    if received < record.size:
        raise _TemporaryError(f"{url}: ended after {received:,} of {record.size:,} bytes", url=url)
    return resumed


def _write(
    response: requests.Response,
    url: str,
    received: int,
    record: FileRecord,
    part: Path,
    report: Callable[[int], object],
) -> int:
    """Append the body to the `received` bytes of `part`; returns the new size of `part`."""
    with _open_part(part, received, record) as file:
        for chunk in _chunks(response, url):
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


def _check_range(
    response: requests.Response, url: str, received: int, record: FileRecord, part: Path
) -> None:
    """Raise unless the body continues `part`; the next attempt then downloads the whole file."""
    stated = response.headers.get("Content-Range", "none")
    found = _RANGE.fullmatch(stated)
    if not found or int(found[1]) != received or found[2] not in ("*", str(record.size)):
        part.unlink(missing_ok=True)
        raise _TemporaryError(
            f"{url}: bytes from {received:,} of {record.size:,} were requested, the server sent "
            f"HTTP {response.status_code} with Content-Range {stated:.100}",
            url=url,
        )


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextlib.contextmanager
def _open_part(part: Path, received: int, record: FileRecord) -> Iterator[IO[bytes]]:
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


def _with_retries(attempt: Callable[[], _T]) -> _T:
    """The result of `attempt`, repeated after temporary errors."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(LIMITS.attempts),
        wait=tenacity.wait_random_exponential(LIMITS.first_wait, LIMITS.max_wait),
        retry=tenacity.retry_if_exception_type(_TemporaryError),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except _TemporaryError as error:
        raise DownloadError(f"{error} (after {LIMITS.attempts} attempts)", url=error.url) from error


@contextlib.contextmanager
def _request(url: str, headers: Mapping[str, str] | None = None) -> Iterator[requests.Response]:
    """The response to one request: status 200, 206 or 416, its body not read yet."""
    session = requests.Session()
    session.max_redirects = LIMITS.max_redirects
    headers = {
        "User-Agent": f"keras-parts/{__version__}",
        "Accept-Encoding": "identity",
        **(headers or {}),
    }
    timeout = (LIMITS.connect_timeout, LIMITS.read_timeout)
    with session:
        try:
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
        except (requests.exceptions.SSLError, requests.TooManyRedirects) as error:
            raise DownloadError(f"{url}: {error}", url=url) from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _TemporaryError(f"{url}: {_root_cause(error)}", url=url) from error
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {error}", url=url) from error
        with response:
            _check_response(response, url)
            yield response


def _check_response(response: requests.Response, url: str) -> None:
    if url.startswith("https:") and not response.url.startswith("https:"):
        raise DownloadError(f"{url}: redirects to {response.url}, which is not encrypted", url=url)
    code = response.status_code
    if code not in (200, 206, 416):
        kind = _TemporaryError if code in _RETRIED_STATUS else DownloadError
        raise kind(f"{url}: HTTP {code} {response.reason}", url=url)


def _root_cause(error: BaseException) -> str:
    """The innermost of the nested errors of requests, urllib3 and the operating system."""
    for inner in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(inner, Exception):
            return _root_cause(inner)
    return str(error) or type(error).__name__


def _content_length(response: requests.Response) -> int | None:
    """Number of bytes of the body as the header states it, or None."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() else None


def _chunks(response: requests.Response, url: str) -> Iterator[bytes]:
    """The body in chunks as they arrive."""
    received, started = 0, time.monotonic()
    while True:
        try:
            chunk = response.raw.read1(_CHUNK_BYTES)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _TemporaryError(
                f"{url}: the connection broke: {_root_cause(error)}", url=url
            ) from error
        if not chunk:
            return
        yield chunk
        received += len(chunk)
        seconds = time.monotonic() - started
        if seconds >= LIMITS.speed_window:
            if received < LIMITS.min_speed * seconds:
                raise _TemporaryError(f"{url}: only {received:,} bytes in {seconds:.0f} s", url=url)
            received, started = 0, time.monotonic()
