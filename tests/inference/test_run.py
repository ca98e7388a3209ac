"""Finished images are kept, and a resumed run writes the same files as an undisturbed one."""

import errno
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError, KerasPartsError
from keras_parts.inference import (
    find_images,
    output,
    recorded_batch_size,
    recorded_runtime,
    segment_files,
)
from keras_parts.inference.inputs import select_shard
from tests.inference.doubles import contents, halves, predictor

FORMATS = ["indexed", "overlay", "cutouts", "label-studio", "cvat", "csv", "descriptors-npy"]


def segment(photos, folder, forward=halves, formats=FORMATS, tile=None, **options):
    return segment_files(predictor(forward, tile=tile), [photos], folder, formats, **options)


def outputs(folder):
    """Names of the results, without logs and unfinished files."""
    kinds = (".unfinished/", "done/")
    return {name for name in contents(folder) if "/" in name and not name.startswith(kinds)}


@pytest.fixture
def many(tmp_path):
    """Folder of 40 images and three that fail."""
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(40):
        size = (*rng.integers(20, 60, 2), 3)
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(folder / f"{index}.png")
    for index in range(3):
        (folder / f"bad{index}.jpg").write_text("no image")
    return folder


def test_a_second_run_segments_nothing_again(photos, tmp_path):
    segment(photos, tmp_path / "out")
    before = contents(tmp_path / "out")
    calls = []
    summary = segment(photos, tmp_path / "out", lambda images: calls.append(1))
    assert (summary.found, summary.done, summary.kept, summary.complete) == (3, 0, 3, True)
    assert not calls and contents(tmp_path / "out") == before


def test_another_runtime_is_another_run(photos, tmp_path):
    def run(runtime):
        with_runtime = predictor(halves)
        with_runtime.settings = {**with_runtime.settings, **runtime}
        return segment_files(with_runtime, [photos], tmp_path / "out", ["indexed"])

    assert recorded_runtime(tmp_path / "out") is None
    run({"runtime": "onnx"})
    assert recorded_runtime(tmp_path / "out") == "onnx"
    with pytest.raises(ConfigError, match='runtime was "onnx", is "keras"'):
        run({})


def test_only_missing_changed_and_new_images_are_segmented(photos, tmp_path):
    folder = tmp_path / "out"
    (photos / "bad.png").touch()
    segment(photos, folder)
    (folder / "overlay/b.jpg").unlink()
    Image.new("RGB", (33, 44), (9, 9, 9)).save(photos / "a.png")
    Image.new("RGB", (20, 10), (9, 9, 9)).save(photos / "new.png")
    os.utime(photos / "sub/a.png", (1, 1))  # touched, but with the same content
    summary = segment(photos, folder)
    assert (summary.found, summary.done, summary.kept, summary.failed) == (5, 3, 1, 1)
    Image.new("RGB", (20, 10), (9, 9, 9)).save(photos / "bad.png")
    assert segment(photos, folder).done == 1
    assert not (folder / "failures.jsonl").exists()
    segment(photos, tmp_path / "again")
    assert contents(folder) == contents(tmp_path / "again")


def test_files_of_all_images_follow_the_inputs(photos, tmp_path):
    segment(photos, tmp_path / "out")
    (photos / "b.png").unlink()
    segment(photos, tmp_path / "out")
    assert "b.png" not in (tmp_path / "out/parts.csv").read_text()


def test_results_of_another_run_are_not_mixed(photos, tmp_path):
    folder = tmp_path / "out"
    segment(photos, folder)
    with pytest.raises(ConfigError, match=r"run\.json.*tile was null, is 20.*--overwrite"):
        segment(photos, folder, tile=20)
    with pytest.raises(ConfigError, match='they are of the model "", and this is "cub". Choose'):
        segment(photos, folder, model="cub")
    (folder / "mine.txt").write_text("not ours")
    summary = segment(photos, folder, formats=["csv"], overwrite=True)
    assert summary.done == 3
    assert set(contents(folder)) == {"mine.txt", "labels.json", "parts.csv"}


