"""The run folder overwrites nothing unasked, has no line twice, and names neither user nor host."""

import contextlib
import getpass
import itertools
import json
import os
import platform
import re
from pathlib import Path

import numpy as np
import pytest

import keras_parts
from keras_parts.errors import ConfigError, DataError
from keras_parts.training.run_folder import RunFolder, check_settings, not_finished


@pytest.fixture
def run(tmp_path):
    run = RunFolder.create(tmp_path / "runs" / "first")
    run.write_config({"steps": 5, "weights": {"a": 1.5}, "layers": ("x", "y")}, seed=7)
    return run


def files(run):
    return {path.name: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_a_run_is_not_overwritten_by_default(run):
    before = files(run)
    with pytest.raises(ConfigError, match="--resume.*--overwrite.*--output"):
        RunFolder.create(run.path)
    assert files(run) == before


@pytest.mark.parametrize("part", ["config.json", "metrics.jsonl", "checkpoints", "segmenter"])
def test_any_file_of_a_run_makes_a_folder_a_run(tmp_path, part):
    (tmp_path / part).mkdir()
    with pytest.raises(ConfigError, match="holds a run"):
        RunFolder.create(tmp_path)


def test_overwrite_removes_only_the_files_of_the_run(run):
    run.log({"step": 1})
    run.curves_file.write_bytes(b"1")
    for folder in (run.samples, run.checkpoints, run.segmenter):
        folder.mkdir(exist_ok=True)
        (folder / "something").write_text("1")
    (run.path / "notes.txt").write_text("mine")
    RunFolder.create(run.path, overwrite=True)
    assert files(run) == {"notes.txt": b"mine"}
    assert not run.exists()


def test_resume_needs_a_run(tmp_path, run):
    RunFolder(run.path).check_available(resume=True)
    assert RunFolder(run.path).read_config()["seed"] == 7
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="no run to resume"):
            RunFolder(path).check_available(resume=True)
    assert not (tmp_path / "none").exists()
    with pytest.raises(ConfigError, match="give one"):
        RunFolder(run.path).check_available(resume=True, overwrite=True)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        RunFolder.create(tmp_path / "file", overwrite=True)


@pytest.mark.backend  # config.json names it
def test_config_has_settings_and_versions_but_no_private_names(run):
    run.write_config(
        {"data": Path.home() / "birds", "home": str(Path.home()), "rate": np.float32(0.5)},
        seed=3,
        data={"dataset": "cub", "split": "train"},
    )
    config = run.read_config()
    assert config["settings"] == {"data": str(Path("~/birds")), "home": "~", "rate": 0.5}
    assert config["seed"] == 3
    assert config["data"] == {"dataset": "cub", "split": "train"}
    assert config["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", config["commit"])
    versions = config["versions"]
    assert versions["keras_parts"] == keras_parts.__version__
    assert versions["python"] == platform.python_version()
    assert versions[versions["backend"]][0].isdigit()
    text = run.config_file.read_text()
    for private in (platform.node(), str(Path.home()), str(run.path)):
        assert private not in text
    assert getpass.getuser() not in json.dumps(config["platform"])


def test_a_run_is_only_resumed_with_its_own_settings(run):
    run.check_settings({"steps": 5, "weights": {"a": 1.5}, "layers": ["x", "y"]})
    with pytest.raises(ConfigError, match=r"steps was 5, is 6; weights\.a was 1\.5, is 2\.0"):
        run.check_settings({"steps": 6, "weights": {"a": 2.0}, "layers": ["x", "y"]})
    later = {"steps": 5, "weights": {"a": 1.5}, "layers": ["x", "y"], "new": 1}
    run.check_settings(later, complete=lambda settings: {"steps": 9, "new": 1} | settings)
    with pytest.raises(ConfigError, match="settings: new was 2, is 1. Repeat the command"):
        run.check_settings(later, complete=lambda settings: {"new": 2} | settings)
    run.config_file.write_text("{")
    with pytest.raises(DataError, match="config.json"):
        run.check_settings({})


