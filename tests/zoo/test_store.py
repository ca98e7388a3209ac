"""Entries in the cache are complete and verified, whatever interrupts a download."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple

import pytest

from keras_parts import zoo
from keras_parts.errors import DownloadError, IntegrityError, UnknownModelError
from keras_parts.zoo import store
from keras_parts.zoo.cards import FileRecord
from keras_parts.zoo.locations import Address, Folder
from tests.zoo import server as bad
from tests.zoo.entries import make_entry

WEIGHTS = bytes(range(256)) * 4000
FILES = {"segmenter.weights.h5": WEIGHTS}


@pytest.fixture
def entry(server):
    """(card, location) of an entry on the server, with weights of a megabyte."""
    return make_entry(server.root / "birds-4", FILES), Address(f"{server.url}/birds-4")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_complete(folder, card):
    assert set(files(folder)) == {"card.json", *card.files}
    for name, record in card.files.items():
        assert FileRecord.of(folder / name) == record


def assert_nothing_unverified(card):
    """Every file without ".part" is verified; an incomplete entry has no card."""
    folder = store.entry_folder(card)
    for name, record in card.files.items():
        if (folder / name).exists():
            assert FileRecord.of(folder / name) == record
    assert not store.is_downloaded(card)


def test_fetch(entry, server, home):
    card, location = entry
    assert not store.is_downloaded(card)
    folder = store.fetch(card, [location], progress=False)
    assert folder == store.entry_folder(card) and home in folder.parents
    assert_complete(folder, card)
    server.requests.clear()
    assert store.fetch(card, [location], progress=False) == folder
    assert server.requests == []
    assert store.downloaded() == [(folder, card)]


def test_entries_that_differ_have_different_folders(entry, tmp_path):
    card, _ = entry
    other = make_entry(tmp_path / "other", FILES | {"golden.h5": b"other"})
    assert other.id == card.id
    assert store.entry_folder(other) != store.entry_folder(card)


def test_damaged_files_in_the_cache_are_downloaded_again(entry, server):
    card, location = entry
    folder = store.fetch(card, [location], progress=False)
    (folder / "golden.h5").write_bytes(b"hellO")
    (folder / "segmenter.json").unlink()
    server.requests.clear()
    store.fetch(card, [location], progress=False)
    assert_complete(folder, card)
    assert not server.requested_ranges("segmenter.weights.h5")


def test_a_damaged_file_without_a_location_is_an_error(entry):
    card, location = entry
    folder = store.fetch(card, [location], progress=False)
    (folder / "golden.h5").write_bytes(b"hellO")
    with pytest.raises(DownloadError, match=r"golden\.h5 cannot be downloaded"):
        store.fetch(card, [], progress=False)


def test_locations_are_tried_in_order(entry, server, tmp_path):
    card, location = entry
    make_entry(server.root / "damaged", FILES)
    (server.root / "damaged" / "segmenter.weights.h5").write_bytes(WEIGHTS[:-1] + b"x")
    shutil.copytree(server.root / "birds-4", tmp_path / "disk")
    locations = [Address(f"{server.url}/nothing"), Address(f"{server.url}/damaged"), location]
    assert_complete(store.fetch(card, locations, progress=False), card)
    assert len(server.requested_ranges("segmenter.weights.h5")) == 3
    shutil.rmtree(store.entry_folder(card))
    server.requests.clear()
    store.fetch(card, [Folder(tmp_path / "disk"), location], progress=False)
    assert server.requests == []


def test_the_address_on_the_card_is_the_last_resort(entry, server):
    from msgspec.structs import replace

    card, location = entry
    moved = FileRecord(
        sha256=FileRecord.of(server.root / "birds-4/golden.h5").sha256,
        size=5,
        url=f"{server.url}/elsewhere",
    )
    card = replace(card, files=card.files | {"golden.h5": moved})
    (server.root / "birds-4/golden.h5").rename(server.root / "elsewhere")
    folder = store.fetch(card, [location], progress=False)
    assert (folder / "golden.h5").read_bytes() == b"hello"


def test_the_error_names_all_locations_and_their_failures(entry, server, tmp_path):
    card, location = entry
    server.behave["segmenter.weights.h5"] = [bad.other(WEIGHTS[:-1] + b"x")]
    locations = [Folder(tmp_path / "none"), location]
    with pytest.raises(IntegrityError) as caught:
        store.fetch(card, locations, progress=False)
    message = str(caught.value)
    assert "birds-4@1.0.0: segmenter.json cannot be downloaded" not in message
    assert "birds-4@1.0.0: segmenter.weights.h5 cannot be downloaded" in message
    assert str(tmp_path / "none") in message and location.url in message
    assert card.files["segmenter.weights.h5"].sha256 in message
    assert "zoo download birds-4@1.0.0 --to DIR" in message
    assert_nothing_unverified(card)


def test_a_folder_with_other_files(entry, server, tmp_path):
    card, _ = entry
    make_entry(tmp_path / "disk", {"segmenter.weights.h5": WEIGHTS[:-1] + b"x"})
    with pytest.raises(IntegrityError, match="sha256 is"):
        store.fetch(card, [Folder(tmp_path / "disk")], progress=False)
    (tmp_path / "disk" / "segmenter.weights.h5").write_bytes(WEIGHTS[:-1])
    with pytest.raises(IntegrityError, match="1,023,999 bytes, expected 1,024,000"):
        store.fetch(card, [Folder(tmp_path / "disk")], progress=False)
    assert_nothing_unverified(card)


def test_offline(entry, server, monkeypatch):
    card, location = entry
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    with pytest.raises(DownloadError, match="KERAS_PARTS_OFFLINE is set"):
        store.fetch(card, [location], progress=False)
    assert server.requests == []
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "0")
    folder = store.fetch(card, [location], progress=False)
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    assert store.fetch(card, [location], progress=False) == folder


def test_disk_space_is_checked_before_the_download(entry, server, monkeypatch):
    card, location = entry
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 2**20 + 1000))
    with pytest.raises(DownloadError, match=r"h5\.part: 1,024,000 bytes are missing, .* only"):
        store.fetch(card, [location], progress=False)
    assert not server.requested_ranges("segmenter.weights.h5")
    assert_nothing_unverified(card)


FETCH = """
import sys
from pathlib import Path
from keras_parts.zoo import store
from keras_parts.zoo.cards import read_card
from keras_parts.zoo.locations import Address
print(store.fetch(read_card(sys.argv[1]), [Address(sys.argv[2])]))
"""


def start(card_folder, location, before=""):
    return subprocess.Popen(
        [sys.executable, "-c", before + FETCH, str(card_folder), str(location)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def slow(handler, content):
    """Sends the whole file within a second."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for begin in range(0, len(content), len(content) // 20):
        handler.wfile.write(content[begin : begin + len(content) // 20])
        handler.wfile.flush()
        time.sleep(0.05)


def test_two_processes_at_once_download_once(entry, server):
    card, location = entry
    server.behave["segmenter.weights.h5"] = [slow]
    processes = [start(server.root / "birds-4", location) for _ in range(2)]
    results = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], results
    assert results[0][0] == results[1][0] == f"{store.entry_folder(card)}\n"
    assert server.requested_ranges("segmenter.weights.h5") == [None]
    assert_complete(store.entry_folder(card), card)


def hanging(after):
    """Sends the first bytes, then nothing."""

    def behave(handler, content):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:after])
        handler.wfile.flush()
        handler.server_state.stop.wait(30)
        handler.close_connection = True

    return behave


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_kill_9_in_the_middle(entry, server):
    card, location = entry
    half = len(WEIGHTS) // 2
    server.behave["segmenter.weights.h5"] = [hanging(half)]
    process = start(server.root / "birds-4", location)
    part = store.entry_folder(card) / "segmenter.weights.h5.part"
    deadline = time.monotonic() + 60
    # The last bytes wait in a buffer; all others reach the disk.
    while not (part.exists() and part.stat().st_size > half - 2**17):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert_nothing_unverified(card)
    had = part.stat().st_size
    assert_complete(store.fetch(card, [location], progress=False), card)
    assert server.requested_ranges("segmenter.weights.h5") == [None, f"bytes={had}-"]


