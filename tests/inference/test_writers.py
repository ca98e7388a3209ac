"""One contract for all formats."""

import numpy as np
import pytest

from keras_parts.images import read_image
from keras_parts.inference.writers import FORMATS, write_result
from keras_parts.parts import Parts


@pytest.fixture
def parts():
    logits = np.random.default_rng(0).normal(size=(33, 21, 4)).astype(np.float32)
    return Parts(logits, np.full((33, 21, 3), 90, np.uint8))


@pytest.mark.parametrize("name", FORMATS)
def test_format_writes_one_readable_file_of_the_images_size(name, parts, tmp_path):
    write_result(parts, tmp_path, "folder.v1/a.b", [name])
    path = tmp_path / name / f"folder.v1/a.b{FORMATS[name].suffix}"
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [path]
    assert read_image(path).shape == (33, 21, 3)


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_deterministic_and_replaces(name, parts, tmp_path):
    write_result(parts, tmp_path, "a", [name])
    path = tmp_path / name / f"a{FORMATS[name].suffix}"
    first = path.read_bytes()
    path.write_bytes(b"older")
    write_result(parts, tmp_path, "a", [name])
    assert path.read_bytes() == first


@pytest.mark.parametrize("name", FORMATS)
def test_format_that_fails_leaves_what_was_there(name, parts, tmp_path, monkeypatch):
    from PIL import Image

    write_result(parts, tmp_path, "a", [name])
    path = tmp_path / name / f"a{FORMATS[name].suffix}"
    before = path.read_bytes()

    def half(self, file, **options):
        file.write(before[:10])
        raise OSError("interrupted")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="interrupted"):
        write_result(parts, tmp_path, "a", [name])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
