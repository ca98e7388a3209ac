"""Fixtures and hooks shared by all tests.

Markers, see `pyproject.toml`: a test with `backend` runs on every backend, `backend("jax")` on the
backends named; tests that use real photographs or weights get the marker `shared_data`.
"""

import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.backbones.reference import reference_folder

ROOT = Path(__file__).resolve().parents[1]
SHARED = {"test_data", "test_weights"}
MEMORY = 2 * 2**30
"""Above so many bytes the functions that JAX compiled are released after a module."""
NOBODY = 65534


def shared_folder(variable, name):
    """The folder that the variable names, or shared/NAME beside the clone; None without files."""
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    return path if path.is_dir() and any(path.iterdir()) else None


def _shared(variable, name):
    path = shared_folder(variable, name)
    if path is None:
        pytest.skip(f"no real {name}: set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def test_data():
    """Folder of real images (CUB_200_2011/, clothing_co_parsing/, celebamask/)."""
    return _shared("KERAS_PARTS_TEST_DATA", "data")


@pytest.fixture(scope="session")
def test_weights():
    """Folder of pretrained backbones."""
    return _shared("KERAS_PARTS_TEST_WEIGHTS", "weights")


@pytest.fixture(scope="session")
def reference():
    """Inputs and results of the paper's public implementation, as a dict of arrays."""
    with np.load(reference_folder() / "reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module", autouse=True)
def _released():
    """Release a module's models and compiled functions: a process grew to 7 GB without it."""
    yield
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()
        gc.collect()
        if keras.config.backend() == "jax" and _resident() > MEMORY:
            sys.modules["jax"].clear_caches()


def _resident():
    """Resident memory of this process in bytes, as far as the system reports it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def unprivileged():
    """A folder in which this process is not the superuser, to whom no file refuses anything."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    superuser = hasattr(os, "geteuid") and os.geteuid() == 0
    if superuser:
        os.seteuid(NOBODY)
    yield folder
    if superuser:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark tests that use shared data; leave out those that are not for this backend."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    chosen, others = [], []
    for item in items:
        if SHARED & set(getattr(item, "fixturenames", ())) or item.path.name == "test_readme.py":
            item.add_marker("shared_data")
        marker = item.get_closest_marker("backend")
        elsewhere = marker and marker.args and backend not in marker.args
        (others if elsewhere else chosen).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


def _record_skip(report):
    """Append a line to the file that KERAS_PARTS_TEST_SKIPS names; `tests/skips.py` reads it."""
    path = os.environ.get("KERAS_PARTS_TEST_SKIPS")
    if path and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ").replace("\n", " ")
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{os.environ.get('KERAS_BACKEND')}\t{report.nodeid}\t{reason}\n")


def pytest_runtest_logreport(report):
    _record_skip(report)


def pytest_collectreport(report):
    _record_skip(report)
