import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.data import load
from keras_parts.errors import IntegrityError

command = importlib.import_module("keras_parts.cli.evaluate")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


class Quadrants:
    """Parts by position: left, right, and a background of none."""

    parts, part_names, shift = 2, (), 0

    def maps(self, images, flip=False):
        # Averaged with its mirror image, a partition into left and right is none.
        return [self.one(*image.shape[:2]) * (0.0 if flip else 1.0) for image in images]

    def one(self, height, width):
        right = np.arange(width) >= width // 2 + 5 * self.shift
        logits = np.stack([np.full(width, -9.0), ~right, right], axis=-1).astype(np.float32)
        return np.broadcast_to(logits, (height, width, 3))


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Run `keras-parts evaluate` on a few toy images."""
    monkeypatch.setattr(zoo, "load", lambda model: Quadrants())
    monkeypatch.setattr(command, "import_keras", lambda: None)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="mine"):
        toy = ["--dataset", "toy", "--data-option", "count=6", "--data-option", "size=49"]
        toy += ["--data-option", "species=[0]"]
        named = [] if model is None else ["--model", model]
        return CliRunner().invoke(main, ["evaluate", *toy, *named, *arguments])

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
    assert first["subset"] == "count=6, size=49, species=[0]"
    table = evaluate("--split", "validation").stdout
    assert table.startswith("toy, validation split (count=6, size=49, species=[0]), ")
    assert evaluate("--split", "nosuch").exit_code == 2


def test_every_protocol_and_baseline_is_explained():
    from keras_parts.metrics import BASELINES, PROTOCOLS

    result = CliRunner().invoke(main, ["evaluate", "--explain"])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    for name, protocol in PROTOCOLS.items():
        assert f"{name}: {protocol.title} {protocol.description} Needs: " in words
    assert all(f" {name}: " in words for name in BASELINES)
    document = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    rule = "F = [sum of the parts' probabilities > 0.5]"
    assert words.count(rule) == 3 and rule in document  # at CUB's keypoints, keypoints, pixels
    assert "the largest of all channels" in words and "the largest of all channels" in document


def test_damaged_model(evaluate, monkeypatch):
    def load(model):
        raise IntegrityError(f"{model}: sha256 is ...")

    monkeypatch.setattr(zoo, "load", load)
    assert evaluate().exit_code == 4


def test_baselines_stand_beside_the_model(evaluate, monkeypatch):
    from keras_parts import teachers

    asked = []

    class Teacher:
        layer_names = ("colour",)

        def predict_on_batch(self, images):
            assert images.shape[1:] == (161, 161, 3) and images.max() <= 1
            return images[:, ::20, ::20]

    def create_teacher(kind, layers, weights, **views):
        asked.append((kind, layers, weights))
        return Teacher()

    monkeypatch.setattr(teachers, "create_teacher", create_teacher)
    protocols = ("pixels-foreground", "pixels-full-model")
    arguments = ["--baseline=kmeans-colour", "--baseline=kmeans-features"]
    arguments += [f"--protocol={name}" for name in protocols]
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


def test_baselines_alone(evaluate, monkeypatch):
    alone = ("--baseline=kmeans-colour", "--protocol=pixels-foreground", "--json")
    result = evaluate(*alone, "--parts", "3", model=None)
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert content["model"] is None and content["baselines"][0]["parts"] == 3
    table = evaluate("--baseline=kmeans-colour", "--parts", "3", model=None).stdout
    assert "k-means on Lab colour" in table and "What the parts mean" not in table


@pytest.mark.parametrize(
    "arguments, model, words",
    [
        ((), None, "nothing to measure"),
        (("--baseline=slic",), None, "--parts K"),
        (("--parts", "3"), "mine", "--parts is for baselines alone"),
        (("--baseline=nosuch",), "mine", "'nosuch': choose from kmeans-colour"),
        (("--seeds", "0,x"), "mine", "expected numbers such as 0,1,2"),
        (("--seeds", "0,1"), "mine", "write {seed} where the seed stands"),
        (("--name-parts",), "mine", "folder of one run"),
        (("--mask-folder", "nowhere"), "mine", "no such folder for the masks"),
    ],
)
def test_arguments_that_do_not_fit(evaluate, arguments, model, words):
    result = evaluate(*arguments, model=model)
    assert result.exit_code in (1, 2) and words in result.stderr


def test_seeds_are_put_together(evaluate, monkeypatch):
    asked = []

    def load(model):
        asked.append(model)
        segmenter = Quadrants()
        segmenter.shift = len(asked)
        return segmenter

    monkeypatch.setattr(zoo, "load", load)
    arguments = ("--seeds", "0,1,2", "--protocol", "pixels-foreground")
    content = json.loads(evaluate(*arguments, "--json", model="runs/s{seed}").stdout)
    assert asked == ["runs/s0", "runs/s1", "runs/s2"] and content["seeds"] == [0, 1, 2]
    found = content["summary"]["pixels-foreground"]["FG-NMI"]
    assert len(set(found["values"])) == 3 and len(content["runs"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["values"]))
    low, high = found["interval"]
    assert low <= found["mean"] <= high
    table = evaluate(*arguments, "--baseline=kmeans-colour", model="runs/s{seed}").stdout
    assert "(3 runs)" in table and "±" in table and "95 % interval" in table


def test_one_seed_has_an_interval_too(evaluate):
    arguments = ("--protocol", "pixels-foreground", "--baseline=kmeans-colour")
    content = json.loads(evaluate(*arguments, "--seeds", "3", "--json").stdout)
    for method in (content, *content["baselines"]):
        found = method["summary"]["pixels-foreground"]["FG-NMI"]
        low, high = found["interval"]
        assert low <= found["mean"] <= high and found["std"] is None
    assert evaluate(*arguments, "--seeds", "3").stdout.count("95 % interval") == 2
    assert "95 % interval" not in evaluate(*arguments).stdout


def draw_masks(folder, split, numbers):
    """Masks of the toy images that call all of the image the object."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.new("L", (49, 49), 255).save(folder / f"{split}-{number:05d}.png")


