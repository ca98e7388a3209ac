"""A run as a user makes it: small, on drawn animals, with everything it leaves behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import keras
import numpy as np
import pytest

from keras_parts import data
from keras_parts.data.features import FeaturesTooLarge
from keras_parts.discovery.model import PartDiscovery
from keras_parts.environment import FEATURES_VARIABLE, HOME_VARIABLE
from keras_parts.errors import ConfigError
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.training import build, run
from keras_parts.training.build import build_segmenter, build_teacher, prepare_batches
from keras_parts.training.recipes import recipe
from keras_parts.training.run import train
from keras_parts.training.run_folder import RunFolder
from tests.small import register_tiny
from tests.training.stored import stored_weights

pytestmark = [pytest.mark.backend, pytest.mark.slow]
BACKEND = keras.config.backend()
SETTINGS = {
    "architecture": register_tiny(), "teacher_layers": ("stage2",),
    "num_parts": 3, "steps": 8, "batch_size": 2, "image_size": 65, "loss_size": 17,
    "warmup_steps": 2, "ema_momentum": 0.9, "loss_weights.clusters": 2.0,
    "clusters.decay_steps": 6, "prominence_exponent": 1.0,
}  # fmt: skip

# Trains in a process that kills itself after step 5; the last checkpoint is that of step 4.
KILLED = """
import os, signal, sys
from keras_parts.training import callbacks

class Killed(callbacks.CheckpointCallback):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if epoch == 4:
            os.kill(os.getpid(), signal.SIGKILL)

