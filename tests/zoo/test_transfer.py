"""Whatever a server sends, the file is correct in the end, or an error says why it is missing."""

import io
import re
import socket
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
import requests

from keras_parts import transfer
from keras_parts.errors import DownloadError, IntegrityError
from keras_parts.zoo.cards import FileRecord
from tests.zoo import server as bad

CONTENT = bytes(range(256)) * 1200
HALF = len(CONTENT) // 2


@pytest.fixture
def file(server, tmp_path):
    """(url, record, file to write) of a file on the server."""
    path = server.root / "weights"
    path.write_bytes(CONTENT)
    return f"{server.url}/weights", FileRecord.of(path), tmp_path / "weights.part"


def test_an_honest_server(file, server):
    url, record, part = file
    reported = []
    transfer.download(url, record, part, reported.append)
    assert part.read_bytes() == CONTENT
    assert reported == sorted(reported) and reported[-1] == len(CONTENT)
    assert server.requested_ranges("weights") == [None]


def test_a_complete_file_is_not_downloaded_again(file, server):
    url, record, part = file
    part.write_bytes(CONTENT)
    transfer.download(url, record, part)
    assert server.requests == []


@pytest.mark.parametrize("behaviour", [bad.cut(HALF), bad.reset(HALF)], ids=["cut", "reset"])
def test_a_broken_download_resumes(file, server, behaviour):
    url, record, part = file
    server.behave["weights"] = [behaviour]
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT
    first, second = server.requested_ranges("weights")
    # A reset may discard bytes that had arrived.
    assert first is None and (second is None or int(second[6:-1]) <= HALF)
    if behaviour.__qualname__.startswith("cut"):
        assert second == f"bytes={HALF}-"


def test_every_connection_breaks(file, server):
    url, record, part = file
    server.behave["weights"] = [bad.cut(1000)] * 99
    with pytest.raises(DownloadError, match=r"weights: .*\(after 4 attempts\)"):
        transfer.download(url, record, part)
    assert len(server.requests) == 4
    assert part.read_bytes() == CONTENT[:4000]
    server.behave.clear()
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT
    assert server.requested_ranges("weights")[-1] == "bytes=4000-"


def test_no_range_support(file, server):
    url, record, part = file
    part.write_bytes(CONTENT[:HALF])
    server.behave["weights"] = [bad.without_ranges]
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT
    assert server.requested_ranges("weights") == [f"bytes={HALF}-"]


@pytest.mark.parametrize(
    "lie",
    [
        bad.range_lie(first=0),
        bad.range_lie(first=HALF + 1),
        bad.range_lie(total=len(CONTENT) + 1),
        bad.range_lie(body=b"x" * (len(CONTENT) - HALF)),
        bad.range_lie(body=b"x" * len(CONTENT)),
        bad.status(416),
        bad.other(b"x" * len(CONTENT)),
    ],
    ids=["start", "shifted", "total", "bytes", "length", "416", "whole"],
)
def test_lies_about_ranges(file, server, lie):
    """The whole file is then requested again, once."""
    url, record, part = file
    part.write_bytes(CONTENT[:HALF])
    server.behave["weights"] = [lie]
    try:
        transfer.download(url, record, part)
    except IntegrityError as error:
        assert "weights" in str(error) and not part.exists()
    else:
        assert part.read_bytes() == CONTENT
        assert server.requested_ranges("weights") == [f"bytes={HALF}-", None]


def test_the_beginning_of_another_file(file, server):
    url, record, part = file
    part.write_bytes(b"x" * HALF)
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT
    assert server.requested_ranges("weights") == [f"bytes={HALF}-", None]


def test_a_beginning_that_is_too_long(file, server):
    url, record, part = file
    part.write_bytes(CONTENT + b"x")
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (bad.other(CONTENT[:-1]), "announces 307,199 bytes, expected 307,200"),
        (bad.other(CONTENT + b"x"), "announces 307,201 bytes, expected 307,200"),
        (bad.other(CONTENT[:-1] + b"x"), "sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}"),
        (bad.chunked([CONTENT, b"x"]), "sends more than the expected 307,200"),
        (bad.endless, "sends more than the expected 307,200"),
    ],
    ids=["short", "long", "hash", "chunked", "endless"],
)
def test_another_file_than_expected(file, server, behaviour, message):
    url, record, part = file
    server.behave["weights"] = [behaviour] * 9
    with pytest.raises(IntegrityError, match=f"^{re.escape(url)}: {message}"):
        transfer.download(url, record, part)
    assert not part.exists()
    assert len(server.requests) == 1


