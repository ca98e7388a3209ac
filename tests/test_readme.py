"""Every command of the README runs: on small pictures, for two steps, in this very process tree."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from keras_parts import data

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHORT = "--steps 2 --batch-size 2"
CUB = "~/datasets/CUB_200_2011"


def commands():
    """The `keras-parts` commands in the README's shell blocks, in order."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = [part.strip() for block in blocks for part in re.split(r"\n|&&", block)]
    lines = [line.removeprefix(".venv/bin/") for line in lines]
    return [line for line in lines if line.startswith("keras-parts ")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with photos/ and masks/, where the commands run one after the other."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for index, sample in enumerate(data.load("toy", "test", count=4, size=97)):
        name = "animal" if index == 0 else f"animal-{index}"
        Image.fromarray(sample.image).save(folder / "photos" / f"{name}.png")
        Image.fromarray(sample.foreground).save(folder / "masks" / f"{name}.png")
    return folder


def run(command, desk):
    words = shlex.split(command)
    assert words[0] == "keras-parts"
    result = subprocess.run(
        [sys.executable, "-m", "keras_parts.cli", *words[1:]],
        cwd=desk,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def environment():
    import os

    weights = os.environ.get("KERAS_PARTS_TEST_WEIGHTS") or ROOT.parent / "shared" / "weights"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"KERAS_PARTS_WEIGHTS": str(weights), "PYTHONPATH": path}


@pytest.mark.parametrize("command", commands())
def test_command(command, desk, request):
    shortened = command
    if " train " in command:
        shortened += f" {SHORT}"
    if "--dataset cub" in command:
        folder = request.getfixturevalue("test_data") / "CUB_200_2011"
        request.getfixturevalue("test_weights")
        shortened = shortened.replace(CUB, str(folder)) + " --data-option classes=[1]"
    if "--dataset folder" in command:
        request.getfixturevalue("test_weights")
    if "--dataset toy" in command:
        shortened += " --data-option count=12"
    run(shortened, desk)
    if " train " in command:
        assert list(desk.glob("runs/*/segmenter/segmenter.weights.h5"))
    if " segment " in command:
        assert len(list((desk / "out").rglob("*.png"))) >= 4


def test_python(desk, monkeypatch):
    monkeypatch.chdir(desk)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    with Image.open("parts.png") as overlay, Image.open("photos/animal.png") as photo:
        assert overlay.height > photo.height  # the parts' names are below


def test_the_test_command_is_the_one_that_ci_runs():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"sed -n '(.*)' README.md", script)
    result = subprocess.run(
        ["sed", "-n", pattern[1], "README.md"], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stdout.count("pip install") == 1 and "tests/__main__.py" in result.stdout