def test_metrics_are_a_json_object_per_line(run):
    assert run.metrics() == []
    run.log({"step": 1, "loss": 0.5})
    run.log({"step": 2, "loss": float("nan"), "other": np.float32(np.inf)})
    assert run.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": None, "other": None}]
    assert run.metrics_file.read_bytes().count(b"\n") == 2


def test_no_line_is_written_twice_after_a_resume(run):
    for step in (10, 20, 30):
        run.log({"step": step, "loss": 1 / step})
    lines = run.metrics_file.read_bytes().splitlines(keepends=True)
    with open(run.metrics_file, "a") as file:
        file.write('{"step": 40, "lo')  # killed while writing
    assert [record["step"] for record in run.metrics()] == [10, 20, 30]
    run.rewind(20)
    assert run.metrics_file.read_bytes() == b"".join(lines[:2])
    run.log({"step": 30, "loss": 1 / 30})
    assert run.metrics_file.read_bytes() == b"".join(lines)
    run.rewind(0)
    assert run.metrics() == []


def test_the_error_for_a_damaged_line_names_it(run):
    run.metrics_file.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(DataError, match="metrics.jsonl: line 2"):
        run.metrics()


def test_config_of_version_0_1_is_read_with_current_names(run):
    settings = {"parts": 3, "temperature": 0.2, "box_jitter": 0.0}
    run.config_file.write_text(json.dumps({"settings": settings, "seed": 1}))
    assert run.read_config()["settings"] == {
        "num_parts": 3,
        "loss_settings": {"contrastive": {"temperature": 0.2}},
        "crops": {"jitter": 0.0},
    }
    run.config_file.write_text(json.dumps({"format": 3, "settings": settings}))
    with pytest.raises(DataError, match="config.json is of format 3, .* update keras-parts"):
        run.read_config()


def test_a_run_without_log_lines_is_removed_with_the_folders_that_it_made(tmp_path):
    (tmp_path / "mine").mkdir()
    for folder in ("mine", "made/deep"):
        run = RunFolder.create(tmp_path / folder)
        with pytest.raises(KeyboardInterrupt), run.removed_if_empty():
            run.write_config({}, seed=0)
            run.checkpoints.mkdir()
            raise KeyboardInterrupt
    assert [path.name for path in tmp_path.rglob("*")] == ["mine"]


def test_other_files_in_the_folder_are_not_removed(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("notes.txt", "samples/mine.png"):
        (tmp_path / name).write_text("mine")
    run = RunFolder.create(tmp_path)
    with pytest.raises(ValueError), run.removed_if_empty():
        run.write_config({}, seed=0)
        raise ValueError
    assert set(files(run)) == {"notes.txt", "mine.png"}


def test_a_run_with_a_log_line_is_kept(tmp_path):
    run = RunFolder.create(tmp_path)
    with pytest.raises(ValueError), run.removed_if_empty():
        run.write_config({}, seed=0)
        run.log({"step": 1})
        raise ValueError
    assert run.exists() and run.metrics() == [{"step": 1}]


@pytest.mark.parametrize("name", ["file/run", "a\0b", "x" * 300])
def test_a_folder_that_cannot_be_made(tmp_path, name):
    (tmp_path / "file").touch()
    for method in (RunFolder.check_available, RunFolder.make):
        with pytest.raises(
            ConfigError, match=r"cannot be written to \(.*\): choose another --outp"
        ):
            method(RunFolder(tmp_path / name))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_may_not_be_written_to(unprivileged):
    (unprivileged / "locked").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="Permission denied.*choose another --output"):
        RunFolder(unprivileged / "locked" / "run").check_available()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="this system has no /proc")
def test_a_file_system_that_has_no_folders_of_others():
    with pytest.raises(ConfigError, match="/proc/run cannot be written to .No such file"):
        RunFolder("/proc/run").check_available()


def test_one_process_writes_a_run(run):
    with run.locked(), run.locked():
        with (
            pytest.raises(ConfigError, match="another process is training this run"),
            RunFolder(run.path).locked(),
        ):
            pass
        assert (run.path / ".lock").exists() and not_finished(run.path).endswith(": wait for it")
    assert "--resume" in not_finished(run.path)
    with RunFolder(run.path).locked():
        pass
    assert not (run.path / ".lock").exists()