LIMITED = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of Unix")
def test_no_room_in_the_middle(entry, server):
    """The system refuses to write: the file stays incomplete, and the next download resumes it."""
    card, location = entry
    process = start(server.root / "birds-4", location, LIMITED)
    _, errors = process.communicate(timeout=60)
    assert (
        process.returncode == 1 and "weights.h5.part: cannot be written (File too large)" in errors
    )
    assert_nothing_unverified(card)
    assert_complete(store.fetch(card, [location], progress=False), card)
    assert server.requested_ranges("segmenter.weights.h5")[1].startswith("bytes=")


def test_superseded_downloads_are_removed(server, tmp_path):
    cards = [make_entry(server.root / version, version=version) for version in ("1.0.0", "1.10.0")]
    cards.append(make_entry(server.root / "other", name="other"))
    folders = [
        store.fetch(card, [Address(f"{server.url}/{location}")], progress=False)
        for card, location in zip(cards, ("1.0.0", "1.10.0", "other"), strict=True)
    ]
    unfinished = store.entry_folder(cards[0]).with_name("half-1.0.0-0")
    unfinished.mkdir()
    (unfinished / "golden.h5.part").write_bytes(b"he")
    assert store.superseded() == sorted([folders[0], unfinished])
    freed = store.remove(store.superseded())
    assert freed == 2 + 15 + len(cards[0].encode())
    assert {card.id for _, card in store.downloaded()} == {"birds-4@1.10.0", "other@1.0.0"}


