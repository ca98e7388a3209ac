"""`keras-parts parts`; what it computes is tested in `tests/training/test_part_counts.py`."""

import importlib
import json
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from keras_parts.cli import main
from keras_parts.training.recipes import RECIPES

command = importlib.import_module("keras_parts.cli.parts")


@dataclass(frozen=True)
class Measured:
    num_parts: int
    stability: float = 0.8
    error: float = 0.01
    explained: float = 0.3
    smallest: float = 0.1
    presence: float = 1.0


@pytest.fixture
def parts(monkeypatch):
    """Runs the command on three drawn animals; returns the result and the library's arguments."""
    calls = []

    def compare(recipe, dataset, counts, *, max_images, progress):
        calls.append(types.SimpleNamespace(**locals()))
        return types.SimpleNamespace(
            measured=tuple(map(Measured, counts)),
            recommended=counts[-1],
            reason="The last one",
            notes=("Two kinds",),
            num_images=2,
            total=3,
        )

    def write(found, folder, *, title):
        return Path(folder, "index.html")

    for name, function in (
        ("part_counts", {"compare_part_counts": compare}),
        ("part_count_page", {"write_part_counts": write}),
    ):
        module = types.SimpleNamespace(**function)
        monkeypatch.setitem(sys.modules, f"keras_parts.training.{name}", module)
    monkeypatch.setattr(command, "import_keras", lambda: None)

    def run(*arguments):
        options = "--dataset toy --data-option count=3 --data-option size=33".split()
        result = CliRunner().invoke(main, ["parts", *options, *arguments])
        assert result.exit_code == 0, result.stderr
        return result, calls[-1]

    return run


def test_the_table_and_what_follows(parts):
    result, call = parts("--try", "4,6", "--images", "5", "--seed", "3")
    assert (call.counts, call.max_images, call.progress) == ((4, 6), 5, True)
    assert call.recipe == RECIPES["toy"].with_settings({"seed": 3})
    assert "4  0.80 ± 0.01  30%        10.0%" in result.stdout
    assert "The last one.\nNote: Two kinds\nMeasured on 2 of 3 images. " in result.stdout
    assert "Pictures: open parts/toy/index.html in a browser." in result.stdout
    assert result.stdout.endswith("keras-parts train --dataset toy --parts 6\n")


def test_json(parts):
    result, _ = parts("--json", "--output", "there")
    content = json.loads(result.stdout)
    assert content["recommended"] == 10 and content["output"] == "there/index.html"
    assert [one["num_parts"] for one in content["measured"]] == list(range(3, 11))


@pytest.mark.parametrize("text, numbers", [("3-5", (3, 4, 5)), ("8, 4", (4, 8)), ("2-3,3", (2, 3))])
def test_numbers_of_parts(text, numbers):
    assert command.parse_counts(text) == numbers


@pytest.mark.parametrize("text", ["", "3-", "-3", "5-3", "3..5", "four"])
def test_texts_that_are_no_numbers(text):
    with pytest.raises(click.UsageError, match="--try"):
        command.parse_counts(text)