def test_masks_of_a_folder_are_named(evaluate, tmp_path):
    draw_masks(tmp_path / "predicted", "test", range(6))
    arguments = ("--mask-folder", "predicted", "--protocol", "pixels-full-given")
    table = evaluate(*arguments).stdout
    assert "masks: predicted" in table
    assert json.loads(evaluate(*arguments, "--json").stdout)["masks"] == "predicted"
    assert "masks: the data set's own" in evaluate(*arguments[2:]).stdout


def test_landmarks_are_fitted_on_masks_of_the_folder_too(evaluate, tmp_path):
    from keras_parts.data.masks import WithMasks
    from keras_parts.metrics.protocols import cub_landmarks

    draw_masks(tmp_path / "predicted", "test", range(6))
    draw_masks(tmp_path / "predicted", "train", range(2))
    given, folder = ("--protocol", "cub-landmarks-given"), ("--mask-folder", "predicted")
    refused = evaluate(*given, *folder)
    assert refused.exit_code == 1
    assert "to test on: predicted; to fit on: the data set's own (in predicted" in refused.stderr
    assert "4 of 6 are missing: train-00002, train-00003, train-00004, ...)" in refused.stderr
    assert evaluate("--protocol", "cub-landmarks-model", *folder).exit_code == 0
    draw_masks(tmp_path / "predicted", "train", range(2, 6))
    found = json.loads(evaluate(*given, *folder, "--json").stdout)["protocols"]
    train, test = (
        WithMasks(load("toy", split, count=6, size=49, species=[0]), tmp_path / "predicted")
        for split in ("train", "test")
    )
    expected = cub_landmarks(Quadrants().maps, train, test, 2).values
    assert found["cub-landmarks-given"]["values"] == pytest.approx(expected)
    own = json.loads(evaluate(*given, "--json").stdout)["protocols"]
    assert own["cub-landmarks-given"]["values"]["all"] != pytest.approx(expected["all"])


def test_meanings_are_told_drawn_and_stored(evaluate, monkeypatch, tmp_path):
    from keras_parts.segmenter import SegmenterConfig

    folder = tmp_path / "run" / "segmenter"
    folder.mkdir(parents=True)
    saved = []

    class Stored(Quadrants):
        config = SegmenterConfig(2, "small")

        def save_preset(self, folder):
            saved.append((folder, self.config.part_names))

    (folder / "segmenter.json").write_text(json.dumps(Stored.config.to_json()))
    monkeypatch.setattr(zoo, "load", lambda model: Stored())
    result = evaluate("--name-parts", "--confusion", "picture.png", model="run")
    assert result.exit_code == 0, result.stderr
    assert "What the parts mean:\n  part 1: " in result.stdout
    ((where, names),) = saved
    assert where.resolve() == folder and len(set(names)) == 2
    assert names[0] in result.stdout
    assert Image.open(tmp_path / "picture.png").width > 200
    content = json.loads(evaluate("--json", model="run").stdout)
    assert [one["name"] for one in content["meanings"]] == list(names)
    result = evaluate("--name-parts", "--protocol", "pixels-full-model", model="run")
    assert result.exit_code == 2 and "needs a protocol of parts alone" in result.stderr
