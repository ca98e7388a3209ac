"""A run as a user makes it: small, on drawn animals, with everything it leaves behind."""

import json
import os
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_parts import data
from keras_parts.errors import ConfigError
from keras_parts.segmenter import PartSegmenter
from keras_parts.training.recipes import recipe
from keras_parts.training.run import build_segmenter, train
from keras_parts.training.run_folder import RunFolder
from tests.training.stored import stored_weights

pytestmark = pytest.mark.backend
SETTINGS = {
    "parts": 3, "steps": 8, "batch_size": 2, "size": 65, "loss_size": 17, "warmup": 2, "ema": 0.9,
    "weights.clusters": 2.0, "start_steps": 6, "prominence": 1.0,
}  # fmt: skip

# Trains in a process that kills itself when the checkpoint of step 4 is there.
KILLED = """
import os, signal, sys
from keras_parts.training import callbacks

class Killed(callbacks.CheckpointCallback):
    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        if epoch == 5:
            os.kill(os.getpid(), signal.SIGKILL)

from keras_parts.training import run
run.CheckpointCallback = Killed
run._SHEETS = 10  # every fourth of the intervals, which are one step each
from tests.training.test_run import chosen, drawn
run.train(chosen(), drawn(), sys.argv[1], progress=False)
"""


def chosen(**settings):
    return recipe("toy", **SETTINGS | settings)


def drawn():
    return data.load("toy", "train", count=6, size=97)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, train(chosen(), drawn(), folder, progress=False)


def test_a_run_leaves_all_its_files(finished):
    folder, summary = finished
    for name in ("config.json", "metrics.jsonl", "curves.png", "segmenter/segmenter.json"):
        assert (folder / name).is_file(), name
    assert list((folder / "samples").glob("*.png"))
    records = RunFolder(folder).metrics()
    assert [record["step"] for record in records] == list(range(1, 9))
    assert [record["clusters"] > 0 for record in records] == [True] * 6 + [False] * 2
    assert set(recipe("toy").weights) < set(records[0])
    assert summary["steps"] == 8 and np.isfinite(summary["loss"])
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["parts"] == 3
    assert config["data"] == {
        "dataset": "toy", "split": "train", "images": 6, "categories": 6, "licence": "Apache-2.0",
    }  # fmt: skip
    assert config["versions"]["backend"] == keras.config.backend()
    assert PartSegmenter.from_preset(folder / "segmenter").parts == 3


def test_a_run_is_not_overwritten_or_resumed_with_other_settings(finished):
    folder, _ = finished
    with pytest.raises(ConfigError, match="holds a run"):
        train(chosen(), drawn(), folder, progress=False)
    with pytest.raises(ConfigError, match="parts was 3, is 4"):
        train(chosen(parts=4), drawn(), folder, resume=True, progress=False)


def values(segmenter):
    return {v.path: keras.ops.convert_to_numpy(v) for v in segmenter.variables}


def test_another_segmenter_as_the_start(finished):
    start = finished[0] / "segmenter"
    trained = values(PartSegmenter.from_preset(start))
    same = values(build_segmenter(chosen(init_from=str(start))))
    assert same.keys() == trained.keys()
    assert all((same[name] == trained[name]).all() for name in trained)
    other = values(build_segmenter(chosen(init_from=str(start), parts=5)))
    different = {name for name in trained if not np.array_equal(other[name], trained[name])}
    assert different and all("/logits/" in name for name in different)
    with pytest.raises(ConfigError, match="'small', the recipe's is 'efficientnet_lite0'"):
        build_segmenter(chosen(init_from=str(start), architecture="efficientnet_lite0"))


def test_another_segmenter_as_the_start_and_the_teacher(finished, tmp_path):
    start = str(finished[0] / "segmenter")
    settings = dict(teacher="segmenter", teacher_layers=(), teacher_weights=start, steps=3)
    summary = train(chosen(**settings, init_from=start), drawn(), tmp_path / "run", progress=False)
    assert np.isfinite(summary["loss"])
    assert summary["clusters"] == 0  # it goes on with the parts that are there


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