from keras_parts.training import run
run.CheckpointCallback = Killed
from tests.training.test_run import chosen, drawn
run.train(chosen(), drawn(), sys.argv[1], progress=False)
"""


def chosen(**settings):
    return recipe("toy", **SETTINGS | settings)


def drawn():
    return data.load("toy", "train", count=7, size=97)


class Counted(PartDiscovery):
    """Counts how often Python computes the losses: once a trace, or once a step without one."""

    counts = []

    def compute_losses(self, batch, training=True):
        self.counts[-1] += 1
        return super().compute_losses(batch, training)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    Counted.counts.append(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PartDiscovery", Counted)
        return folder, train(chosen(), drawn(), folder, progress=False)


def test_a_run_leaves_all_its_files(finished):
    folder, summary = finished
    for name in ("config.json", "metrics.jsonl", "curves.png", "segmenter/segmenter.json"):
        assert (folder / name).is_file(), name
    assert list((folder / "samples").glob("*.png"))
    records = RunFolder(folder).metrics()
    assert [record["step"] for record in records] == list(range(1, 9))
    assert [record["clusters"] > 0 for record in records] == [True] * 6 + [False] * 2
    assert set(recipe("toy").loss_weights) < set(records[0])
    assert summary["steps"] == 8 and np.isfinite(summary["loss"])
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["num_parts"] == 3
    assert config["data"] == {
        "dataset": "toy", "split": "train", "images": 7, "categories": 7, "licence": "Apache-2.0",
    }  # fmt: skip
    assert config["versions"]["backend"] == keras.config.backend()
    assert PartSegmenter.from_preset(folder / "segmenter").num_parts == 3


def test_a_run_leaves_no_threads(finished):
    assert not [each for each in threading.enumerate() if each.name.startswith("keras-parts-data")]


@pytest.mark.backend("tensorflow", "jax")  # PyTorch compiles nothing here
def test_a_step_is_compiled_once(finished):
    """In eight epochs of `fit`, over a data set that is no whole number of batches."""
    assert Counted.counts[0] == 1


@pytest.mark.backend("tensorflow", "jax")  # on PyTorch Keras makes one step at a time
def test_several_steps_an_execution_are_the_same_steps(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_INTERVALS", 4)  # of two steps each
    monkeypatch.setattr(run, "_SHEETS", 2)  # pictures and checkpoints every four
    path, settings = tmp_path / "run", chosen(steps_per_execution=2)
    train(settings, drawn(), path, progress=False)
    whole, single = stored_weights(path), stored_weights(finished[0])
    for name, value in single.items():
        np.testing.assert_allclose(whole[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    records, singles = (RunFolder(folder).metrics() for folder in (path, finished[0]))
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    for record, two in zip(records, zip(singles[::2], singles[1::2], strict=True), strict=True):
        assert record["skipped_steps"] == 0
        assert record["loss"] == pytest.approx((two[0]["loss"] + two[1]["loss"]) / 2, rel=1e-4)

    shutil.rmtree(path / "checkpoints" / "step-00000008")
    (path / "checkpoints" / "latest").write_text("step-00000004")
    train(settings, drawn(), path, resume=True, progress=False)
    for name, value in stored_weights(path).items():
        np.testing.assert_array_equal(value, whole[name], err_msg=name)


def test_steps_an_execution_must_divide_the_log_interval(tmp_path):
    with pytest.raises(ConfigError, match="does not divide the 6 steps .* take 1 or 2 or 3 or 6"):
        train(chosen(steps=240, steps_per_execution=4), drawn(), tmp_path / "run")
    if BACKEND == "torch":
        with pytest.raises(ConfigError, match="on PyTorch Keras makes one step at a time"):
            train(chosen(steps=240, steps_per_execution=3), drawn(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_kept_features_are_of_float32_whatever_the_precision(tmp_path, monkeypatch):
    kept = {}
    for precision in ("mixed_bfloat16", "float32"):
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / precision))
        with build.precision_policy(precision):
            settings = chosen(precision=precision)
            batches, teacher, _ = prepare_batches(
                settings, drawn(), build_teacher(settings), progress=False
            )
        assert teacher is None
        kept[precision] = batches.batch(0)["features"]
    np.testing.assert_array_equal(kept["mixed_bfloat16"], kept["float32"])
    in_steps = build_teacher(chosen(precision="mixed_bfloat16", **{"crops.jitter": 0.05}))
    assert in_steps.network.layers[1].compute_dtype == "bfloat16"


def test_without_room_for_features_the_teacher_runs_in_every_step(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv(FEATURES_VARIABLE, "1e-9")
    settings = chosen(standardise=False)
    teacher = build_teacher(settings)
    with pytest.warns(UserWarning, match=f"Raise {FEATURES_VARIABLE}, .* the teacher runs in ev"):
        batches, teacher, _ = prepare_batches(settings, drawn(), teacher, progress=False)
    batch = batches.batch(0)
    assert "features" not in batch
    assert tuple(teacher(batch["image"]).shape[:1]) == (2,)
    with pytest.raises(FeaturesTooLarge, match=FEATURES_VARIABLE):
        prepare_batches(chosen(teacher_size=97), drawn(), teacher, progress=False)


def test_a_run_is_not_overwritten_or_resumed_with_other_settings(finished):
    folder, _ = finished
    with pytest.raises(ConfigError, match="holds a run"):
        train(chosen(), drawn(), folder, progress=False)
    with pytest.raises(ConfigError, match="num_parts was 3, is 4"):
        train(chosen(num_parts=4), drawn(), folder, resume=True, progress=False)


def values(segmenter):
    return {v.path: keras.ops.convert_to_numpy(v) for v in segmenter.variables}


def test_another_segmenter_as_the_start(finished):
    start = finished[0] / "segmenter"
    trained = values(PartSegmenter.from_preset(start))
    same = values(build_segmenter(chosen(init_from=str(start))))
    assert same.keys() == trained.keys()
    assert all((same[name] == trained[name]).all() for name in trained)
    other = values(build_segmenter(chosen(init_from=str(start), num_parts=5)))
    different = {name for name in trained if not np.array_equal(other[name], trained[name])}
    assert different and all("/logits/" in name for name in different)
    with pytest.raises(ConfigError, match="'tiny', the recipe's is 'efficientnet_lite0'"):
        build_segmenter(chosen(init_from=str(start), architecture="efficientnet_lite0"))


def test_another_segmenter_as_the_start_and_the_teacher(finished, tmp_path):
    start = str(finished[0] / "segmenter")
    settings = dict(teacher="segmenter", teacher_layers=(), teacher_weights=start, steps=3)
    summary = train(chosen(**settings, init_from=start), drawn(), tmp_path / "run", progress=False)
    assert np.isfinite(summary["loss"])
    assert summary["clusters"] == 0  # the parts of the segmenter are kept


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_resuming_after_kill_9_gives_the_weights_of_an_uninterrupted_run(finished, tmp_path):
    folder, _ = finished
    path = tmp_path / "killed"
    result = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (path / "segmenter").exists()
    train(chosen(), drawn(), path, resume=True, progress=False)
    whole, resumed = stored_weights(folder), stored_weights(path)
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    assert [r["step"] for r in RunFolder(path).metrics()] == list(range(1, 9))