def test_run_files_of_other_programs_are_kept(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text('{"epochs": 3}')
    with pytest.raises(ConfigError, match=r"run\.json was not written by"):
        segment(photos, tmp_path / "out")


def test_run_file_records_settings_and_counts(photos, tmp_path):
    (photos / "bad.png").touch()
    segment(photos, tmp_path / "out", model="birds", arguments={"paths": ["in"]})
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "complete" and record["arguments"] == {"paths": ["in"]}
    counts = {"found": 4, "done": 3, "failed": 1, "kept": 0, "remaining": 0}
    assert record["counts"] == counts
    assert record["configuration"]["model"] == "birds"
    assert record["configuration"]["formats"] == FORMATS
    assert {"keras_parts", "python", "numpy", "pillow"} <= set(record["versions"])
    assert record["timing"]["seconds"] > 0
    assert recorded_batch_size(tmp_path / "out") == 8 and recorded_batch_size(tmp_path) is None


def test_a_dry_run_counts_and_writes_nothing(photos, tmp_path):
    summary = segment(photos, tmp_path / "out", dry_run=True)
    assert (summary.found, summary.kept) == (3, 0) and not (tmp_path / "out").exists()
    segment(photos, tmp_path / "out")
    (tmp_path / "out/indexed/b.png").unlink()
    before = contents(tmp_path / "out")
    summary = segment(photos, tmp_path / "out", dry_run=True)
    assert (summary.found, summary.kept) == (3, 2) and contents(tmp_path / "out") == before
    with pytest.raises(ConfigError, match="another run"):
        segment(photos, tmp_path / "out", tile=20, dry_run=True)


def test_too_many_failures_stop_the_run(many, tmp_path):
    with pytest.raises(KerasPartsError, match=r"stopped after 2 failed images, of which 1"):
        segment(many, tmp_path / "out", max_failures=1)
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "stopped" and record["counts"]["failed"] == 2
    assert len((tmp_path / "out/failures.jsonl").read_text().splitlines()) == 2
    assert segment(many, tmp_path / "out", max_failures=3).complete
    segment(many, tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_shards_are_disjoint_and_stable(many):
    files = find_images([many])
    shares = [select_shard(files, f"{i}/4") for i in range(1, 5)]
    assert sorted(file.relative for share in shares for file in share) == sorted(
        file.relative for file in files
    )
    assert all(shares)
    fewer = [file for file in files if file.relative != shares[0][0].relative]
    assert [select_shard(fewer, f"{i}/4") for i in range(2, 5)] == shares[1:]


def test_four_shards_equal_one_run(many, tmp_path):
    segment(many, tmp_path / "one")
    summaries = [segment(many, tmp_path / "four", shard=f"{index}/4") for index in (3, 1, 4, 2)]
    assert [summary.complete for summary in summaries] == [False, False, False, True]
    assert sum(summary.found for summary in summaries) == 43
    assert contents(tmp_path / "four") == contents(tmp_path / "one")
    record = json.loads((tmp_path / "four/run.json").read_text())
    assert record["counts"]["done"] == 40 and record["counts"]["failed"] == 3
    # Running a shard or all of them again segments nothing.
    assert segment(many, tmp_path / "four", shard="2/4").kept > 0
    assert segment(many, tmp_path / "four").kept == 40
    assert contents(tmp_path / "four") == contents(tmp_path / "one")


def segment_slowly(photos, folder, pause, options):
    """`segment`, with a pause before each batch."""
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def slow(images):
        time.sleep(pause)
        return halves(images)

    segment(photos, folder, slow, **options)


@pytest.fixture(scope="module")
def start():
    """Start `segment_slowly` in another process, forked from one that imported this module."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes are killed and interrupted by signals")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start(photos, folder, pause=0.0, **options):
        process = context.Process(
            target=segment_slowly, args=(photos, folder, pause, options), daemon=True
        )
        process.start()
        return process

    return start


def test_shards_at_the_same_time(many, tmp_path, start):
    segment(many, tmp_path / "one")
    processes = [start(many, tmp_path / "four", shard=f"{i}/4") for i in range(1, 5)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert contents(tmp_path / "four") == contents(tmp_path / "one")


@pytest.mark.slow
def test_killed_at_ten_moments_and_resumed(many, tmp_path, start):
    segment(many, tmp_path / "undisturbed")
    draw, kills, folders, finished = random.Random(0), 0, [], set()
    while kills < 10:
        if not finished:
            folders.append(tmp_path / f"killed{len(folders)}")
        process = start(many, folders[-1], pause=0.1)
        # During listing, segmenting, writing or merging: a complete run takes longer.
        time.sleep(draw.uniform(0, 0.5))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            finished = set()  # the next run begins with an empty folder
            continue
        kills += 1
        for path in (folders[-1] / "indexed").rglob("*.png"):
            Image.open(path).load()
        assert finished <= outputs(folders[-1])
        finished = outputs(folders[-1])
    for folder in folders:
        summary = segment(many, folder)
        assert summary.complete and summary.done + summary.kept == 40
        assert contents(folder) == contents(tmp_path / "undisturbed")


def test_interrupted_and_resumed(many, tmp_path, start):
    process = start(many, tmp_path / "out", pause=0.3)
    while process.is_alive() and len(list((tmp_path / "out/indexed").glob("*.png"))) < 4:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 1  # by KeyboardInterrupt, which the command line makes 130
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["status"] == "interrupted" and record["counts"]["remaining"] > 0
    assert not (tmp_path / "out/.unfinished").exists()
    assert not (tmp_path / "out/parts.csv").exists()
    summary = segment(many, tmp_path / "out")
    assert summary.kept >= max(1, record["counts"]["done"])
    segment(many, tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_two_processes_do_not_write_the_same_results(photos, tmp_path):
    folder = output.open_output(tmp_path / "out", "all")
    folder.prepare()
    with pytest.raises(KerasPartsError, match="another process"):
        segment(photos, tmp_path / "out")
    folder.close()
    assert segment(photos, tmp_path / "out").complete


def test_a_full_disk_stops_the_run_and_finished_images_are_kept(many, tmp_path, monkeypatch):
    replace, written = os.replace, []

    def full(source, target):
        if Path(target).suffix == ".png":
            written.append(target)
            if len(written) > 25:
                raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(KerasPartsError, match="No space left"):
        segment(many, tmp_path / "out")
    monkeypatch.undo()
    assert json.loads((tmp_path / "out/run.json").read_text())["status"] == "stopped"
    assert segment(many, tmp_path / "out").kept > 0
    segment(many, tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


def test_a_truncated_log_line_is_ignored(photos, tmp_path):
    segment(photos, tmp_path / "out")
    (log,) = (tmp_path / "out/done").iterdir()
    log.write_bytes(log.read_bytes()[:-20])
    summary = segment(photos, tmp_path / "out")
    assert (summary.done, summary.kept) == (1, 2)
    segment(photos, tmp_path / "again")
    assert contents(tmp_path / "out") == contents(tmp_path / "again")


@pytest.mark.skipif(os.name == "nt", reason="this system has no folders that refuse writing")
def test_the_error_names_a_read_only_folder(unprivileged):
    folders = unprivileged / "in", unprivileged / "out"
    for folder in folders:
        folder.mkdir()
    Image.new("RGB", (30, 20)).save(folders[0] / "a.png")
    folders[1].chmod(0o500)
    with pytest.raises(KerasPartsError, match=r"out.*results cannot be written"):
        segment(*folders)


def test_the_error_names_a_folder_that_refuses(photos, tmp_path, monkeypatch):
    def refuses(path, *args, **options):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "mkdir", refuses)
    with pytest.raises(KerasPartsError, match=r"results cannot be written: Read-only"):
        segment(photos, tmp_path / "out")


def test_an_image_that_vanishes_fails_alone(photos, tmp_path):
    files = find_images([photos])
    (photos / "b.png").unlink()
    summary = segment_files(predictor(), files, tmp_path / "out", ["indexed"])
    assert (summary.done, summary.failed) == (2, 1)
    assert "b.png" in (tmp_path / "out/failures.jsonl").read_text()
