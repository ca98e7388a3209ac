"""Only regular files are opened, and no more of them is read than the caller allows; locks."""

import os

import pytest

from keras_parts.errors import DataError
from keras_parts.files import check_regular, decode_text, read_file, read_limited, try_lock, unlock


def test_sizes_and_contents(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert check_regular(path) == 5
    assert read_limited(path, 9) == b"hello" and read_limited(path, 2) == b"hel"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_devices_and_folders_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in (tmp_path / "pipe", tmp_path / "link", tmp_path, "/dev/zero"):
        with pytest.raises(DataError, match="expected a regular file"):
            read_limited(name, 10)


@pytest.mark.parametrize("name", ["missing", "a\0b", "x" * 5000])
def test_names_without_a_file(tmp_path, name):
    with pytest.raises(DataError, match="there is no such file|cannot be read"):
        read_limited(tmp_path / name, 10)


def test_a_lock_excludes_others_until_it_is_released(tmp_path):
    path = tmp_path / "run.lock"
    lock = try_lock(path)
    assert lock is not None and try_lock(path) is None
    unlock(lock)
    assert not path.exists()
    unlock(try_lock(path))
    path.touch()  # as a killed process leaves it behind
    unlock(try_lock(path))


def test_a_lock_empties_no_file_behind_a_link(tmp_path):
    (tmp_path / "mine").write_text("text")
    (tmp_path / "run.lock").symlink_to(tmp_path / "mine")
    unlock(try_lock(tmp_path / "run.lock"))
    assert (tmp_path / "mine").read_text() == "text"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings(encoding):
    assert decode_text("größer\r\n鳥".encode(encoding)) == "größer\r\n鳥"


def test_bytes_that_are_no_text():
    for content in (b"\xff", b"\xff\xfe", b"\xff\xfe\x00"):
        with pytest.raises(UnicodeDecodeError):
            decode_text(content)
    assert os.fsencode(decode_text(b"\xff.jpg", errors="surrogateescape")) == b"\xff.jpg"


def test_only_plain_files_within_the_limit_are_read(tmp_path):
    path = tmp_path / "big"
    with open(path, "wb") as file:
        file.truncate(3 * 2**30)  # takes no room on the disk
    with pytest.raises(DataError, match="big: 3,221,225,472 bytes exceed the limit of 2,147"):
        read_file(path)
    for name, message in (
        ("none", "none: there is no such file"),
        (".", "is a folder, expected a regular file"),
        ("a\0b", "there is no such file"),
    ):
        with pytest.raises(DataError, match=message):
            read_file(f"{tmp_path}/{name}")


def test_a_file_without_size_is_not_read(tmp_path, monkeypatch):
    """A file of /proc may wait for ever."""
    (tmp_path / "kmsg").touch()
    monkeypatch.setattr("builtins.open", None)
    assert read_limited(tmp_path / "kmsg", 10) == b""
