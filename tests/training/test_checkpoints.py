"""Checkpoints are written atomically, and a killed run resumes from them bit for bit."""

import json
import os
import random
import signal
from contextlib import suppress

import keras
import numpy as np
import pytest
from keras import layers, ops

import tests.quick_jax  # noqa: F401
from keras_parts.discovery.steps import TrainStep
from keras_parts.errors import ConfigError, IntegrityError
from keras_parts.keras_private import set_random_seed
from keras_parts.training.checkpoints import Checkpoints, _read_arrays
from keras_parts.training.optimisers import Schedule, create_optimizer
from tests.processes import finish, start_python

pytestmark = pytest.mark.backend


class Tiny(TrainStep, keras.Model):
    """A model with every kind of state: dropout, running statistics, random draws of its own."""

    def __init__(self, units=7):
        super().__init__(name="tiny")
        self.network = keras.Sequential(
            [
                layers.Input((5,)),
                layers.Dense(units, name="hidden"),
                layers.BatchNormalization(name="norm"),
                layers.Dropout(0.5, seed=2, name="dropout"),
                layers.Dense(2, name="out"),
            ],
            name="network",
        )
        self.noise = keras.random.SeedGenerator(4)
        self.track_losses({"error": 1.0})
        self.built = True

    def compute_losses(self, batch, training):
        target = ops.add(batch["y"], keras.random.normal((2,), seed=self.noise))
        difference = ops.subtract(self.network(batch["x"], training=training), target)
        return {"error": ops.mean(ops.square(difference))}


def compiled(seed=1, **options):
    set_random_seed(seed)
    model = Tiny(**options)
    model.compile(
        create_optimizer(
            "adam",
            Schedule("cosine", 0.05, 6, 1),
            clip_norm=1.0,
            ema=0.9,
            head_multiplier=2.0,
            is_head=lambda v: "out" in v.path,
        ),
        # TensorFlow takes longer to trace a step than to make these.
        run_eagerly=keras.config.backend() == "tensorflow",
    )
    return model


def train(model, first, last, callbacks=()):
    def batches():
        for step in range(first, last):
            rng = np.random.default_rng(step)
            x, y = (rng.normal(size=(4, n)).astype("float32") for n in (5, 2))
            yield ({"x": x, "y": y},)

    model.fit(batches(), steps_per_epoch=last - first, verbose=0, callbacks=list(callbacks))


def state(model):
    seeds = [v for v in model.non_trainable_variables if "seed" in v.name]
    everything = [*model.weights, *model.optimizer.variables, *seeds]
    return [ops.convert_to_numpy(v.value).copy() for v in everything]


def assert_same(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, other)


KILLED = """
import sys
from tests.training.test_checkpoints import run_until_killed

run_until_killed(sys.argv[1])
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Checkpoints of a run killed with -9 while it wrote the checkpoint of step 4."""
    folder = tmp_path_factory.mktemp("killed")
    finish(start_python(KILLED, folder), -signal.SIGKILL)
    return folder


def run_until_killed(folder):
    model, checkpoints = compiled(), Checkpoints(folder)
    train(model, 0, 3)
    checkpoints.save(3, model, {"note": "three"})
    train(model, 3, 4)
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    checkpoints.save(4, model)


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(killed):
    uninterrupted = compiled()
    train(uninterrupted, 0, 6)
    resumed = compiled(seed=99)  # another initialisation: all values must come from the checkpoint
    assert not resumed.optimizer.built
    checkpoints = Checkpoints(killed)
    assert any(killed.glob(".unfinished-*"))  # the unfinished one, which is ignored
    assert checkpoints.restore(resumed) == (3, {"note": "three"})
    train(resumed, 3, 6)
    assert_same(state(resumed), state(uninterrupted))
    checkpoints.save(6, resumed)
    assert not any(killed.glob(".unfinished-*"))


def test_all_state_is_restored(tmp_path):
    model, checkpoints = compiled(), Checkpoints(tmp_path / "new" / "checkpoints")
    train(model, 0, 2)
    checkpoints.save(2, model, {"epoch": 1})
    saved = state(model)
    train(model, 2, 3)
    assert any(not np.array_equal(a, b) for a, b in zip(saved, state(model), strict=True))
    assert checkpoints.restore(model) == (2, {"epoch": 1})
    assert_same(state(model), saved)
    record = json.loads((checkpoints.folder / "step-00000002" / "state.json").read_text())
    assert len(record["variables"]["seeds"]) == 2