def kept_entry(card, **files):
    """The folder of an entry in the cache, with these files."""
    folder = store.entry_folder(card)
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b'{"format": 99}', b"[" * 10_000],
    ids=lambda value: ascii(value[:9]),
)
def test_a_card_that_cannot_be_read_blocks_nothing(tmp_path, caplog, content):
    old, new, broken = (
        make_entry(tmp_path / str(index), name=name, version=version)
        for index, (name, version) in enumerate(
            (("cars", "1.0.0"), ("cars", "1.1.0"), ("vans", "1.0.0"))
        )
    )
    folders = [kept_entry(card, card_json=card.encode()) for card in (old, new)]
    damaged = kept_entry(broken, card_json=content, golden_h5=b"hello")
    assert zoo.prune() == len(old.encode()) and not folders[0].exists()
    assert f"zoo remove {damaged.name}` removes it" in caplog.text and damaged.exists()
    assert zoo.remove("cars") == len(new.encode())
    for name in ("vans", "vans@1.0.0", damaged.name):
        damaged.mkdir(exist_ok=True)
        (damaged / "card.json").write_bytes(content)
        zoo.remove(name)
        assert not damaged.exists()
    with pytest.raises(UnknownModelError):
        zoo.remove("vans")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_entry_in_the_cache(tmp_path, home):
    """Links lead out of the cache, pipes and folders are no cards."""
    card = make_entry(tmp_path / "entry")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "card.json").write_text("mine")
    link = store.entry_folder(card).with_name("linked-1.0.0-0123456789abcdef")
    pipe = kept_entry(card)
    link.symlink_to(precious)
    os.mkfifo(pipe / "card.json")
    folder = kept_entry(make_entry(tmp_path / "other", name="other"))
    (folder / "card.json").mkdir()
    assert store.superseded() == []
    assert zoo.remove("linked", card.name, "other") >= 0
    assert (precious / "card.json").read_text() == "mine"
    assert not (link.exists() or pipe.exists() or folder.exists())
