"""The command `keras-parts data`."""

import importlib
import json
import sys
import types

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts import models, zoo
from keras_parts.cli import main
from keras_parts.data import DATASETS, load
from keras_parts.results.parts import Parts
from tests.data import drawn
from tests.data.test_discovered import picture


def run(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


def test_list_and_info_describe_every_data_set():
    listed = run("list")
    assert listed.exit_code == 0
    rows = json.loads(run("list", "--json").stdout)["datasets"]
    assert [row["name"] for row in rows] == list(DATASETS)
    for row in rows:
        assert all(row[field] in listed.stdout for field in ("name", "title", "annotations"))
        text = run("info", row["name"]).stdout
        content = json.loads(run("info", row["name"], "--json").stdout)
        for field in ("licence", "how_to_obtain"):
            assert content[field] and content[field] in text
        assert {"train", "test"} <= set(content["splits"]) and "split:" in content["options"]
    assert run("info", "nosuch").exit_code == 2


@pytest.mark.parametrize(
    "name, draw", [("toy", None), ("cub", drawn.cub), ("folder", drawn.folder)]
)
def test_info_agrees_with_the_data_set(name, draw, tmp_path):
    from keras_parts.data import about

    options = {"count": 2} if draw is None else draw(tmp_path)
    info = load(name, "train", **options).info
    described = about(name)
    assert (described.licence, described.how_to_obtain) == (info.licence, info.how_to_obtain)


def test_check_lists_problems_and_sets_the_exit_code(tmp_path):
    root = drawn.clothing_label_images(tmp_path)["data_dir"]
    arguments = ("check", "--dataset", "clothing_co_parsing", "--data-dir", root, "--quiet")
    good = run(*arguments)
    assert good.exit_code == 0 and "30 samples read, no problem." in good.stdout
    (root / "labels" / "0004.png").write_text("nothing")
    (root / "photos" / "0005.jpg").unlink()
    bad = run(*arguments)
    assert bad.exit_code == 3 and "28 of 30 samples read, 2 problems." in bad.stdout
    assert "0004.png: not an image" in bad.stdout
    assert "0005.jpg: there is no such file" in bad.stdout
    assert len(json.loads(run(*arguments, "--json").stdout)["problems"]) == 2
    nothing = run("check", "--dataset", "clothing_co_parsing", "--data-dir", tmp_path / "x", "-q")
    assert nothing.exit_code == 2 and "x: there is no such folder" in nothing.stderr
    few = run("check", "--dataset", "toy", "--data-option", "count=3", "-q")
    assert few.exit_code == 0 and few.stdout.startswith("There are only 3 images")


def test_show_draws_boxes_masks_and_keypoints(tmp_path):
    path = tmp_path / "sheet.png"
    options = ("--data-option", "count=6", "--data-option", "size=97", "--count", "4")
    result = run("show", "--dataset", "toy", *options, "--output", path)
    assert result.exit_code == 0, result.stderr
    assert "4 of 6 samples of toy" in result.stdout
    assert f"Keypoints: 1 {load('toy', 'train', count=1).info.landmarks[0]}, 2 " in result.stdout
    colours = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    yellow = (np.abs(colours - (255, 220, 0)) < 12).all(-1)
    assert yellow.sum() > 200  # frames


def test_prepare_makes_label_maps_of_faces(tmp_path):
    root = drawn.celebamask(tmp_path)["data_dir"] / "CelebAMask-HQ"
    output = tmp_path / "small"
    result = run("prepare", "celebamask", "--data-dir", root, "--output", output, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert "10 samples" in result.stdout
    assert len(load("celebamask", "all", output)) == 10
    assert run("prepare", "celebamask").exit_code == 2
    nothing = run("prepare", "deepfashion")
    assert nothing.exit_code == 5 and "mmlab.ie.cuhk.edu.hk" in nothing.stdout


def test_skip_bad_says_what_it_leaves_out(tmp_path):
    options = drawn.folder(tmp_path)
    folder = options["data_dir"]
    arguments = ("--dataset", "folder", "--data-dir", folder, "--masks", options["masks"])
    (folder / "0.jpg").write_text("none")
    (folder / "0\x1b[31m.jpg").write_text("none")
    assert run("show", *arguments, "-o", tmp_path / "a.png").exit_code == 1
    shown = run("show", *arguments, "--skip-bad", "-o", tmp_path / "a.png")
    assert shown.exit_code == 0
    assert shown.stderr.startswith("left out: 2 of ") and "\x1b" not in shown.stderr
    problems = run("check", *arguments, "-q").stdout
    assert problems == run("check", *arguments, "-q", "--skip-bad").stdout
    assert "0.jpg: not an image" in problems


@pytest.fixture
def photographs(tmp_path, discovery, monkeypatch):
    """Three photographs, of which the last is damaged."""
    monkeypatch.setattr(importlib.import_module("keras_parts.cli.data"), "import_keras", bool)
    for name in ("a.png", "b.png", "c.png"):
        drawn.save(tmp_path / "photos" / name, picture())
    (tmp_path / "photos/c.png").write_text("nothing")
    return tmp_path / "photos"


def test_masks_are_found_and_a_bad_photograph_is_reported(photographs):
    masks = photographs.parent / "masks"
    arguments = ("masks", photographs, "--output", masks)
    result = run(*arguments)
    assert result.exit_code == 3, result.stderr
    assert f"Wrote 2 masks of 3 photographs to {masks}, 1 failed." in result.stdout
    assert f"open {masks / 'index.html'} in a browser" in result.stdout
    assert f"keras-parts train {photographs} --masks {masks} --skip-bad" in result.stdout
    assert "Failed: " in result.stderr and "c.png" in result.stderr
    (photographs / "c.png").unlink()
    drawn.save(masks / "a.png", np.eye(20, 30, dtype=np.uint8) * 255)
    result = run(*arguments, "--overwrite", "--quiet")
    assert result.exit_code == 0 and "Where they come from: 1 yours, 1 discover 7." in result.stdout
    found = json.loads(run(*arguments, "--json").stdout)
    assert found["origins"] == {"yours": 1, "discover 7": 1} and found["kept"] == 2
    assert (found["written"], found["failures"], found["method"]) == (0, [], "discover 7")


def test_masks_of_a_segmenter(photographs, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda *_, **__: "segmenter")

    class Bright:
        def segment(self, image):
            logits = np.zeros((*image.shape[:2], 2), np.float32)
            logits[..., 1] = np.where(image.min(axis=-1) > 125, 4, -4)
            return Parts(logits)

    calls = []
    monkeypatch.setattr(models, "create_predictor", lambda *_, **o: calls.append(o) or Bright())
    masks = photographs.parent / "masks"
    result = run("masks", photographs, "--output", masks, "--method", "toy", "--json")
    (origin,) = json.loads(result.stdout)["origins"]
    sha256 = zoo.info("toy").files["segmenter.weights.h5"].sha256
    assert origin == f"toy {sha256[:12]}" and calls == [{"looks": "auto", "batch_size": 1}]
    written = np.asarray(Image.open(masks / "a.png"))
    np.testing.assert_array_equal(written, (picture()[..., 0] == 250) * 255)
    assert run("masks", photographs, "-o", masks, "--method", "nosuch").exit_code == 4


def test_masks_of_rembg(photographs, monkeypatch):
    result = run("masks", photographs, "--output", photographs.parent / "m", "--method", "rembg")
    assert result.exit_code == 2 and "pip install 'keras-parts[rembg]'" in result.stderr

    def remove(image, *, session, only_mask):
        assert session == "session" and only_mask
        return np.where(image.min(axis=-1) > 125, 204, 0).astype(np.uint8)

    module = types.SimpleNamespace(new_session=lambda: "session", remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", module)
    result = run(
        "masks", photographs, "--output", photographs.parent / "m", "--method", "rembg", "--json"
    )
    assert json.loads(result.stdout)["origins"] == {"rembg": 2}
    assert (photographs.parent / "m/masks.csv").read_text().count(",0.800,") == 2


def test_show_and_check_with_objects_that_are_found(photographs, discovery):
    (photographs / "c.png").unlink()
    sheet = photographs.parent / "sheet.png"
    shown = run("show", photographs, "--masks", "discover", "--output", sheet)
    assert shown.exit_code == 0 and "2 of 2 samples" in shown.stdout
    checked = run("check", photographs, "--masks", "discover", "--quiet")
    assert checked.exit_code == 0 and "2 samples read, no problem." in checked.stdout
    assert discovery == [(2, 0)]
    assert run("check", "--dataset", "toy", "--masks", "none").exit_code == 2
