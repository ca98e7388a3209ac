import json

import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["export", *arguments])


@pytest.mark.slow
def test_export_of_a_model_of_the_zoo(tmp_path, monkeypatch):
    import keras

    if keras.backend.backend() != "tensorflow":
        pytest.skip("the command chooses TensorFlow, and this process runs on another backend")
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").resize((90, 60)).convert("RGB").save("a.png")
    result = run("--model", "toy", "--format", "saved_model", "--check", "a.png", "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["path"] == "toy_saved_model" and values["difference"] < 1e-3
    from keras_parts.exports import read_metadata

    metadata = read_metadata("saved_model", "toy_saved_model")
    assert metadata["name"] == "toy" and metadata["licence"]


def test_wrong_usage(tmp_path):
    assert run("--model", "toy", "--format", "caffe").exit_code == 2
    assert run("--model", "toy").exit_code == 2
    # The name comes before the packages that an export needs.
    assert "did you mean 'cub'" in run("--model", "cubb", "--format", "onnx").stderr
