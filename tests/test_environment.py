"""Environment variables are read with their default values and checked."""

import os
import tempfile

import pytest

from keras_parts import environment
from keras_parts.errors import ConfigError


def test_the_maximum_size_of_features(monkeypatch):
    monkeypatch.delenv(environment.FEATURES_VARIABLE, raising=False)
    assert environment.max_feature_bytes() == 100 * 2**30
    monkeypatch.setenv(environment.FEATURES_VARIABLE, "0.5")
    assert environment.max_feature_bytes() == 2**29


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_a_wrong_maximum_size_of_features(monkeypatch, value):
    monkeypatch.setenv(environment.FEATURES_VARIABLE, value)
    with pytest.raises(ConfigError, match=f"FEATURES_GIB is '{value}', expected a number of GiB"):
        environment.max_feature_bytes()


def test_the_time_for_a_download(monkeypatch):
    monkeypatch.delenv(environment.DOWNLOAD_VARIABLE, raising=False)
    assert environment.max_download_seconds() == 3600
    monkeypatch.setenv(environment.DOWNLOAD_VARIABLE, "nan")
    with pytest.raises(ConfigError, match="DOWNLOAD_SECONDS is 'nan', expected a number of sec"):
        environment.max_download_seconds()


@pytest.fixture
def container(monkeypatch, tmp_path):
    """A user of a container: no variable, no home folder, and a folder for temporary files."""
    for variable in ("HOME", "XDG_CACHE_HOME", environment.HOME_VARIABLE, *LIBRARIES):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}["uid not found"])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environment, "_said", [])
    environment._temporary_folder.cache_clear()
    yield tmp_path / f"keras_parts-{os.getuid()}"
    environment._temporary_folder.cache_clear()


LIBRARIES = ("KERAS_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "HF_HOME")
posix = pytest.mark.skipif(not hasattr(os, "getuid"), reason="this system has no numbers of users")


@posix
def test_without_a_home_folder_the_cache_is_temporary_and_that_is_said_once(container, caplog):
    assert environment.home_folder() is None
    assert environment.cache_folder() == container
    assert environment.cache_path("features", writable=True) == container / "features"
    assert environment.weights_folder() == container / "weights"
    assert environment.keras_folder().name == ".keras"
    (record,) = caplog.records
    assert record.getMessage().startswith("the home folder is unknown: cached files are kept in ")
    assert "set KERAS_PARTS_HOME" in record.getMessage()
    assert container.stat().st_mode & 0o777 == 0o700


@posix
@pytest.mark.parametrize("variable", ["HOME", environment.HOME_VARIABLE, "XDG_CACHE_HOME"])
def test_a_folder_that_cannot_be_made_is_replaced(container, monkeypatch, caplog, variable):
    monkeypatch.setenv(variable, "/proc/nobody")
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith("/proc"))
    assert environment.cache_folder() == container
    assert "cannot be made: cached files are kept in" in caplog.text


@posix
def test_a_cache_that_can_only_be_read_is_read(container, monkeypatch, tmp_path, caplog):
    home = tmp_path / "home"
    (home / "weights").mkdir(parents=True)
    monkeypatch.setenv(environment.HOME_VARIABLE, str(home))
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).startswith(str(home)))
    assert environment.weights_folder() == home / "weights"
    assert not caplog.text
    assert environment.cache_path("weights", writable=True) == container / "weights"
    assert environment.cache_path("zoo/entries") == container / "zoo" / "entries"
    assert f"{home} cannot be written to: cached" in caplog.text


@posix
def test_a_temporary_folder_of_another_user_is_not_used(container, tmp_path):
    (tmp_path / "theirs").mkdir()
    container.symlink_to(tmp_path / "theirs")
    assert environment.cache_folder().name.startswith("keras_parts-")
    assert environment.cache_folder() != container
    container.unlink()
    environment._temporary_folder.cache_clear()
    container.mkdir()
    container.chmod(0o777)
    assert environment.cache_folder() != container


@posix
def test_folders_of_other_libraries(container, monkeypatch, tmp_path):
    for variable in LIBRARIES:
        monkeypatch.setenv(variable, "")  # as in a child process, and restored afterwards
    monkeypatch.setenv("TORCH_HOME", "mine")
    environment.set_library_folders()
    assert os.environ["TORCH_HOME"] == "mine"
    assert os.environ["KERAS_HOME"] == str(container / "libraries" / ".keras")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", "")
    environment.set_library_folders()
    assert os.environ["KERAS_HOME"] == ""  # its default folder can be made


def test_workers_get_the_variables_of_tensorflow_and_none_of_terraform(monkeypatch):
    for name in ("TF_XLA_FLAGS", "TF_TOKEN_example_org", "TF_VAR_password", "KERAS_PARTS_ZOO"):
        monkeypatch.setenv(name, "1")
    passed = environment.worker_variables()
    assert {"TF_XLA_FLAGS", "KERAS_PARTS_ZOO"} <= set(passed)
    assert not any(name.startswith(("TF_TOKEN", "TF_VAR")) for name in passed)
