"""The code of docs/backbones.md runs, and its segmenters can be saved and loaded."""

import re
from pathlib import Path

import numpy as np
import pytest

from keras_parts import zoo
from keras_parts.models.architectures import ARCHITECTURES
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from tests.small import random_images

# Not on JAX, which takes most of a minute to compile the step of each: tests of adapters run there.
pytestmark = [
    pytest.mark.backend("tensorflow", "torch"), pytest.mark.slow, pytest.mark.usefixtures("eager"),
]  # fmt: skip
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/backbones.md"
SMALLER = {
    "steps=400": "steps=1, batch_size=1, teacher_size=65, loss_size=17",
    "size=161": "size=65",
    '"toy", "train"': '"toy", "train", count=2, size=65',
}


def section(title):
    """The Python blocks of a section, with smaller settings."""
    (text,) = re.findall(rf"## {title}\n(.*?)(?=\n## |\Z)", DOCUMENT.read_text(), re.DOTALL)
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for written, run in SMALLER.items():
        code = code.replace(written, run)
    return compile(code, f"{DOCUMENT.name}, {title}", "exec")


@pytest.fixture(autouse=True)
def _restored_architectures(monkeypatch, tmp_path):
    """Run in an empty folder; unregister the document's architectures after the test."""
    monkeypatch.chdir(tmp_path)
    known = dict(ARCHITECTURES)
    yield
    ARCHITECTURES.clear()
    ARCHITECTURES.update(known)


def check_saved(segmenter, folder):
    segmenter.save_preset(folder)
    images = random_images((50, 40))
    found, again = (one.maps(images)[0] for one in (segmenter, PartSegmenter.from_preset(folder)))
    np.testing.assert_allclose(np.asarray(again), np.asarray(found), atol=1e-5)


def test_keras_applications(tmp_path):
    exec(section("keras.applications"), {})
    segmenter = zoo.load("runs/mobilenet")
    assert segmenter.config.architecture == "mobilenet"
    check_saved(segmenter, tmp_path)


def test_keras_hub(tmp_path):
    pytest.importorskip("keras_hub")
    exec(section("KerasHub"), {})
    check_saved(PartSegmenter(SegmenterConfig(3, "densenet", output_stride=8)), tmp_path)


@pytest.mark.integration
@pytest.mark.backend("tensorflow")
def test_keras_cv(tmp_path):
    pytest.importorskip("keras_cv")
    with pytest.warns(FutureWarning, match="no longer developed"):
        exec(section("keras-cv"), {})
        check_saved(PartSegmenter(SegmenterConfig(3, "resnet", output_stride=8)), tmp_path)
