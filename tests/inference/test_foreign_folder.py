"""An output folder that somebody else made: nothing outside of it is read, written or removed."""

import json
import os
import zlib
from pathlib import PureWindowsPath

import pytest
from PIL import Image

from keras_parts import files
from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.inference import recorded_batch_size, segment_files
from keras_parts.inference.output import OutputError, open_output
from tests.inference.doubles import contents, predictor

FORMATS = ["indexed", "csv"]


def segment(photos, folder, **options):
    return segment_files(predictor(), [photos], folder, FORMATS, **options)


@pytest.fixture
def outside(tmp_path):
    """A folder beside the output folder, of which everything must stay."""
    folder = tmp_path / "outside"
    (folder / "kept").mkdir(parents=True)
    (folder / "kept/notes.txt").write_text("mine")
    (folder / "photo.png").write_text("mine")
    return folder


def everything(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def add_line(folder, names, image="b.png", checksums=True):
    """Append to the log that the results of an image have these names."""
    (log,) = (folder / "done").glob("*.log")
    values = {"image": image, "version": "", "sha256": "", "files": names, "remarks": []}
    line = f"{json.dumps(values | {'failure': None})}\t{{}}".encode()
    with open(log, "ab") as file:
        file.write(b"%s\t%08x\n" % (line, zlib.crc32(line)))


def crafted_names(outside):
    return [
        str(outside / "photo.png"),
        "../outside/photo.png",
        "indexed/../../outside/photo.png",
        "indexed/../../outside/kept",
        "linked/photo.png",
        "indexed/linked/photo.png",
        "indexed/linked/kept/notes.txt",
        "indexed/file",
        "indexed/dangling",
        "indexed",
        "indexed/nul\0",
        "indexed/" + 300 * "x",
        "indexed/" + 300 * "x/",
        "indexed/\ud800",
        "C:/Windows/win.ini",
        "//server/share",
        "",
        ".",
        "..",
        "mine.txt",
    ]


@pytest.mark.parametrize("overwrite", [True, False])
def test_names_in_the_log_lead_nowhere(photos, tmp_path, outside, overwrite):
    folder = tmp_path / "out"
    segment(photos, folder)
    (folder / "mine.txt").write_text("mine")
    links = {"linked": outside, "indexed/linked": outside, "indexed/file": outside / "photo.png"}
    for name, target in {**links, "indexed/dangling": outside / "new.png"}.items():
        (folder / name).symlink_to(target)
    before = everything(outside)
    for name in crafted_names(outside):
        add_line(folder, [name])
    with pytest.raises(OutputError, match="linked.*link to another folder: remove the link"):
        segment(photos, folder, overwrite=overwrite)
    (folder / "indexed/linked").unlink()
    summary = segment(photos, folder, overwrite=overwrite)
    assert everything(outside) == before and (folder / "mine.txt").exists()
    assert summary.complete
    segment(photos, tmp_path / "again")
    assert everything_but_links(folder) == contents(tmp_path / "again")


def everything_but_links(folder):
    return {name: text for name, text in contents(folder).items() if name != "mine.txt"}


@pytest.mark.parametrize("name", [".unfinished", "done", "indexed"])
@pytest.mark.parametrize("overwrite", [True, False])
def test_links_in_place_of_folders_are_refused(photos, tmp_path, outside, name, overwrite):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    before = everything(outside)
    with pytest.raises(OutputError, match=f"{name}.*link to another folder"):
        segment(photos, folder, overwrite=overwrite)
    assert everything(outside) == before


@pytest.mark.parametrize("name", ["done/1-00000000.log", "run.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_regular_file_is_not_read(photos, tmp_path, outside, name, kind):
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    if kind == "link":
        path.symlink_to(outside / "photo.png")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OutputError, match=f"{name}: is no regular file"):
        segment(photos, tmp_path / "out")


def test_links_in_place_of_results_are_replaced(photos, tmp_path, outside):
    folder, before = tmp_path / "out", everything(outside)
    (folder / "indexed").mkdir(parents=True)
    for name in ("indexed/a.png", "run.json.tmp", "labels.json", "parts.csv"):
        (folder / name).symlink_to(outside / "photo.png")
    assert segment(photos, folder).complete
    assert everything(outside) == before and not (folder / "labels.json").is_symlink()
    (folder / "indexed/a.png").unlink()
    (folder / "indexed/a.png").symlink_to(outside / "photo.png")
    assert segment(photos, folder).done == 1 and everything(outside) == before


@pytest.mark.parametrize("kind", ["symlink_to", "hardlink_to"])
def test_locks_and_unfinished_files_that_are_links(photos, tmp_path, outside, kind):
    folder, before = tmp_path / "out", everything(outside)
    (folder / ".unfinished/old").mkdir(parents=True)
    for name in (".unfinished/all.lock", ".unfinished/old.lock", ".unfinished/old/x"):
        getattr(folder / name, kind)(outside / "photo.png")
    (folder / ".unfinished/all").symlink_to(outside)
    (folder / ".unfinished/other").symlink_to(outside)
    assert segment(photos, folder).complete and everything(outside) == before


def test_a_pipe_in_place_of_the_unfinished_files(photos, tmp_path):
    (tmp_path / "out/.unfinished").mkdir(parents=True)
    os.mkfifo(tmp_path / "out/.unfinished/all")
    assert segment(photos, tmp_path / "out").complete


@pytest.mark.parametrize(("name", "kind"), [("labels.json", "mkdir"), ("done", "touch")])
def test_obstacles_are_named(photos, tmp_path, name, kind):
    (tmp_path / "out").mkdir()
    getattr(tmp_path / "out" / name, kind)()
    with pytest.raises(KerasPartsError, match=f"{name}.*cannot be written.*remove what is there"):
        segment(photos, tmp_path / "out")


def test_a_file_in_place_of_the_folder_is_named(photos, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(ConfigError, match="out is a file: give --output a folder"):
        segment(photos, tmp_path / "out")


def test_a_file_in_place_of_the_unfinished_files_is_named(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.unfinished").touch()
    with pytest.raises(OutputError, match=r"out/\.unfinished: .*remove what is there"):
        segment(photos, tmp_path / "out")


def test_a_name_that_is_too_long_for_its_results(photos, tmp_path):
    for suffix in (".png", ".jpg"):
        Image.new("RGB", (8, 6)).save(photos / f"{'a' * 251}{suffix}")
    failures = []
    summary = segment(photos, tmp_path / "out", on_failure=failures.append)
    assert (summary.done, summary.failed) == (3, 2)
    assert all("give the image a shorter name" in str(failure) for failure in failures)


def test_a_log_with_the_highest_number_hides_no_later_log(photos, tmp_path):
    (tmp_path / "out/done").mkdir(parents=True)
    (tmp_path / f"out/done/{'9' * 99}-00000000.log").touch()
    assert segment(photos, tmp_path / "out").complete
    assert segment(photos, tmp_path / "out").kept == 3


def test_a_folder_given_as_a_link_is_followed_once(photos, tmp_path, outside):
    (tmp_path / "out").symlink_to(outside)
    before = everything(outside)
    assert segment(photos, tmp_path / "out").complete
    segment(photos, tmp_path / "out", overwrite=True)
    after = everything(outside)
    assert before.items() <= after.items() and outside / "indexed/a.png" in after


def test_overwriting_a_folder_without_results_removes_nothing(photos, tmp_path, outside):
    (outside / "coco.json").write_text("mine")
    (outside / "done").mkdir()
    (outside / "done/todo.txt").write_text("mine")
    segment(photos, outside, overwrite=True)
    kept = ("coco.json", "done/todo.txt")
    assert all((outside / name).read_text() == "mine" for name in kept)


@pytest.mark.parametrize(
    "name", ["C:/x.png", "C:x.png", "\\x.png", "..\\x.png", "\\\\host\\share\\x"]
)
def test_names_with_drives_and_backslashes_on_windows(monkeypatch, name):
    monkeypatch.setattr(files, "PurePath", PureWindowsPath)
    with pytest.raises(DataError, match="leads out of its folder"):
        files.check_name(name)


def test_names_of_results_stay_inside(tmp_path, outside):
    output = open_output(tmp_path / "out", "all")
    output.prepare()
    for name in ("../outside/photo.png", str(outside / "photo.png"), "a/../../x", "", "a\0"):
        for use in (output.open, output.remove, output.log, lambda name: output.write(name, b"")):
            with pytest.raises(DataError):
                use(name)
        assert not output.exists(name)
    output.close()


def test_an_address_takes_no_names_that_lead_out():
    pytest.importorskip("fsspec")
    output = open_output("memory://bucket/out", "all")
    for use in (output.open, output.remove, lambda name: output.write(name, b"")):
        with pytest.raises(DataError):
            use("../other/x")
    assert not output.exists("../other/x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[" * 100_000,
        '{"format": 1}',
        '{"format": 1, "configuration": {"formats": [5]}, "batch_size": 8}',
        '{"format": 1, "configuration": {"formats": []}, "batch_size": 99999999}',
        '{"format": 1, "configuration": {"formats": []}, "batch_size": "8"}',
        '{"format": 1, "configuration": {"formats": []}, "batch_size": 8' + "0" * 5000 + "}",
        "\xff\0",
    ],
)
def test_damaged_run_files(photos, tmp_path, text):
    (tmp_path / "run.json").write_text(text, "latin-1")
    for use in (lambda: segment(photos, tmp_path), lambda: recorded_batch_size(tmp_path)):
        with pytest.raises(ConfigError, match=r"run\.json was not written.*or remove the file"):
            use()


def test_damaged_logs_are_counted_and_their_images_segmented_again(photos, tmp_path, caplog):
    segment(photos, tmp_path / "out")
    expected = contents(tmp_path / "out")
    (log,) = (tmp_path / "out/done").iterdir()
    head, *lines = log.read_bytes().splitlines(keepends=True)
    (tmp_path / "out/done/notes.txt").write_text("mine")
    later = json.loads(lines[0].split(b"\t")[0]) | {"later": 1}
    records = lines[0].split(b"\t")[1]
    known = b"%s\t%s" % (json.dumps(later).encode(), records)
    valid = b"%s\t%08x\n" % (known, zlib.crc32(known))
    for bad in (
        lines[1].replace(b'"', b"'", 1),
        lines[1].replace(b"b", b"c"),
        lines[1].replace(b"\t", b"\n", 1),
        b"\0\0\0\n",
        b"\xff\xfe\t{}\n",
        b"[" * 100_000 + b"\t{}\t0\n",
        b'{"image": 5}\t{}\n',
    ):
        caplog.clear()
        log.write_bytes(b"".join([head, valid, bad, lines[2]]))
        summary = segment(photos, tmp_path / "out")
        assert (summary.done, summary.kept) == (1, 2), bad[:50]
        assert contents(tmp_path / "out") == expected
        (text, other) = sorted(record.getMessage() for record in caplog.records)[:2]
        assert "damaged lines of done/" in text and "no log of keras-parts: done/notes" in other
        for extra in set((tmp_path / "out/done").glob("*.log")) - {log}:
            extra.unlink()


def test_every_flipped_bit_of_a_log_is_found(photos, tmp_path):
    (photos / "b.png").unlink()
    segment(photos, tmp_path / "out")
    expected = contents(tmp_path / "out")
    (log,) = (tmp_path / "out/done").iterdir()
    content = log.read_bytes()
    for position in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        log.write_bytes(damaged)
        segment(photos, tmp_path / "out")
        assert contents(tmp_path / "out") == expected, position
        for extra in set((tmp_path / "out/done").iterdir()) - {log}:
            extra.unlink()


def test_records_that_are_not_those_of_the_format(photos, tmp_path):
    segment(photos, tmp_path / "out")
    (log,) = (tmp_path / "out/done").iterdir()
    head, *lines = log.read_bytes().splitlines()
    deep = b"[" * 100_000
    for records in (b"{}", b'{"csv": 5}', b'{"csv": [{"colour": 1}]}', deep):
        text = [line.split(b"\t")[0] + b"\t" + records for line in lines]
        log.write_bytes(b"\n".join([head, *(b"%s\t%08x" % (x, zlib.crc32(x)) for x in text), b""]))
        with pytest.raises(KerasPartsError, match=r"parts\.csv cannot be written.*--overwrite"):
            segment(photos, tmp_path / "out")
