"""Fixtures shared by all tests: where real data and reference values lie, if they are there."""

import os
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def _shared(variable, folder):
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"no {folder} at {path}: set {variable} to run this test")
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
    path = _shared("KERAS_PARTS_TEST_REFERENCE", "reference") / "reference.npz"
    with np.load(path) as arrays:
        return dict(arrays)
