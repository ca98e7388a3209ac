"""Each format, run in its own runtime, compared with the Keras model."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_parts import data, zoo
from keras_parts.cli import main
from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.exports import (
    FORMATS,
    conversion,
    export,
    format_at,
    load,
    load_predictor,
    read_metadata,
)
from keras_parts.images.decoding import read_image
from keras_parts.images.geometry import RESIZE_MODES, resize_image
from keras_parts.keras_private import set_random_seed
from keras_parts.models import ARCHITECTURES, create_predictor
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.zoo import models as zoo_models
from tests.small import tiny_resnet50

pytestmark = pytest.mark.slow
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/exports.md"
NAMES = ("head", "wing & <tail>", "belly", "feet ü")


@pytest.fixture(scope="module")
def segmenter():
    """A segmenter with a joined part."""
    segmenter = zoo.load("toy").join_parts(["back", "tail"])
    segmenter.part_names = NAMES
    return segmenter


@pytest.fixture(scope="module")
def predictor(segmenter):
    return create_predictor(segmenter, looks=1, batch_size=1)


@pytest.fixture(scope="module")
def exported(segmenter, tmp_path_factory):
    """`exported(format)` returns the `Export` of the segmenter; each format is written once."""
    written = {}

    def exported(format):
        require(format)
        if format not in written:
            path = tmp_path_factory.mktemp(format) / f"toy{FORMATS[format].suffix}"
            options = {"name": "birds", "licence": "CC0-1.0", "images": smooth_images((90, 70))}
            written[format] = export(segmenter, format, path, **options)
        return written[format]

    return exported


def smooth_images(*sizes):
    """Uint8 RGB images of these sizes (height, width), upsampled from a few random pixels."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (4, 5, 3), np.uint8) for _ in sizes]
    return [
        np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
        for pixels, size in zip(coarse, sizes, strict=True)
    ]


