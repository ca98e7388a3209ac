import json
import os
import signal
import time

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts import zoo
from keras_parts.cli import main


class OnePart:
    """A single part, the right half of every picture."""

    parts, part_names = 1, ()

    def maps(self, images):
        return [self.one(*image.shape[:2]) for image in images]

    def one(self, height, width):
        inside = np.arange(width) >= width // 2
        logits = np.stack([~inside, inside], axis=-1).astype(np.float32)
        return np.broadcast_to(logits, (height, width, 2))


@pytest.fixture
def segment(monkeypatch, tmp_path):
    """Run `keras-parts segment` in a temporary folder with a model called "fake"."""
    known = zoo.load

    def load(model):
        return OnePart() if model == "fake" else known(model)

    monkeypatch.setattr(zoo, "load", load)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="fake"):
        return CliRunner().invoke(
            main, ["segment", *arguments, "--model", model, "--output", "out"]
        )

    return run


@pytest.fixture
def picture(tmp_path):
    def make(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (10, 200, 30)).save(path)
        return path

    return make


def test_folders_files_and_patterns(segment, picture, tmp_path):
    for name in ("a/1.jpg", "a/b/2.png", "c/1.jpg", "d/ü x.png", "d/no.gif"):
        picture(name)
    result = segment("a", "c/1.jpg", "d/*.png")
    assert result.exit_code == 0, result.stderr
    assert "Segmented 4 of 4 pictures into out (indexed, overlay)" in result.stdout
    written = tmp_path / "out/indexed"
    labels = sorted(path.relative_to(written).as_posix() for path in written.rglob("*.png"))
    assert labels == ["a/1.png", "a/b/2.png", "c/1.png", "d/ü x.png"]
    with Image.open("out/indexed/c/1.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image)[0], [0, 0, 0, 0, 1, 1, 1, 1])
    with Image.open("out/overlay/a/1.jpg") as image:
        assert image.size == (8, 6)


def test_bad_files_are_reported_and_the_exit_code_is_3(segment, picture, tmp_path):
    picture("in/good.png")
    (tmp_path / "in/zero.png").touch()
    (tmp_path / "in/text.jpg").write_text("hello")
    result = segment("in", "--json")
    assert result.exit_code == 3
    summary = json.loads(result.stdout)
    assert (summary["done"], summary["failed"], summary["output"]) == (1, 2, "out")
    assert result.stderr.count("Failed: ") == 2
    for name in ("zero.png", "text.jpg"):
        assert name in result.stderr
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    failed = [os.path.basename(json.loads(line)["path"]) for line in lines]
    assert failed == ["text.jpg", "zero.png"]


def test_formats(segment, picture):
    picture("in/a.png")
    assert segment("in", "--format", "indexed").exit_code == 0
    assert sorted(os.listdir("out")) == ["indexed", "labels.json"]
    result = segment("in", "--format", "mp3")
    assert result.exit_code == 2
    assert "mp3; choose from indexed, overlay" in result.stderr


def test_nothing_to_do(segment, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/readme.txt").touch()
    result = segment("in", "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["done"] == 0
    assert not (tmp_path / "out").exists()


def test_a_missing_path_is_wrong_usage_and_nothing_is_written(segment, picture, tmp_path):
    picture("in/a.png")
    result = segment("in", "im/b.png")
    assert result.exit_code == 2
    assert "im/b.png: there is no such file or folder" in result.stderr
    assert not (tmp_path / "out").exists()


def test_unknown_model(segment, picture, tmp_path):
    picture("in/a.png")
    result = segment("in", model="nosuch")
    assert result.exit_code == 4
    assert "no model is called 'nosuch'" in result.stderr
    (tmp_path / "empty").mkdir()
    assert "holds no segmenter" in segment("in", model="empty").stderr


def test_a_second_run_does_not_segment_its_own_results(segment, picture):
    picture("a.png")
    assert segment(".").exit_code == 0
    result = segment(".", "--json")
    assert json.loads(result.stdout)["done"] == 1


def test_progress_goes_to_stderr_and_can_be_silenced(segment, picture):
    picture("in/a.png")
    assert "1/1" in segment("in").stderr
    assert segment("in", "--quiet").stderr == ""


def test_no_paths_is_wrong_usage(segment):
    assert segment().exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_interrupt_leaves_whole_files_and_exits_130(picture, tmp_path, python):
    for number in range(20):
        picture(f"in/{number}.png")
    code = f"""
import sys, time
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_segment import OnePart
from keras_parts import zoo
from keras_parts.cli import main
class Slow(OnePart):
    def maps(self, images):
        time.sleep(0.3)
        return super().maps(images)
zoo.load = lambda model: Slow()
main(["segment", "in", "--model", "x", "--output", "out", "--batch-size", "1"])
"""
    process = python(code, cwd=tmp_path)
    written = tmp_path / "out/overlay"
    while process.poll() is None and len(list(written.glob("*.jpg"))) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Interrupted." in stderr and "Traceback" not in stderr
    for path in [p for p in (tmp_path / "out").rglob("*") if p.suffix in (".png", ".jpg")]:
        assert not path.name.startswith(".")
        Image.open(path).load()
    assert 2 <= len(list(written.glob("*.jpg"))) < 20
