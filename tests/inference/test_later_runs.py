"""A run into a folder with earlier results leaves what a run into an empty folder leaves."""

import errno
import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_parts.inference import segment_files
from keras_parts.inference.writers import same_records
from keras_parts.inference.writers.descriptors import NumpyDescriptorsWriter
from keras_parts.inference.writers.table import CsvWriter
from tests.inference.doubles import contents, predictor

FORMATS = ["indexed", "overlay", "cutouts", "csv"]


def segment(photos, folder, formats=FORMATS, **options):
    return segment_files(predictor(), [photos], folder, formats, **options)


def assert_as_fresh(photos, tmp_path, **options):
    """Run again, and compare with a run into an empty folder; the number of new results."""
    done = segment(photos, tmp_path / "out", **options).done
    fresh = tmp_path / f"fresh{len(list(tmp_path.glob('fresh*')))}"
    segment(photos, fresh)
    assert contents(tmp_path / "out") == contents(fresh)
    folders = [path for path in (tmp_path / "out").rglob("*") if path.is_dir()]
    assert all(any(folder.iterdir()) for folder in folders)
    return done


def save(path, value=9):
    Image.fromarray(np.full((20, 10, 3), value, np.uint8)).save(path)


def test_an_image_of_the_same_name_joins_and_leaves(photos, tmp_path):
    segment(photos, tmp_path / "out")
    save(photos / "a.jpg")
    assert assert_as_fresh(photos, tmp_path) == 2
    save(photos / "a.jpg.png")
    assert_as_fresh(photos, tmp_path)
    (photos / "a.png").unlink()
    assert_as_fresh(photos, tmp_path)
    (photos / "a.jpg").unlink()
    (photos / "a.jpg.png").unlink()
    assert_as_fresh(photos, tmp_path)
    assert assert_as_fresh(photos, tmp_path) == 0


def test_more_formats_are_added_without_writing_the_others_again(photos, tmp_path, caplog):
    segment(photos, tmp_path / "out", ["indexed", "csv"])
    dates = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/indexed").rglob("*.png")}
    again = segment(photos, tmp_path / "out", ["cutouts"])
    assert again.done == 3 and again.formats == ("indexed", "csv", "cutouts")
    assert "cutouts cannot be written from the results in" in caplog.text
    assert len(dates) == 3 and all(path.stat().st_mtime_ns == dates[path] for path in dates)
    segment(photos, tmp_path / "fresh", ["indexed", "csv", "cutouts"])
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")
    assert segment(photos, tmp_path / "out", ["indexed"]).done == 0
    save(photos / "new.png")
    assert segment(photos, tmp_path / "out", ["csv"]).done == 1
    assert (tmp_path / "out/cutouts/new").is_dir()


def test_formats_with_the_same_records_are_written_without_segmenting(photos, tmp_path):
    segment(photos, tmp_path / "out", ["descriptors-npy", "csv"])
    kinds = {"csv": CsvWriter, "descriptors-npy": NumpyDescriptorsWriter}
    assert all(same_records(name) > {name} and kind.merged for name, kind in kinds.items())
    pytest.importorskip("pyarrow")
    added = segment(photos, tmp_path / "out", ["parquet", "descriptors"])
    assert (added.done, added.kept) == (0, 3)
    segment(photos, tmp_path / "fresh", added.formats)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_formats_are_added_to_results_of_earlier_versions(photos, tmp_path):
    segment(photos, tmp_path / "out", ["indexed"])
    (log,) = (tmp_path / "out/done").iterdir()
    head, *lines = log.read_bytes().splitlines()
    configuration = json.loads((tmp_path / "out/run.json").read_text())["configuration"]
    text = json.dumps(configuration, sort_keys=True)
    old = [json.dumps({"configuration": hashlib.sha256(text.encode()).hexdigest()}).encode()]
    for line in lines:
        values, records, _ = line.split(b"\t")
        values = json.loads(values)
        assert values.pop("formats") == ["indexed"]
        old.append(json.dumps(values).encode() + b"\t" + records)
    log.write_bytes(b"\n".join(old) + b"\n")
    assert segment(photos, tmp_path / "out", ["indexed"]).done == 0
    assert segment(photos, tmp_path / "out", ["csv"]).done == 3
    segment(photos, tmp_path / "fresh", ["indexed", "csv"])
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_an_image_that_fails_later_has_no_results(photos, tmp_path):
    segment(photos, tmp_path / "out")
    (photos / "b.png").write_text("damaged")
    assert_as_fresh(photos, tmp_path)
    save(photos / "b.png")
    assert assert_as_fresh(photos, tmp_path) == 1


