"""Callbacks in a real `fit`, also of a resumed run: log, curves, sheets, checkpoints, bar."""

import io
import os
import signal
import threading

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src import backend
from PIL import Image

from keras_parts.discovery.steps import TrainStep
from keras_parts.errors import CallbackError, ConfigError
from keras_parts.keras_private import set_random_seed
from keras_parts.training import callbacks
from keras_parts.training.callbacks import (
    CheckpointCallback,
    DivergenceStop,
    LossCurves,
    MetricsLog,
    ProgressBar,
    SampleSheet,
    SignalStop,
    UserCallback,
    draw_curves,
)
from keras_parts.training.checkpoints import Checkpoints
from keras_parts.training.optimisers import Schedule, create_optimizer
from keras_parts.training.run_folder import RunFolder

pytestmark = pytest.mark.backend

STEPS, EPOCHS, BATCH_SIZE = 3, 4, 2
several_steps = pytest.mark.backend(
    "tensorflow", "jax"
)  # on PyTorch Keras makes one step at a time


class Tiny(TrainStep, keras.Model):
    def __init__(self):
        super().__init__(name="tiny")
        self.out = layers.Dense(1, name="out")
        self.out.build((None, 3))
        self.track_losses({"near": 2.0, "flat": 0.5})
        self.built = True

    def compute_losses(self, batch, training):
        return {
            "near": ops.mean(ops.square(ops.subtract(self.out(batch["x"]), 1.0))),
            "flat": ops.mean(ops.square(self.out.kernel)),
        }


def compiled(**options):
    set_random_seed(0)
    model = Tiny()
    optimizer = create_optimizer("adam", Schedule("polynomial", 0.1, STEPS * EPOCHS))
    # TensorFlow takes longer to trace a step than to make these.
    eager = {} if options else {"run_eagerly": keras.config.backend() == "tensorflow"}
    model.compile(optimizer, **options, **eager)
    return model


def batches(first=0):
    while True:
        noise = np.random.default_rng(first).normal(scale=0.1, size=(BATCH_SIZE, 3))
        yield ({"x": (noise + [[1.0, 0.0, -1.0], [0.5, 1.0, 0.0]]).astype("float32")},)
        first += 1


def fit(model, callbacks, first=0, epochs=EPOCHS, data=None):
    data = batches(first * STEPS) if data is None else data
    model.fit(
        data,
        steps_per_epoch=STEPS,
        initial_epoch=first,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
    )


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run")


def draw(images):
    return Image.new("RGB", (4 * len(images), 4), "red")


def all_callbacks(run):
    return [
        MetricsLog(run, BATCH_SIZE),
        LossCurves(run, every=2),
        SampleSheet(run, [1, 2], draw, every=3),
        ProgressBar(io.StringIO()),
        CheckpointCallback(Checkpoints(run.checkpoints), every=3, extra=lambda: {"a": 1}),
    ]


def without_time(records):
    return [{k: v for k, v in r.items() if k != "images_per_second"} for r in records]


