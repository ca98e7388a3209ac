"""keras-parts cache and doctor."""

import importlib
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from keras_parts.cli import main
from keras_parts.files import try_lock, unlock

doctor = importlib.import_module("keras_parts.cli.doctor")


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A cache with features, features that a killed process began, and half a download."""
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path))
    (tmp_path / "features").mkdir()
    (tmp_path / "features/abc.npy").write_bytes(bytes(3_000_000))
    (tmp_path / "features/.0123456789ab.abd.npy").write_bytes(bytes(2_000_000))
    (tmp_path / "zoo/entries/mine-1.0.0-0123456789abcdef").mkdir(parents=True)
    (tmp_path / "zoo/entries/mine-1.0.0-0123456789abcdef/weights.part").write_bytes(bytes(1000))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, arguments)


def test_the_list_has_sizes_and_leftovers(home):
    found = json.loads(run("cache", "list", "--json").stdout)
    assert found["bytes"] == 5_001_000
    assert sorted(one["kind"] for one in found["files"]) == ["features", *["unfinished"] * 2]
    text = run("cache", "list").stdout
    assert "3.0 MB" in text and f"5.0 MB in {home}" in text and "107.4 GB" in text


def test_kinds_are_removed_by_name(home):
    result = run("cache", "clear", "unfinished")
    assert result.exit_code == 0 and result.stdout == "Removed 2.0 MB.\n"
    assert [path.name for path in (home / "features").glob("*.npy")] == ["abc.npy"]
    assert not list((home / "zoo/entries").iterdir())
    assert run("cache", "clear", "all").stdout == "Removed 3.0 MB.\n"
    assert run("cache", "clear", "all").exit_code == 5
    assert run("cache", "clear").exit_code == 2


def test_what_a_running_process_writes_is_kept(home):
    lock = try_lock(home / "features/abd.npy.lock")
    result = run("cache", "clear", "all")
    unlock(lock)
    assert "1 files are in use, and were kept" in result.stdout
    assert (home / "features/.0123456789ab.abd.npy").exists()


@pytest.fixture
def healthy(home, monkeypatch):
    monkeypatch.setattr(doctor, "select_backend", lambda: ("jax", ""))
    monkeypatch.setattr(doctor, "_devices", lambda backend: ["cpu:0"])
    monkeypatch.delenv("KERAS_PARTS_DATA", raising=False)
    return home


def test_the_doctor_finds_nothing_wrong(healthy, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_ZOO", "https://me:secret@host/models")
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for text in ("No problem found.", "(used)", f"cache: {healthy}", "Python 3", "numpy"):
        assert text in result.stdout
    assert "https://***@host/models" in result.stdout and "secret" not in result.stdout


def test_the_doctor_names_problems(healthy, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_DATA", str(healthy / "none"))
    result = run("doctor", "--json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert result.exit_code == 1 and "there is no such folder" in problem


def test_what_each_extra_lacks(monkeypatch):
    required = [
        "numpy>=1.26",
        "no-such-package>=2; extra == 'hub'",
        "numpy>=999; extra == 'hub'",
        "pillow; extra == 'formats'",
        "keras-parts[hub]; extra == 'all'",
    ]
    about = SimpleNamespace(get_all=lambda _: ["hub", "formats", "all"])
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: required)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda _: about)
    expected = {"hub": ["no-such-package>=2", "numpy>=999"], "formats": [], "all": []}
    assert doctor._extras() == expected
