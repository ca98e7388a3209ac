"""Fixtures and hooks shared by all tests.

Markers, see `pyproject.toml`: a test with `backend` runs on every backend, `backend("jax")` on the
named backends only. Tests that use real photographs or weights get the marker `shared_data`.
"""

import functools
import gc
import os
import shutil
import sys
import tempfile
import types
from pathlib import Path

import pytest

from tests.quick_compilation import set_environment

gc.disable()  # until all modules are imported: a fifth of the time
set_environment()  # before NumPy is imported: it fixes the number of its threads
import numpy as np  # noqa: E402

from tests.backbones.reference import reference_folder  # noqa: E402
from tests.eagerly import eagerly  # noqa: E402

if os.environ.get("KERAS_BACKEND") == "jax":
    os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=2"
    import tests.quick_jax  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
SHARED = {"test_data", "test_weights"}
MEMORY = 2 * 2**30
"""Bytes of resident memory above which functions compiled by JAX are released after a module."""
GROWTH = 2**28
"""Bytes of resident memory that tests may add before garbage is collected after a module."""
NOBODY = 65534
"""Number of the user without privileges."""


def shared_folder(variable, name):
    """The folder in an environment variable, or shared/NAME beside the clone; None if empty."""
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / name)
    return path if path.is_dir() and any(path.iterdir()) else None


def _shared(variable, name):
    path = shared_folder(variable, name)
    if path is None:
        pytest.skip(f"no real {name}: set {variable} to run this test")
    return path


@pytest.fixture(scope="session")
def test_data():
    """Folder of real data sets (CUB_200_2011/, clothing_co_parsing/, celebamask/)."""
    return _shared("KERAS_PARTS_TEST_DATA", "data")


@pytest.fixture(scope="session")
def test_weights():
    """Folder of pretrained weights of backbones."""
    return _shared("KERAS_PARTS_TEST_WEIGHTS", "weights")


@pytest.fixture(scope="session")
def reference():
    """Inputs and results of the paper's public implementation, as a dict of arrays."""
    with np.load(reference_folder() / "reference.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def _collected():
    """Resident memory after the last collection of garbage, in a list of one number."""
    return [_resident()]


@pytest.fixture(scope="module", autouse=True)
def _released(_collected):
    """Release a module's models and compiled functions; without this a process took 7 GB.

    A collection of garbage takes longer than the tests of most modules: there is one whenever the
    memory has grown.
    """
    yield
    if "keras" not in sys.modules:
        return
    import keras

    growth = _resident() - _collected[0]
    has_grown = not growth <= GROWTH  # also where the memory, and so its growth, is not known
    keras.backend.clear_session(free_memory=has_grown)
    if has_grown:
        if keras.config.backend() == "jax" and _resident() > MEMORY:
            sys.modules["jax"].clear_caches()
        _collected[0] = _resident()


def _resident():
    """Resident memory of this process in bytes; infinite if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def discovery(monkeypatch, tmp_path):
    """In place of the search for objects: finds what is bright in its image. Returns its calls."""
    from keras_parts.foreground import FoundMask

    calls = []

    def discover_masks(read, count, *, seed=0, progress=True):
        calls.append((count, seed))
        for index in range(count):
            grey = read(index).min(axis=-1).astype(int)
            yield FoundMask(2 * grey > grey.max() + grey.min(), 0.9 - index / 100)

    module = types.SimpleNamespace(discover_masks=discover_masks)
    monkeypatch.setitem(sys.modules, "keras_parts.foreground.discover", module)
    monkeypatch.setattr("keras_parts.foreground.discovered.DISCOVERY_VERSION", 7)
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path / "home"))
    return calls


@pytest.fixture
def few_steps(monkeypatch):
    """Objects are found by a decoder that learned for a few of its steps."""
    from keras_parts.foreground.decoder import fit_decoder

    quick = functools.partial(fit_decoder, steps=16)
    monkeypatch.setattr("keras_parts.foreground.discover.fit_decoder", quick)


@pytest.fixture
def eager():
    """See `eagerly`."""
    with eagerly():
        yield


@pytest.fixture
def unprivileged():
    """A folder for tests of file permissions: they run as an ordinary user, as permissions do not
    apply to the superuser."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    superuser = hasattr(os, "geteuid") and os.geteuid() == 0
    if superuser:
        os.seteuid(NOBODY)
    yield folder
    if superuser:
        os.seteuid(0)
    shutil.rmtree(folder)


def pytest_ignore_collect(collection_path, config):
    """Leave out files without a test of the mark that `-m MARK and ...` selects.

    Collecting a file imports all that its tests need. Files that are named are kept.
    """
    mark, *_ = config.option.markexpr.split(" and ")
    texts = {"backend": ["mark.backend"], "integration": ["mark.integration"]}
    texts["shared_data"] = [*SHARED, "mark.shared_data"]
    if mark not in texts or collection_path.suffix != ".py":
        return None
    source = collection_path.read_text(encoding="utf-8")
    return not any(text in source for text in texts[mark]) or None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark tests that use shared data; deselect those for other backends."""
    backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
    chosen, others = [], []
    for item in items:
        if SHARED & set(getattr(item, "fixturenames", ())):
            item.add_marker("shared_data")
        marker = item.get_closest_marker("backend")
        elsewhere = marker and marker.args and backend not in marker.args
        (others if elsewhere else chosen).append(item)
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = chosen


def pytest_collection_finish():
    """Prepare this process before the first test; the libraries are imported by now."""
    _make_two_devices()
    # Look for cyclic garbage seldom, and not among the libraries: it took a seventh of the time.
    # `_released` collects it after each module.
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(100_000, 50, 100)


def _make_two_devices():
    """Two devices for tests of several, which are fixed once TensorFlow computes; see JAX above."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow" and "keras" in sys.modules:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, parts)
        import tests.quick_graphs  # noqa: F401


def _record_skip(report):
    """Append a skipped test to the file in KERAS_PARTS_TEST_SKIPS, which `tests/skips.py` reads."""
    path = os.environ.get("KERAS_PARTS_TEST_SKIPS")
    if path and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ").replace("\n", " ")
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{os.environ.get('KERAS_BACKEND')}\t{report.nodeid}\t{reason}\n")


def pytest_runtest_logreport(report):
    _record_skip(report)


def pytest_collectreport(report):
    _record_skip(report)
