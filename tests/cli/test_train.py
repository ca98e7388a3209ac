import importlib
import json
import re
import sys
import types
from dataclasses import fields

import numpy as np
import pytest
from click.testing import CliRunner

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.training import run_folder
from keras_parts.training.hosts import Hosts
from keras_parts.training.recipes import RECIPES, Recipe
from tests.data import drawn
from tests.data.test_discovered import picture

command = importlib.import_module("keras_parts.cli.train")

SUMMARY = {
    "output": "runs/x",
    "segmenter": "runs/x/segmenter",
    "steps": 40,
    "seconds": 3.0,
    "images_per_second": 12.3,
    "skipped_steps": 0,
    "loss": 1.5,
}


@pytest.fixture
def train(monkeypatch):
    """Runs `keras-parts train` on a small toy set; returns result and arguments of the library."""
    calls = []
    monkeypatch.setattr(run_folder, "check_folder", lambda *_, **__: None)

    def fake(
        recipe, dataset, output, *,
        resume, overwrite, progress, split, devices, hosts, callbacks, track,
    ):  # fmt: skip
        calls.append(types.SimpleNamespace(**locals()))
        return SUMMARY

    module = types.SimpleNamespace(train=fake)
    monkeypatch.setitem(sys.modules, "keras_parts.training.run", module)
    monkeypatch.setattr(command, "import_keras", lambda: None)

    def run(*arguments, dataset="toy"):
        calls.clear()
        options = [] if dataset is None else ["--dataset", dataset]
        if dataset == "toy":
            options += ["--data-option", "count=3", "--data-option", "size=33"]
        result = CliRunner().invoke(main, ["train", *options, *arguments])
        return result, calls[0] if calls else None

    return run


def test_without_options_the_recipe_is_unchanged(train):
    result, call = train()
    assert result.exit_code == 0, result.stderr
    assert call.recipe == RECIPES["toy"]
    assert call.output == "runs/toy"
    assert (call.resume, call.overwrite, call.progress) == (False, False, True)
    assert len(call.dataset) == 3
    assert "Trained 40 steps" in result.stdout and "open runs/x/index.html" in result.stdout
    assert "\n  keras-parts segment PHOTOS --model runs/x\n" in result.stdout
    assert "\n  keras-parts evaluate --dataset toy --model runs/x\n" in result.stdout
    assert call.devices is call.hosts is None


def test_losses_that_were_never_finite(train, monkeypatch):
    monkeypatch.setitem(SUMMARY, "loss", None)
    result, _ = train()
    assert result.exit_code == 0 and "skipped, not finite at the end: loss)." in result.stdout


def test_the_number_of_parts_is_chosen(train, monkeypatch, tmp_path):
    found = types.SimpleNamespace(recommended=7, reason="Seven is best", notes=("Two kinds",))
    module = types.SimpleNamespace(compare_part_counts=lambda *_, **__: found)
    monkeypatch.setitem(sys.modules, "keras_parts.training.part_counts", module)
    result, call = train("--parts", "auto")
    assert call.recipe == RECIPES["toy"].with_settings({"num_parts": 7})
    assert "\nParts: 7. Seven is best\nNote: Two kinds\n" in result.stderr
    summary = json.loads(train("--parts", "auto", "--json")[0].stdout)
    assert summary == {**SUMMARY, "num_parts": 7, "reason": "Seven is best"}
    assert "# Parts: their number is chosen" in train("--parts", "auto", "--dry-run")[0].stdout
    run_folder.RunFolder.create(tmp_path).write_config({"num_parts": 6}, 0)
    _, call = train("--parts", "auto", "--resume", "--output", str(tmp_path))
    assert call.recipe.num_parts == 6


def test_devices_and_hosts(train):
    _, call = train("--devices", "all", "--hosts", "a:1,b:1", "--host-index", "1")
    assert (call.devices, call.hosts) == ("all", Hosts(("a:1", "b:1"), 1))
    result, call = train("--hosts", "a:1,b:1")
    assert result.exit_code == 2 and call is None
    assert "--host-index" in result.stderr