def test_a_failed_run_leaves_no_folder_although_it_was_locked(tmp_path):
    run = RunFolder.create(tmp_path / "made" / "run")
    with pytest.raises(ValueError), run.locked(), run.removed_if_empty():
        raise ValueError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["metrics.jsonl", "samples", "checkpoints", "segmenter"])
@pytest.mark.parametrize("options", [{"overwrite": True}, {"resume": True}], ids=str)
def test_what_a_link_points_to_is_neither_written_nor_removed(tmp_path, run, part, options):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    if (run.path / part).exists():
        (run.path / part).rmdir()
    (run.path / part).symlink_to(outside / "mine" if part == "metrics.jsonl" else outside)
    with pytest.raises(ConfigError, match=f"{part} is a link: remove it"):
        run.check_available(**options)
    if "overwrite" in options:
        with pytest.raises(ConfigError, match="is a link"):
            RunFolder.create(run.path, overwrite=True)
    assert [path.name for path in outside.iterdir()] == ["mine"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("part", ["samples", "checkpoints", "segmenter"])
def test_pipes_in_place_of_folders_are_refused(run, part):
    path = getattr(run, part)
    if path.exists():
        path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=f"{part} is no folder: remove it"):
        run.check_available(resume=True)


def test_parts_of_the_wrong_kind_are_refused(run):
    run.samples.rmdir()
    run.samples.touch()
    with pytest.raises(ConfigError, match="samples is no folder: remove it"):
        run.check_available(resume=True)
    run.samples.unlink()
    run.config_file.unlink()
    run.config_file.mkdir()
    with pytest.raises(ConfigError, match=r"config\.json is no regular file"):
        run.check_available(resume=True)


DEEP = b'{"settings": ' + b"[" * 50_000


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 99, b"\xff\xfe", b"[]", b"5", b'"text"', b"null", DEEP, b"9" * 5000,
        b'{"settings": [], "seed": 0}', b'{"settings": {}, "seed": null}', b'{"seed": 0}',
        b'{"format": "2"}', b'{"format": null}', b'{"format": [2]}',
        b'{"settings": {"crops": 5, "padding": 1}, "seed": 0}',
        b'{"settings": {}, "seed": 0, "data": []}',
        b'{"settings": {}, "seed": 0, "data": {"split": 1}}',
    ],
    ids=range(18),
)  # fmt: skip
def test_a_damaged_config_says_so(run, content):
    run.config_file.write_bytes(content)
    with pytest.raises(
        DataError, match=r"config\.json is not the settings of a run: .*--overwrite"
    ):
        run.read_config()


def test_any_change_of_config_is_an_error_or_read(run):
    """Settings of every wrong type: one error of ours, or a run that may be resumed."""
    from keras_parts.training.recipes import recipe

    values = [None, True, 5, -1, 1e400, 10**30, "x", [], [1], [[]], {}, {"a": 1}, {"": []}]
    chosen = recipe("toy")
    settings = chosen.to_json()
    for name, value in itertools.product([*settings, "later"], values):
        config = {"format": 2, "settings": settings | {name: value}, "seed": 0}
        run.config_file.write_text(json.dumps(config))
        with contextlib.suppress(DataError, ConfigError):
            check_settings(run, chosen)
            assert value == settings[name] or value in (True, {}, None), (name, value)


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 20,
        b"\xff",
        b"[]",
        b"5",
        b'{"loss": 1}',
        b'{"step": "1"}',
        b'{"step": 1, "loss": "x"}',
    ],
)
def test_a_damaged_line_is_named(run, line):
    run.metrics_file.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2 is damaged.*remove the line"):
        run.metrics()
    run.metrics_file.write_bytes(b'{"step": 1}\n' + line)
    assert run.metrics() == [{"step": 1}]


def test_rewinding_removes_later_sample_sheets(run):
    for step in (10, 20, 30):
        run.log({"step": step})
        run.sheet_file(step).touch()
    (run.samples / "mine.png").touch()
    run.rewind(20)
    assert sorted(path.name for path in run.samples.iterdir()) == [
        "mine.png", "step-00000010.png", "step-00000020.png",
    ]  # fmt: skip
