"""What a shell completes, and the script for it."""

import os

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from keras_parts.cli import main


def completed(*words):
    """The values for the last, incomplete word."""
    shell = ShellComplete(main, {}, "keras-parts", "_KERAS_PARTS_COMPLETE")
    return [item.value for item in shell.get_completions([*words[:-1]], words[-1])]


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("seg",), "segment"),
        (("segment", "--model", "cub"), "cub-8"),
        (("train", "--init-from", "t"), "toy"),
        (("name", "fac"), "faces-4"),
        (("zoo", "card", "fac"), "faces-4"),
        (("train", "--dataset", "cl"), "clothing_co_parsing"),
        (("data", "info", "t"), "toy"),
        (("train", "--recipe", ""), "paper"),
        (("segment", "--format", "lab"), "label-studio"),
        (("evaluate", "--protocol", "ma"), "masks"),
        (("evaluate", "--baseline", "kmeans-c"), "kmeans-colour"),
        (("segment", "--of", ""), "clothes"),
    ],
)
def test_values(words, value):
    assert value in completed(*words)


def test_run_folders_are_models(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    os.makedirs("runs/mine/segmenter")
    for name in ("config.json", "segmenter/segmenter.json"):
        open(f"runs/mine/{name}", "w").close()
    assert completed("segment", "--model", "runs/") == ["runs/mine"]
    shell = ShellComplete(main, {}, "keras-parts", "_KERAS_PARTS_COMPLETE")
    (item,) = shell.get_completions(["segment", "--model"], "elsewhere/")
    assert item.type == "dir"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(shell):
    result = CliRunner().invoke(main, ["completion", shell])
    assert result.exit_code == 0, result.output
    assert f"{shell}_complete" in result.stdout and "keras-parts" in result.stdout


@pytest.mark.parametrize(
    ("shell", "value"), [("bash", r"wing\ and\ belly"), ("zsh", "wing and belly")]
)
def test_bash_needs_a_backslash_before_a_space(monkeypatch, shell, value):
    monkeypatch.setenv("_KERAS_PARTS_COMPLETE", f"{shell}_complete")
    assert value in completed("name", "cub", "--join", "wing")
