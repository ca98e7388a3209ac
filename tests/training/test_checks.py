"""Wrong settings and data raise an error before anything is computed or written."""

import json
from dataclasses import replace

import pytest

from keras_parts import data
from keras_parts.data.dataset import Subset
from keras_parts.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    OutOfMemoryError,
    UnknownModelError,
)
from keras_parts.training import build, run
from keras_parts.training.devices import Devices
from keras_parts.training.recipes import recipe
from keras_parts.training.run import train
from keras_parts.training.run_folder import RunFolder

SMALL = {"num_parts": 2, "steps": 5, "batch_size": 2, "image_size": 33, "loss_size": 9}


def toy_samples(count=3):
    return data.load("toy", "train", count=count, size=33)


class WithoutMasks(Subset):
    """Three samples, of which only the first `num_masks` have a foreground."""

    def __init__(self, num_masks):
        super().__init__(toy_samples(), range(3))
        self.num_masks = num_masks

    def read(self, index):
        sample = super().read(index)
        if index < self.num_masks:
            return sample
        return replace(sample, foreground=None, part_labels=None, keypoints=None, visible=None)


@pytest.fixture
def no_features(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("teacher features were computed")

    monkeypatch.setattr(build, "FeatureCache", refuse)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"architecture": "nosuch"}, ConfigError, "architecture is 'nosuch'.*efficientnet_lite0"),
        ({"output_stride": 5}, ConfigError, "output_stride is 5, expected one of 4, 8, 16"),
        ({"image_size": 66}, ConfigError, "size is 66, .*try 65"),
        ({"train_from": "block_99"}, ConfigError, "no layer's name starts with 'block_99_'"),
        ({"backbone_weights": "none.h5"}, ConfigError, "none.h5"),
        (
            {"init_from": "nowhere"},
            UnknownModelError,
            "no model is called 'nowhere'.* no such folder",
        ),
        ({"teacher": "smal"}, ConfigError, "teacher is 'smal', .*did you mean 'small'"),
        ({"teacher_layers": ("stage9",)}, ConfigError, "no output named 'stage9'"),
        ({"teacher_weights": "none.h5"}, ConfigError, "none.h5"),
        (
            {"teacher": "segmenter"},
            ConfigError,
            "is a segmenter, but none is given: name it by init_from",
        ),
        ({"steps": 80, "steps_per_execution": 3}, ConfigError, "does not divide the 2 steps"),
    ],
)
def test_wrong_settings(settings, error, message, no_features, tmp_path):
    with pytest.raises(error, match=message):
        train(recipe("toy", **SMALL | settings), toy_samples(), tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dataset", "error", "message"),
    [
        (
            WithoutMasks(0),
            DataError,
            "sample .* has no foreground: training needs a mask .*--masks",
        ),
        (Subset(toy_samples(), ()), DataError, "there are no samples to train on"),
    ],
    ids=["no masks", "no samples"],
)
def test_wrong_data(dataset, error, message, no_features, tmp_path):
    with pytest.raises(error, match=message):
        train(recipe("toy", **SMALL), dataset, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


def test_more_devices_than_the_machine_has(no_features, tmp_path):
    with pytest.raises(ConfigError, match="device"):
        train(recipe("toy", **SMALL), toy_samples(), tmp_path / "run", devices=99, progress=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_run_is_refused_before_networks_are_built(monkeypatch, tmp_path):
    monkeypatch.setattr(build, "PartSegmenter", None)
    RunFolder.create(tmp_path / "run").write_config({}, seed=0)
    with pytest.raises(ConfigError, match="holds a run"):
        train(recipe("toy", **SMALL), toy_samples(), tmp_path / "run", progress=False)


def test_no_folder_is_left_if_a_later_sample_is_wrong(tmp_path):
    with pytest.raises(DataError, match="has no foreground"):
        train(recipe("toy", **SMALL), WithoutMasks(1), tmp_path / "made/run", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_before_its_first_log_line_leaves_no_folder(monkeypatch, tmp_path):
    def fail(*_, **__):
        assert (tmp_path / "made/run/config.json").is_file()
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")

    monkeypatch.setattr(Devices, "fit", fail)
    full = "2 images of 33 pixels; try --batch-size 1 or --precision mixed_bfloat16$"
    with pytest.raises(OutOfMemoryError, match=full):
        train(recipe("toy", **SMALL), toy_samples(), tmp_path / "made/run", progress=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "made/run").mkdir(parents=True)
    (tmp_path / "made/run/notes.txt").write_text("mine")
    with pytest.raises(OutOfMemoryError):
        train(recipe("toy", **SMALL), toy_samples(), tmp_path / "made/run", progress=False)
    assert [path.name for path in (tmp_path / "made/run").iterdir()] == ["notes.txt"]


def test_sizes_to_try_where_memory_is_full():
    paper = recipe("paper", batch_size=1)
    assert "--image-size 128" in run._smaller_step(paper, Devices(), resume=False)
    assert "in a new run. This run keeps" in run._smaller_step(paper, Devices(), resume=True)
    two = Devices()
    two.num_devices = 2
    assert "--batch-size 4 or" in run._smaller_step(recipe("toy", batch_size=10), two, resume=False)
    assert "--set teacher_size=161" in run._smaller_teacher(recipe("default"))
    assert "--set image_size=129" in run._smaller_teacher(recipe("toy", image_size=257))


def test_a_run_that_diverges_has_no_segmenter(monkeypatch, tmp_path):
    def diverge(self, model, batches, first_step=0, *, callbacks, **_):
        stop, log = callbacks[0], callbacks[1].run
        stop.diverged, stop.skipped_steps, stop.step = True, 20, 30
        log.log({"step": 30, "loss": None})

    monkeypatch.setattr(Devices, "fit", diverge)
    with pytest.raises(DivergenceError, match=r"steps, up to step 30, were skipped.*than 0\.001"):
        train(recipe("toy", **SMALL), toy_samples(), tmp_path / "run", progress=False)
    assert (tmp_path / "run/metrics.jsonl").exists() and not (tmp_path / "run/segmenter").exists()


def test_teacher_size_without_effect_is_reported(caplog, no_features, tmp_path):
    settings = SMALL | {"crops.jitter": 0.05, "teacher_size": 65, "teacher_layers": ("stage9",)}
    with pytest.raises(ConfigError, match="stage9"):
        train(recipe("toy", **settings), toy_samples(), tmp_path / "run", progress=False)
    assert "teacher_size is 65, but has no effect: with crops.jitter" in caplog.text


def settings_of_version_0_1(settings):
    """Settings as version 0.1.0 wrote them to config.json."""
    settings = dict(settings)
    renamed = {
        "parts": "num_parts", "size": "image_size", "weights": "loss_weights",
        "centre": "centre_features", "prominence": "prominence_exponent",
        "views": "view_transforms", "warmup": "warmup_steps", "ema": "ema_momentum",
    }  # fmt: skip
    old = {first: settings.pop(name) for first, name in renamed.items()}
    del settings["scenes"]
    crops, losses = settings.pop("crops"), settings.pop("loss_settings")
    old |= {"padding": crops["padding"], "box_jitter": crops["jitter"], "mirror": crops["mirror"]}
    old |= losses["contrastive"] | {"start_steps": losses["clusters"]["decay_steps"]}
    return settings | old


@pytest.mark.parametrize("name", ["toy", "default", "paper"])
def test_settings_of_a_run_of_version_0_1_are_compared_by_their_current_names(name, tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    chosen = recipe(name, batch_size=2, **{"scenes.share": 0.0, "foreground.dice": 0.0})
    settings = settings_of_version_0_1(chosen.to_json())
    folder.config_file.write_text(json.dumps({"settings": settings, "seed": 0}))
    with pytest.raises(ConfigError, match="other settings: num_parts was [45], is 3. Repeat"):
        train(chosen.with_settings({"num_parts": 3}), toy_samples(), folder.path, resume=True)