def test_a_resumed_run_writes_the_files_of_an_uninterrupted_one(tmp_path, run):
    fit(compiled(), all_callbacks(run))
    records = run.metrics()
    assert [record["step"] for record in records] == [3, 6, 9, 12]
    assert [record["epoch"] for record in records] == [0, 1, 2, 3]
    for record in records:
        names = ["near", "flat", "loss", "learning_rate", "images_per_second", "skipped_steps"]
        assert set(record) == {"step", "epoch", *names}
        assert record["loss"] == pytest.approx(2 * record["near"] + 0.5 * record["flat"], rel=1e-5)
        assert record["images_per_second"] > 0
        assert record["skipped_steps"] == 0
    rates = [0.1 * (1 - step / 12) ** 0.9 for step in (3, 6, 9, 12)]
    assert [r["learning_rate"] for r in records] == pytest.approx(rates, rel=1e-5)
    assert records[-1]["loss"] < records[0]["loss"]
    assert [p.name for p in sorted(run.samples.iterdir())] == [
        "step-00000009.png",
        "step-00000012.png",
    ]
    assert Image.open(run.samples / "step-00000012.png").size == (8, 4)
    assert Checkpoints(run.checkpoints).steps() == [9, 12]
    assert not list(run.path.rglob(".*"))  # no unfinished file is left

    again = RunFolder.create(tmp_path / "again")
    with pytest.raises(KeyboardInterrupt):
        fit(compiled(), [*all_callbacks(again), Stop(step=11)])
    again = RunFolder(again.path)
    model, checkpoints = compiled(), Checkpoints(again.checkpoints)
    step, extra = checkpoints.restore(model)
    assert (step, extra) == (9, {"a": 1})
    again.rewind(step)
    fit(model, all_callbacks(again), first=step // STEPS)
    assert without_time(again.metrics()) == without_time(records)


class Stop(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.step, self.seen = step, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("steps_per_execution", [1, pytest.param(STEPS, marks=several_steps)])
def test_a_skipped_step_is_counted_but_not_averaged(run, steps_per_execution):
    def spoilt():
        for step, batch in enumerate(batches()):
            if step in (1, *range(STEPS, 2 * STEPS)):
                batch[0]["x"][:] = np.nan
            yield batch

    model = compiled(steps_per_execution=steps_per_execution)
    fit(model, [MetricsLog(run, BATCH_SIZE), LossCurves(run)], epochs=3, data=spoilt())
    one, all_skipped, none = run.metrics()
    assert [r["skipped_steps"] for r in (one, all_skipped, none)] == [1, STEPS, 0]
    assert one["near"] > 0 and none["near"] > 0
    assert all_skipped["near"] is all_skipped["loss"] is None
    assert run.curves_file.stat().st_size > 1000


@pytest.mark.parametrize(
    ("skipped", "diverged", "epochs"),
    [
        ([0, 3, 3, 3, 3], True, 3),  # six in a row
        ([0, 3, 2, 3], False, 4),  # a step between them
        ([3], True, 1),  # all of a short training
        ([1, 3], False, 2),
    ],
)
def test_a_training_without_finite_steps_is_stopped(skipped, diverged, epochs):
    stop, made = DivergenceStop(max_skipped=6), 0
    stop.set_model(Tiny())
    stop.set_params({"epochs": len(skipped), "steps": STEPS})
    stop.model.stop_training = False
    stop.on_train_begin()
    while made < len(skipped) and not stop.model.stop_training:
        stop.on_epoch_end(made, {"skipped_steps": float(skipped[made])})
        made += 1
    assert (stop.diverged, made, stop.step) == (diverged, epochs, epochs * STEPS)


def test_curves_have_a_panel_for_each_quantity(tmp_path, monkeypatch):
    drawn = []
    from matplotlib.figure import Figure

    add = Figure.add_subplot

    def watch(self, *args, **kwargs):
        drawn.append(add(self, *args, **kwargs))
        return drawn[-1]

    monkeypatch.setattr(Figure, "add_subplot", watch)
    draw_curves([], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()
    records = [
        {"step": s, "epoch": 0, "contrastive": 1 / s, "loss": 2 / s, "skipped_steps": 0}
        for s in range(1, 41)
    ]
    records[7] |= {"loss": None, "contrastive": None}
    draw_curves(records, tmp_path / "curves.png")
    assert [axes.get_title() for axes in drawn] == ["total loss", "contrastive"]
    line, smooth = drawn[0].get_lines()
    np.testing.assert_array_equal(line.get_xdata(), range(1, 41))
    assert np.isnan(line.get_ydata()[7])
    assert np.isfinite(smooth.get_ydata()).all()
    width, height = Image.open(tmp_path / "curves.png").size
    assert width > 500 and height > 250


@pytest.mark.parametrize("steps_per_execution", [1, pytest.param(STEPS, marks=several_steps)])
def test_the_bar_counts_the_whole_run(steps_per_execution):
    out = io.StringIO()
    out.isatty = lambda: True
    fit(compiled(steps_per_execution=steps_per_execution), [ProgressBar(out)], first=1)
    text = out.getvalue()
    assert "3/12" in text  # it begins where the resumed run does
    assert "12/12" in text
    assert "loss=" in text and "near=" not in text and "skipped" not in text


class Watched(keras.callbacks.Callback):
    """Lists the arrays that JAX copies to the host between the second and third step of an epoch.

    Meanwhile JAX refuses implicit transfers to the device.
    """

    def __init__(self, monkeypatch):
        super().__init__()
        self.fetched, self.watching = [], False
        kind = type(ops.convert_to_tensor(0.0))
        value = self.watched(kind._value.fget)
        monkeypatch.setattr(kind, "_value", property(value))
        monkeypatch.setattr(backend, "convert_to_numpy", self.watched(backend.convert_to_numpy))

    def watched(self, fetch):
        def fetch_and_note(array):
            if self.watching and threading.current_thread() is threading.main_thread():
                self.fetched.append(array.shape)
            return fetch(array)

        return fetch_and_note

    def on_train_batch_begin(self, batch, logs=None):
        self.switch(batch == 1)

    def switch(self, on):
        import jax

        self.watching = on
        jax.config.update("jax_transfer_guard", "disallow" if on else "allow")


@pytest.mark.backend("jax")  # JAX reports transfers
@pytest.mark.parametrize("waits", [False, True])
def test_a_step_does_not_wait_for_the_device(run, monkeypatch, waits):
    """With the callbacks of a run, it does not; a callback that reads each step's losses waits."""
    import jax

    watched = Watched(monkeypatch)
    callbacks = [*all_callbacks(run), watched, *([Stop(step=99)] if waits else [])]
    on_device = (jax.device_put(batch) for batch in batches())
    try:
        fit(compiled(), callbacks, epochs=2, data=on_device)
    finally:
        watched.switch(False)
    assert bool(watched.fetched) == waits


def test_intervals_are_checked(run):
    with pytest.raises(ConfigError, match="every is 0"):
        LossCurves(run, every=0)


class Seen(keras.callbacks.Callback):
    """Writes down its logs, and does what it is told at an epoch's end or at a batch's."""

    def __init__(self, at_epoch=None, at_batch=None):
        super().__init__()
        self.logs, self.at_epoch, self.at_batch = [], at_epoch, at_batch

    def on_train_batch_end(self, batch, logs=None):
        if self.at_batch:
            self.at_batch(self)

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append((epoch, dict(logs)))
        if self.at_epoch:
            self.at_epoch(self)


def test_callbacks_of_the_user_get_what_is_logged(run):
    seen = Seen()
    fit(compiled(), [MetricsLog(run, BATCH_SIZE), UserCallback(seen)], first=1, epochs=3)
    assert [epoch for epoch, _ in seen.logs] == [1, 2]
    for record, (_, logs) in zip(run.metrics(), seen.logs, strict=True):
        assert {name: record[name] for name in logs} == logs
        assert {"loss", "near", "flat", "learning_rate", "images_per_second"} < set(logs)


def test_a_callback_that_fails_is_named():
    def fail(callback):
        raise KeyError("val_loss")

    callback = Seen(fail)
    with pytest.raises(CallbackError, match="Seen failed in on_epoch_end: KeyError") as found:
        fit(compiled(), [UserCallback(callback)])
    assert found.value.callback is callback and isinstance(found.value.error, KeyError)
    with pytest.raises(ConfigError, match=r"mine is no callback"):
        UserCallback(print, "mine")


def test_a_callback_ends_the_training_with_the_epoch(run):
    def stop(callback):
        callback.model.stop_training = True

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: stop(callback))
    checkpoints = Checkpoints(run.checkpoints)
    callbacks = [UserCallback(callback), CheckpointCallback(checkpoints, every=3)]
    fit(compiled(), callbacks)
    assert checkpoints.steps() == [STEPS]


def test_batch_hooks_of_the_user_are_seen_by_keras_if_there_are_any():
    plain = UserCallback(keras.callbacks.EarlyStopping())
    default = keras.callbacks.Callback.on_train_batch_end
    assert plain.on_train_batch_end.__func__ is default
    assert UserCallback(Seen()).on_train_batch_end != default


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_ends_the_training_with_a_checkpoint(run, number, raised, caplog, capfd):
    class Signalled(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == 4:
                os.kill(os.getpid(), number)

    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    checkpoints = Checkpoints(run.checkpoints)
    saving = CheckpointCallback(checkpoints, every=100)
    with pytest.raises(raised) as error, SignalStop() as stop:
        fit(compiled(), [UserCallback(stop), Signalled(), saving])
    assert raised is KeyboardInterrupt or error.value.code == 143
    assert checkpoints.steps() == [6] and run.resumes_at() == 6
    assert "Stopped after step 6 of 12" in caplog.text and "--resume" in caplog.text
    assert "Stopping at the end of this log interval" in capfd.readouterr().err
    assert handlers == [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]


def test_an_old_checkpoint_is_replaced_before_its_interval_ends(run, monkeypatch):
    checkpoints = Checkpoints(run.checkpoints, keep=9)
    monkeypatch.setattr(callbacks, "_CHECKPOINT_SECONDS", -1.0)
    fit(compiled(), [CheckpointCallback(checkpoints, every=100)])
    assert checkpoints.steps() == [3, 6, 9, 12]