def require(format):
    """Skip the test if a package of the format is missing, or the backend is not TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("written in a process on TensorFlow: tested once, with saved_model")
    for package in FORMATS[format].packages:
        pytest.importorskip(package)


@pytest.mark.backend("jax", "torch")  # every other test is on TensorFlow
def test_exports_from_other_backends(segmenter, tmp_path):
    options = {"name": "birds", "images": smooth_images((90, 70), (40, 130))}
    result = export(segmenter, "saved_model", tmp_path / "model", **options)
    assert result.difference < 1e-3 and result.disagreement < 0.01
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


@pytest.mark.parametrize("name", FORMATS)
def test_export_equals_the_keras_model(predictor, exported, name):
    result = exported(name)
    run = load(name, result.path)
    images = smooth_images((65, 65), (201, 100), (7, 300), (1, 1))
    for image in images:
        parts, found = predictor.segment(image), run(image[None])
        assert found["labels"].dtype == np.uint8
        assert found["labels"].shape == (1, *image.shape[:2])
        tolerance = conversion.TOLERANCE[FORMATS[name].exact]
        np.testing.assert_allclose(found["probabilities"][0], parts.probabilities, atol=tolerance)
        differing = (found["labels"][0] != parts.labels).mean()
        assert differing <= (1e-3 if FORMATS[name].exact else 0.02)
    both = run(np.stack([images[0], images[0][::-1]]))
    np.testing.assert_allclose(
        both["probabilities"][:1], run(images[0][None])["probabilities"], atol=1e-5
    )
    assert len(np.unique(both["labels"])) > 2
    metadata = read_metadata(name, result.path)
    assert [part["name"] for part in metadata["parts"]] == list(NAMES)
    assert metadata["parts"][0]["colour"] == "#0072b2"
    assert metadata["looks"] == 1
    assert (metadata["name"], metadata["licence"]) == ("birds", "CC0-1.0")
    assert len(metadata["model_sha256"]) == 64


@pytest.mark.parametrize("name", FORMATS)
def test_predictor_of_an_export_sees_objects_again(segmenter, exported, name):
    image = np.full((300, 400, 3), (90, 140, 70), np.uint8)
    animal = data.load("toy", "test", count=1)[0].image
    image[100 : 100 + len(animal), 150 : 150 + len(animal)] = animal
    options = {"batch_size": 1, "looks": 2}
    once, wanted = (
        create_predictor(segmenter, batch_size=1, looks=looks).segment(image) for looks in (1, 2)
    )
    found = load_predictor(name, exported(name).path, **options).segment(image)
    assert found.names == NAMES
    tolerance = conversion.TOLERANCE[FORMATS[name].exact]
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=tolerance)
    assert np.abs(once.probabilities - wanted.probabilities).max() > 0.1


def test_the_network_of_the_package_computes_what_keras_does():
    require("onnx")
    image = data.load("toy", "test", count=1)[0].image[:, :150]
    network = zoo_models.load_network("toy", batch_size=1)
    found = network.segment(image).probabilities
    expected = create_predictor(zoo.load("toy"), batch_size=1).segment(image).probabilities
    np.testing.assert_allclose(found, expected, atol=1e-4)


def check_onnx(predictor, exported, photograph):
    run = load("onnx", exported("onnx").path)
    parts, found = predictor.segment(photograph), run(photograph[None])
    np.testing.assert_allclose(found["probabilities"][0], parts.probabilities, atol=1e-3)
    assert found["labels"].any() and (found["labels"][0] != parts.labels).mean() < 1e-3


def test_onnx_on_photographs(predictor, exported):
    for photograph in load_sample_images().images:
        check_onnx(predictor, exported, photograph)


def test_onnx_on_birds(predictor, exported, test_data):
    files = sorted((test_data / "CUB_200_2011/images").glob("*/*.jpg"))
    if not files:
        pytest.skip("no birds among the test data")
    for file in files[:: -(-len(files) // 3)]:
        check_onnx(predictor, exported, read_image(file))


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].quantized])
def test_quantised_exports_are_smaller(segmenter, exported, tmp_path, name):
    plain, images = exported(name), smooth_images((90, 70))
    path = tmp_path / f"small{FORMATS[name].suffix}"
    small = export(segmenter, name, path, quantize=True, images=images)
    assert small.quantized and small.share < 0.75 and small.size < 0.75 * plain.size
    assert small.disagreement < 0.05


def test_an_export_to_openvino_reports_nothing_to_its_makers(segmenter, tmp_path, monkeypatch):
    require("openvino")
    telemetry = pytest.importorskip("openvino_telemetry").Telemetry
    monkeypatch.setattr(telemetry, "send_event", lambda *event, **options: pytest.fail(str(event)))
    export(segmenter, "openvino", tmp_path / "m.xml", images=smooth_images((90, 70)))


def test_a_quantised_export_that_is_no_smaller_is_not_written(segmenter, tmp_path, monkeypatch):
    require("litert")
    monkeypatch.setattr(conversion, "_MAX_QUANTIZED_SHARE", 0.01)
    with pytest.raises(KerasPartsError, match="nothing was written; leave out --quantize"):
        images = smooth_images((90, 70))
        export(segmenter, "litert", tmp_path / "toy.tflite", quantize=True, images=images)
    assert list(tmp_path.iterdir()) == []


def test_errors_about_settings(segmenter, tmp_path):
    with pytest.raises(ConfigError, match="saved_model cannot be quantised: leave out --quantize"):
        export(segmenter, "saved_model", tmp_path / "m", quantize=True)
    for refused in (
        lambda: export(segmenter, "caffe", tmp_path / "m"),
        lambda: load("caffe", tmp_path / "m"),
        lambda: read_metadata("caffe", tmp_path / "m"),
    ):
        with pytest.raises(ConfigError, match="format is 'caffe', expected one of saved_model, on"):
            refused()
    with pytest.raises(ConfigError, match="images is empty, expected at least one"):
        export(segmenter, "saved_model", tmp_path / "m", images=[])


def test_an_export_that_differs_is_not_written(segmenter, tmp_path, monkeypatch):
    require("saved_model")
    monkeypatch.setattr(conversion, "_compare", lambda *args: (0.5, 0.5))
    (tmp_path / "model").mkdir()
    (tmp_path / "model/older").touch()
    with pytest.raises(KerasPartsError, match="differ from the Keras model's by up to 0.5"):
        export(segmenter, "saved_model", tmp_path / "model")
    assert list(tmp_path.rglob("*")) == [tmp_path / "model", tmp_path / "model/older"]


def test_an_error_names_the_missing_package(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        ConfigError, match=r"openvino needs openvino, not .*: pip install.*\[openvino\]"
    ):
        export(segmenter, "openvino", tmp_path / "m.xml")


@pytest.mark.parametrize("mode", RESIZE_MODES)
def test_the_networks_input_equals_pillows_result(mode):
    require("saved_model")
    import tensorflow as tf

    from keras_parts.exports.graph import ImageToParts, _resized

    config = SegmenterConfig(2, "small", image_size=65, resize_mode=mode)
    graph = ImageToParts(PartSegmenter(config))
    for image in smooth_images((40, 60), (333, 97), (65, 65), (1, 1), (5, 400), (130, 130)):
        sides = tuple(map(tf.constant, image.shape[:2]))
        axes = [graph._axis(side, sides) for side in sides]
        found = _resized(tf.constant(image[None]), *axes, tf.float64)[0]
        np.testing.assert_array_equal(found, resize_image(image, 65, mode)[0])


def test_export_of_the_papers_network(tmp_path, monkeypatch):
    """Its input grows with the image, and its corners are not aligned."""
    require("saved_model")
    monkeypatch.setitem(ARCHITECTURES, "resnet50", tiny_resnet50())
    set_random_seed(0)
    segmenter = PartSegmenter(SegmenterConfig(2, "resnet50", 16, image_size=64))
    images = smooth_images((40, 130))
    result = export(segmenter, "saved_model", tmp_path / "model", images=images)
    assert result.difference < 1e-3


@pytest.mark.parametrize("name", FORMATS)
def test_example_of_the_documentation(exported, tmp_path, name, monkeypatch):
    for made in Path(exported(name).path).parent.iterdir():
        (shutil.copytree if made.is_dir() else shutil.copy)(made, tmp_path / made.name)
    monkeypatch.chdir(tmp_path)
    text = DOCUMENT.read_text(encoding="utf-8")
    title = {"saved_model": "SavedModel", "onnx": "ONNX", "litert": "LiteRT"}.get(name, "OpenVINO")
    blocks = re.findall(r"```python\n(.*?)```", text.partition("## ")[0], re.DOTALL)
    blocks += re.findall(rf"## {title}\n.*?```python\n(.*?)```", text, re.DOTALL)
    blocks = [block for block in blocks if "load_predictor" not in block]
    assert len(blocks) == 2
    Image.fromarray(smooth_images((80, 120))[0]).save("photo.jpg", quality=95)
    variables = {}
    exec("\n".join(blocks), variables)
    assert variables["labels"].shape == (1, 80, 120)
    assert variables["probabilities"].shape == (1, 80, 120, 1 + len(NAMES))
    if name != "litert":
        assert variables["metadata"]["parts"][1]["name"] == NAMES[1]


WITHOUT_KERAS = """
import sys
from keras_parts.cli import main
main(sys.argv[1:], standalone_mode=False)
loaded = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
assert not loaded, loaded
"""


def test_segmenting_with_an_export_needs_no_keras(segmenter, exported, tmp_path):
    image = smooth_images((70, 90))[0]
    Image.fromarray(image).save(tmp_path / "photo.png")
    words = ["segment", "photo.png", "--model", exported("onnx").path, "--output", "out", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, *words], cwd=tmp_path, env=environment, check=True
    )
    with Image.open(tmp_path / "out/indexed/photo.png") as labels:
        np.testing.assert_array_equal(np.asarray(labels), segmenter.segment(image).labels)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--flip"], "an export has no --flip"),
        (["--precision", "float32"], "an export has no --precision"),
        (["--format", "descriptors"], "an export has no --format descriptors"),
        (["--backend", "jax"], "an export has a runtime of its own"),
    ],
)
def test_options_that_an_export_cannot_have_are_refused(tmp_path, monkeypatch, option, message):
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").touch()
    Image.fromarray(smooth_images((40, 40))[0]).save("photo.png")
    result = CliRunner().invoke(main, ["segment", "photo.png", "--model", "model.onnx", *option])
    assert result.exit_code == 2 and message in result.output


def test_a_file_that_is_no_export(tmp_path):
    require("onnx")
    path = tmp_path / "model.onnx"
    path.write_bytes(b"nothing")
    assert format_at(path) == "onnx" and format_at(tmp_path) is None
    with pytest.raises(ConfigError, match="model.onnx: is not an export of keras-parts as onnx"):
        load_predictor("onnx", path)
