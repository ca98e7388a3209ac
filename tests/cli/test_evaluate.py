import importlib
import json

import numpy as np
import pytest
from click.testing import CliRunner

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.errors import IntegrityError

command = importlib.import_module("keras_parts.cli.evaluate")


class Quadrants:
    """Parts by position: left, right, and a background of none."""

    parts, part_names = 2, ()

    def maps(self, images, flip=False):
        # Averaged with its mirror image, a partition into left and right is none.
        return [self.one(*image.shape[:2]) * (0.0 if flip else 1.0) for image in images]

    def one(self, height, width):
        right = np.arange(width) >= width // 2
        logits = np.stack([np.full(width, -9.0), ~right, right], axis=-1).astype(np.float32)
        return np.broadcast_to(logits, (height, width, 3))


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Run `keras-parts evaluate` on a few toy images."""
    monkeypatch.setattr(zoo, "load", lambda model: Quadrants())
    monkeypatch.setattr(command, "import_keras", lambda: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        toy = ["--dataset", "toy", "--data-option", "count=6", "--data-option", "size=49"]
        toy += ["--data-option", "species=[0]"]
        return CliRunner().invoke(main, ["evaluate", *toy, "--model", "mine", *arguments])

    return run


def test_table_and_json_agree(evaluate):
    table = evaluate("--quiet")
    assert table.exit_code == 0, table.stderr
    assert table.stderr == ""
    content = json.loads(evaluate("--json").stdout)
    assert (content["model"], content["split"], content["samples"]) == ("mine", "test", 6)
    assert content["baselines"] == []
    protocol = content["protocols"]["pixels-foreground"]
    assert "pixels-foreground" in table.stdout
    for value in protocol["values"].values():
        assert f"{value:.1f}" in table.stdout


def test_flipping_is_passed_on_and_said(evaluate):
    result = evaluate("--protocol", "pixels-foreground", "--flip", "--json")
    content = json.loads(result.stdout)
    assert content["flip"] is True and "flipped" in content["method"]
    assert content["protocols"]["pixels-foreground"]["values"]["FG-NMI"] == 0


def test_protocols_can_be_chosen(evaluate):
    result = evaluate("--protocol", "pixels-foreground", "--json")
    assert list(json.loads(result.stdout)["protocols"]) == ["pixels-foreground"]
    result = evaluate("--protocol", "nosuch")
    assert result.exit_code == 2
    assert "pixels-foreground" in result.stderr


def test_output_file_holds_what_json_prints(evaluate, tmp_path):
    printed = json.loads(evaluate("--json", "--output", "report.json").stdout)
    assert json.loads((tmp_path / "report.json").read_text()) == printed


def test_split(evaluate):
    first = json.loads(evaluate("--json", "--split", "test").stdout)
    second = json.loads(evaluate("--json", "--split", "validation").stdout)
    assert second["split"] == "validation"
    assert first["protocols"] != second["protocols"]
    assert evaluate("--split", "nosuch").exit_code == 2


def test_damaged_model(evaluate, monkeypatch):
    def load(model):
        raise IntegrityError(f"{model}: sha256 is ...")

    monkeypatch.setattr(zoo, "load", load)
    assert evaluate().exit_code == 4


@pytest.mark.backend
def test_baselines_stand_beside_the_model(evaluate, monkeypatch):
    import keras

    from keras_parts import teachers

    asked = []

    class Teacher:
        layer_names = ("colour",)

        def __call__(self, images):
            assert images.shape[1:] == (161, 161, 3) and images.max() <= 1
            return keras.ops.convert_to_tensor(images)[:, ::20, ::20]

    def create_teacher(kind, layers, weights, turns):
        asked.append((kind, layers, weights))
        return Teacher()

    monkeypatch.setattr(teachers, "create_teacher", create_teacher)
    protocols = ("pixels-foreground", "pixels-full-model")
    arguments = ["--baselines", *(f"--protocol={name}" for name in protocols)]
    first = evaluate("--json", *arguments, "--seed", "1")
    assert first.exit_code == 0, first.stderr
    content = json.loads(first.stdout)
    colour, features = content["baselines"]
    assert colour["method"] == "k-means on Lab colour"
    assert features["method"] == "k-means on small colour"
    for baseline in content["baselines"]:
        # They have no background of their own.
        assert list(baseline["protocols"]) == ["pixels-foreground"]
        assert sum(baseline["shares"]) == pytest.approx(1, abs=1e-3)
    assert [layer for _, layer, _ in asked] != [()]
    assert content == json.loads(evaluate("--json", *arguments, "--seed", "1").stdout)
    table = evaluate(*arguments).stdout
    assert "k-means on Lab colour" in table and "k-means on small colour" in table
    alone = evaluate("--json", "--baselines", "--protocol=pixels-full-model")
    assert json.loads(alone.stdout)["baselines"] == []
    evaluate(*arguments, "--teacher", "vgg19", "--teacher-weights", "there")
    assert asked[-1] == ("vgg19", (), "there")


def test_baselines_need_a_split_to_be_fitted_on(evaluate):
    result = evaluate("--baselines", "--split", "train")
    assert result.exit_code == 2
    assert "--baselines needs one of the splits test, validation" in result.stderr
