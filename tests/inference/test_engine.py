import json
import os
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.inference import Failure, engine, find_images, segment_files
from keras_parts.inference.writers.overlay import OverlayWriter
from keras_parts.models import Predictor
from keras_parts.models import predictor as predictors
from tests.inference.doubles import contents, halves, predictor


def segment(photos, output, forward=halves, batch_size=8, tile=None, **options):
    return segment_files(
        predictor(forward, batch_size=batch_size, tile=tile), [photos], output, **options
    )


def test_results_of_a_folder(photos, tmp_path):
    output = tmp_path / "new" / "out"
    summary = segment(photos, output)
    assert (summary.found, summary.done, summary.failed, summary.kept) == (3, 3, 0, 0)
    assert summary.complete
    assert sorted(contents(output)) == sorted(
        [f"indexed/{name}.png" for name in ("a", "b", "sub/a")]
        + [f"overlay/{name}.jpg" for name in ("a", "b", "sub/a")]
        + [f"page/{name}.js" for name in ("a", "b", "sub/a")]
        + ["index.html", "labels.json"]
    )
    with Image.open(output / "indexed/sub/a.png") as image:
        assert image.mode == "P"
        labels = np.asarray(image)
    assert labels.shape == (50, 40)
    assert (labels[5:-5, 2:18] == 1).all() and (labels[5:-5, 22:-2] == 2).all()
    with Image.open(output / "overlay/b.jpg") as image:
        assert image.width == 90 and image.height > 70  # its parts have names


def test_labels_file_matches_the_images(photos, tmp_path):
    segment(photos, tmp_path / "out")
    content = json.loads((tmp_path / "out/labels.json").read_text())
    assert content["background"] == 0
    assert [part["name"] for part in content["parts"]] == ["left", "right"]
    with Image.open(tmp_path / "out/indexed/a.png") as image:
        palette = image.getpalette()
    for part in content["parts"]:
        colour = palette[3 * part["label"] : 3 * part["label"] + 3]
        assert part["colour"] == "#{:02x}{:02x}{:02x}".format(*colour)


def test_summary_as_json(photos, tmp_path):
    summary = segment(photos, tmp_path / "out", formats=["indexed"])
    values = json.loads(json.dumps(summary.to_json()))
    assert values["done"] == 3 and values["failed"] == 0 and values["formats"] == ["indexed"]
    assert values["images_per_second"] == pytest.approx(3 / values["seconds"], rel=0.01)
    assert not (tmp_path / "out/overlay").exists()


