"""keras-parts name: what it stores, shows and asks."""

import json
import shutil

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.models.saved_config import read_saved_config
from keras_parts.results import Parts, write_page
from keras_parts.results.page import read_page

COMMAND = "keras_parts.cli.name"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run of the five parts of "toy", whose page has a picture of two of them."""
    monkeypatch.chdir(tmp_path)
    segmenter = tmp_path / "runs/mine/segmenter"
    shutil.copytree(zoo.path("toy"), segmenter)
    (segmenter / "card.json").unlink()
    config = {"format": 2, "settings": {}, "seed": 0}
    (tmp_path / "runs/mine/config.json").write_text(json.dumps(config))
    logits = np.zeros((8, 8, 6), np.float32)
    logits[:4, :2, 1] = logits[:4, 2:, 3] = logits[4:, :, 0] = 9
    image = np.zeros((8, 8, 3), np.uint8)
    write_page("runs/mine", {"a": Parts(logits, image), "b": Parts(logits, image)})
    return tmp_path / "runs/mine"


@pytest.fixture
def page_alone(monkeypatch):
    """No picture is segmented: that takes Keras, and is tested with the zoo."""
    monkeypatch.setattr("keras_parts.zoo.naming._segment_again", lambda *arguments: None)
    for function in ("import_keras", "select_backend"):
        monkeypatch.setattr(f"{COMMAND}.{function}", lambda: None)


def invoke(*arguments, **options):
    return CliRunner().invoke(main, ["name", *arguments], **options)


def stored(folder):
    return read_saved_config(folder / "segmenter")["part_names"]


def test_names_are_stored(run):
    result = invoke("runs/mine", "--names", "face, back ,tail,belly,feet")
    assert result.exit_code == 0, result.stderr
    assert stored(run) == ["face", "back", "tail", "belly", "feet"]
    assert "Stored in runs/mine" in result.stdout and "segment --overwrite" in result.stdout
    assert "   1  face\n   2  back\n" in result.stdout
    result = invoke("runs/mine", "--names", "face,back,tail,belly,face")
    assert result.exit_code == 2 and "--join 1,5" in result.stderr
    assert stored(run)[4] == "feet"


@pytest.mark.parametrize("installed", [True, False])
def test_a_backend_that_is_missing_is_said(run, monkeypatch, installed):
    monkeypatch.setattr(f"{COMMAND}.has_backend", lambda: installed)
    result = invoke("runs/mine", "--names", "a,b,c,d,e", "--output", "named")
    assert "keras-parts segment photos/ --model named" in result.stdout
    assert ("keras-parts[tensorflow]" in result.stdout) != installed


def test_parts_are_joined_by_number_or_name(run, page_alone):
    result = invoke("--join", "head,3", "--join", "belly and upper legs,feet", "--json")
    assert result.exit_code == 0, result.stderr
    assert "Model: runs/mine (the newest finished run here)" in result.stderr
    content = json.loads(result.stdout)
    assert content["output"] == "runs/mine-joined" and content["page"] is None
    assert content["names"] == ["head and tail", "back", "belly and upper legs and feet"]
    assert content["joined"] == [[1, 3], [2], [4, 5]]
    result = invoke("toy", "--join", "4,5", "--names", "a,b,c,d", "--output", "new")
    assert result.exit_code == 0, result.stderr
    assert stored(run.parents[1] / "new") == ["a", "b", "c", "d"]
    assert "--model new --output new-parts/" in result.stdout


def test_without_options_the_page_gets_fields(run):
    assert read_page(run)["model"] == ""
    result = invoke("runs/mine")
    assert result.exit_code == 0, result.stderr
    assert "runs/mine/index.html" in result.stdout and "   1  head" in result.stdout
    content = read_page(run)
    assert content["model"] == "runs/mine"
    assert [part["name"] for part in content["parts"]] == stored(run)
    result = invoke("toy")
    assert (
        result.exit_code == 0 and "toy has no page of pictures: `keras-parts seg" in result.stdout
    )


def test_the_user_of_a_terminal_is_asked(run, monkeypatch):
    opened = []
    monkeypatch.setattr(f"{COMMAND}.is_answered", lambda quiet: True)
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("keras_parts.environment.has_display", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    answers = ["face", "", "a,b", "face", "rump", "", ""]
    result = invoke("runs/mine", input="\n".join(answers) + "\n")
    assert result.exit_code == 0, result.stderr
    assert stored(run) == ["face", "back", "rump", "belly and upper legs", "feet"]
    assert opened == [(run / "index.html").as_uri()]
    asked = result.stderr
    assert "part 1, in 2 of 2 pictures, 25 % of the object [head]: " in asked
    assert "part 2, in no picture [back]: " in asked
    assert "it has a comma" in asked and "parts 1 and 3 are both called 'face'" in asked
    result = invoke("runs/mine", input="\n" * 5)
    assert result.exit_code == 0 and "stay as they are" in result.stdout
    result = invoke("runs/mine", input="wing\n")  # the input ends, as by Ctrl-D
    assert result.exit_code == 130 and stored(run)[0] == "face"


def test_names_of_parts_are_completed(run):
    shell = ShellComplete(main, {}, "keras-parts", "_KERAS_PARTS_COMPLETE")

    def completed(*words):
        return [item.value for item in shell.get_completions(["name", *words[:-1]], words[-1])]

    assert completed("--join", "b") == ["back", "belly and upper legs"]  # of the newest run
    assert completed("toy", "--join", "head,back,") == [
        f"head,back,{name}" for name in ("tail", "belly and upper legs", "feet")
    ]
    assert completed("nothing", "--join", "h") == []


def test_wrong_usage(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert invoke("toy", "--output", "x").exit_code == 2
    result = invoke()
    assert result.exit_code == 2 and "no finished run below runs/: give MODEL" in result.stderr
    assert invoke("nothing", "--names", "a,b").exit_code == 4
