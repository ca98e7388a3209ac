import numpy as np
import pytest
from PIL import Image

SIZES = {"a.png": (60, 80), "sub/a.png": (50, 40), "b.png": (70, 90)}


@pytest.fixture
def photos(tmp_path):
    """Folder of three good images of different sizes, one of them in a folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        Image.fromarray(rng.integers(1, 255, (*size, 3), np.uint8)).save(folder / name)
    return folder
