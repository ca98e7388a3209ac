from dataclasses import replace

import pytest

from tests.zoo.server import serving


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty cache for every test, and no models but the package's."""
    folder = tmp_path / "home"
    monkeypatch.setenv("KERAS_PARTS_HOME", str(folder))
    for variable in ("KERAS_PARTS_ZOO", "KERAS_PARTS_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server for the files in tmp_path/"served", and short time limits."""
    from keras_parts import transfer

    short = replace(
        transfer.LIMITS,
        first_wait=0.01,
        max_wait=0.02,
        read_timeout=0.5,
        speed_window=0.2,
        min_speed=1000,
    )
    monkeypatch.setattr(transfer, "LIMITS", short)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server
