import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageGrab

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.errors import UnknownModelError
from keras_parts.inference import search as library
from keras_parts.inference import segment_files
from tests.cli.test_completion import completed
from tests.inference.doubles import predictor

COLOURS = {"red.png": (200, 20, 20), "green.png": (20, 200, 20), "pink.png": (200, 90, 90)}


def create_predictor(segmenter, batch_size=1, **options):
    options.pop("descriptors", None)
    return predictor(settings={"model_sha256": segmenter}, **options)


@pytest.fixture
def search(monkeypatch, tmp_path):
    """Run `keras-parts search` on a folder of three colours, in a temporary folder."""

    def load(model, **_):
        if model == "gone":
            raise UnknownModelError("there is no model gone")
        return model

    monkeypatch.setattr(zoo, "load", load)
    monkeypatch.setattr(library, "create_predictor", create_predictor)
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(f"photos/{name}")
    Image.new("RGB", (40, 30), (230, 40, 40)).save("like.png")

    def run(*arguments, model="birds", formats=("descriptors-npy",)):
        if not os.path.exists("out"):
            segment_files(create_predictor(model), ["photos"], "out", formats, model=model)
        return CliRunner().invoke(main, ["search", "out", *arguments])

    return run


def test_a_table_and_a_page(search):
    result = search("--like", "like.png", "--part", "left", "--top", "2", "--output", "found")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "left like like.png: the most similar of 3 in out"
    assert lines[1].split() == ["rank", "similarity", "object", "image"]
    assert [line.split()[3] for line in lines[2:4]] == ["red.png", "pink.png"]
    assert lines[4] == f"To look at them, open {os.path.join('found', 'index.html')} in a browser."
    assert result.stderr.splitlines()[0] == "Loading birds ..."
    with open("found/index.html", encoding="utf-8") as file:
        html = file.read()
    assert html.count("<img") == 6 and 'href="../photos/red.png"' in html


def test_json_without_the_picture_itself(search):
    result = search("--like", "photos/red.png", "--part", "2", "--part", "1", "--json")
    found = json.loads(result.stdout)
    assert [match["image"] for match in found["matches"]] == ["pink.png", "green.png"]
    assert found["matches"][0]["path"] == os.path.abspath("photos/pink.png")
    assert [part["name"] for part in found["parts"]] == ["right", "left"]


def test_pictures_from_elsewhere(search, monkeypatch):
    search("--like", "like.png", "--part", "1")
    with open("like.png", "rb") as file:
        content = file.read()
    arguments = ["search", "out", "--part", "1", "--like", "-", "--like", "clipboard:", "--json"]
    monkeypatch.setattr(ImageGrab, "grabclipboard", lambda: Image.open("photos/green.png"))
    result = CliRunner().invoke(main, arguments, input=content)
    found = json.loads(result.stdout)
    assert found["like"] == ["standard input", "the clipboard"] and len(found["matches"]) == 3


def test_moved_images(search):
    search("--like", "like.png", "--part", "1")
    os.rename("photos", "moved")
    given = ("--like", "like.png", "--part", "1", "--output", "found")
    result = search(*given)
    assert result.exit_code == 0 and "Not on the page: 3 of 3 images" in result.stderr
    assert "give --images with their folder" in result.stderr
    assert "Not on the page" not in search(*given, "--images", "moved").stderr


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ([], {}, "--part says which part to compare: 1 left, 2 right"),
        (["--part", "beak"], {}, "there is no part 'beak'; there are 1 left, 2 right"),
        (["--part", "lefft"], {}, "did you mean 'left'?"),
        (["--part", "1", "--like", "no.png"], {}, "no.png"),
        (["--part", "1", "--output", "out"], {"formats": ["descriptors-npy", "page"]},
         "index.html is there already"),
        (["--part", "1"], {"formats": ["csv"]}, "out has no descriptors"),
        (["--part", "1"], {"model": "gone"}, "segmented with gone, which is not here"),
        (["--part", "1"], {"model": "https://other/birds"}, "if you trust this address"),
        (["--part", "1", "--model", "cats"], {}, "segmented with another model, birds"),
    ],
)  # fmt: skip
def test_usage(search, arguments, options, problem):
    result = search("--like", "like.png", *arguments, **options)
    assert result.exit_code == 2 and problem in result.stderr, result.stderr


def test_objects(search):
    result = search("--like", "like.png", "--part", "1", "--object", "2")
    assert result.exit_code == 1 and "shows 1 objects, not --object 2" in result.stderr


def test_nothing_found(search):
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save("black.png")
    result = search("--like", "black.png", "--part", "1")
    assert result.exit_code == 1 and "(it shows no object)" in result.stderr
    search("--like", "like.png", "--part", "1")
    os.rename("photos/red.png", "red.png")
    os.rename("out", "all")
    for name in ("green.png", "pink.png"):
        os.remove(f"photos/{name}")
    os.rename("red.png", "photos/red.png")
    result = search("--like", "photos/red.png", "--part", "1")
    assert result.exit_code == 5 and "No other image in out shows left." in result.stdout


def test_parts_are_completed(search):
    search("--like", "like.png", "--part", "1")
    assert completed("search", "out", "--part", "r") == ["right"]
    assert completed("search", "photos", "--part", "r") == []
