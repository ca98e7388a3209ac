"""keras-parts cache and doctor."""

import importlib
import json
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from keras_parts.cli import main
from keras_parts.errors import ConfigError
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
    monkeypatch.setattr(doctor, "has_backend", lambda: True)
    monkeypatch.setattr(doctor, "select_backend", lambda: ("jax", ""))
    monkeypatch.setattr(doctor, "_devices", lambda backend: ["cpu:0"])
    monkeypatch.delenv("KERAS_PARTS_DATA", raising=False)
    return home


def test_the_doctor_finds_nothing_wrong(healthy, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_ZOO", "https://me:secret@host/models")
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("No problem found.\n")
    for text in ("(used)", f"cache: {healthy}", "Python 3", "numpy"):
        assert text in result.stdout
    assert "https://***@host/models" in result.stdout and "secret" not in result.stdout


@pytest.mark.parametrize(("version", "code"), [("1.32.0", 0), (None, 1)])
def test_the_doctor_accepts_the_light_installation(home, monkeypatch, version, code):
    monkeypatch.setattr(doctor, "has_backend", lambda: False)
    monkeypatch.setattr("keras_parts.environment.package_version", lambda name: version)
    monkeypatch.setattr(doctor, "_extras", lambda **_: None)

    def select_backend():
        raise ConfigError("none is installed")

    monkeypatch.setattr(doctor, "select_backend", select_backend)
    result = run("doctor")
    assert result.exit_code == code
    assert ("segment` runs the models of the package" in result.stdout) == (version is not None)


def test_the_doctor_names_problems(healthy, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_DATA", str(healthy / "none"))
    result = run("doctor", "--json")
    (problem,) = json.loads(result.stdout)["problems"]
    assert result.exit_code == 1 and "there is no such folder" in problem
    assert run("doctor").stdout.startswith(f"1 problem found:\n  {problem}\n")


def test_only_what_the_user_set_is_shown(healthy, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "terraform.rc")
    monkeypatch.setenv("TF_TOKEN_example_org", "secret")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")

    def select():
        monkeypatch.setenv("KERAS_BACKEND", "jax")
        return "jax", ""

    monkeypatch.setattr(doctor, "select_backend", select)
    shown = json.loads(run("doctor", "--json").stdout)["variables"]
    assert shown["TF_CPP_MIN_LOG_LEVEL"] == "1"
    assert not {"KERAS_BACKEND", "TF_CLI_CONFIG_FILE", "TF_TOKEN_example_org"} & set(shown)


def test_what_each_extra_lacks(monkeypatch):
    required = [
        "numpy>=1.26",
        "no-such-package>=2; extra == 'hub'",
        "numpy>=999; extra == 'hub'",
        "pillow; extra == 'formats'",
        "keras-parts[formats,hub]; extra == 'all'",
        "pillow[cuda]; extra == 'hub-gpu'",
    ]
    about = SimpleNamespace(get_all=lambda _: ["hub", "formats", "all", "hub-gpu"])
    requires = {"keras-parts": required, "pillow": ["no-such-driver; extra == 'cuda'"]}
    monkeypatch.setattr(doctor.metadata, "requires", requires.get)
    monkeypatch.setattr(doctor.metadata, "metadata", lambda _: about)
    hub = ["no-such-package>=2", "numpy>=999"]
    expected = {"hub": hub, "formats": [], "all": hub}
    assert doctor._extras(with_gpu=False) == expected
    assert doctor._extras(with_gpu=True) == {**expected, "hub-gpu": ["no-such-driver"]}


def test_extras_that_lack_something_are_a_line_each_at_the_end():
    first, _, *others = doctor._extra_lines({"hub": [], "some": ["a"], "all": ["a", "b", "c", "d"]})
    assert first == "Extras: hub" and others == ["  some: a", "  all: a, b, c and 1 more"]


def test_a_gpu_is_seen_without_a_backend_that_can_use_it(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda _: None)
    assert not doctor._has_gpu(["cpu:0"]) and doctor._has_gpu(["cpu", "NVIDIA H200"])
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    assert doctor._has_gpu(["cpu:0"])
