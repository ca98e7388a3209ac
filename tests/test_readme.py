"""Every command of the README runs, on few images and for one or two steps.

Commands on photographs of birds run on drawn ones where there are no real ones. The others see no
shared data, so that they run the same in a clone with nothing beside it.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from keras_parts import data
from tests import documents
from tests.conftest import shared_folder
from tests.data import drawn

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = " --image-size 97 --set loss_size=25"
FEW = " --data-option count=12 --data-option size=97"
CUB = "~/datasets/CUB_200_2011"
COMMANDS = [
    pytest.param(command, marks=[pytest.mark.shared_data] if CUB in command else [], id=command)
    for block in documents.blocks(ROOT / "README.md")
    for command in documents.commands(block)
]


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
    """Run a command in this process; the first one of the README in a process of its own."""
    words = shlex.split(command)
    if words[1:4] == ["train", "--dataset", "toy"]:
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        subprocess.run(
            [sys.executable, "-m", "keras_parts.cli", *words[1:]],
            cwd=desk,
            env=os.environ | {"PYTHONPATH": path},
            check=True,
        )
    else:
        documents.run(command)


def shortened(command, desk):
    """The command on little data for few steps.

    Birds train the small network, on drawn photographs where there are no real ones.
    """
    if " train " not in command:
        return command.replace(CUB, str(birds(desk)))
    # Eager steps of a large network take seconds.
    command += f" --steps {2 if '--dataset toy' in command else 1} --batch-size 2"
    if "--dataset cub" in command:
        command = command.replace(CUB, str(birds(desk))) + " --data-option classes=[1]"
    if " train photos/" in command:
        return command + " --image-size 65 --set teacher_size=65"
    return command + SMALL + (FEW if "--dataset toy" in command else " --recipe toy")


def birds(desk):
    """Folder of real photographs of birds, or of drawn ones."""
    photographs = shared_folder("KERAS_PARTS_TEST_DATA", "data")
    if photographs:
        return photographs / "CUB_200_2011"
    if not (desk / "CUB_200_2011").exists():
        drawn.cub(desk)
    return desk / "CUB_200_2011"


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, desk, monkeypatch, eager, discovery):
    monkeypatch.setenv("KERAS_PARTS_WEIGHTS", str(desk / "no weights"))
    if CUB not in command:
        monkeypatch.setenv("KERAS_PARTS_TEST_DATA", str(desk / "no data"))
    monkeypatch.chdir(desk)
    command = shortened(command, desk)
    if "evaluate" in command:
        command += FEW if "toy" in command else " --data-option classes=[1]"
    run(command, desk)
    if " train " in command:
        assert list(desk.glob("runs/*/segmenter/segmenter.weights.h5"))
    if " segment " in command:
        folder = "out" if "--output" in command else "photos-parts"
        assert len(list((desk / folder).rglob("*.png"))) >= 4


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