def test_an_image_that_loses_a_part_loses_its_cutout(photos, tmp_path):
    segment(photos, tmp_path / "out")
    black = np.zeros((60, 80, 3), np.uint8)
    black[:, :20] = 200
    Image.fromarray(black).save(photos / "a.png")
    assert_as_fresh(photos, tmp_path)
    assert not (tmp_path / "out/cutouts/a/2.png").exists()


def test_removed_images_lose_their_results_and_others_keep_them(photos, tmp_path, caplog):
    segment(photos, tmp_path / "out")
    (photos / "b.png").unlink()
    assert assert_as_fresh(photos, tmp_path) == 0 and not caplog.records
    segment(photos / "sub", tmp_path / "out")
    assert (tmp_path / "out/indexed/sub/a.png").exists()
    assert "not among the inputs (1, such as sub/a.png): they are kept" in caplog.text


def test_results_that_another_image_has_overwritten_are_made_again(photos, tmp_path):
    save(photos / "b.jpg")
    for name in ("b.png", "b.jpg", "b.png"):
        segment_files(predictor(), [photos / name], tmp_path / "out", FORMATS)
        segment_files(predictor(), [photos / name], tmp_path / name, FORMATS)
        expected = (tmp_path / name / "overlay/b.jpg").read_bytes()
        assert (tmp_path / "out/overlay/b.jpg").read_bytes() == expected


@pytest.mark.parametrize("number", ["1764511111111111111", "9" * 60])
def test_the_order_of_runs_does_not_come_from_the_clock(photos, tmp_path, number):
    folder = tmp_path / "out"
    segment(photos, folder)
    (log,) = (folder / "done").iterdir()
    log.rename(log.with_name(f"{number}-ffffffff.log"))  # as version 0.1 named it
    save(photos / "b.png")
    (photos / "a.png").write_text("damaged")
    assert_as_fresh(photos, tmp_path)
    (photos / "a.png").unlink()
    save(photos / "a.png")
    for expected in (1, 0):
        assert assert_as_fresh(photos, tmp_path) == expected


def test_durations_do_not_come_from_the_clock(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", iter(range(10**9, 0, -1)).__next__)
    assert segment(photos, tmp_path / "out").seconds > 0


def test_verify_finds_a_change_that_keeps_size_and_date(photos, tmp_path):
    path = photos / "b.bmp"
    save(path)
    segment(photos, tmp_path / "out")
    status = path.stat()
    save(path, 200)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert segment(photos, tmp_path / "out").done == 0
    assert assert_as_fresh(photos, tmp_path, verify=True) == 1


def test_logs_without_checksums_are_read(photos, tmp_path):
    segment(photos, tmp_path / "out")
    (log,) = (tmp_path / "out/done").iterdir()
    head, *lines = log.read_bytes().splitlines()
    old = [line.rpartition(b"\t")[0].replace(b', "withdrawn": false', b"") for line in lines]
    head = head.replace(b', "checksums": true', b"")
    log.write_bytes(b"\n".join([head, *old, b""]))
    assert assert_as_fresh(photos, tmp_path) == 0


def test_a_merged_file_that_cannot_be_written_stops_the_run(photos, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CsvWriter, "merge", full)
        with pytest.raises(OSError, match="No space left"):
            segment(photos, tmp_path / "out")
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "stopped"
    assert_as_fresh(photos, tmp_path)


def test_results_at_an_address(photos, tmp_path):
    store = pytest.importorskip("fsspec").filesystem("memory")
    segment(photos, "memory://later/out")
    save(photos / "a.jpg")
    (photos / "b.png").write_text("damaged")
    segment(photos, "memory://later/out")
    (photos / "a.jpg").unlink()
    segment(photos, "memory://later/out")
    names = {path.removeprefix("/later/out/") for path in store.find("/later/out")}
    store.rm("/later", recursive=True)
    segment(photos, tmp_path / "fresh")
    assert {name for name in names if not name.startswith(("done/", "run"))} == set(
        contents(tmp_path / "fresh")
    )
