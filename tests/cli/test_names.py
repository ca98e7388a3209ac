"""Names that `evaluate --name-parts` gave are in all that is made with the model afterwards."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts import data, zoo
from keras_parts.cli import main

FOLDERS = ("unnamed", "named")


@pytest.fixture
def keras_parts(monkeypatch, tmp_path):
    """Run a command in a folder with an image and an unnamed model; returns its standard output."""
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the commands choose TensorFlow, and this process runs on another backend")
    monkeypatch.chdir(tmp_path)
    segmenter = zoo.load("toy")
    segmenter.config = replace(segmenter.config, part_names=())
    segmenter.save_preset("mine")
    Image.fromarray(data.load("toy", "test", count=2)[1].image).save("animal.png")

    def run(*arguments):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return run


@pytest.mark.slow
def test_names_are_in_pictures_tables_and_exports(keras_parts):
    segment = ("segment", "animal.png", "--batch-size", "1", "--format", "overlay-png", "--model")
    keras_parts(*segment, "mine", "--output", "unnamed")
    few = ("--data-option", "count=12", "--protocol", "pixels-foreground")
    keras_parts("evaluate", "--dataset", "toy", *few, "--model", "mine", "--name-parts")
    names = [*zoo.load("./mine").part_names]
    assert len(set(names)) == 5 and "part 1" not in names

    keras_parts(*segment, "mine", "--output", "named", "--format", "coco")
    unnamed, named = (np.asarray(Image.open(f"{out}/overlay-png/animal.png")) for out in FOLDERS)
    height, width, _ = unnamed.shape
    # Only the names differ, which are drawn on the parts.
    assert 0 < (named[:height, :width] != unnamed).any(-1).mean() < 0.2
    legend = named[height:]
    for part in json.load(open("named/labels.json"))["parts"]:
        assert (legend == list(bytes.fromhex(part["colour"][1:]))).all(-1).any()
    assert (legend.max(-1) < 50).any()  # letters
    categories = json.load(open("named/coco.json"))["categories"]
    assert [one["name"] for one in categories][:5] == names

    keras_parts("export", "--model", "mine", "--format", "saved_model")
    from keras_parts.exports import read_metadata

    about = read_metadata("saved_model", "mine_saved_model")
    assert [one["name"] for one in about["parts"]] == names
