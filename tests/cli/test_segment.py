import importlib
import json
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts import inference, models, zoo
from keras_parts.cli import main
from keras_parts.cli.choosing import OBJECTS
from keras_parts.models import Predictor
from keras_parts.zoo import registry


def right_half(images):
    """A single part, the right half of every image."""
    inside = np.broadcast_to(np.arange(33) >= 16.5, images.shape[:3])
    return {"logits": np.stack([~inside, inside], axis=-1).astype(np.float32)}


def fake_predictor(model, batch_size=8, tile=None, looks="auto", compiled=True, **options):
    """Replaces `create_predictor`: a model without Keras, which takes the options."""
    assert model == "fake model"
    batch_size = 8 if batch_size == "auto" else batch_size
    return Predictor(
        right_half,
        ("part 1",),
        33,
        "stretch",
        batch_size=batch_size,
        tile=tile,
        looks=1 if looks == "auto" else looks,
        settings=options,
    )


@pytest.fixture
def segment(monkeypatch, tmp_path):
    """Run `keras-parts segment` in a temporary folder with a model called "fake"."""
    known = zoo.load

    def load(model, **options):
        if model == "https://host/fake":
            assert options == {"trust": True}
            return "fake model"
        return "fake model" if model == "fake" else known(model, **options)

    monkeypatch.setattr(zoo, "load", load)
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda model: model == "fake" or find(model))
    monkeypatch.setattr(models, "create_predictor", fake_predictor)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="fake", output="out", **options):
        given = ["--model", model, *(["--output", output] if output else [])]
        return CliRunner().invoke(main, ["segment", *arguments, *given], **options)

    return run


@pytest.fixture
def save_image(tmp_path):
    def make(name):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), (10, 200, 30)).save(path)
        return path

    return make


