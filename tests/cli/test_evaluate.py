import importlib
import json
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click import Context, Group
from click.testing import CliRunner
from PIL import Image

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.data import load
from keras_parts.errors import IntegrityError
from keras_parts.metrics import Runs
from keras_parts.training.recipes import recipe

command = importlib.import_module("keras_parts.cli.evaluate")
released = zoo.path
UPRIGHT = (1.0, 0.0, 0.0, 0.0)
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"


class Halves:
    """A segmenter of two parts, the left and the right half of the image, without background."""

    num_parts, part_names, shift = 2, (), 0

    def maps(self, images, flip=False, looks="auto"):
        assert looks in ("auto", 1, 2)
        # Averaged with their mirror image, the left and right half have equal logits.
        return [self.logits(*image.shape[:2]) * (0.0 if flip else 1.0) for image in images]

    def logits(self, height, width):
        right = np.arange(width) >= width // 2 + 5 * self.shift
        logits = np.stack([np.full(width, -9.0), ~right, right], axis=-1).astype(np.float32)
        return np.broadcast_to(logits, (height, width, 3))


@pytest.fixture
def evaluate(monkeypatch, tmp_path):
    """Run `keras-parts evaluate` on a few toy images."""
    monkeypatch.setattr(zoo, "load", lambda model, **_: Halves())
    monkeypatch.setattr(command, "import_keras", lambda: None)
    monkeypatch.setattr(command, "check_model", lambda *_, **__: None)
    monkeypatch.setattr(zoo, "path", lambda model, **_: tmp_path / model / "segmenter")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    monkeypatch.setitem(Runs.with_intervals.__kwdefaults__, "num_draws", 100)

    def run(*arguments, model="mine"):
        toy = ["--dataset", "toy", "--data-option", "count=6", "--data-option", "size=49"]
        toy += ["--data-option", "species=[0]"]
        named = [] if model is None else ["--model", model]
        return CliRunner().invoke(main, ["evaluate", *toy, *named, *arguments])

    return run


@pytest.mark.slow
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


@pytest.mark.parametrize(("looks", "named"), [("auto", ""), ("1", "one look"), ("2", "two looks")])
def test_looks_are_named(evaluate, looks, named):
    result = evaluate("--protocol", "pixels-foreground", "--looks", looks, "--json")
    content = json.loads(result.stdout)
    assert str(content["looks"]) == looks and content["method"].endswith(named)


def test_flipping_is_applied_and_named(evaluate):
    result = evaluate("--protocol", "pixels-foreground", "--flip", "--json")
    content = json.loads(result.stdout)
    assert content["flip"] is True and "flipping" in content["method"]
    assert content["protocols"]["pixels-foreground"]["values"]["FG-NMI"] == 0


def test_protocols_can_be_chosen(evaluate):
    result = evaluate("--protocol", "pixels-foreground", "--json")
    assert list(json.loads(result.stdout)["protocols"]) == ["pixels-foreground"]
    result = evaluate("--protocol", "nosuch")
    assert result.exit_code == 2
    assert "pixels-foreground" in result.stderr


def test_output_file_contains_what_json_prints(evaluate, tmp_path):
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


def test_images_of_the_training_are_named(evaluate, tmp_path):
    from keras_parts.training.data_record import record_data

    drawn_again = load("toy", "test", count=6, size=49, species=[0])
    config = {"settings": {}, "seed": 0, "data": record_data(drawn_again, "train")}
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config))
    note = "These are images that mine was trained on: others will have lower values."
    only = ("--protocol", "pixels-foreground")
    result = evaluate(*only, "--json")
    content = json.loads(result.stdout)
    assert (content["split"], content["notes"]) == ("train", [note])
    assert result.stderr.splitlines().count(note) == 1
    table = evaluate(*only, "--quiet")
    assert table.stdout.startswith("toy, train split (") and f"\n{note}\n" in table.stdout
    assert note not in table.stderr
    unseen = json.loads(evaluate(*only, "--json", "--split", "train").stdout)
    assert "may be among those that mine was trained on" in unseen["notes"][0]