def test_trackers(train, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", types.ModuleType("tensorboardX"))
    monkeypatch.setitem(SUMMARY, "tracked", {"tensorboard": "my runs/x", "wandb": "https://w"})
    result, call = train("--track", "tensorboard")
    assert call.track == ("tensorboard",)
    assert "\nTracked by tensorboard: tensorboard --logdir 'my runs/x'\n" in result.stdout
    assert "\nTracked by wandb: https://w\n" in result.stdout
    result, call = train("--track", "tensorbord")
    assert result.exit_code == 2 and call is None and "did you mean" in result.stderr


def test_only_the_first_host_reports_losses(train, monkeypatch):
    for name in ("steps", "skipped_steps", "loss"):
        monkeypatch.delitem(SUMMARY, name)
    result, _ = train()
    message = "Trained together with other hosts; the first host has written runs/x\n"
    assert result.stdout == message


def test_recipe_by_name(train):
    assert train("--recipe", "paper")[1].recipe == RECIPES["paper"]


def test_default_recipe_for_data_sets_without_their_own(train, tmp_path):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    _, call = train("--data-dir", str(tmp_path), "--masks", "none", dataset="folder")
    assert call.recipe == RECIPES["default"]
    assert call.output == "runs/folder"
    assert call.dataset.ids() == ["a.png"]


def test_options_change_fields_of_the_recipe(train):
    _, call = train(
        *"-k 7 --steps 90 --batch-size 5 --image-size 97 --seed 3".split(),
        *"--precision mixed_bfloat16 --backbone-weights random".split(),
        *"--set loss_weights.balance=0.5 --set ema_momentum=0.9".split(),
        *"--set view_transforms.rotation=30 --output runs/y --resume --quiet".split(),
    )
    changed = RECIPES["toy"].with_settings(
        {
            "num_parts": 7,
            "steps": 90,
            "batch_size": 5,
            "image_size": 97,
            "seed": 3,
            "precision": "mixed_bfloat16",
            "backbone_weights": "random",
            "loss_weights.balance": 0.5,
            "ema_momentum": 0.9,
            "view_transforms.rotation": 30,
        }
    )
    assert call.recipe == changed
    assert (call.output, call.resume, call.progress) == ("runs/y", True, False)


def test_another_teacher_has_its_default_layers(train):
    _, call = train("--teacher", "dinov2", "--teacher-weights", "there")
    assert call.recipe.teacher == "dinov2"
    assert call.recipe.teacher_layers == ()
    assert call.recipe.teacher_weights == "there"
    _, call = train("--teacher", "vgg19", "--set", 'teacher_layers=["relu5_4"]')
    assert call.recipe.teacher_layers == ("relu5_4",)


def test_a_segmenter_of_the_zoo_as_teacher(train):
    _, call = train("--teacher", "zoo:toy")
    assert (call.recipe.teacher, call.recipe.teacher_layers) == ("segmenter", ())
    assert call.recipe.teacher_weights == str(zoo.path("toy"))
    result, _ = train("--teacher", "zoo:toy", "--teacher-weights", "there")
    assert result.exit_code == 2 and "has weights already" in result.stderr
    result, _ = train("--teacher", "zoo:tyo")
    assert result.exit_code == 4 and "did you mean 'toy'" in result.stderr


def test_initial_weights_of_a_segmenter_of_the_zoo(train):
    card = zoo.info("toy")
    _, call = train("--init-from", "toy")
    assert call.recipe.init_from == str(zoo.path("toy"))
    _, call = train("--recipe", "default", "--init-from", "toy", "--image-size", "97")
    assert (call.recipe.architecture, call.recipe.num_parts) == (card.architecture, card.num_parts)
    assert (call.recipe.train_from, call.recipe.image_size) == (None, 97)


def test_another_split(train):
    _, call = train("--split", "fit")
    assert call.split == "fit" and len(call.dataset) == 3
    assert train()[1].split == "train"


def test_options_that_change_the_recipe_are_fields_without_own_defaults():
    others = {
        *("dataset", "data_dir", "masks", "skip_bad", "data_settings", "recipe_name", "output"),
        *(
            "split",
            "resume",
            "overwrite",
            "settings",
            "backend",
            "device",
            "as_json",
            "quiet",
            "verbose",
        ),
        *("devices", "hosts", "host_index", "dry_run", "track", "yes", "photos", "trust"),
    }
    options = main.get_command(None, "train").make_context("train", ["--dataset", "x"]).params
    assert others <= set(options)
    changing = set(options) - others
    assert changing <= {field.name for field in fields(Recipe)}
    assert {"num_parts", "steps", "seed", "teacher"} <= changing
    assert all(options[name] is None for name in changing)


def test_a_dry_run_prints_the_recipe_the_data_and_the_time(train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result, call = train("--dry-run", "--steps", "90", "--set", "contrastive.temperature=0.2")
    assert result.exit_code == 0 and call is None, result.stderr
    assert "# Data: toy, 3 samples with masks, each 360 times in 90 steps of 12" in result.stdout
    assert (
        "# Time: unknown" in result.stdout and "[contrastive]\ntemperature = 0.2" in result.stdout
    )
    assert re.search(r"^# Memory: about 1\.\d GiB on a processor$", result.stdout, re.M)
    disk = r"^# Disk: run folder about \d+ MiB; teacher features about 0\.2 MiB in .*features$"
    assert re.search(disk, result.stdout, re.M)
    needs = json.loads(train("--dry-run", "--json")[0].stdout)
    assert needs["feature_bytes"] == 2 * 3 * 2 * 11**2 * 128 and needs["memory_bytes"] > 2**30
    (tmp_path / "mine.toml").write_text(result.stdout)
    changes = {"steps": 90, "contrastive.temperature": 0.2}
    assert train("--recipe", "mine.toml")[1].recipe == RECIPES["toy"].with_settings(changes)
    assert not (tmp_path / "runs").exists()


def test_a_training_begins_with_the_plan(train):
    planned = train("--dry-run")[0].stdout.splitlines()[-7:]  # the recipe comes before it
    assert planned[5].startswith("# Note: There are only 3 images")
    stderr = train()[0].stderr
    assert stderr.splitlines() == [line.removeprefix("# ") for line in planned]
    assert stderr.startswith("Run folder: runs/toy\nData: toy, 3 samples with masks, each ")
    assert train("--quiet")[0].stderr == ""
    assert train("--hosts", "a:1,b:1", "--host-index", "1")[0].stderr == ""


def test_a_resumed_training_says_where_it_continues(train, tmp_path):
    run = run_folder.RunFolder.create(tmp_path / "run")
    planned = ("--resume", "--dry-run", "--output", str(run.path))
    begins = "# Resumed: there is no checkpoint yet, so the training begins at step 0\n"
    assert begins in train(*planned)[0].stdout
    for step in (30, 60):
        folder = run.checkpoints / run_folder.checkpoint_folder(step)
        folder.mkdir(parents=True)
        for name in run_folder.CHECKPOINT_FILES:
            (folder / name).touch()
    of = f"{RECIPES['toy'].steps:,}"
    assert f"# Resumed: after step 60 of {of}\n" in train(*planned)[0].stdout


@pytest.mark.parametrize(
    "words",
    [
        "IMAGES --masks MASKS",
        "--data-dir IMAGES --masks MASKS",
        "IMAGES --dataset folder --masks MASKS",
    ],
)
def test_own_photographs_need_no_name_of_a_data_set(train, tmp_path, words):
    options = drawn.folder(tmp_path)
    folder, masks = str(options["data_dir"]), str(options["masks"])
    names = {"IMAGES": folder, "MASKS": masks}
    result, call = train(*(names.get(word, word) for word in words.split()), dataset=None)
    assert result.exit_code == 0, result.stderr
    assert (call.dataset.info.name, call.output) == ("folder", "runs/folder")
    assert call.dataset[0].foreground is not None
    assert f"keras-parts evaluate {folder} --masks {masks} --model" in result.stdout
    assert f"keras-parts segment {folder} --model runs/x" in result.stdout


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "`keras-parts train photos/`, or a data set: `--dataset toy` for"),
        ("", "clothing_co_parsing (see `keras-parts data list`)"),
        ("--masks masks", "--masks masks: give also the folder of your own photographs"),
        ("photos --dataset cub", "photos and --dataset cub are two data sets: give only one"),
        ("photos --data-dir images", "photos and --data-dir images are two folders"),
        ("toy", "for the data set write --dataset toy"),
    ],
)
def test_data_that_contradict_each_other(train, words, message):
    result, call = train(*words.split(), dataset=None)
    assert result.exit_code == 2 and call is None
    assert message in " ".join(result.stderr.split())


