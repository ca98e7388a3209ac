"""The table of all methods: results are saved, and saved results are not measured again."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_parts import zoo
from keras_parts.data import load
from keras_parts.metrics import Runs

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "parts.py"


class Halves:
    """A segmenter by position: part 1 is the left half, part 2 the right; others are nowhere."""

    num_parts = 2

    def maps(self, images, flip=False, looks=1):
        return [self.one(*image.shape[:2]) for image in images]

    def one(self, height, width):
        right = np.arange(width) >= width // 2
        nowhere = [np.full(width, -9.0)]
        logits = np.stack([*nowhere, ~right, right, *nowhere * (self.num_parts - 2)], axis=-1)
        return np.broadcast_to(logits.astype(np.float32), (height, width, 1 + self.num_parts))

    def segment(self, images):
        return [self] * len(images)

    def overlay(self):
        return Image.new("RGB", (49, 49))


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """`run(*arguments)` of the script, on a few toy images."""
    spec = importlib.util.spec_from_file_location("parts_script", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "PARTS", {"toy": (2, 3)})
    few = {"count": 6, "size": 49, "species": [0]}
    monkeypatch.setattr(script, "load", lambda name, split, folder: load(name, split, **few))
    monkeypatch.setattr(zoo, "load", lambda run: Halves())
    monkeypatch.setitem(Runs.with_intervals.__kwdefaults__, "num_draws", 100)

    def run(*arguments):
        folders = ["--data-dir", str(tmp_path), "--output", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["parts.py", *folders, *map(str, arguments)])
        script.main()
        return (tmp_path / "out" / "table.md").read_text()

    run.script, run.output = script, tmp_path / "out"
    return run


def test_baselines_are_measured_once(parts, monkeypatch):
    table = parts("--only-baselines", "--methods", "ours", "kmeans-colour", "--parts", 2)
    assert [path.name for path in parts.output.glob("*.json")] == ["toy-k2-kmeans-colour.json"]
    content = json.loads((parts.output / "toy-k2-kmeans-colour.json").read_text())
    found = content["summary"]["pixels-foreground"]["FG-NMI"]
    low, high = found["interval"]
    assert f"| {found['mean']:.1f} [{low:.1f}, {high:.1f}] |" in table
    assert "### toy, K=2, 6 test images" in table and "K=3" not in table
    assert table.startswith("# Our method and every baseline") and "--only" not in table

    def measured_again(*_, **__):
        raise AssertionError

    monkeypatch.setattr(parts.script, "evaluate", measured_again)
    assert parts("--only-baselines", "--methods", "kmeans-colour", "--parts", 2) == table
    assert parts("--only-table") == table
    with pytest.raises(AssertionError):
        parts("--only-baselines", "--methods", "kmeans-position", "--parts", 2)
    assert len(list(parts.output.glob("*.json"))) == 1  # a run that failed leaves nothing


def test_runs_are_trained_once_measured_and_drawn(parts, monkeypatch):
    trained, initial = [], []

    def train(command, check):
        trained.append(command[command.index("--output") + 1])
        if "--dataset" in command:
            assert command[command.index("--set") + 1] == "centre=false"
        initial.append(
            command[command.index("--init-from") + 1] if "--init-from" in command else ""
        )
        folder = Path(trained[-1], "segmenter")
        folder.mkdir(parents=True)
        (folder / "segmenter.json").write_text("{}")

    monkeypatch.setattr(parts.script, "subprocess", SimpleNamespace(run=train))
    monkeypatch.setitem(parts.script.SEEDS, 2, (0, 1))
    monkeypatch.setitem(parts.script.SETTINGS, "toy", ("centre=false",))
    train(["--output", str(parts.output / "runs" / "toy-k2-s0")], check=True)
    trained.clear(), initial.clear()
    monkeypatch.setattr(parts.script, "SHARPENED", {("toy", 3)})
    monkeypatch.setattr(Halves, "num_parts", 3)
    parts("--methods", "ours", "--parts", 3)
    assert [Path(path).name for path in trained] == ["toy-k3-s0-first", "toy-k3-s0"]
    assert initial == ["", str(parts.output / "runs" / "toy-k3-s0-first" / "segmenter")]
    trained.clear()
    monkeypatch.setattr(Halves, "num_parts", 2)
    table = parts("--methods", "ours", "--parts", 2)
    assert [Path(path).name for path in trained] == ["toy-k2-s1"]
    assert "| this project (2 runs) |" in table and "±" in table
    assert Image.open(parts.output / "toy-k2-ours.png").width > 200


def test_models_of_the_zoo_have_rows_of_their_own(parts, monkeypatch):
    monkeypatch.setattr(parts.script, "RELEASED", {("toy", 2): "halves"})
    table = parts("--methods", "zoo")
    ours = json.loads((parts.output / "toy-k2-zoo.json").read_text())
    found = ours["summary"]["masks"]["boundary F"]
    assert " masks boundary F |" in table and f"| {found['mean']:.1f} [" in table
    assert "| this project, halves of the zoo |" in table and "K=3" not in table
    assert [path.name for path in parts.output.glob("*.json")] == ["toy-k2-zoo.json"]
    ours = json.loads((parts.output / "toy-k2-zoo.json").read_text()) | {
        "method": "this project", "notes": ["this copy lacks toys"],
    }  # fmt: skip
    ours["runs"][0]["protocols"]["masks"]["notes"] = ["one mask is empty"]
    (parts.output / "toy-k2-ours.json").write_text(json.dumps(ours))
    both = parts("--only-table")
    assert "| this project |" in both and "halves" not in both  # the same method is one row
    assert (
        "### toy, K=2, 6 test images\n\nthis copy lacks toys\n\nmasks: one mask is empty\n" in both
    )
    assert Image.open(parts.output / "toy-k2-zoo.png").width > 200


def test_models_of_the_zoo_match_their_data_sets(parts):
    for (dataset, count), name in parts.script.RELEASED.items():
        card = zoo.info(name)
        assert (card.training.dataset, card.num_parts) == (dataset, count)