def test_every_protocol_and_baseline_is_explained():
    from keras_parts.metrics import BASELINES, PROTOCOLS

    result = CliRunner().invoke(main, ["evaluate", "--explain"])
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    for name, protocol in PROTOCOLS.items():
        assert f"{name}: {protocol.title} {protocol.description} Needs: " in text
    assert all(f" {name}: " in text for name in BASELINES)
    document = " ".join(DOCUMENT.read_text(encoding="utf-8").split())
    rule = "F = [sum of the parts' probabilities > 0.5]"
    assert text.count(rule) == 3 and rule in document  # at CUB's keypoints, keypoints, pixels
    assert "the largest of all channels" in text and "the largest of all channels" in document


def test_an_unknown_model_is_refused_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(command, "_evaluation", lambda *_: pytest.fail("data were read"))
    result = CliRunner().invoke(main, ["evaluate", "--dataset", "toy", "--model", "cubs"])
    assert result.exit_code == 4 and "did you mean 'cub'" in result.stderr


def test_damaged_model(evaluate, monkeypatch):
    def load(model, **_):
        raise IntegrityError(f"{model}: sha256 is ...")

    monkeypatch.setattr(zoo, "load", load)
    assert evaluate().exit_code == 4


class Colours:
    """A teacher whose features are the image's colours; it records the shapes of its inputs."""

    layer_names, side = ("colour",), None

    def __init__(self, shapes):
        self.shapes = shapes
        self.network = SimpleNamespace(inputs=[SimpleNamespace(shape=(None, self.side, None, 3))])

    def predict_on_batch(self, images):
        assert images.dtype == np.uint8 and images.max() > 1
        self.shapes.append(images.shape[1:])
        return images[:, ::20, ::20]


@pytest.fixture
def teachers(monkeypatch):
    """The arguments with which teachers are created, and the shapes of the images they receive."""
    from keras_parts.training import build

    created, shapes = [], []

    def create_teacher(kind, layers, weights, turns, mirror):
        created.append((kind, layers, weights, turns, mirror))
        return Colours(shapes)

    monkeypatch.setattr(build, "create_teacher", create_teacher)
    return SimpleNamespace(created=created, shapes=shapes)


@pytest.mark.slow
def test_baselines_are_measured_beside_the_model(evaluate, teachers):
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
    assert teachers.created == [("small", ("stage4",), None, UPRIGHT, False)]
    assert set(teachers.shapes) == {(161, 161, 3)}
    assert content == json.loads(evaluate("--json", *arguments, "--seed", "1").stdout)
    table = evaluate(*arguments).stdout
    assert "k-means on Lab colour" in table and "k-means on small colour" in table
    alone = evaluate("--json", "--baselines", "--protocol=pixels-full-model")
    assert json.loads(alone.stdout)["baselines"] == []


FEATURES = ("--baseline=kmeans-features", "--protocol=pixels-foreground", "--json")
TRAINED_WITH = {
    "teacher": "efficientnet_lite0",
    "teacher_layers": ["block_10", "block_14"],
    "teacher_weights": "~/lite",
    "teacher_size": 321,
    "teacher_turns": [1, 0.35, 0.35, 0.35],
    "teacher_mirror": True,
    "of another version": 1,
}


@pytest.fixture
def trained(evaluate, tmp_path):
    """Makes the model "mine" a run that was trained with `TRAINED_WITH`."""
    (tmp_path / "mine" / "segmenter").mkdir()
    (tmp_path / "mine" / "config.json").write_text(
        json.dumps({"settings": TRAINED_WITH, "seed": 0})
    )


def test_baselines_get_the_features_that_the_model_learned_from(evaluate, trained, teachers):
    (found,) = json.loads(evaluate(*FEATURES).stdout)["baselines"]
    assert found["method"] == "k-means on efficientnet_lite0 colour, turned and mirrored"
    layers, weights = ("block_10", "block_14"), str(Path("~/lite").expanduser())
    assert teachers.created == [
        ("efficientnet_lite0", layers, weights, (1.0, 0.35, 0.35, 0.35), True)
    ]
    assert set(teachers.shapes) == {(321, 321, 3)}
    evaluate(*FEATURES, "--teacher-weights", "there")
    assert teachers.created[1][1:] == (layers, "there", (1.0, 0.35, 0.35, 0.35), True)


