"""What is taken where no model and no output folder are named, and what is said of it."""

import importlib
import os

import click
import pytest

from keras_parts import inference, zoo
from keras_parts.cli import choosing
from keras_parts.cli.choosing import OBJECTS, choose_model, choose_output
from keras_parts.errors import UnknownModelError, UntrustedAddressError
from keras_parts.training.run_folder import RunFolder


@pytest.fixture
def desk(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finished_run(name, seconds):
    folder = f"runs/{name}/segmenter"
    os.makedirs(folder)
    for file in (f"{folder}/segmenter.json", f"runs/{name}/config.json"):
        with open(file, "w") as opened:
            opened.write("{}")
    os.utime(f"{folder}/segmenter.json", (seconds, seconds))


def test_the_newest_finished_run_is_taken_and_said(desk, capsys):
    finished_run("old", 1000), finished_run("seeds/new", 2000)
    os.makedirs("runs/unfinished/checkpoints")
    assert choose_model(None, None) == os.path.join("runs", "seeds", "new")
    assert "Model: " + os.path.join("runs", "seeds", "new") in capsys.readouterr().err
    assert choose_model("cub", None) == "cub" and choose_model(None, "faces") == OBJECTS["faces"]


def test_a_run_is_not_taken_where_nothing_can_run_it(desk, capsys, monkeypatch):
    finished_run("mine", 1000)
    monkeypatch.setattr("keras_parts.cli.choosing.has_backend", lambda: False)
    assert choose_model(None, None) == "cub"
    mine = os.path.join("runs", "mine")
    assert f"{mine} needs Keras with a backend, and none is installed" in capsys.readouterr().err
    assert choose_model(None, "faces") == OBJECTS["faces"]
    assert "needs Keras" not in capsys.readouterr().err


def test_without_a_run_the_model_for_birds_is_taken_and_said(desk, capsys):
    assert choose_model(None, None) == "cub"
    said = capsys.readouterr().err
    assert "Model: cub (for birds" in said and "--of faces" in said and "--of clothes" in said
    assert choose_model(None, None, quiet=True) == "cub" and not capsys.readouterr().err


def test_on_a_terminal_the_user_is_asked(desk, monkeypatch, capsys):
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda *_, **__: 2)
    assert choose_model(None, None) == OBJECTS["faces"]
    assert "faces-4" in capsys.readouterr().err


def test_model_and_of_contradict_each_other():
    with pytest.raises(click.UsageError, match="--model cub and --of birds"):
        choose_model("cub", "birds")


def test_an_unfinished_training_says_how_it_is_continued(desk):
    finished_run("seeds/new", 2000)
    run = RunFolder.create("runs/mine")
    run.write_config({}, 0, made_with={})
    with pytest.raises(UnknownModelError, match="runs/mine is not finished: .* with --resume"):
        choose_model("runs/mine", None)
    with pytest.raises(UnknownModelError, match="finished runs here are: runs/seeds/new"):
        choose_model("gone/xyzzy", None)
    with pytest.raises(UnknownModelError, match="did you mean 'runs/seeds/new'"):
        choose_model("runs/seeds/now", None)


def test_an_address_that_is_not_trusted_is_refused_before_anything_is_loaded(desk):
    with pytest.raises(UntrustedAddressError, match="--trust"):
        choose_model("http://example.org/zoo/mine/1.0.0", None)
    assert choose_model("http://example.org/zoo/mine/1.0.0", None, trust=True)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("bird", "give --of birds"), ("Clothes", "give --of clothes"), ("cubs", "did you mean 'cub'")],
)
def test_an_unknown_name_is_refused_with_a_suggestion(desk, name, meant):
    with pytest.raises(UnknownModelError, match=meant) as raised:
        choose_model(name, None)
    assert str(raised.value).count("give --of") + str(raised.value).count("did you mean") == 1
    with pytest.raises(UnknownModelError, match="there are: ") as raised:
        choose_model("xyzzy", None)
    assert "--of" not in str(raised.value)


def test_the_models_for_objects_come_with_the_package():
    assert set(OBJECTS.values()) <= {card.name for card in zoo.list()}


@pytest.mark.parametrize(
    ("paths", "output"),
    [
        (["images/"], "images-parts"),
        (["below/photos"], os.path.join("below", "photos-parts")),
        (["a.jpg"], "a-parts"),
        (["."], "parts"),
        (["images", "a.jpg"], "parts"),
        (["a.jpg", "b.jpg"], "parts"),
        (["below/photos/c.jpg", "below/photos/d.jpg"], os.path.join("below", "photos-parts")),
        (["below/photos/c.jpg", "a.jpg"], "parts"),
        (["images/*.jpg"], "parts"),
        (["https://example.org/bird.jpg"], "parts"),
    ],
)
def test_results_lie_beside_the_images(desk, capsys, paths, output):
    for folder in ("images", "below/photos"):
        os.makedirs(folder)
    for file in ("a.jpg", "b.jpg", "below/photos/c.jpg", "below/photos/d.jpg"):
        (desk / file).touch()
    assert choose_output(paths, None) == output
    assert f"Results: {output}" in capsys.readouterr().err
    assert choose_output(paths, "out", quiet=True) == "out"


def test_results_of_another_model_get_another_folder(desk, capsys, monkeypatch):
    os.makedirs("images-parts")
    monkeypatch.setattr(inference, "recorded_model", lambda folder: "cub")
    assert choose_output(["images.jpg"], None, model="cub") == "parts"  # there is no such file
    (desk / "images.jpg").touch()
    assert choose_output(["images.jpg"], None, model="cub") == "images-parts"
    assert choose_output(["images.jpg"], None, model="runs/my bird") == "images-parts-my-bird"
    assert "images-parts-my-bird/ (images-parts has those of cub)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["segment", "demo", "export"])
def test_every_command_with_one_model_chooses_alike(name):
    command = getattr(importlib.import_module(f"keras_parts.cli.{name}"), name)
    options = {option.name: option for option in command.params}
    assert not options["model"].required and list(options["of"].type.choices) == list(OBJECTS)


@pytest.mark.parametrize(
    "name", ["segment", "demo", "export", "evaluate", "search", "name", "train"]
)
def test_every_command_that_loads_a_model_accepts_its_address(name):
    command = getattr(importlib.import_module(f"keras_parts.cli.{name}"), name)
    assert "--trust" in [text for option in command.params for text in option.opts]


def test_loading_is_announced(capsys):
    choosing.say_loading("runs/birds")
    assert capsys.readouterr().err == "Loading runs/birds ...\n"