def test_saving_during_fit(tmp_path):
    """On JAX the variables are empty between the steps of an epoch."""
    model, checkpoints = compiled(), Checkpoints(tmp_path)

    def save(batch, logs):
        checkpoints.save(batch + 1, model)

    train(model, 0, 3, [keras.callbacks.LambdaCallback(on_train_batch_end=save)])
    after = state(model)
    other = compiled(seed=5)
    assert checkpoints.restore(other)[0] == 3
    assert_same(state(other), after)


@pytest.fixture
def model():
    model = compiled()
    model.optimizer.build(model.trainable_variables)
    return model


def test_only_the_newest_are_kept(tmp_path, model):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert (checkpoints.steps(), checkpoints.latest()) == ([], None)
    for step in (1, 2, 10):
        checkpoints.save(step, model)
    assert (checkpoints.steps(), checkpoints.latest()) == ([2, 10], 10)
    checkpoints.save(4, model)  # resumed from 2: later ones are deleted
    assert (checkpoints.steps(), checkpoints.latest()) == ([2, 4], 4)
    checkpoints.save(4, model, {"again": True})
    assert checkpoints.restore(model) == (4, {"again": True})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latest",
        "step-00000002",
        "step-00000004",
    ]


def test_a_missing_or_wrong_latest_file_is_not_needed(tmp_path, model):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model)
    checkpoints.save(2, model)
    (tmp_path / "latest").write_text("step-00000099\n")
    assert checkpoints.latest() == 2
    (tmp_path / "latest").unlink()
    assert checkpoints.latest() == 2
    (tmp_path / "latest").write_text("step-00000001\n")
    assert checkpoints.latest() == 1


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


def drop_a_name(path):
    record = json.loads(path.read_text())
    record["variables"]["seeds"].pop()
    path.write_text(json.dumps(record))


def drop_checksums(path):
    path.unlink()


DAMAGE = {
    "flipped": ("state.npz", flip),
    "cut": ("state.npz", cut),
    "empty": ("state.npz", lambda path: path.write_bytes(b"")),
    "no json": ("state.json", lambda path: path.write_text("{")),
    "another json": ("state.json", lambda path: path.write_text("[]")),
    "fewer names": ("state.json", drop_a_name),
    "flipped checksums": ("SHA256SUMS", flip),
    "no checksums": ("SHA256SUMS", drop_checksums),
}


def as_format_1(folder):
    """Make a checkpoint one of version 0.1.0, which wrote no checksums."""
    (folder / "SHA256SUMS").unlink()
    record = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps(record | {"format": 1}, indent=2))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_skipped_for_the_previous_one(tmp_path, model, damage):
    name, spoil = DAMAGE[damage]
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model)
    before = state(model)
    checkpoints.save(2, model)
    spoil(tmp_path / "step-00000002" / name)
    with pytest.warns(UserWarning, match="step-00000002 is damaged"):
        assert checkpoints.restore(model)[0] == 1
    assert_same(state(model), before)
    spoil(tmp_path / "step-00000001" / name)
    with (
        pytest.warns(UserWarning),
        pytest.raises(IntegrityError, match="no checkpoint can be read"),
    ):
        checkpoints.restore(model)
    assert_same(state(model), before)