def test_summary_as_json(train):
    result, _ = train("--json")
    assert json.loads(result.stdout) == SUMMARY


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "1"], "--parts is 1"),
        (["--set", "weights.balance=1"], "now called 'loss_weights.balance'"),
        (["--set", "loss_weights.balence=1"], "loss_weights.balence: there is no such loss"),
        (["--parts", "many"], "'many' is neither a whole number nor auto"),
        (["--parts", "auto", "--hosts", "a:1", "--host-index", "0"], "--parts auto and --hosts"),
        (["--parts", "auto", "--recipe", "outline"], "the recipe outline keeps the parts"),
        (["--recipe", "tyo"], "tyo"),
        (["--set", "nosuch=1"], "nosuch"),
        (["--set", "steps"], "steps"),
        (["--set", "learning_rate=fast"], "learning_rate"),
        (["--data-option", "nosuch=1"], "nosuch"),
        (["--data-option", "split=test"], "--data-option split: the command or its --split"),
        (["--seed", "-1"], "-1"),
        (["--backend", "theano"], "theano"),
        (["--device", "tpu"], "tpu"),
    ],
)
def test_wrong_usage(train, arguments, message):
    result, call = train(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert call is None


def test_errors_name_the_option_and_not_the_setting(train):
    for options, problem in (
        (("--parts", "-3"), "Error: --parts is -3, expected 2 to 64"),
        (("--steps", "0"), "Error: --steps is 0, expected 1 to 100,000,000"),
        (("--set", "learning_rate=-1"), "Error: recipe: learning_rate is -1"),
    ):
        assert problem in train(*options)[0].stderr


def test_unknown_data_set(train):
    result, _ = train(dataset="tyo")
    assert result.exit_code == 2
    assert "toy" in result.stderr


def test_missing_data(train, tmp_path):
    result, _ = train("--data-dir", str(tmp_path / "none"), dataset="folder")
    assert result.exit_code == 2 and "none: there is no such folder" in result.stderr
    (tmp_path / "IMG.jpg").write_bytes(b"")
    result, _ = train(str(tmp_path / "IMG.jpg"), dataset=None)
    assert result.exit_code == 2
    assert f"IMG.jpg is a file, and a folder is needed: {tmp_path}/ perhaps" in result.stderr


def refused(monkeypatch, *arguments):
    """stderr of a training that is refused before Keras is imported."""
    monkeypatch.setattr(command, "import_keras", None)
    result = CliRunner().invoke(main, ["train", "--dataset", "toy", *map(str, arguments)])
    assert result.exit_code == 2, result.output
    return result.stderr


def test_a_run_in_the_folder_is_not_overwritten(monkeypatch, tmp_path):
    run_folder.RunFolder.create(tmp_path).write_config(RECIPES["toy"].to_json(), 0)
    message = refused(monkeypatch, "--output", tmp_path)
    assert "--resume" in message and "--overwrite" in message
    assert "num_parts was 5, is 4" in refused(
        monkeypatch, "--output", tmp_path, "--resume", "-k", "4"
    )


def test_wrong_folders_and_hosts_are_refused_at_once(monkeypatch, tmp_path):
    assert "no run to resume" in refused(monkeypatch, "--output", tmp_path, "--resume")
    assert "--host-index" in refused(monkeypatch, "--hosts", "a:1,b:1")


@pytest.fixture
def photographs(tmp_path):
    """Three photographs, the last one without an object."""
    for name, objects in (("a.png", 1), ("b.png", 1), ("c.png", 0)):
        drawn.save(tmp_path / "photos" / name, picture(objects=[(5, 9, 6, 20)] * objects))
    return tmp_path / "photos"


def test_photographs_without_masks_have_theirs_found(train, photographs, discovery):
    planned, _ = train(str(photographs), "--dry-run", "--json", dataset=None)
    content = json.loads(planned.stdout)
    assert content["discovers_masks"] and not content["masks"] and not discovery
    result, call = train(str(photographs), dataset=None)
    assert result.exit_code == 0, result.stderr
    assert "Masks: none given, so objects are found first (about 1 minute" in result.stderr
    assert f"keras-parts data masks {photographs} --output masks/" in result.stderr
    assert "No object was found in 1 photograph, which are left out: c.png" in result.stderr
    assert call.dataset.ids() == ["a.png", "b.png"] and call.dataset.masks_from == "discover 7"
    assert f"keras-parts data masks {photographs} --output masks/" in result.stdout
    assert "keras-parts evaluate" not in result.stdout
    again, call = train(str(photographs), "--masks", "discover", dataset=None)
    assert "Masks: none given, and objects were found before;" in again.stderr
    assert discovery == [(3, 0)]


def test_masks_of_some_photographs(train, photographs, discovery):
    masks = photographs.parent / "masks"
    drawn.save(masks / "a.png", np.eye(20, 30, dtype=np.uint8) * 255)
    result, _ = train(str(photographs), "--masks", str(masks), dataset=None)
    assert result.exit_code == 1 and "2 of 3 images have a problem" in result.stderr
    assert "missing_masks=discover" in result.stderr
    arguments = ["--masks", str(masks), "--data-option", "missing_masks=discover"]
    result, call = train(str(photographs), *arguments, dataset=None)
    assert [call.dataset.mask_origin(index) for index in range(2)] == ["given", "discover 7"]
    assert f"data masks {photographs} --output {masks}" in result.stderr


def test_no_masks_if_the_user_says_so(train, photographs, discovery):
    _, call = train(str(photographs), "--masks", "none", dataset=None)
    assert call.dataset[0].foreground is None and not discovery


def test_objects_of_another_data_set_are_found_without_its_masks(train, discovery):
    result, call = train("--masks", "discover")
    assert result.exit_code == 0, result.stderr
    assert call.dataset.masks_from == "discover 7" and call.dataset[0].keypoints is None
    assert "\n  keras-parts evaluate --dataset toy --model runs/x\n" in result.stdout