def test_a_body_without_length_that_ends_early(file, server):
    url, record, part = file
    server.behave["weights"] = [bad.chunked([CONTENT[:HALF]])] * 9
    with pytest.raises(DownloadError, match=f"ended after {HALF:,} of {len(CONTENT):,} bytes"):
        transfer.download(url, record, part)


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
def test_temporary_errors_are_retried(file, server, code):
    url, record, part = file
    server.behave["weights"] = [bad.status(code)]
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410])
def test_permanent_errors_are_not_retried(file, server, code):
    url, record, part = file
    server.behave["weights"] = [bad.status(code)] * 9
    with pytest.raises(DownloadError, match=f"^{re.escape(url)}: HTTP {code}"):
        transfer.download(url, record, part)
    assert len(server.requests) == 1 and not part.exists()


def test_errors_keep_the_bytes_received(file, server):
    url, record, part = file
    part.write_bytes(CONTENT[:HALF])
    server.behave["weights"] = [bad.status(500)] * 9
    with pytest.raises(DownloadError, match="HTTP 500"):
        transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT[:HALF]


def test_redirects(file, server):
    url, record, part = file
    server.behave["old"] = [bad.status(302, Location="/weights")]
    transfer.download(f"{server.url}/old", record, part)
    assert part.read_bytes() == CONTENT


def test_redirect_loop(file, server):
    url, record, part = file
    server.behave["weights"] = [bad.status(302, Location="/weights")] * 99
    with pytest.raises(DownloadError, match="redirects"):
        transfer.download(url, record, part)
    assert len(server.requests) == transfer.LIMITS.max_redirects + 1


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://"])
def test_redirects_to_elsewhere(file, server, target):
    url, record, part = file
    server.behave["weights"] = [bad.status(302, Location=target)] * 9
    with pytest.raises(DownloadError, match="weights"):
        transfer.download(url, record, part)
    assert not part.exists()


def test_slow_drip(file, server):
    """Bytes arrive all the time, but too slowly to ever finish."""
    url, record, part = file
    server.behave["weights"] = [bad.drip] * 9
    with pytest.raises(DownloadError, match=r"only \d+ bytes in 0 s"):
        transfer.download(url, record, part)


def test_a_server_that_does_not_respond(file, server):
    url, record, part = file
    server.behave["weights"] = [bad.silent] * 9
    with pytest.raises(DownloadError, match="timed out"):
        transfer.download(url, record, part)


def test_no_server(file):
    _, record, part = file
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/weights"
        server = url.removesuffix("/weights")
        with pytest.raises(DownloadError, match=f"no server answers at {server}$"):
            transfer.download(url, record, part)


def test_a_full_disk(file, tmp_path):
    """The error of the operating system; /dev/full is a disk without space."""
    url, record, _ = file
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part = tmp_path / "full.part"
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=r"full\.part: cannot be written \(No space left"):
        transfer.download(url, record, part)


def test_small_files_are_read_completely_or_raise(file, server):
    url, _, _ = file
    server.behave["weights"] = [bad.cut(10), bad.reset(10), bad.status(503)]
    assert transfer.read(url, max_bytes=len(CONTENT)) == CONTENT
    server.behave["weights"] = [bad.cut(10)] * 9
    with pytest.raises(DownloadError, match="10"):
        transfer.read(url, max_bytes=len(CONTENT))


def test_small_files_without_an_end_are_cut(file, server):
    url, _, _ = file
    server.behave["weights"] = [bad.endless]
    assert len(transfer.read(url, max_bytes=1000)) == 1001


