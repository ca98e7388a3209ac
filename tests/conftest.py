"""Fixtures shared by all tests: real photographs and weights, where present; reference values."""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.backbones.reference import reference_folder

ROOT = Path(__file__).resolve().parents[1]


def _shared(variable, folder):
    path = Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)
    if not path.is_dir() or not any(path.iterdir()):
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
    with np.load(reference_folder() / "reference.npz") as arrays:
        return dict(arrays)