def test_baselines_of_a_model_with_outlines_get_the_features_of_the_recipe(
    evaluate, teachers, monkeypatch
):
    """The teacher on its card gave part logits, which are no features."""
    monkeypatch.setattr(zoo, "path", released)
    (found,) = json.loads(evaluate(*FEATURES, model="cub-8").stdout)["baselines"]
    default = recipe("toy")  # of the data set
    assert teachers.created[0][0] == default.teacher
    assert teachers.created[0][3:] == (default.teacher_turns, default.teacher_mirror)
    assert found["method"].startswith(f"k-means on {default.teacher} colour")


def test_teacher_option_selects_the_features_of_that_network(
    evaluate, trained, teachers, monkeypatch
):
    (found,) = json.loads(evaluate(*FEATURES, "--teacher", "efficientnet_lite0").stdout)[
        "baselines"
    ]
    assert found["method"] == "k-means on efficientnet_lite0 colour"
    assert teachers.created == [("efficientnet_lite0", None, None, UPRIGHT, False)]
    assert set(teachers.shapes) == {(321, 321, 3)}
    teachers.shapes.clear()
    monkeypatch.setattr(Colours, "side", 224)  # as a vision transformer has
    evaluate(*FEATURES, "--teacher", "dinov2", "--teacher-weights", "there")
    assert teachers.created[1] == ("dinov2", None, "there", UPRIGHT, False)
    assert set(teachers.shapes) == {(224, 224, 3)}


def test_baselines_are_measured_on_test_or_validation_only(evaluate):
    result = evaluate("--baselines", "--split", "train")
    assert result.exit_code == 2
    assert "--split train: baselines can be measured on test or validation only" in result.stderr


@pytest.mark.slow
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
        (("--parts", "3"), "mine", "--parts is for baselines without a model"),
        (("--baseline=nosuch",), "mine", "'nosuch': choose from kmeans-colour"),
        (("--seeds", "0,x"), "mine", "expected numbers such as 0,1,2"),
        (("--seeds", "0,1"), "mine", "with --seeds write {seed} for the seed"),
        (("--name-parts",), "mine", "folder of one run"),
        (("--mask-folder", "nowhere"), "mine", "no such folder for the masks"),
    ],
)
def test_contradictory_arguments_are_refused(evaluate, arguments, model, words):
    result = evaluate(*arguments, model=model)
    assert result.exit_code in (1, 2) and words in result.stderr


def test_the_train_split_is_only_read_if_needed(evaluate, monkeypatch):
    splits = []

    def recorded(name, split, **options):
        splits.append(split)
        return load(name, split, **options)

    monkeypatch.setattr("keras_parts.data.load", recorded)
    assert evaluate("--protocol", "pixels-foreground").exit_code == 0 and splits == ["test"]
    evaluate("--protocol", "pixels-foreground", "--baseline", "kmeans-colour")
    assert splits == ["test", "test", "train"]


@pytest.mark.slow
def test_runs_of_all_seeds_are_summarised(evaluate, monkeypatch):
    loaded = []

    def load(model, **_):
        loaded.append(model)
        segmenter = Halves()
        segmenter.shift = len(loaded)
        return segmenter

    monkeypatch.setattr(zoo, "load", load)
    arguments = ("--seeds", "0,1,2", "--protocol", "pixels-foreground")
    content = json.loads(evaluate(*arguments, "--json", model="runs/s{seed}").stdout)
    assert loaded == ["runs/s0", "runs/s1", "runs/s2"] and content["seeds"] == [0, 1, 2]
    found = content["summary"]["pixels-foreground"]["FG-NMI"]
    assert len(set(found["values"])) == 3 and len(content["runs"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["values"]))
    low, high = found["interval"]
    assert low <= found["mean"] <= high
    table = evaluate(*arguments, "--baseline=kmeans-colour", model="runs/s{seed}").stdout
    assert "(3 runs)" in table and "±" in table and "95 % interval" in table


