"""The graphs with which ONNX Runtime runs the package's models, without Keras."""

import os
import shutil

import pytest

from keras_parts import zoo
from keras_parts.errors import ConfigError, UnknownModelError
from keras_parts.exports.network import NETWORK_FILE, load_network
from keras_parts.models.saved_config import CONFIG_FILE, WEIGHTS_FILE
from keras_parts.zoo.models import has_network
from keras_parts.zoo.models import load_network as load_model
from keras_parts.zoo.registry import PACKAGED


@pytest.mark.parametrize("name", sorted(path.name for path in PACKAGED.iterdir() if path.is_dir()))
def test_every_model_of_the_package_has_the_graph_of_its_files(name):
    """If not, run scripts/write_networks.py."""
    card = zoo.info(name)
    assert has_network(name) and has_network(card.id)
    graph = (PACKAGED / name / NETWORK_FILE).read_bytes()
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        assert card.files[file].sha256.encode() in graph, file
    assert len(graph) < 300_000  # it has no weights


def test_models_without_a_graph(tmp_path):
    for name in ("toy@0.0.1", "runs/mine", "https://example.org/toy", str(tmp_path)):
        assert not has_network(name)
    with pytest.raises(UnknownModelError, match="toy@0.0.1 has no graph"):
        load_model("toy@0.0.1")


def test_what_a_run_records(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    predictor = load_model("toy", batch_size=1)
    assert predictor.settings["runtime"] == "onnx"
    assert predictor.names == zoo.info("toy").part_names
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_graph_beside_other_weights_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    shutil.copytree(PACKAGED / "toy", tmp_path / "toy")
    with open(tmp_path / "toy" / WEIGHTS_FILE, "ab") as file:
        file.write(b"more")
    with pytest.raises(ConfigError, match="belongs to another segmenter.weights.h5"):
        load_network(tmp_path / "toy", ["head"])