def test_bad_files_are_reported_and_skipped(photos, tmp_path):
    (photos / "zero.jpg").touch()
    (photos / "text.jpg").write_text("I am not an image")
    content = (photos / "b.png").read_bytes()
    (photos / "cut.png").write_bytes(content[: len(content) // 2])
    (photos / "gone.png").symlink_to("nowhere.png")
    (photos / "folder.png").symlink_to("sub")
    seen = []
    summary = segment(photos, tmp_path / "out", batch_size=2, on_failure=seen.append)
    assert (summary.done, summary.failed) == (3, 4)
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    failures = [Failure(**json.loads(line)) for line in lines]
    assert sorted(failures, key=str) == sorted(seen, key=str)
    bad = ["cut.png", "gone.png", "text.jpg", "zero.jpg"]
    assert [failure.path for failure in failures] == [str(photos / name) for name in bad]
    assert {failure.stage for failure in failures} == {"read"}
    assert all(str(failure).count(failure.path) == 1 for failure in failures)
    assert "indexed/b.png" in contents(tmp_path / "out")
    assert "indexed/cut.png" not in contents(tmp_path / "out")


def test_results_inside_the_input_folder_are_not_inputs(photos):
    segment(photos, photos / "out")
    assert segment(photos, photos / "out").found == 3


def test_unusual_names(photos, tmp_path):
    source = photos / "a.png"
    names = ["mit Leerzeichen ü", "鳥.photo.v2", "q'\"#%&", "n" * 250, "new\nline"]
    for name in names:
        (photos / f"{name}.png").write_bytes(source.read_bytes())
    assert segment(photos, tmp_path / "out").failed == 0
    assert {f"indexed/{name}.png" for name in names} <= set(contents(tmp_path / "out"))


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_that_are_not_unicode(photos, tmp_path):
    for name in (b"caf\xe9.png", b"bad\xff.png"):
        target = os.fsencode(photos) + b"/" + name
        with open(target, "wb") as file:
            file.write((photos / "a.png").read_bytes() if name.startswith(b"caf") else b"")
    assert segment(photos, tmp_path / "out").failed == 1
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/indexed/caf\xe9.png")
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert os.fsencode(failure["path"]).endswith(b"bad\xff.png")
    assert segment(photos, tmp_path / "out").kept == 4


def test_an_image_on_which_the_predictor_fails_fails_alone(photos, tmp_path):
    Image.new("RGB", (40, 40), (1, 2, 3)).save(photos / "odd.png")

    def fails_on_odd(images):
        if (images[:, 16, 16] == (1, 2, 3)).all(-1).any():
            raise RuntimeError("cannot process this shape")
        return halves(images)

    for tile in (None, 24):
        output = tmp_path / f"out{tile}"
        summary = segment(photos, output, fails_on_odd, batch_size=3, tile=tile)
        assert (summary.done, summary.failed) == (3, 1)
        failure = json.loads((output / "failures.jsonl").read_text())
        assert failure["path"].endswith("odd.png") and failure["stage"] == "segment"
        assert failure["message"] == "cannot process this shape"


def test_an_image_that_cannot_be_written_fails_alone(photos, tmp_path, monkeypatch):
    content = OverlayWriter.content

    def fails_on_b(writer, parts):
        if parts.size == (90, 70):
            raise ValueError("encoder error")
        return content(writer, parts)

    monkeypatch.setattr(OverlayWriter, "content", fails_on_b)
    summary = segment(photos, tmp_path / "out")
    assert (summary.done, summary.failed) == (2, 1)
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert failure["stage"] == "write" and failure["error"] == "ValueError"
    # An incomplete set of results must not look complete.
    assert not [name for name in contents(tmp_path / "out") if "/b." in name]


def test_batches_have_one_shape_and_size(photos, tmp_path):
    shapes = []

    def forward(images):
        shapes.append(images.shape)
        return halves(images)

    segment(photos, tmp_path / "out", forward, batch_size=2)
    assert shapes == [(2, 33, 33, 3)] * 2


def test_few_network_inputs_have_different_shapes(photos, tmp_path):
    rng = np.random.default_rng(0)
    for index in range(30):
        size = (*rng.integers(20, 200, 2), 3)
        Image.fromarray(rng.integers(1, 255, size, np.uint8)).save(photos / f"{index}.png")
    Image.new("RGB", (3000, 3), (9, 9, 9)).save(photos / "strip.png")
    shapes = set()

    def forward(images):
        shapes.add(images.shape)
        return halves(images)

    short = Predictor(forward, ("left", "right"), 33, "short", batch_size=4)
    summary = segment_files(short, [photos], tmp_path / "out", ["indexed"])
    assert summary.done == 34
    sides = {shape[1:3] for shape in shapes}
    assert max(max(side) for side in sides) <= 4 * 33 and len(sides) <= 15


def test_the_predictor_runs_in_the_calling_thread(photos, tmp_path):
    threads = set()

    def forward(images):
        threads.add(threading.current_thread())
        return halves(images)

    segment(photos, tmp_path / "out", forward, threads=3)
    assert threads == {threading.current_thread()}


@pytest.mark.parametrize("looks", [1, 2])
def test_few_images_are_in_memory(photos, tmp_path, monkeypatch, looks):
    """Those waiting for the predictor, a batch, those seen again, and those being written."""
    image = np.full((80, 60, 3), 255, np.uint8)
    image[20:40, 20:40] = 0
    for index in range(60):
        Image.fromarray(image).save(photos / f"copy{index}.png")
    lock, held, most = threading.Lock(), 0, 0
    read, write = engine.decode_image, engine.Engine._write

    def counted_read(*args, **options):
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        return read(*args, **options)

    def counted_write(*args):
        nonlocal held
        outcome = write(*args)
        with lock:
            held -= 1
        return outcome

    monkeypatch.setattr(engine, "decode_image", counted_read)
    monkeypatch.setattr(engine.Engine, "_write", counted_write)
    network = predictor(dark_objects, batch_size=4, looks=looks)
    summary = segment_files(network, [photos], tmp_path / "out", threads=2)
    assert summary.done == 63 and held == 0
    again = (4 + 2 + 4) + 4 if looks == 2 else 0
    assert most <= (4 + 2) + 4 + again + (4 + 2 + 1)


def dark_objects(images):
    """Part 1 is what is dark: the upper left ninth of each photo of `objects`, in one look."""
    dark = 8 - images[:, ::4, ::4].mean(-1) / 16
    return {"logits": np.stack([-dark, dark, dark - 9], axis=-1).astype(np.float32)}


@pytest.fixture
def objects(tmp_path):
    """Photos of which two of three show an object, in several sizes."""
    folder = tmp_path / "objects"
    folder.mkdir()
    for index in range(11):
        image = np.full((90 + 10 * index, 150, 3), 255, np.uint8)
        if index % 3:
            image[20 : 50 + 3 * index, 30:60] = 0
        Image.fromarray(image).save(folder / f"{index:02}.png")
    return folder


@pytest.mark.parametrize(("small", "most"), [(10**9, 0), (1, 10**9), (1, 0)])
def test_second_looks_equal_those_of_segment(objects, tmp_path, monkeypatch, small, most):
    """Whether or not the photos stay in memory; and the second looks fill batches too."""
    monkeypatch.setattr(engine, "_LARGE_IMAGE_PIXELS", small)
    monkeypatch.setattr(engine, "_MAX_LARGE_PIXELS", most)
    batches, decoded, decode = [], [], engine.decode_image

    def forward(images):
        batches.append(len({image.tobytes() for image in images}))
        return dark_objects(images)

    def noted(content, name, limit, **options):
        decoded.append(os.path.basename(name))
        return decode(content, name, limit, **options)

    monkeypatch.setattr(engine, "decode_image", noted)
    again = predictor(forward, batch_size=4, looks=2)
    assert segment_files(again, [objects], tmp_path / "out", ["indexed"], threads=2).done == 11
    assert len(batches) == 5  # 11 photos, 7 objects
    shown = [f"{index:02}.png" for index in range(11) if index % 3]
    wanted = [f"{index:02}.png" for index in range(11)] + ([] if small > 1 or most else shown)
    assert sorted(decoded) == sorted(wanted)
    for index in range(11):
        with Image.open(objects / f"{index:02}.png") as image:
            parts = predictor(dark_objects, looks=2).segment(np.asarray(image))
        with Image.open(tmp_path / f"out/indexed/{index:02}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), parts.labels)
        assert parts.labels.any() == bool(index % 3)


def test_large_images_are_counted_as_long_as_they_exist():
    large, images = engine._LargeImages(100), [np.zeros((6, 10, 3), np.uint8) for _ in range(2)]
    assert [large.take(image) for image in images] == [True, False]
    del images[0]
    assert large.take(images[0])


def test_a_large_object_image_that_changes_before_its_second_look_fails(
    objects, tmp_path, monkeypatch
):
    monkeypatch.setattr(engine, "_LARGE_IMAGE_PIXELS", 1)
    monkeypatch.setattr(engine, "_MAX_LARGE_PIXELS", 0)

    def forward(images):
        if (images == 0).any():  # the first look at the first photo with an object
            Image.new("RGB", (8, 6)).save(objects / "01.png")
        return dark_objects(images)

    again = predictor(forward, batch_size=1, looks=2)
    summary = segment_files(again, [objects], tmp_path / "out", ["indexed"], threads=1)
    assert (summary.done, summary.failed) == (10, 1)
    failure = json.loads((tmp_path / "out/failures.jsonl").read_text())
    assert failure["stage"] == "read" and "changed while" in failure["message"]


def test_second_looks_at_reduced_images_have_enough_pixels(monkeypatch):
    """A small object in a very large JPEG file is decoded at a larger part of its size."""
    asked = []

    def read(enough):
        asked.append(enough)
        reduced = Image.fromarray(image).reduce(2)
        return np.asarray(reduced), (0.0, 0.0, *reduced.size)

    image = np.full((600, 800, 3), 255, np.uint8)
    image[200:400, 500:700] = 0
    again = predictor(dark_objects, looks=2)
    prepared = again.prepare(image)
    prepared = again.look_again(prepared, again.predict(prepared.inputs), read)
    region = prepared.regions[1]
    height, width = region.geometry.original_size
    assert asked == [-(-4 * 33 * 600 // min(height, width))]
    full = region.geometry.apply(image[region.top :, region.left :][:height, :width])
    assert np.abs(prepared.inputs[1].astype(int) - full).mean() < 4


def test_large_images_are_read_again_when_written(photos, tmp_path, monkeypatch):
    segment(photos, tmp_path / "small")
    monkeypatch.setattr(engine, "_LARGE_IMAGE_PIXELS", 60 * 80)
    monkeypatch.setattr(engine, "_MAX_LARGE_PIXELS", 0)
    read, kept = [], []
    decode, original = engine.decode_image, engine._Item.__init__

    def noted(content, name, limit, **options):
        read.append(name.rpartition("in/")[2])
        return decode(content, name, limit, **options)

    def noted_item(item, *args):
        original(item, *args)
        kept.append((item.file.relative, item.image is None))

    monkeypatch.setattr(engine, "decode_image", noted)
    monkeypatch.setattr(engine._Item, "__init__", noted_item)
    segment(photos, tmp_path / "large", threads=3)
    assert sorted(read) == ["a.png", "a.png", "b.png", "b.png", "sub/a.png"]
    assert sorted(kept) == [("a.png", True), ("b.png", True), ("sub/a.png", False)]
    assert contents(tmp_path / "small") == contents(tmp_path / "large")


@pytest.mark.parametrize(("budget", "most"), [(1, 1), (2 * 80 * 90, 2), (10**6, 4)])
def test_pixels_processed_at_a_time_are_limited(tmp_path, monkeypatch, budget, most):
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(12):
        Image.new("RGB", (90, 80)).save(folder / f"{index}.png")
    monkeypatch.setattr(engine, "_MAX_ACTIVE_PIXELS", budget)
    monkeypatch.setattr(engine, "_LARGE_IMAGE_PIXELS", 1)
    monkeypatch.setattr(engine, "_MAX_LARGE_PIXELS", 0)
    lock, inside, seen = threading.Lock(), 0, []
    together, decode = threading.Barrier(most, timeout=60), engine.decode_image

    def counted(*args, **options):
        nonlocal inside
        with lock:
            inside += 1
            seen.append(inside)
        together.wait()
        with lock:
            inside -= 1
        return decode(*args, **options)

    monkeypatch.setattr(engine, "decode_image", counted)
    summary = segment(folder, tmp_path / "out", formats=["indexed"], threads=4)
    assert summary.done == 12 and max(seen) == most


def test_a_large_image_that_changes_before_it_is_written_fails(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_LARGE_IMAGE_PIXELS", 1)
    monkeypatch.setattr(engine, "_MAX_LARGE_PIXELS", 0)
    monkeypatch.setattr(engine.Engine, "_max_waiting", 1)

    def forward(images):
        if not (tmp_path / "swapped").exists():
            (tmp_path / "swapped").touch()
            Image.new("RGB", (80, 60)).save(photos / "a.png")
        return halves(images)

    summary = segment(photos, tmp_path / "out", forward, batch_size=1, threads=1)
    assert (summary.done, summary.failed) == (2, 1)
    assert "changed while" in (tmp_path / "out/failures.jsonl").read_text()


def test_results_do_not_depend_on_batches_and_threads(photos, tmp_path):
    formats = ["indexed", "overlay", "csv", "cvat"]
    segment(photos, tmp_path / "one", batch_size=1, threads=1, formats=formats)
    segment(photos, tmp_path / "two", batch_size=8, threads=4, formats=formats)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_tiles_resolve_more_and_join_without_a_seam(tmp_path):
    """Parts by brightness: tiles resolve stripes that the downsampled image does not."""
    y, x = np.mgrid[:96, :128]
    stripes = (x // 4 + y // 4) % 2 == 0

    def brightness(images):
        light = images[..., 0].astype(np.float32) - 127.5
        return {"logits": np.stack([np.full_like(light, -999), light, -light], axis=-1)}

    image = np.where(stripes, 255, 0).astype(np.uint8)[..., None].repeat(3, -1)
    wanted = np.where(stripes, 1, 2)
    whole = predictor(brightness, 17).segment(image).labels
    tiles = predictor(brightness, 33, tile=32, batch_size=4).segment(image).labels
    assert (whole == wanted).mean() < 0.75
    assert (tiles == wanted).mean() > 0.9
    flat = np.full((70, 90, 3), 77, np.uint8)
    logits = np.asarray(predictor(brightness, 33, tile=24, batch_size=2).segment(flat).logits)
    np.testing.assert_allclose(logits[..., 1], 77 - 127.5, rtol=1e-5)


@pytest.mark.parametrize("length", [5, 16, 17, 31, 40, 100])
def test_weights_of_tiles_sum_to_one(length):
    total, starts = np.zeros(length), []
    for start, stop, weights in predictors._tiles(length, 16):
        assert weights.min() > 0 and stop - start == min(16, length)
        total[start:stop] += weights
        starts.append(start)
    np.testing.assert_allclose(total, 1, rtol=1e-6)
    assert np.diff(starts).max(initial=0) <= 12


def test_remarks_on_animations(photos, tmp_path):
    frames = [Image.new("RGB", (30, 20), (i, 250, 50)) for i in (10, 90, 200)]
    frames[0].save(photos / "moving.gif", save_all=True, append_images=frames[1:])
    remarks = []
    summary = segment(photos, tmp_path / "out", on_remark=lambda *remark: remarks.append(remark))
    assert summary.failed == 0
    assert remarks == [("moving.gif", "holds 3 frames: only the first is used")]


def test_nothing_to_do(tmp_path):
    (tmp_path / "in").mkdir()
    summary = segment(tmp_path / "in", tmp_path / "out")
    assert (summary.done, summary.failed, summary.images_per_second) == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["indexed", "mp3"]}, "mp3; choose from indexed, overlay"),
        ({"formats": []}, "none given"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"tile": 3}, "tile is 3"),
        ({"shard": "0/4"}, "shard is '0/4'"),
        ({"shard": "1/4", "overwrite": True}, "a shard must not"),
    ],
)
def test_bad_options(photos, tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        segment(photos, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_missing_input(tmp_path):
    with pytest.raises(DataError, match="gone"):
        segment(tmp_path / "gone", tmp_path / "out")


def test_images_above_the_limit_fail(photos, tmp_path):
    summary = segment(photos, tmp_path / "out", max_pixels=60 * 80)
    assert (summary.done, summary.failed) == (2, 1)


def test_image_files_as_inputs(photos, tmp_path):
    files = find_images([photos])
    summary = segment_files(predictor(), iter(files[:2]), tmp_path / "out", ["indexed"])
    assert summary.found == 2


def test_output_that_cannot_be_a_folder(photos, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(KerasPartsError, match="out"):
        segment(photos, tmp_path / "out")


def _unusual_files(folder):
    """Sixty files of every kind: name -> whether it can be segmented."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (24, 32, 3), np.uint8)
    good, bad = {}, {}

    def save_good(name, image, **options):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = image if isinstance(image, Image.Image) else Image.fromarray(image)
        image.save(path, **options)
        good[name] = image.size[::-1]
        return path

    for suffix in ("jpg", "png", "bmp", "tif", "ppm", "tga", "webp", "gif", "jp2"):
        save_good(f"kind.{suffix}", noise)
    for orientation in range(2, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        save_good(f"turned{orientation}.jpg", noise, exif=exif)
        good[f"turned{orientation}.jpg"] = (32, 24) if orientation >= 5 else (24, 32)
    words = rng.integers(0, 65535, (24, 32)).astype(np.uint16)
    save_good("sixteen.png", words)
    save_good("sixteen.tif", words)
    save_good("float.tif", rng.random((24, 32)).astype(np.float32))
    rgba = Image.fromarray(np.dstack([noise, noise[..., 0]]))
    save_good("alpha.png", rgba)
    save_good("alpha.webp", rgba)
    save_good("la.png", rgba.convert("LA"))
    indexed = Image.fromarray(noise).quantize(16)
    save_good("palette.png", indexed)
    save_good("palette_clear.png", indexed, transparency=0)
    save_good("palette_graded.png", indexed, transparency=bytes(range(16)))
    save_good("palette.gif", indexed, transparency=3)
    save_good("cmyk.jpg", Image.fromarray(noise).convert("CMYK"))
    save_good("cmyk.tif", Image.fromarray(noise).convert("CMYK"))
    save_good("bit.png", Image.fromarray(noise[..., 0] > 99))
    save_good("bit.tif", Image.fromarray(noise[..., 0] > 99))
    save_good("grey.jpg", noise[..., 0])
    save_good("key.png", Image.fromarray(noise), transparency=(1, 2, 3))
    more = [Image.fromarray(255 - noise)] * 2
    for suffix in ("gif", "webp", "png", "tif"):
        save_good(f"frames.{suffix}", noise, save_all=True, append_images=more)
    save_good("progressive.jpg", noise, progressive=True)
    save_good("png_named.jpg", noise, format="PNG")
    save_good("strip.png", np.full((30, 30_000, 3), 50, np.uint8))
    save_good("tower.png", np.full((30_000, 30, 3), 50, np.uint8))
    save_good("pixel.png", noise[:1, :1])
    save_good("pixel.jpg", noise[:1, :1])
    for name in ("with space.png", "quote'\".png", "new\nline.png", "鳥とü.png", "%20#?&.png"):
        save_good(name, noise)
    save_good("2020/same.png", noise)
    save_good("2021/same.png", noise)
    save_good("twin.png", noise)
    save_good("twin.jpg", noise)

    def save_bad(name, content):
        (folder / name).write_bytes(content)
        bad[name] = True

    save_bad("zero.jpg", b"")
    save_bad("zero.png", b"")
    save_bad("text.jpg", b"not an image\n")
    save_bad("html.png", b"<html>404</html>")
    for suffix in ("jpg", "png", "gif", "tif"):
        content = (folder / f"kind.{suffix}").read_bytes()
        save_bad(f"truncated.{suffix}", content[: len(content) * 6 // 10])
    content_of_bomb = bytearray((folder / "kind.png").read_bytes())
    content_of_bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    save_bad("bomb.png", bytes(content_of_bomb))
    save_bad("header.png", (folder / "kind.png").read_bytes()[:20])
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    bad["gone.jpg"] = True
    (folder / ".hidden.png").write_bytes((folder / "kind.png").read_bytes())
    (folder / "notes.txt").write_text("no image")
    os.symlink(folder, folder / "loop")
    return good, bad


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.skipif(sys.platform == "win32", reason="names and links")
def test_damaged_and_unusual_files(tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    good, bad = _unusual_files(folder)
    assert len(good) + len(bad) >= 60
    formats = ["indexed", "overlay", "csv"]
    summary = segment(folder, output, batch_size=4, formats=formats)
    lines = (output / "failures.jsonl").read_text().splitlines()
    failed = {os.path.relpath(json.loads(line)["path"], folder) for line in lines}
    assert failed == set(bad)
    assert (summary.done, summary.failed) == (len(good), len(bad))
    for file in find_images([folder]):
        if file.relative in good:
            with Image.open(output / f"indexed/{file.result}.png") as image:
                assert image.size == good[file.relative][::-1], file.relative
    assert len(list((output / "overlay").rglob("*.jpg"))) == len(good)
    rows = (output / "parts.csv").read_text(encoding="utf-8").count("\n")
    assert rows > len(good)