def test_proxies_are_used(file, server, monkeypatch):
    """The test server as proxy receives the full address of another server."""
    _, record, part = file
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match="HTTP 404"):
        transfer.download("http://zoo.example/weights", record, part)
    assert server.requests == [("http://zoo.example/weights", None)]


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "behaviour",
    [
        bad.raw(OK, then=b"X", pause=0.01),
        bad.raw(OK + b"Content-Length: 307200\r\n\r\n", then=b"x", pause=0.01),
        bad.raw(CHUNKED, then=b"0", pause=0.01),
        bad.raw(CHUNKED + b"1\r\nx\r\n0\r\n", then=b"A: b\r\n"),
        bad.raw(then=b"HTTP/1.1 100 Continue\r\n\r\n"),
        bad.raw(b"HTTP/1.1 302 Found\r\nLocation: /weights\r\n", then=b"X", pause=0.01),
    ],
    ids=["header", "body", "chunk size", "trailers", "continue", "redirect"],
)
def test_whatever_drips_ends_in_time(file, server, monkeypatch, behaviour):
    url, record, part = file
    monkeypatch.setattr(transfer, "LIMITS", replace(transfer.LIMITS, speed_window=60))
    monkeypatch.setenv("KERAS_PARTS_DOWNLOAD_SECONDS", "0.2")
    server.behave["weights"] = [behaviour] * 9
    started = time.monotonic()
    with pytest.raises(DownloadError, match=r"weights: not complete after 0\.2 s, the maximum for"):
        transfer.download(url, record, part)
    assert time.monotonic() - started < 2
    for thread in threading.enumerate():
        if thread.name == "keras-parts download":
            thread.join(2)
            assert not thread.is_alive()


def test_the_time_for_an_index_is_limited(file, server, monkeypatch):
    url, _, _ = file
    monkeypatch.setattr(transfer, "LIMITS", replace(transfer.LIMITS, document_seconds=0.1))
    server.behave["weights"] = [bad.raw(OK, then=b"X", pause=0.01)] * 9
    with pytest.raises(DownloadError, match=r"not complete after 0\.1 s, the maximum for an index"):
        transfer.read(url, max_bytes=100)


def test_bodies_of_redirects_are_not_read(file, server):
    url, record, part = file
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /weights\r\nContent-Encoding: gzip\r\n\r\n"
    server.behave["old"] = [bad.raw(redirect, then=bytes(2**16))]
    transfer.download(f"{server.url}/old", record, part)
    assert part.read_bytes() == CONTENT


def test_chunks_of_one_byte(file, server):
    content = CONTENT[:4000]
    server.behave["weights"] = [bad.chunked([bytes([byte]) for byte in content])]
    assert transfer.read(file[0], max_bytes=4000) == content


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", "Content-Length is '9999"),
        (OK + b"Content-Length: -1\r\n\r\n", "Content-Length is '-1', expected a number of bytes"),
        (CHUNKED + b"%x\r\nabc" % 2**63, "weights: "),
        (CHUNKED + b"-5\r\nabc", "weights: "),
        (CHUNKED + b"what\r\nabc", "weights: "),
        (CHUNKED + b"1" * 70_000, "weights: "),
        (OK + b"A: b\r\n" * 1000 + b"\r\n", "weights: "),
        (OK + b"A: " + b"b" * 70_000, "weights: "),
        (b"HTTP/1.1 206 OK\r\nContent-Range: bytes 3-9/10\r\n\r\n", "the whole file was requested"),
        (b"HTTP/1.1 416 OK\r\n\r\n", "the whole file was requested"),
        (b"HTTP/9.9 999 ?\r\n\r\n", "weights: "),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "weights: "),
        (b"", "weights: "),
    ],
    ids=lambda value: repr(value[-20:]) if isinstance(value, bytes) else "",
)
def test_responses_that_make_no_sense(file, server, head, message):
    url, record, part = file
    for request in (
        lambda: transfer.download(url, record, part),
        lambda: transfer.read(url, max_bytes=100),
    ):
        server.behave["weights"] = [bad.raw(head)] * 9
        with pytest.raises(
            DownloadError, match=message if "whole" not in message else "whole file"
        ):
            request()


