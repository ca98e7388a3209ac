import json
import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.inference import FORMATS, Failure, Format, engine, find_images, segment_files
from keras_parts.parts import Parts


class Halves:
    """Part 1 in the left half, part 2 in the right one, background where the image is black."""

    parts, part_names = 2, ("left", "right")

    def __init__(self):
        self.batches, self.threads = [], set()

    def maps(self, images):
        self.batches.append([image.shape[:2] for image in images])
        self.threads.add(threading.current_thread())
        return [self.one(image) for image in images]

    def one(self, image):
        height, width = image.shape[:2]
        labels = np.where(np.arange(width) < width // 2, 1, 2) * np.ones((height, 1), int)
        labels[image.sum(-1) == 0] = 0
        return 9 * np.eye(3, dtype=np.float32)[labels]


@pytest.fixture
def photos(tmp_path):
    """Folder of three good pictures of different sizes, one of them in a folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a.png": (6, 8), "sub/a.png": (5, 4), "b.png": (7, 9)}.items():
        pixels = rng.integers(1, 255, (height, width, 3), np.uint8)
        pixels[0] = 0
        Image.fromarray(pixels).save(folder / name)
    return folder


def written(output):
    return sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())


def test_results_of_a_folder(photos, tmp_path):
    output = tmp_path / "new" / "out"
    summary = segment_files(Halves(), [photos], output)
    assert (summary.done, summary.failed) == (3, 0)
    assert written(output) == sorted(
        [f"indexed/{name}.png" for name in ("a", "b", "sub/a")]
        + [f"overlay/{name}.jpg" for name in ("a", "b", "sub/a")]
        + ["labels.json"]
    )
    with Image.open(output / "indexed/sub/a.png") as picture:
        assert picture.mode == "P"
        labels = np.asarray(picture)
    np.testing.assert_array_equal(labels[0], [0, 0, 0, 0])
    np.testing.assert_array_equal(labels[1:], [[1, 1, 2, 2]] * 4)
    with Image.open(output / "overlay/b.jpg") as picture:
        assert picture.size == (9, 7)


def test_labels_file_matches_the_pictures(photos, tmp_path):
    segment_files(Halves(), [photos], tmp_path / "out")
    content = json.loads((tmp_path / "out/labels.json").read_text())
    assert content["background"] == 0
    assert [part["name"] for part in content["parts"]] == ["left", "right"]
    with Image.open(tmp_path / "out/indexed/a.png") as picture:
        palette = picture.getpalette()
    for part in content["parts"]:
        colour = palette[3 * part["label"] : 3 * part["label"] + 3]
        assert part["colour"] == "#{:02x}{:02x}{:02x}".format(*colour)


def test_summary_as_json(photos, tmp_path):
    summary = segment_files(Halves(), [photos], tmp_path / "out", formats=["indexed"])
    values = json.loads(json.dumps(summary.to_json()))
    assert values["done"] == 3 and values["failed"] == 0 and values["formats"] == ["indexed"]
    assert values["images_per_second"] == pytest.approx(3 / values["seconds"], rel=0.01)
    assert not (tmp_path / "out/overlay").exists()


def test_bad_files_are_reported_and_skipped(photos, tmp_path):
    (photos / "zero.jpg").touch()
    (photos / "text.jpg").write_text("I am not a picture")
    whole = (photos / "b.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "gone.png").symlink_to("nowhere.png")
    seen = []
    summary = segment_files(
        Halves(), [photos], tmp_path / "out", batch_size=2, on_failure=seen.append
    )
    assert (summary.done, summary.failed) == (3, 4)
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    failures = [Failure(**json.loads(line)) for line in lines]
    assert failures == seen
    bad = ["cut.png", "gone.png", "text.jpg", "zero.jpg"]
    assert [failure.path for failure in failures] == [str(photos / name) for name in bad]
    assert {failure.stage for failure in failures} == {"read"}
    assert all(str(failure).count(failure.path) == 1 for failure in failures)
    assert "indexed/b.png" in written(tmp_path / "out")
    assert "indexed/cut.png" not in written(tmp_path / "out")


def test_a_second_run_forgets_old_failures_and_replaces_results(photos, tmp_path):
    (photos / "zero.jpg").touch()
    output = tmp_path / "out"
    segment_files(Halves(), [photos], output)
    (photos / "zero.jpg").unlink()
    (output / "indexed/a.png").write_text("old")
    summary = segment_files(Halves(), [photos], output)
    assert summary.failed == 0
    assert not (output / "failures.jsonl").exists()
    with Image.open(output / "indexed/a.png") as picture:
        assert picture.mode == "P"


def test_results_inside_the_input_folder_are_no_inputs(photos):
    segment_files(Halves(), [photos], photos / "out")
    assert segment_files(Halves(), [photos], photos / "out").done == 3


def test_names_with_anything_in_them(photos, tmp_path):
    source = photos / "a.png"
    for name in ("mit Leerzeichen ü.png", "鳥.photo.v2.png", "q'\"#%&.png"):
        (photos / name).write_bytes(source.read_bytes())
    assert segment_files(Halves(), [photos], tmp_path / "out").failed == 0
    assert "indexed/鳥.photo.v2.png" in written(tmp_path / "out")


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_that_are_no_unicode(photos, tmp_path):
    for name in (b"caf\xe9.png", b"bad\xff.png"):
        target = os.fsencode(photos) + b"/" + name
        with open(target, "wb") as file:
            file.write((photos / "a.png").read_bytes() if name.startswith(b"caf") else b"")
    assert segment_files(Halves(), [photos], tmp_path / "out").failed == 1
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/indexed/caf\xe9.png")
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert os.fsencode(failure["path"]).endswith(b"bad\xff.png")


class FailsOnWide(Halves):
    """Its library gives up when a picture is 8 pixels wide."""

    def maps(self, images):
        if any(image.shape[1] == 8 for image in images):
            raise RuntimeError("shape is not to my liking")
        return super().maps(images)


def test_a_picture_that_breaks_the_network_costs_only_itself(photos, tmp_path):
    summary = segment_files(FailsOnWide(), [photos], tmp_path / "out", batch_size=3)
    assert (summary.done, summary.failed) == (2, 1)
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert failure["path"].endswith("a.png") and failure["stage"] == "segment"
    assert failure["message"] == "shape is not to my liking"


def test_a_picture_that_cannot_be_written_costs_only_itself(photos, tmp_path, monkeypatch):
    def save(parts, path):
        if path.name == "b.jpg":
            raise ValueError("encoder error")
        Parts.save_overlay(parts, path)

    monkeypatch.setitem(FORMATS, "overlay", Format(".jpg", save, ""))
    summary = segment_files(Halves(), [photos], tmp_path / "out")
    assert (summary.done, summary.failed) == (2, 1)
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert failure["stage"] == "write" and failure["error"] == "ValueError"


def test_a_full_disk_stops_the_job(photos, tmp_path, monkeypatch):
    def save(parts, path):
        raise OSError(engine.errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setitem(FORMATS, "indexed", Format(".png", save, ""))
    with pytest.raises(KerasPartsError, match="No space left"):
        segment_files(Halves(), [photos], tmp_path / "out")


def test_output_that_cannot_be_a_folder(photos, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(KerasPartsError, match="out"):
        segment_files(Halves(), [photos], tmp_path / "out")


def test_batches_keep_to_number_and_pixels(photos, tmp_path, monkeypatch):
    segmenter = Halves()
    segment_files(segmenter, [photos], tmp_path / "out", batch_size=2)
    assert [len(batch) for batch in segmenter.batches] == [2, 1]
    # Room for the logits of 70 pixels: two of the three pictures do not fit together.
    monkeypatch.setattr(engine, "_BATCH_BYTES", 70 * 4 * 3)
    segmenter = Halves()
    segment_files(segmenter, [photos], tmp_path / "out", batch_size=8)
    assert segmenter.batches == [[(6, 8)], [(7, 9)], [(5, 4)]]


def test_the_segmenter_runs_in_the_calling_thread(photos, tmp_path):
    segmenter = Halves()
    segment_files(segmenter, [photos], tmp_path / "out", threads=3)
    assert segmenter.threads == {threading.current_thread()}


def test_few_pictures_are_held_at_a_time(photos, tmp_path, monkeypatch):
    """Whatever the number of files: those decoded ahead, a batch, and a batch being written."""
    for index in range(60):
        (photos / f"copy{index}.png").write_bytes((photos / "a.png").read_bytes())
    lock, held, most = threading.Lock(), 0, 0
    read, write = engine.read_image, engine.write_result

    def counted_read(path):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read(path)

    def counted_write(*args):
        nonlocal held
        write(*args)
        with lock:
            held -= 1

    monkeypatch.setattr(engine, "read_image", counted_read)
    monkeypatch.setattr(engine, "write_result", counted_write)
    summary = segment_files(Halves(), [photos], tmp_path / "out", batch_size=4, threads=2)
    assert summary.done == 63 and held == 0
    assert most <= 4 + 4 + 1 + 2 + 1


def test_results_do_not_depend_on_batches_and_threads(photos, tmp_path):
    segment_files(Halves(), [photos], tmp_path / "one", batch_size=1, threads=1)
    segment_files(Halves(), find_images([photos]), tmp_path / "two", batch_size=8, threads=4)
    assert written(tmp_path / "one") == written(tmp_path / "two")
    for name in written(tmp_path / "one"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_nothing_to_do(tmp_path):
    (tmp_path / "in").mkdir()
    summary = segment_files(Halves(), [tmp_path / "in"], tmp_path / "out")
    assert (summary.done, summary.failed, summary.images_per_second) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["indexed", "mp3"]}, "mp3; choose from indexed, overlay"),
        ({"formats": []}, "none given"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"threads": 0}, "threads 0"),
    ],
)
def test_bad_options(photos, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        segment_files(Halves(), [photos], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_missing_input(tmp_path):
    with pytest.raises(DataError, match="gone"):
        segment_files(Halves(), [tmp_path / "gone"], tmp_path / "out")


def test_an_interrupt_leaves_only_whole_files(photos, tmp_path):
    class Interrupted(Halves):
        def maps(self, images):
            if len(self.batches) == 2:
                raise KeyboardInterrupt
            return super().maps(images)

    with pytest.raises(KeyboardInterrupt):
        segment_files(Interrupted(), [photos], tmp_path / "out", batch_size=1)
    names = written(tmp_path / "out")
    assert "indexed/a.png" in names and "overlay/b.jpg" in names
    assert not [name for name in names if "/." in name]