@pytest.mark.slow
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
    """Write masks for the toy images in which every pixel is foreground."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.new("L", (49, 49), 255).save(folder / f"{split}-{number:05d}.png")


def test_the_folder_of_the_masks_is_named(evaluate, tmp_path):
    draw_masks(tmp_path / "predicted", "test", range(6))
    arguments = ("--mask-folder", "predicted", "--protocol", "pixels-full-given")
    table = evaluate(*arguments).stdout
    assert "masks: predicted" in table
    assert json.loads(evaluate(*arguments, "--json").stdout)["masks"] == "predicted"
    assert "masks: the data set's own" in evaluate(*arguments[2:]).stdout


def test_landmarks_are_fitted_on_masks_of_the_folder_too(evaluate, tmp_path):
    from keras_parts.data.readers.masks import WithMasks
    from keras_parts.metrics.protocols import cub_landmarks

    draw_masks(tmp_path / "predicted", "test", range(6))
    draw_masks(tmp_path / "predicted", "train", range(2))
    given, folder = ("--protocol", "cub-landmarks-given"), ("--mask-folder", "predicted")
    refused = evaluate(*given, *folder)
    assert refused.exit_code == 1
    assert "test split: predicted; train split: the data set's own (in predicted" in refused.stderr
    assert "4 of 6 are missing: train-00002, train-00003, train-00004, ...)" in refused.stderr
    assert evaluate("--protocol", "cub-landmarks-model", *folder).exit_code == 0
    draw_masks(tmp_path / "predicted", "train", range(2, 6))
    found = json.loads(evaluate(*given, *folder, "--json").stdout)["protocols"]
    train, test = (
        WithMasks(load("toy", split, count=6, size=49, species=[0]), tmp_path / "predicted")
        for split in ("train", "test")
    )
    expected = cub_landmarks(Halves().maps, train, test, 2).values
    assert found["cub-landmarks-given"]["values"] == pytest.approx(expected)
    own = json.loads(evaluate(*given, "--json").stdout)["protocols"]
    assert own["cub-landmarks-given"]["values"]["all"] != pytest.approx(expected["all"])


def test_meanings_are_printed_drawn_and_stored(evaluate, monkeypatch, tmp_path):
    from keras_parts.models.segmenter import SegmenterConfig

    folder = tmp_path / "run" / "segmenter"
    folder.mkdir(parents=True)
    file = folder / "segmenter.json"
    file.write_text(json.dumps(SegmenterConfig(2, "small").to_json()))

    def load(model, **_):
        segmenter = Halves()
        segmenter.part_names = json.loads(file.read_text())["part_names"]
        return segmenter

    monkeypatch.setattr(zoo, "load", load)
    result = evaluate("--name-parts", "--confusion", "picture.png", model="run")
    assert result.exit_code == 0, result.stderr
    assert "What the parts mean:\n  part 1: " in result.stdout
    names = json.loads(file.read_text())["part_names"]
    assert len(set(names)) == 2 and names[0] in result.stdout
    assert Image.open(tmp_path / "picture.png").width > 200
    content = json.loads(evaluate("--json", model="run").stdout)
    assert [one["name"] for one in content["meanings"]] == names == content["part_names"]
    zoo.name_parts("run", ["front", names[1]])
    said = evaluate(model="run").stdout
    assert f"  part 1, front: {names[0]}" in said and f"  part 2: {names[1]}" in said
    result = evaluate("--name-parts", "--protocol", "pixels-full-model", model="run")
    assert result.exit_code == 2 and "needs a foreground protocol" in result.stderr


def documented_commands():
    """The keras-parts commands in the document's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("keras-parts ")]


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_have_valid_options(line):
    words, context = shlex.split(line)[1:], Context(main)
    chosen = main
    while isinstance(chosen, Group):
        name, *words = words
        chosen = chosen.get_command(context, name)
        assert chosen is not None, name
    chosen.make_context(name, words, parent=context)


@pytest.mark.parametrize("line", [line for line in documented_commands() if "--parts " in line])
@pytest.mark.slow
def test_documented_baselines_are_measured(evaluate, teachers, line):
    words = shlex.split(line)
    result = evaluate(*words[words.index("--parts") :], model=None)
    assert result.exit_code == 0, result.stderr
    assert "k-means on" in result.stdout