def test_every_flipped_bit_is_noticed(tmp_path, model):
    checkpoints = Checkpoints(tmp_path)
    folder = checkpoints.save(1, model)
    for path in folder.iterdir():
        content = path.read_bytes()
        for place in random.Random(0).sample(range(8 * len(content)), 60):
            spoilt = bytearray(content)
            spoilt[place // 8] ^= 1 << place % 8
            path.write_bytes(spoilt)
            with pytest.raises(IntegrityError, match=r"step-00000001 is damaged: .*SHA256SUMS"):
                checkpoints._read(1)
        path.write_bytes(content)
    assert checkpoints._read(1)[0]["step"] == 1


def test_flipped_bits_without_checksums(tmp_path, model):
    """The arrays have checksums of their own, and no damage is an error of another kind."""
    checkpoints = Checkpoints(tmp_path)
    folder = checkpoints.save(1, model)
    as_format_1(folder)
    path = folder / "state.npz"
    content = path.read_bytes()
    for place in random.Random(1).sample(range(8 * len(content)), 120):
        spoilt = bytearray(content)
        spoilt[place // 8] ^= 1 << place % 8
        path.write_bytes(spoilt)
        with suppress(IntegrityError):
            checkpoints._read(1)
    path.write_bytes(content)
    assert checkpoints.restore(model) == (1, {})


@pytest.mark.parametrize("values", [np.array("text"), np.zeros(2, "M8[s]"), np.zeros(2, "c8")])
def test_arrays_of_other_values_are_refused(tmp_path, values):
    np.savez(tmp_path / "state.npz", **{"weights/00000": values})
    with pytest.raises(ValueError, match="does not hold numbers"):
        _read_arrays(tmp_path / "state.npz")


def test_compressed_arrays_are_refused(tmp_path, model):
    """A small file could fill the memory."""
    checkpoints = Checkpoints(tmp_path)
    folder = checkpoints.save(1, model)
    as_format_1(folder)
    np.savez_compressed(folder / "state.npz", **{"weights/00000": np.zeros(9)})
    with pytest.raises(IntegrityError, match="compressed"):
        checkpoints._read(1)


def test_a_latest_file_that_is_not_text_is_not_needed(tmp_path, model):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model)
    (tmp_path / "latest").write_bytes(b"\xff\x00")
    assert checkpoints.latest() == 1
    if hasattr(os, "mkfifo"):  # opening it would wait for ever
        (tmp_path / "latest").unlink()
        os.mkfifo(tmp_path / "latest")
        assert checkpoints.latest() == 1


def test_an_incomplete_checkpoint_does_not_count(tmp_path, model):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model)
    checkpoints.save(2, model)
    (tmp_path / "step-00000002" / "state.npz").unlink()
    assert (checkpoints.steps(), checkpoints.latest()) == ([1], 1)
    with pytest.warns(UserWarning, match="newest checkpoint is missing or incomplete; .* step 1"):
        assert checkpoints.restore(model)[0] == 1


def test_another_model_is_refused_and_not_changed(tmp_path, model):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, model)
    wider = compiled(units=8)
    wider.optimizer.build(wider.trainable_variables)
    before = state(wider)
    with pytest.raises(ConfigError, match=r"hidden/kernel \(5, 7\).*hidden/kernel \(5, 8\)"):
        checkpoints.restore(wider)
    assert_same(state(wider), before)
    plain = Tiny()
    plain.compile("sgd")
    with pytest.raises(ConfigError, match="variables of the optimizer"):
        checkpoints.restore(plain)


def test_layers_can_be_excluded(tmp_path, model):
    hidden = model.network.get_layer("hidden")
    checkpoints = Checkpoints(tmp_path, exclude=[hidden])
    checkpoints.save(1, model)
    kernel = ops.convert_to_numpy(hidden.kernel.value) + 1
    hidden.kernel.assign(kernel)
    checkpoints.restore(model)
    np.testing.assert_array_equal(ops.convert_to_numpy(hidden.kernel.value), kernel)
    with pytest.raises(ConfigError, match="variables of the weights"):
        Checkpoints(tmp_path).restore(model)


def test_a_checkpoint_of_another_backend_gives_a_warning(tmp_path, model):
    Checkpoints(tmp_path).save(1, model)
    as_format_1(tmp_path / "step-00000001")
    path = tmp_path / "step-00000001" / "state.json"
    path.write_text(path.read_text().replace(f'"{keras.config.backend()}"', '"abacus"'))
    with pytest.warns(UserWarning, match="abacus"):
        assert Checkpoints(tmp_path).restore(model)[0] == 1


def test_wrong_use_is_an_error(tmp_path, model):
    with pytest.raises(ConfigError, match="no checkpoint"):
        Checkpoints(tmp_path).restore(model)
    with pytest.raises(ConfigError, match="keep"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(ConfigError, match="compile"):
        Checkpoints(tmp_path).save(1, Tiny())
