"""One file from one address to one place on the disk: whole and verified, or not at all.

A download that broke off goes on where it stopped, in the same call or in a later process; what
the server says about sizes and ranges is checked, and the sha256 decides in the end.
"""

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import requests
import tenacity
import urllib3

from keras_parts import __version__
from keras_parts.errors import IntegrityError
from keras_parts.zoo.cards import FileRecord
from keras_parts.zoo.errors import DownloadError

_PIECE = 2**16
_PASSING = {408, 425, 429, 500, 502, 503, 504}
"""Answers that another attempt may change."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        attempts: before it is given up. wait, longest_wait: seconds between two of them: drawn
            from 0 to `wait`, which doubles each time, up to `longest_wait`.
        connect, read: seconds without an answer, and without a further byte.
        slowest: bytes a second, on average over `window` seconds: slower is taken for broken.
        redirects: how many are followed.
    """

    attempts: int = 4
    wait: float = 1.0
    longest_wait: float = 20.0
    connect: float = 10.0
    read: float = 30.0
    slowest: float = 512.0
    window: float = 30.0
    redirects: int = 8


PATIENCE = Patience()


class _Interrupted(DownloadError):
    """Something that may go well the next time."""


def read(url: str, limit: int) -> bytes:
    """What lies at an address, but not more than a byte over the limit.

    Raises:
        DownloadError: it cannot be had.
    """

    def attempt():
        content = b""
        with _answer(url) as response:
            for piece in _pieces(response, url):
                content += piece
                if len(content) > limit:
                    return content[: limit + 1]
            announced = _announced(response)
            if announced is not None and len(content) < announced:
                raise _Interrupted(f"{url}: ended after {len(content):,} of {announced:,} bytes")
        return content

    return _patiently(attempt)


def download(
    url: str, record: FileRecord, part: Path, report: Callable[[int], None] = lambda have: None
) -> None:
    """Bring a file to what it must be, going on with what is there of it.

    Args:
        url: where it lies, http or https.
        record: what it must be.
        part: the file to write. What is there when this raises `DownloadError` is its beginning;
            after an `IntegrityError` nothing is there.
        report: is told how many bytes are there, every now and then.

    Raises:
        DownloadError: the server cannot be reached or does not have it, breaks off every time, is
            too slow, or the disk is full.
        IntegrityError: the server sends something else: names address, expected and found.
    """
    try:
        began = _size(part)
        spliced = _patiently(lambda: _go_on(url, record, part, report))
        try:
            record.check(part, where=url)
        except IntegrityError:
            if not (began or spliced):
                raise
            # Put together of pieces: one that does not belong spoils it. All of it in one piece.
            part.unlink()
            _patiently(lambda: _go_on(url, record, part, report))
            record.check(part, where=url)
    except IntegrityError:
        part.unlink(missing_ok=True)
        raise


def _go_on(url, record, part, report):
    """One attempt; whether the server continued what was there."""
    have = _size(part)
    if have > record.size:
        part.unlink()
        have = 0
    if have == record.size:
        return have > 0
    with _answer(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        spliced = have > 0 and response.status_code == 206
        if spliced or response.status_code == 416:
            _check_range(response, url, have, record, part)
        else:
            have = 0
        announced = _announced(response)
        if announced is not None and have + announced != record.size:
            raise IntegrityError(
                f"{url}: announces {have + announced:,} bytes, expected {record.size:,}"
            )
        with _writing(part, have, record) as file:
            for piece in _pieces(response, url):
                have += len(piece)
                if have > record.size:
                    raise IntegrityError(f"{url}: sends more than the expected {record.size:,}")
                file.write(piece)
                report(have)
    if have < record.size:
        raise _Interrupted(f"{url}: ended after {have:,} of {record.size:,} bytes")
    return spliced


def _check_range(response, url, have, record, part):
    """Refuse a continuation of something else; the next attempt then starts anew."""
    stated = response.headers.get("Content-Range", "nothing")
    found = _RANGE.fullmatch(stated)
    if not found or int(found[1]) != have or found[2] not in ("*", str(record.size)):
        part.unlink(missing_ok=True)
        raise _Interrupted(
            f"{url}: asked to go on at byte {have:,} of {record.size:,}, answers "
            f"HTTP {response.status_code} with {stated:.100}"
        )


def _size(part):
    return part.stat().st_size if part.exists() else 0


@contextlib.contextmanager
def _writing(part, have, record) -> Iterator[IO[bytes]]:
    """The part, opened behind the bytes that stay; what was received is kept whatever happens."""
    try:
        with open(part, "ab" if have else "wb") as file:
            yield file
    except OSError as error:
        raise DownloadError(
            f"{part}: cannot be written ({error.strerror}); the whole file takes "
            f"{record.size:,} bytes. Make room, or let KERAS_PARTS_HOME name another folder"
        ) from error


def _patiently(attempt):
    """The result of an attempt, made again while that may help."""
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(PATIENCE.attempts),
        wait=tenacity.wait_random_exponential(PATIENCE.wait, PATIENCE.longest_wait),
        retry=tenacity.retry_if_exception_type(_Interrupted),
        reraise=True,
    )
    try:
        return retrying(attempt)
    except _Interrupted as error:
        raise DownloadError(f"{error} (after {PATIENCE.attempts} attempts)") from error


@contextlib.contextmanager
def _answer(url, headers=None) -> Iterator[requests.Response]:
    """The answer to one request: 200, 206 or 416, its body not read yet."""
    session = requests.Session()
    session.max_redirects = PATIENCE.redirects
    headers = {
        "User-Agent": f"keras-parts/{__version__}",
        "Accept-Encoding": "identity",
        **(headers or {}),
    }
    timeout = (PATIENCE.connect, PATIENCE.read)
    with session:
        try:
            response = session.get(url, headers=headers, stream=True, timeout=timeout)
        except (requests.exceptions.SSLError, requests.TooManyRedirects) as error:
            raise DownloadError(f"{url}: {error}") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Interrupted(f"{url}: {_reason(error)}") from error
        except requests.RequestException as error:
            raise DownloadError(f"{url}: {error}") from error
        with response:
            _check_answer(response, url)
            yield response


def _check_answer(response, url):
    if url.startswith("https:") and not response.url.startswith("https:"):
        raise DownloadError(f"{url}: leads to {response.url}, which is not encrypted")
    code = response.status_code
    if code not in (200, 206, 416):
        kind = _Interrupted if code in _PASSING else DownloadError
        raise kind(f"{url}: HTTP {code} {response.reason}")


def _reason(error):
    """What lies at the bottom of the errors of three libraries."""
    for inner in (getattr(error, "reason", None), *error.args[:1]):
        if isinstance(inner, Exception):
            return _reason(inner)
    return str(error) or type(error).__name__


def _announced(response):
    """Bytes of the body by the header, or None."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdecimal() else None


def _pieces(response, url):
    """The body as it comes."""
    received, started = 0, time.monotonic()
    while True:
        try:
            piece = response.raw.read1(_PIECE)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Interrupted(f"{url}: the connection broke: {_reason(error)}") from error
        if not piece:
            return
        yield piece
        received += len(piece)
        seconds = time.monotonic() - started
        if seconds >= PATIENCE.window:
            if received < PATIENCE.slowest * seconds:
                raise _Interrupted(f"{url}: only {received:,} bytes in {seconds:.0f} s")
            received, started = 0, time.monotonic()