def test_folders_files_and_patterns(segment, save_image, tmp_path):
    for name in ("a/1.jpg", "a/b/2.png", "c/1.jpg", "d/ü x.png", "d/no.gif"):
        save_image(name)
    result = segment("a", "c/1.jpg", "d/*.png")
    assert result.exit_code == 0, result.stderr
    assert "Segmented 4 of 4 images into out (indexed, overlay, page)" in result.stdout
    assert f"open {os.path.join('out', 'index.html')} in a browser" in result.stdout
    written = tmp_path / "out/indexed"
    labels = sorted(path.relative_to(written).as_posix() for path in written.rglob("*.png"))
    assert labels == ["a/1.png", "a/b/2.png", "c/1.png", "d/ü x.png"]
    with Image.open("out/indexed/c/1.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image)[0], [0, 0, 0, 0, 1, 1, 1, 1])
    with Image.open("out/overlay/a/1.jpg") as image:
        assert image.size == (8, 6)


def test_without_model_and_output(segment, save_image, monkeypatch):
    save_image("images/1.png")
    monkeypatch.setitem(OBJECTS, "birds", "fake")
    result = CliRunner().invoke(main, ["segment", "images/"])
    assert result.exit_code == 0, result.stderr
    said = result.stderr.splitlines()
    assert said[0].startswith("Model: fake (for birds") and said[1] == "Results: images-parts/"
    assert said[2] == "Loading fake ..."
    assert os.path.exists("images-parts/indexed/1.png")
    with open("images-parts/run.json") as file:
        assert json.load(file)["arguments"]["model"] == "fake"


def test_onnx_runtime_is_recorded_and_resumed(segment, save_image, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("keras_parts.cli.runtime.shutil.which", lambda program: None)
    monkeypatch.setattr("keras_parts.cli.segment.import_keras", lambda: pytest.fail("Keras"))
    save_image("in/1.png")
    assert segment("in", "--format", "csv", model="toy").exit_code == 0
    with open("out/run.json") as file:
        record = json.load(file)
    assert record["configuration"]["runtime"] == "onnx" and record["batch_size"] == 1
    save_image("in/2.png")
    result = segment("in", "--format", "csv", model="toy")
    assert result.exit_code == 0 and "Segmented 1 of 2 images" in result.stdout, result.stderr
    result = segment("in", "--format", "descriptors", model="toy")
    assert result.exit_code == 2 and "--format descriptors needs Keras" in result.stderr


def test_a_model_that_is_not_of_the_package_needs_keras(segment, save_image):
    save_image("in/1.png")
    result = segment("in", "--runtime", "onnx")
    assert result.exit_code == 2 and "only models of the package" in result.stderr


def test_the_model_of_an_address_is_accepted(segment, save_image, monkeypatch):
    created = []

    def ray_engine(create, **_):
        created.append(create())

    monkeypatch.setattr("keras_parts.inference.distributed.ray_engine", ray_engine)
    save_image("in/1.png")
    arguments = ("in", "--trust", "--format", "csv")
    for engine in ([], ["--engine", "ray", "--overwrite"]):
        result = segment(*arguments, *engine, model="https://host/fake")
        assert result.exit_code == 0, result.stderr
    assert len(created) == 1
    assert "pass --trust" in segment("in", model="https://other/fake").stderr


def test_the_time_that_is_told_is_the_whole_time(segment, save_image, monkeypatch):
    save_image("in/1.png")

    def load(model, **_):
        time.sleep(0.2)
        return "fake model"

    monkeypatch.setattr(zoo, "load", load)
    result = json.loads(segment("in", "--json").stdout)
    assert result["total_seconds"] >= result["seconds"] + 0.2 and result["model"] == "fake"


def test_bad_files_are_reported_and_the_exit_code_is_3(segment, save_image, tmp_path):
    save_image("in/good.png")
    (tmp_path / "in/zero.png").touch()
    (tmp_path / "in/text.jpg").write_text("hello")
    result = segment("in", "--json")
    assert result.exit_code == 3
    summary = json.loads(result.stdout)
    assert (summary["done"], summary["failed"], summary["output"]) == (1, 2, "out")
    assert result.stderr.count("Failed: ") == 2
    assert "not an image that can be read: it begins with 'hello', the formats" in result.stderr
    for name in ("zero.png", "text.jpg"):
        assert name in result.stderr
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    failed = [os.path.basename(json.loads(line)["path"]) for line in lines]
    assert failed == ["text.jpg", "zero.png"]


def test_without_any_result_no_page_is_named(segment, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/text.jpg").write_text("hello")
    result = segment("in")
    assert "Segmented 0 of 1" in result.stdout and "index.html" not in result.stdout


def test_formats(segment, save_image):
    save_image("in/a.png")
    assert segment("in", "--format", "indexed").exit_code == 0
    assert sorted(os.listdir("out")) == ["done", "indexed", "labels.json", "run.json"]
    result = segment("in", "--format", "mp3")
    assert result.exit_code == 2
    assert "mp3; choose from indexed, overlay" in result.stderr
    for wrong in (["--format", "cvs"], ["--shard", "3/2"], ["--overwrite", "--shard", "1/2"]):
        result = segment("in", *wrong)
        assert result.exit_code == 2 and "Loading" not in result.stderr


def test_nothing_to_do(segment, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/readme.txt").touch()
    result = segment("in", "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["done"] == 0
    assert not (tmp_path / "out").exists()


def test_a_missing_path_is_wrong_usage_and_nothing_is_written(segment, save_image, tmp_path):
    save_image("in/a.png")
    for path in ("im/b.png", "im/", "@list.txt", "file:///im/b.png", "rows.csv"):
        result = segment("in", path, output=None)
        assert result.exit_code == 2 and "there is no such file or folder" in result.stderr
        assert "Model: " not in result.stderr and "Results: " not in result.stderr
    assert not (tmp_path / "out").exists()


def test_unknown_model(segment, save_image, tmp_path):
    save_image("in/a.png")
    result = segment("in", model="nosuch")
    assert result.exit_code == 4
    assert "no model is called 'nosuch'" in result.stderr and "Results: " not in result.stderr
    (tmp_path / "empty").mkdir()
    assert "has no segmenter" in segment("in", model="empty").stderr


def test_a_second_run_does_not_segment_its_own_results(segment, save_image):
    save_image("a.png")
    assert segment(".").exit_code == 0
    result = segment(".", "--json")
    assert json.loads(result.stdout)["found"] == 1


def test_progress_goes_to_stderr_and_can_be_silenced(segment, save_image):
    save_image("in/a.png")
    assert "1/1" in segment("in").stderr
    assert segment("in", "--quiet").stderr == ""


def test_a_second_run_segments_only_new_images(segment, save_image):
    for name in ("in/1.png", "in/2.png"):
        save_image(name)
    assert "Segmented 2 of 2" in segment("in").stdout
    save_image("in/3.png")
    result = segment("in")
    assert "Segmented 1 of 3" in result.stdout and "2 were finished before" in result.stdout
    assert json.loads(segment("in", "--json").stdout)["kept"] == 3
    assert "All 3 images had been segmented before, in out " in segment("in").stdout
    assert json.loads(segment("in", "--resume", "--json").stdout)["kept"] == 3
    refused = segment("in", "--flip")
    assert refused.exit_code == 2 and "flip was false, is true" in refused.stderr
    assert segment("in", "--flip", "--overwrite").exit_code == 0


def test_looks(segment, save_image):
    save_image("in/1.png")
    assert segment("in", "--looks", "2").exit_code == 0
    with open("out/run.json") as file:
        record = json.load(file)
    assert record["configuration"]["looks"] == record["arguments"]["looks"] == 2
    refused = segment("in", "--looks", "1")
    assert refused.exit_code == 2 and "looks was 2, is 1" in refused.stderr
    tiled = segment("in", "--looks", "2", "--tile", "64")
    assert tiled.exit_code == 2 and "leave out --looks 2" in tiled.stderr
    assert segment("in", "--looks", "3").exit_code == 2


def test_lists_on_standard_input_and_in_files(segment, save_image, tmp_path):
    save_image("a/1.png"), save_image("b/new\nline.png"), save_image("c/3.png")
    result = segment("-", "--json", input=b"a/1.png\0b/new\nline.png\0")
    assert json.loads(result.stdout)["done"] == 2
    (tmp_path / "list.txt").write_text("a/1.png\nc/3.png\n")
    assert json.loads(segment("@list.txt", "--json").stdout)["found"] == 2


def test_dry_run(segment, save_image, tmp_path):
    save_image("in/1.png"), save_image("in/2.png")
    result = segment("in", "--dry-run")
    assert result.exit_code == 0 and "Would segment 2 of 2 images" in result.stdout
    assert not (tmp_path / "out").exists()


def test_shards(segment, save_image):
    for number in range(9):
        save_image(f"in/{number}.png")
    first = json.loads(segment("in", "--shard", "1/2", "--format", "csv", "--json").stdout)
    assert not first["complete"] and not os.path.exists("out/parts.csv")
    second = json.loads(segment("in", "--shard", "2/2", "--format", "csv", "--json").stdout)
    assert second["complete"] and first["done"] + second["done"] == 9
    assert os.path.exists("out/parts.csv")
    assert segment("in", "--shard", "3/2", "--format", "csv").exit_code == 2


def test_strict_stops_with_exit_code_1(segment, save_image, tmp_path):
    save_image("in/good.png")
    (tmp_path / "in/bad.png").touch()
    result = segment("in", "--strict")
    assert result.exit_code == 1 and "bad.png" in result.stderr
    assert segment("in", "--max-failures", "1").exit_code == 3
    assert segment("in", "--strict", "--max-failures", "1").exit_code == 2


def test_bad_batch_sizes(segment, save_image):
    save_image("in/a.png")
    for value in ("0", "many", "-1"):
        result = segment("in", "--batch-size", value)
        assert result.exit_code == 2 and "nor auto" in result.stderr
    assert segment("in", "--batch-size", "2").exit_code == 0
    with open("out/run.json") as file:
        record = json.load(file)
    assert record["batch_size"] == 2 and record["arguments"]["paths"] == ["in"]
    assert {"model", "formats", "device", "engine", "tile"} <= set(record["arguments"])


def test_the_document_names_the_formats_and_the_options():
    text = Path(__file__).parents[2].joinpath("docs/segmenting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*) \|", text.partition("## Formats")[2].partition("\n#")[0], re.M)
    assert set(re.findall("`([a-z][a-z-]*)`", " ".join(rows))) == set(inference.FORMATS)
    command = importlib.import_module("keras_parts.cli.segment").segment
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text.replace("#SBATCH --array", "")))
    named -= {"--masks", "--data-option", "--dataset", "--part", "--join"}  # of other commands
    assert named <= options and "--overwrite" in named


def test_the_help_names_the_formats():
    command = importlib.import_module("keras_parts.cli.segment").segment
    text = re.sub(r"\([^)]*\)", "", " ".join(command.help.split()))
    lists = re.findall(r"Formats with [^:]*: ([^.]*)\.", text)
    names = [name.strip() for each in lists for name in each.split(",")]
    assert len(lists) == 2 and sorted(names) == sorted(inference.FORMATS)
    merged = [name for name, (kind, _) in inference.FORMATS.items() if kind.merged]
    assert [name.strip() for name in lists[1].split(",")] == merged


def test_no_paths_is_wrong_usage(segment):
    assert segment().exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.slow
def test_interrupt_leaves_complete_files_and_exits_130(save_image, tmp_path, python):
    for number in range(20):
        save_image(f"in/{number}.png")
    code = f"""
import os, sys, time, types
backend = lambda: os.environ.get("KERAS_BACKEND", "tensorflow")
# In place of Keras, which the fake model does not need.
sys.modules["keras"] = types.SimpleNamespace(config=types.SimpleNamespace(backend=backend))
sys.path.insert(0, {os.path.dirname(__file__)!r})
from test_segment import fake_predictor, right_half
from keras_parts import inference, models, zoo
from keras_parts.cli import main
def slow(images):
    time.sleep(0.3)
    return right_half(images)
def create_predictor(model, *args, **options):
    predictor = fake_predictor(model, *args, **options)
    predictor.forward = slow
    return predictor
zoo.load = lambda model, **_: "fake model"
models.create_predictor = create_predictor
main(["segment", "in", "--model", "toy", "--output", "out", "--batch-size", "1"])
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
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "interrupted"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has this device")
@pytest.mark.parametrize("failing", ["stdout", "stderr"])
def test_results_are_written_where_output_cannot_be(segment, save_image, monkeypatch, failing):
    save_image("in/1.png"), save_image("in/2.png")
    Path("in/bad.png").touch()
    arguments = ["segment", "in", "--model", "fake", "--output", "out"]
    with open("out.txt", "w") as out, open("err.txt", "w") as err, open("/dev/full", "w") as full:
        with monkeypatch.context() as patch:
            patch.setattr("sys.stdout", full if failing == "stdout" else out)
            patch.setattr("sys.stderr", full if failing == "stderr" else err)
            code = main.main(arguments, standalone_mode=False)
    assert code == (1 if failing == "stdout" else 3)
    text = Path("err.txt").read_text()
    assert ("cannot be written to standard output: No space" in text) == (failing == "stdout")
    assert json.loads(Path("out/run.json").read_text())["status"] == "complete"
    assert ("Segmented 2 of 3" in Path("out.txt").read_text()) == (failing == "stderr")


def test_output_in_an_encoding_without_the_names(segment, save_image, monkeypatch):
    save_image("in/1.png")
    Path("in/\N{SNOWMAN}.png").touch()
    arguments = ["segment", "in", "--model", "fake", "--output", "\N{SNOWMAN}"]
    with open("text", "w", encoding="latin-1") as text, monkeypatch.context() as patch:
        for name in ("sys.stdout", "sys.stderr"):
            patch.setattr(name, text)
        assert main.main(arguments, standalone_mode=False) == 3
    shown = Path("text").read_text(encoding="latin-1")
    assert "into \\u2603 (" in shown and "in/\\u2603.png" in shown


def test_names_do_not_command_the_terminal(segment, save_image, tmp_path):
    name = "in/\x1b[31mred\u202egnp.exe\x9b.png"
    save_image("in/1.png"), (tmp_path / name).touch()
    for result in (segment("in"), segment("in", "in/\x1b[2J"), segment("in", "--\x1b[2J")):
        assert not re.search("[\x1b\x9b\u202e]", result.stdout + result.stderr)
    assert "\\x1b[31mred\\u202egnp.exe\\x9b.png" in segment("in").stderr


def test_passwords_are_in_no_output_and_in_no_result(segment, save_image, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    save_image("in/1.png")
    address = "https://me:hunter2@host/a.png?sig=hunter2"
    result = segment("in", address, "--json")
    assert result.exit_code == 2 and "https://***@host" in result.stderr
    (tmp_path / "list.txt").write_text(f"in/1.png\n{address}\n")
    result = segment("@list.txt", "--json", "--format", "label-studio")
    assert result.exit_code == 3
    written = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "hunter2" not in "".join([result.stdout, result.stderr, *written])