@pytest.mark.parametrize("start", [HALF + 1, "9" * 5000])
def test_a_range_that_is_shifted_each_time(file, server, start):
    url, record, part = file
    part.write_bytes(CONTENT[:HALF])
    server.behave["weights"] = [
        bad.status(206, Content_Range=f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    ] * 9
    with pytest.raises(DownloadError, match="whole file was requested, the server sent HTTP 206"):
        transfer.download(url, record, part)
    assert server.requested_ranges("weights") == [f"bytes={HALF}-", None]


BAD_ADDRESSES = (
    "http://[::1",
    "http://" + "a" * 64 + ".example/x",
    "http://" + "ä" * 80 + ".example/x",
    "http://host:99999/",
    "http://a b/",
    "http://",
)


@pytest.mark.parametrize("url", BAD_ADDRESSES)
def test_addresses_that_are_none(file, server, url):
    _, record, part = file
    with pytest.raises(DownloadError):
        transfer.download(url, record, part)
    server.behave["weights"] = [
        bad.raw(b"HTTP/1.1 302 X\r\nLocation: %s\r\n\r\n" % url.encode())
    ] * 9
    with pytest.raises(DownloadError, match="weights: "):
        transfer.read(file[0], max_bytes=10)


@pytest.mark.parametrize(
    ("url", "target", "expected"),
    [
        ("https://a/x", "http://a/x", None),
        ("https://a/x", "HTTP://b/x", None),
        ("https://a/x", "//b/x", "https://b/x"),
        ("http://a/x", "https://b/x", "https://b/x"),
        ("https://me:secret@a/x", "/y", "https://me:secret@a/y"),
        ("https://me:secret@a/x", "https://a/y", "https://me:secret@a/y"),
        ("https://me:secret@a/x", "https://a:8443/y", "https://a:8443/y"),
        ("https://me:secret@a/x", "https://b/y", "https://b/y"),
        ("https://a/x", "/Ã¤", "https://a/ä"),
    ],
)
def test_redirects_keep_encryption_and_tell_no_password(url, target, expected):
    if expected is None:
        with pytest.raises(DownloadError, match="which is not encrypted"):
            transfer._redirected(url, url, target)
    else:
        assert transfer._redirected(url, url, target) == expected


def test_https_is_not_left_on_the_way_either(file, server, monkeypatch):
    """A redirect from http to https and back to http: the second one is refused."""
    steps = {"/weights": "https://zoo.example/a", "https://zoo.example/a": "http://zoo.example/b"}
    asked = []

    def get(session, url, **options):
        asked.append(url)
        response = requests.Response()
        response.status_code, response.raw = 302, io.BytesIO()
        response.headers["Location"] = steps[url.removeprefix(server.url)]
        return response

    monkeypatch.setattr(requests.Session, "get", get)
    with pytest.raises(DownloadError, match="redirects to http://zoo.example/b, which is not enc"):
        transfer.read(file[0], max_bytes=10)
    assert asked == [file[0], "https://zoo.example/a"]


@pytest.mark.parametrize(("stated", "seconds"), [("7", 7), ("date", 9), ("soon", 0)])
def test_the_wait_that_a_server_asks_for(file, server, monkeypatch, stated, seconds):
    url, record, part = file
    waits = []
    if stated == "date":
        stated = formatdate(time.time() + seconds, usegmt=True)
    monkeypatch.setattr(transfer.time, "sleep", waits.append)
    server.behave["weights"] = [bad.status(429, Retry_After=stated)]
    transfer.download(url, record, part)
    assert part.read_bytes() == CONTENT
    assert seconds - 2 <= waits[0] <= max(seconds, 0.1)


def test_a_wait_beyond_the_time_for_the_download(file, server):
    url, record, part = file
    server.behave["weights"] = [bad.status(503, Retry_After="99999999")] * 9
    with pytest.raises(DownloadError, match="HTTP 503.* asks to wait for 99,999,999 s: try again"):
        transfer.download(url, record, part)
    assert len(server.requests) == 1


def test_compressed_documents_are_refused(file, server):
    server.behave["weights"] = [
        lambda handler, content: handler.respond(200, b"x", Content_Encoding="gzip")
    ]
    with pytest.raises(DownloadError, match="is compressed"):
        transfer.read(file[0], max_bytes=10)
