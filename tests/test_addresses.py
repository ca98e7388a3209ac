"""Which addresses are opened, and how they are shown."""

import pytest

from keras_parts import addresses
from keras_parts.addresses import (
    check_address,
    file_system,
    is_address,
    read_address,
    shown_address,
    version_of,
)
from keras_parts.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in ("KERAS_PARTS_PROTOCOLS", "KERAS_PARTS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "address",
    [
        "reference://a.jpg",
        "REFERENCE://a.jpg",
        "zip://a.jpg",
        "github://me:repo@main/a.jpg",
        "ftp://host/a.jpg",
        "dask://a",
        "git://a",
        "jar://a",
        "blockcache://a",
        "data://text/plain;base64,AA==",
        "simplecache::s3://bucket/a.jpg",
        "zip://a.jpg::s3://bucket/a.zip",
        "s3://bucket/a::file:///etc/passwd",
        "https://host/a::reference://x",
        "memory://a::reference://x",
    ],
)
def test_other_protocols_and_chains_are_not_opened(address, monkeypatch):
    assert is_address(address)
    for use in (check_address, file_system, read_address, version_of):
        with pytest.raises(ConfigError, match="not opened"):
            use(address)


def test_a_protocol_is_opened_if_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_PROTOCOLS", "sftp, FTP")
    check_address("ftp://host/a.jpg")
    with pytest.raises(ConfigError, match="KERAS_PARTS_PROTOCOLS=zip allows"):
        check_address("zip://a.jpg")
    monkeypatch.setenv("KERAS_PARTS_PROTOCOLS", "simplecache,s3,zip")
    with pytest.raises(ConfigError, match="chains"):
        check_address("simplecache::s3://bucket/a.jpg")


@pytest.mark.parametrize(
    "address", ["s3://b/../a", "s3://b/x/./a", "http://h/..", "memory://b/a\0", "s3://b/a\n.jpg"]
)
def test_addresses_whose_path_leads_elsewhere(address):
    with pytest.raises(DataError, match="not opened"):
        check_address(address)


def test_addresses_that_may_be_opened():
    for address in ("s3://b/a..b/...", "http://h/a.jpg?x=../..#..", "gs://b/a?b", "s3://b//a"):
        check_address(address)
    for address in ("http://[::1]/a.jpg", "https://me:x@[fe80::1]:8000/a.jpg", "http://h?id=1"):
        check_address(address)


@pytest.mark.parametrize("address", ["http://[::1]/a::file:///b", "http://[::1/a", "[::1]::s3://b"])
def test_chains_are_not_hosts(address):
    with pytest.raises(ConfigError, match="chains"):
        check_address(address)


@pytest.mark.parametrize("address", ["http://h", "https://h/a/", "http:///a.jpg", "http://me@/a"])
def test_addresses_of_the_web_name_a_file(address):
    with pytest.raises(DataError, match="names no (file|host)"):
        check_address(address)


def test_offline_means_no_request(monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    check_address("memory://a")
    for use in (check_address, read_address, version_of):
        with pytest.raises(ConfigError, match="KERAS_PARTS_OFFLINE"):
            use("https://host/a.jpg")


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:secret@host/a/b.jpg", "https://host/a/b.jpg"),
        ("http://host:80/a.tar.gz?id=../../1", "http://host:80/a-2b3ff0a4.tar.gz"),
        ("http://host?token=1", "http://host/index-6d4f8a4d"),
        ("http://host/a/#1", "http://host/a/index-a9bbb4ac"),
        ("s3://key:secret@bucket/a?b.jpg", "s3://bucket/a?b.jpg"),
        ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"),
        ("HTTP://host/a.jpg", "http://host/a.jpg"),
    ],
)
def test_how_addresses_are_shown(address, shown):
    import re

    assert re.sub("-[0-9a-f]{8}", "", shown_address(address)) == re.sub("-[0-9a-f]{8}", "", shown)
    assert "secret" not in shown_address(address)
    assert shown_address("http://h/a.jpg?1") != shown_address("http://h/a.jpg?2")


def test_files_of_this_machine(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read_address(f"file://{tmp_path}/a.jpg") == b"content"
    assert addresses.without_file_protocol("file:///C:/a.jpg") == "C:/a.jpg"


def test_a_file_that_is_too_large_is_not_read():
    store = pytest.importorskip("fsspec").filesystem("memory")
    store.pipe_file("/large/a.jpg", b"123")
    with pytest.raises(DataError, match="more than the limit of 2 bytes"):
        read_address("memory://large/a.jpg", max_bytes=2)
    store.rm("/large", recursive=True)
