"""Archives of data sets: a local server has drawn ones in the official layout."""

import hashlib
import shutil
import tarfile

import pytest
from click.testing import CliRunner

from keras_parts import cli, data
from keras_parts.data import archives
from keras_parts.environment import DATA_VARIABLE, HOME_VARIABLE, OFFLINE_VARIABLE
from keras_parts.errors import DataError, IntegrityError
from tests.data import drawn
from tests.zoo import server as bad
from tests.zoo.server import serving

NAMES = ("CUB_200_2011.tgz", "segmentations.tgz")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with archives, and the lines of their checksums without the addresses."""
    folder = drawn.cub_archives(tmp_path_factory.mktemp("drawn"))
    content = {name: (folder / name).read_bytes() for name in NAMES}
    return folder, {
        name: f"{len(file)}\t{hashlib.sha256(file).hexdigest()}\t{name}"
        for name, file in content.items()
    }


@pytest.fixture
def server(made, tmp_path, monkeypatch):
    """The official server; the cache and the working folder are empty."""
    folder, lines = made
    with serving(folder) as server:
        table = tmp_path / "checksums.tsv"
        table.write_text("".join(f"{server.url}/{name}\t{lines[name]}\n" for name in NAMES))
        monkeypatch.setattr(archives, "_CHECKSUMS", {"cub": table})
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
        monkeypatch.delenv(DATA_VARIABLE, raising=False)
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")
        yield server


def run(*arguments, **options):
    return CliRunner().invoke(cli.main, ["data", *arguments], **options)


def test_a_download_that_broke_continues_and_the_data_set_is_found(server, monkeypatch):
    monkeypatch.setattr(archives.transfer, "LIMITS", archives.transfer.TransferLimits(attempts=1))
    server.behave[NAMES[0]] = [bad.cut(1000)]
    with pytest.raises(DataError, match="CUB_200_2011.tgz cannot be downloaded: .*is kept: give "):
        data.download("cub")
    folder = data.download("cub")
    assert server.requested_ranges(NAMES[0]) == [None, "bytes=1000-"]
    assert data.load("cub", "all")[0].foreground.any() and len(data.load("cub", "all")) == 24
    assert [path.name for path in folder.parent.iterdir()] == ["archives", "CUB_200_2011"]
    server.requests.clear()
    assert data.download("cub") == folder and server.requests == []


def test_no_archive_is_opened_before_its_checksum_is_verified(server, made, monkeypatch):
    opened = []
    monkeypatch.setattr(tarfile, "open", lambda *_, **options: opened.append(options))
    folder = archives.download_of("cub").archive_folder
    folder.mkdir(parents=True)
    content = bytearray((made[0] / NAMES[1]).read_bytes())
    content[100] ^= 1
    (folder / NAMES[1]).write_bytes(content)
    with pytest.raises(IntegrityError, match="sha256 .* it is not segmentations.tgz, or damaged"):
        data.download("cub")
    assert not opened and not (folder.parent / "CUB_200_2011").exists()
    (folder / NAMES[1]).unlink()
    server.behave[NAMES[1]] = [lambda handler, _: bad.honest(handler, bytes(content))] * 2
    with pytest.raises(IntegrityError):
        data.download("cub")
    assert not opened and not (folder / NAMES[1]).exists()


def test_what_a_killed_process_left_is_removed_and_archives_by_hand_are_used(server, made):
    folder = archives.download_of("cub").archive_folder
    (folder.parent / ".CUB_200_2011.abc" / "CUB_200_2011").mkdir(parents=True)
    folder.mkdir()
    for name in NAMES:
        shutil.copy(made[0] / name, folder)
    data.download("cub")
    assert archives.unfinished_folders() == [] and server.requests == []


def test_nothing_is_downloaded_unasked(server):
    result = run("check", "--dataset", "cub")
    assert result.exit_code == 2 and "add --yes" in result.stderr
    assert "Terms: Photographs from Flickr" in result.stderr
    for name in NAMES:
        assert f"{name} ({server.url}/{name})" in result.stderr
    assert server.requests == []


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2)])
def test_the_answer_on_a_terminal(server, monkeypatch, answer, code):
    monkeypatch.setattr("keras_parts.cli.data.is_answered", lambda quiet: True)
    result = run("check", "--dataset", "cub", input=answer)
    assert result.exit_code == code and "Download? [y/N]" in result.stderr
    assert bool(server.requests) == (code == 0)


def test_yes_and_offline(server, monkeypatch):
    monkeypatch.setenv(OFFLINE_VARIABLE, "1")
    result = run("check", "--dataset", "cub", "--yes")
    where = archives.download_of("cub").archive_folder
    assert result.exit_code == 1 and OFFLINE_VARIABLE in result.stderr
    assert f"into {where} and give" in result.stderr and server.requests == []
    monkeypatch.delenv(OFFLINE_VARIABLE)
    result = run("check", "--dataset", "cub", "--yes")
    assert result.exit_code == 0 and "24 samples read, no problem" in result.stdout


def test_the_command_and_the_cache(server):
    result = run("download", "cub")
    assert result.exit_code == 0 and "read it with --dataset cub" in result.stdout
    assert run("download", "toy").exit_code == 5
    runner = CliRunner()
    listed = runner.invoke(cli.main, ["cache", "list"]).stdout
    assert [line.split()[0] for line in listed.splitlines()[:-1]] == ["archives", "archives"]
    assert runner.invoke(cli.main, ["cache", "clear", "archives"]).exit_code == 0
    assert archives.kept_archives() == [] and len(data.load("cub", "train")) == 16
