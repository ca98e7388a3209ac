from dataclasses import replace

import pytest

from tests.zoo.server import serving


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache of its own for every test, and no places but the package's."""
    folder = tmp_path / "home"
    monkeypatch.setenv("KERAS_PARTS_HOME", str(folder))
    for variable in ("KERAS_PARTS_ZOO", "KERAS_PARTS_OFFLINE", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server for the files in tmp_path/"served", and little patience with it."""
    from keras_parts.zoo import transfer

    hasty = replace(
        transfer.PATIENCE, wait=0.01, longest_wait=0.02, read=0.5, window=0.2, slowest=1000
    )
    monkeypatch.setattr(transfer, "PATIENCE", hasty)
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server
