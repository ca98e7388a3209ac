"""Whole training runs, small and on drawn animals: their files, resuming, initial weights."""

import json
import shutil
import signal
import threading
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pytest

from keras_parts import data, zoo
from keras_parts.data.features import FeaturesTooLarge
from keras_parts.discovery.model import PartDiscovery
from keras_parts.environment import FEATURES_VARIABLE, HOME_VARIABLE
from keras_parts.errors import ConfigError
from keras_parts.models.architectures import ARCHITECTURES
from keras_parts.models.heads import FusionHead
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training import build, run
from keras_parts.training.build import build_segmenter, build_teacher, prepare_batches
from keras_parts.training.checks import check_recipe
from keras_parts.training.data_record import record_data
from keras_parts.training.preparation import prepare_training
from keras_parts.training.recipes import recipe, recipe_for
from keras_parts.training.run import train
from keras_parts.training.run_folder import RunFolder
from keras_parts.training.tracking import TRACKERS, Tracker
from tests.processes import finish, start_python
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
from tests.training.test_run import tiny_recipe, toy_samples
run.train(tiny_recipe(), toy_samples(), sys.argv[1], progress=False)
"""


class Noted(Tracker):
    """A tracker that writes down what it gets."""

    title, module = "Noted", "json"
    calls = []

    def __init__(self, folder, settings, previous):
        self.id, self.shown_at, self.settings = "1", "there", settings
        self.calls.append(settings)

    def log(self, step, values):
        self.calls.append((step, values))

    def picture(self, step, file):
        self.calls.append(file.name)

    def finish(self, failed):
        self.calls.append(failed)


class Seen(keras.callbacks.Callback):
    """Writes down the logs of each epoch."""

    logs = {}

    def on_epoch_end(self, epoch, logs=None):
        self.logs[epoch] = dict(logs)


SEEN = Seen()


def tiny_recipe(**settings):
    return recipe("toy", **SETTINGS | settings)


def toy_samples():
    return data.load("toy", "train", count=7, size=97)


class Counted(PartDiscovery):
    """Counts calls of `compute_losses` in Python: one per trace, or one per step if not traced."""

    counts = []

    def compute_losses(self, batch, training=True):
        self.counts[-1] += 1
        return super().compute_losses(batch, training)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "finished"
    Counted.counts.append(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "PartDiscovery", Counted)
        patch.setitem(TRACKERS, "noted", Noted)
        summary = train(
            tiny_recipe(), toy_samples(), folder, progress=False, callbacks=[SEEN], track=["noted"]
        )
        return folder, summary


def test_a_run_writes_all_its_files(finished):
    folder, summary = finished
    for name in ("config.json", "metrics.jsonl", "curves.png", "segmenter/segmenter.json"):
        assert (folder / name).is_file(), name
    assert list((folder / "samples").glob("*.png"))
    page = RunFolder(folder).page_file.read_text(encoding="utf-8")
    for shown in ("curves.png", "samples/step-00000008.png", "page/7.js", "learning_rate"):
        assert f'"{shown}"' in page
    assert len(list(RunFolder(folder).page.iterdir())) == 7 and '"total": 7,' in page
    records = RunFolder(folder).metrics()
    assert [record["step"] for record in records] == list(range(1, 9))
    assert [record["clusters"] > 0 for record in records] == [True] * 6 + [False] * 2
    assert set(recipe("toy").loss_weights) < set(records[0])
    assert summary["steps"] == 8 and np.isfinite(summary["loss"])
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"]["num_parts"] == 3
    assert config["data"] == record_data(toy_samples(), "train") | {"models": []}
    assert config["versions"]["backend"] == keras.config.backend()
    assert PartSegmenter.from_preset(folder / "segmenter").num_parts == 3


def test_callbacks_and_trackers_get_the_log(finished):
    folder, summary = finished
    records = RunFolder(folder).metrics()
    assert [logs["loss"] for logs in SEEN.logs.values()] == [record["loss"] for record in records]
    settings, *sent, failed = Noted.calls
    assert settings["num_parts"] == 3 and settings["dataset"] == "toy" and failed is False
    assert sent[0][1]["learning_rate"] == records[0]["learning_rate"]
    assert sent[-2][0] == 8 and sent[-1] == "step-00000008.png"
    assert summary["tracked"] == {"noted": "there"}


def test_a_run_leaves_no_threads(finished):
    assert not [each for each in threading.enumerate() if each.name.startswith("keras-parts-data")]


@pytest.mark.backend("tensorflow", "jax")  # PyTorch compiles nothing here
def test_a_step_is_compiled_once(finished):
    """In eight epochs of `fit`, although the last batch of the data set is incomplete."""
    assert Counted.counts[0] == 1


@pytest.mark.backend("tensorflow", "jax")  # on PyTorch Keras makes one step at a time
def test_several_steps_per_execution_have_the_same_result(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_INTERVALS", 4)  # of two steps each
    monkeypatch.setattr(run, "_SHEETS", 2)  # sample sheets and checkpoints every four steps
    path, settings = tmp_path / "run", tiny_recipe(steps_per_execution=2)
    train(settings, toy_samples(), path, progress=False)
    double, single = stored_weights(path), stored_weights(finished[0])
    for name, value in single.items():
        np.testing.assert_allclose(double[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    records, singles = (RunFolder(folder).metrics() for folder in (path, finished[0]))
    assert [record["step"] for record in records] == [2, 4, 6, 8]
    for record, first, second in zip(records, singles[::2], singles[1::2], strict=True):
        assert record["skipped_steps"] == 0
        assert record["loss"] == pytest.approx((first["loss"] + second["loss"]) / 2, rel=1e-4)

    if BACKEND == "tensorflow":  # TensorFlow would trace and compile a third time
        return
    shutil.rmtree(path / "checkpoints" / "step-00000008")
    (path / "checkpoints" / "latest").write_text("step-00000004")
    train(settings, toy_samples(), path, resume=True, progress=False)
    for name, value in stored_weights(path).items():
        np.testing.assert_array_equal(value, double[name], err_msg=name)


def test_steps_per_execution_must_divide_the_log_interval(tmp_path):
    with pytest.raises(ConfigError, match="not divide the 6 steps .* set it to 1 or 2 or 3 or 6"):
        train(tiny_recipe(steps=240, steps_per_execution=4), toy_samples(), tmp_path / "run")
    if BACKEND == "torch":
        with pytest.raises(ConfigError, match="on PyTorch Keras makes one step at a time"):
            train(tiny_recipe(steps=240, steps_per_execution=3), toy_samples(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_cached_features_are_computed_in_float32(tmp_path, monkeypatch):
    cached = {}
    for precision in ("mixed_bfloat16", "float32"):
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / precision))
        with build.precision_policy(precision):
            settings = tiny_recipe(precision=precision)
            batches, teacher, _ = prepare_batches(
                settings, toy_samples(), build_teacher(settings), progress=False
            )
        assert teacher is None
        cached[precision] = batches.batch(0)["features"]
    np.testing.assert_array_equal(cached["mixed_bfloat16"], cached["float32"])
    not_cached = build_teacher(tiny_recipe(precision="mixed_bfloat16", **{"crops.jitter": 0.05}))
    assert not_cached.network.layers[1].compute_dtype == "bfloat16"


def test_the_teacher_runs_in_every_step_if_its_features_exceed_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv(FEATURES_VARIABLE, "1e-9")
    settings = tiny_recipe(standardise=False)
    teacher = build_teacher(settings)
    with pytest.warns(UserWarning, match=f"Raise {FEATURES_VARIABLE}, .* the teacher runs in ev"):
        batches, teacher, _ = prepare_batches(settings, toy_samples(), teacher, progress=False)
    batch = batches.batch(0)
    assert "features" not in batch
    assert tuple(teacher(batch["image"]).shape[:1]) == (2,)
    with pytest.raises(FeaturesTooLarge, match=FEATURES_VARIABLE):
        prepare_batches(tiny_recipe(teacher_size=97), toy_samples(), teacher, progress=False)


def test_a_run_is_not_overwritten_or_resumed_with_other_settings(finished):
    folder, _ = finished
    with pytest.raises(ConfigError, match="holds a run"):
        train(tiny_recipe(), toy_samples(), folder, progress=False)
    with pytest.raises(ConfigError, match="num_parts was 3, is 4"):
        train(tiny_recipe(num_parts=4), toy_samples(), folder, resume=True, progress=False)
    with pytest.raises(ConfigError, match="other data: images was 7, is 6; the samples have other"):
        train(tiny_recipe(), toy_samples()[:6], folder, resume=True, progress=False)
    with (
        RunFolder(folder).locked(),
        pytest.raises(ConfigError, match="another process is training this run"),
    ):
        train(tiny_recipe(), toy_samples(), folder, resume=True, progress=False)


def test_a_finished_run_whose_log_is_lost(finished, tmp_path, caplog):
    folder = shutil.copytree(finished[0], tmp_path / "run")
    (folder / "metrics.jsonl").unlink()
    zoo.name_parts(folder, ["head", "leg", "tail"])
    summary = train(tiny_recipe(), toy_samples(), folder, resume=True, progress=False)
    assert zoo.load(folder).part_names == ("head", "leg", "tail")
    assert summary["steps"] == 8 and "loss" not in summary
    assert "metrics.jsonl: lines up to step 8 are missing" in caplog.text


def values(segmenter):
    return {v.path: keras.ops.convert_to_numpy(v) for v in segmenter.variables}


KERNEL = "part_segmenter/head/logits/kernel"


def test_initial_weights_of_another_segmenter(finished):
    folder = finished[0] / "segmenter"
    trained = values(PartSegmenter.from_preset(folder))
    same = values(build_segmenter(tiny_recipe(init_from=str(folder))))
    assert same.keys() == trained.keys()
    assert all((same[name] == trained[name]).all() for name in trained)
    other = values(build_segmenter(tiny_recipe(init_from=str(folder), num_parts=5)))
    different = {name for name in trained if not np.array_equal(other[name], trained[name])}
    assert different and all("/logits/" in name for name in different)
    new = values(build_segmenter(tiny_recipe(init_from=str(folder), keep_parts=False)))
    for name in trained:
        if "/logits/" in name:  # the foreground is kept, with any number of parts
            np.testing.assert_array_equal(other[name][..., :1], trained[name][..., :1])
            np.testing.assert_array_equal(new[name][..., :1], trained[name][..., :1])
        else:
            np.testing.assert_array_equal(new[name], trained[name])
    assert not np.array_equal(new[KERNEL][..., 1:], trained[KERNEL][..., 1:])
    with pytest.raises(ConfigError, match="'tiny', the recipe's is 'efficientnet_lite0'"):
        build_segmenter(tiny_recipe(init_from=str(folder), architecture="efficientnet_lite0"))


def test_parts_that_are_kept_keep_their_names_and_stay_joined(tmp_path):
    small = tiny_recipe(num_parts=3)
    config = SegmenterConfig(4, small.architecture, image_size=small.image_size)
    joined = PartSegmenter(config).join_parts([2, 4])
    joined.part_names = ["head", "leg", "tail"]
    joined.save_preset(tmp_path)
    initial = small.with_settings({"init_from": str(tmp_path)})
    kept = build_segmenter(initial)
    assert kept.part_names == joined.part_names and kept.config.joined == ((1,), (2, 4), (3,))
    found, expected = values(kept), values(joined)
    assert all((found[name] == expected[name]).all() for name in expected)
    for changes in ({"num_parts": 4}, {"keep_parts": False}):
        new = build_segmenter(initial.with_settings(changes))
        assert not new.part_names and not new.config.joined
        assert values(new)[KERNEL].shape[-1] == 1 + new.num_parts
        np.testing.assert_array_equal(values(new)[KERNEL][..., 0], expected[KERNEL][..., 0])
    teacher = {"teacher": "segmenter", "teacher_weights": str(tmp_path)}
    taught = tiny_recipe(**teacher, teacher_layers=("part_logits",))
    (logits,) = build_teacher(taught).network.outputs
    assert logits.shape[-1] == 3


def test_a_decoder_starts_from_a_head_on_the_coarsest_maps(tmp_path):
    coarse = PartSegmenter(SegmenterConfig(3, "small", 16, image_size=33))
    coarse.save_preset(tmp_path)
    recipe = tiny_recipe(architecture="small", output_stride=4, init_from=str(tmp_path))
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)).astype("float32")
    fine = keras.ops.convert_to_numpy(build_segmenter(recipe)(image))
    assert fine.shape[1:3] == (9, 9)
    expected = keras.ops.convert_to_numpy(coarse(image))
    np.testing.assert_allclose(fine[:, ::4, ::4], expected, rtol=1e-4, atol=1e-4)


def test_a_head_of_another_kind_is_not_copied(tmp_path, caplog, monkeypatch):
    other = replace(ARCHITECTURES["small"], head=partial(FusionHead, width=16))
    monkeypatch.setitem(ARCHITECTURES, "small", other)
    PartSegmenter(SegmenterConfig(3, "small", 16, image_size=33)).save_preset(tmp_path)
    trained = values(PartSegmenter.from_preset(tmp_path))
    recipe = tiny_recipe(architecture="small", output_stride=4, init_from=str(tmp_path))
    found = values(build_segmenter(recipe))
    assert "output stride 16, the recipe 4: their heads differ" in caplog.text
    for name in trained.keys() & found.keys():
        is_same = np.array_equal(found[name], trained[name])
        assert is_same or "/head/" in name, name


def test_a_segmenter_as_teacher_and_initial_weights(finished, tmp_path, eager):
    folder = str(finished[0] / "segmenter")
    settings = tiny_recipe(
        teacher="segmenter", teacher_layers=(), teacher_weights=folder, steps=3, init_from=folder
    )
    summary = train(settings, toy_samples(), tmp_path / "run", progress=False)
    assert np.isfinite(summary["loss"])
    assert summary["clusters"] == 0  # the parts of the segmenter are kept


def test_the_recipe_outline_holds_the_parts_of_a_segmenter(finished, tmp_path, eager):
    folder = finished[0] / "segmenter"
    small = {"image_size": 33, "loss_size": 9, "batch_size": 2, "steps": 2, "train_from": None}
    settings = recipe_for(
        "folder", "outline", init_from=folder, settings={**small, "output_stride": 8}
    )
    assert not settings.teacher_weights  # it is the initial segmenter
    discovery, batches = prepare_training(settings, toy_samples(), progress=False)
    views = discovery.make_views(batches.batch(0))
    (features,) = views.feature_maps
    assert features.shape[-1] == settings.num_parts
    losses = discovery.compute_losses(batches.batch(0))
    # At first the segmenter is its teacher, which averages over the mirrored image.
    assert 0 <= float(losses["distillation"]) < 0.1


def test_the_recipe_outline_needs_a_segmenter():
    with pytest.raises(ConfigError, match="the recipe outline is a segmenter, but none is given"):
        check_recipe(recipe_for("folder", "outline"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_resuming_after_kill_9_gives_the_weights_of_an_uninterrupted_run(finished, tmp_path):
    folder, _ = finished
    path = tmp_path / "killed"
    finish(start_python(KILLED, path), -signal.SIGKILL)
    assert not (path / "segmenter").exists()
    train(tiny_recipe(), toy_samples(), path, resume=True, progress=False)
    expected, resumed = stored_weights(folder), stored_weights(path)
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    assert [r["step"] for r in RunFolder(path).metrics()] == list(range(1, 9))
