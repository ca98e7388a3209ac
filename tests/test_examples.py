"""The pages of the Python guide run as they stand, with smaller numbers."""

import ast
import os
import re
from pathlib import Path

import pytest

from keras_parts import exports
from keras_parts.models.architectures import ARCHITECTURES
from keras_parts.training import devices
from tests.small import register_tiny

FOLDER = Path(__file__).resolve().parents[1] / "examples"
SHORT = {
    "COUNT": 4, "SIZE": 33, "STEPS": 2, "BATCH": 2, "EPOCHS": 1, "WEIGHTS": None,
}  # fmt: skip
"""Constant of a page -> its value in the tests."""
PAGES = {
    "load_and_predict.py": "parts.png",
    "train_on_tf_data.py": "segmenter/segmenter.json",
    "own_loss.py": "parts.png",
    "own_teacher.py": "parts.png",
    "own_backbone.py": "mine/segmenter.json",
    "fine_tune_with_labels.py": "parts.png",
    "features.py": None,
    "several_devices.py": "runs/devices/segmenter/segmenter.json",
    "save_and_export.py": "toy.keras",
}
"""Page -> a file that it writes."""
TRAINING = {"train_on_tf_data.py", "own_loss.py", "own_teacher.py", "several_devices.py"}
"""Pages that train the architecture "small" from scratch: here a smaller one, compiled sooner."""
OTHERS = {"discover_parts.py", "fine_tune.py", "search_by_part.py"}
"""Examples that `test_documents.py` runs on a folder of photographs."""


class Shortened(ast.NodeTransformer):
    """Gives the constants of a page the values of `SHORT`."""

    def visit_Assign(self, node):
        targets = [target for each in node.targets for target in getattr(each, "elts", [each])]
        values = getattr(node.value, "elts", [node.value])
        for index, target in enumerate(targets):
            if isinstance(target, ast.Name) and target.id in SHORT:
                values[index] = ast.copy_location(ast.Constant(SHORT[target.id]), values[index])
        if len(targets) == 1 == len(values):
            node.value = values[0]
        return node


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run")
@pytest.mark.parametrize("page", PAGES)
def test_page_runs(page, folder, eager, monkeypatch):
    written = []

    def export(segmenter, format, path, *, name):
        written.append((format, path, name))

    # The exports have tests of their own, which take a process on TensorFlow.
    monkeypatch.setattr(exports, "export", export)
    # One of the tests' two devices: replicas need graphs.
    monkeypatch.setattr(devices, "_first_devices", lambda wanted, found: found[:1])
    if page in TRAINING:
        monkeypatch.setitem(ARCHITECTURES, "small", ARCHITECTURES[register_tiny()])
    tree = Shortened().visit(ast.parse((FOLDER / page).read_text(encoding="utf-8")))
    exec(compile(tree, page, "exec"), {"__name__": "__main__"})
    file = PAGES[page]
    assert file is None or (folder / file).stat().st_size
    assert bool(written) == (page == "save_and_export.py")


def test_every_page_is_listed_and_readable_as_a_notebook():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[(\w+\.py)\]", text)) == {*PAGES, *OTHERS} == {
        name for name in os.listdir(FOLDER) if name.endswith(".py")
    }  # fmt: skip
    for page in PAGES:
        cells = (FOLDER / page).read_text(encoding="utf-8").split("# %%")[1:]
        kinds = ["text" if cell.startswith(" [markdown]\n# ") else "code" for cell in cells]
        # Each cell of code has one of text before it, as editors and jupytext read them.
        assert kinds == ["text", *["text", "code"] * (len(cells) // 2)], page
