"""Masks of a folder replace those of a data set."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.readers.masks import WithMasks
from keras_parts.errors import DataError
from tests.data import drawn


@pytest.mark.parametrize(("name", "draw"), [("cub", drawn.cub), ("folder", drawn.folder)])
def test_masks_of_a_folder_replace_those_of_the_data_set(tmp_path, name, draw):
    dataset = load(name, "test", **draw(tmp_path))
    for number, sample_id in enumerate(dataset.ids()):
        mask = np.zeros(drawn.SIZE, np.uint8)
        mask[number % 20] = 255
        path = tmp_path / "predicted" / sample_id.replace(".jpg", "")
        drawn.save(path.with_name(path.name + ".png"), mask)
    other = WithMasks(dataset, tmp_path / "predicted")
    assert other.ids() == dataset.ids() and other.info == dataset.info
    for number, (sample, own) in enumerate(zip(other, dataset, strict=True)):
        assert sample.foreground[number % 20].all() and sample.foreground.sum() == 32
        np.testing.assert_array_equal(sample.box, own.box)
    assert other[:1].masks_from == str(tmp_path / "predicted")
    assert dataset.masks_from == ("given" if name == "folder" else "the data set's own")
    file = path.with_name(path.name + ".png")
    drawn.save(file, np.zeros(drawn.SIZE, np.uint8))
    (problem,) = other[-1:].problems(0)
    assert f"the mask of {other.ids()[-1]} in {file} is empty" in problem
    Image.new("L", (3, 4)).save(path.with_name(path.name + ".png"))
    with pytest.raises(DataError, match="the mask has 3 x 4 pixels, its image 32 x 24"):
        other[-1]
    path.with_name(path.name + ".png").unlink()
    with pytest.raises(DataError, match="no mask, expected"):
        WithMasks(dataset, tmp_path / "predicted")[-1]
