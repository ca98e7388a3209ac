"""Callbacks that log, draw, save and show the progress of training.

Batches are an endless stream, and an epoch of `fit` is an interval of `steps_per_epoch` steps. A
resumed run passes `initial_epoch` to `fit`, so that epochs and steps keep counting.
"""

import functools
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TextIO

import keras
import numpy as np
from PIL import Image
from tqdm import tqdm

from keras_parts.errors import CallbackError, ConfigError
from keras_parts.extras import import_from_extra
from keras_parts.files import atomic_path
from keras_parts.training.checkpoints import Checkpoints
from keras_parts.training.run_folder import RunFolder
from keras_parts.training.tracking import Trackers

_LOG = logging.getLogger(__name__)
_CHECKPOINT_SECONDS = 120.0
"""Time after which another checkpoint is saved at the end of an epoch."""
_STOPPING = (
    "\nStopping at the end of this log interval, where a checkpoint is saved. The same signal "
    "(Ctrl-C) again stops at once.\n"
)


class IntervalCallback(keras.callbacks.Callback):
    """Base class of callbacks that act at intervals.

    `on_interval_end` is called at the end of every `every`-th epoch, and of the last one.

    Args:
        every: epochs in an interval, at least 1.

    Raises:
        ConfigError: `every` is less than 1.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training.callbacks import IntervalCallback
        >>> class Report(IntervalCallback):
        ...     def on_interval_end(self, step, logs):
        ...         print(f"step {step}: {sorted(logs)}")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=[Report(2)])
        step 4: ['loss']
        step 6: ['loss']
    """

    def __init__(self, every: int = 1):
        super().__init__()
        if every < 1:
            raise ConfigError(f"every is {every} epochs, expected at least 1")
        self.every = every

    def on_interval_end(self, step: int, logs: dict) -> None:
        """Act after `step` steps of the run.

        Args:
            step: number of steps made since the beginning of the run.
            logs: averages over the epoch, {name: number}.
        """
        raise NotImplementedError

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if last or (epoch + 1) % self.every == 0:
            self.on_interval_end((epoch + 1) * self.params["steps"], logs or {})


class MetricsLog(keras.callbacks.Callback):
    """Writes one line to metrics.jsonl per epoch, and adds to `logs` what Keras does not count.

    A line has step, epoch (from 0), every loss (null if it was finite in no step of the epoch),
    learning_rate (of the next step), images_per_second and skipped_steps. Pass this callback first:
    the speed then does not include the time of the others, and they find learning_rate and
    images_per_second in their `logs`.

    Args:
        run: folder of the run.
        batch_size: images per step.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training import RunFolder
        >>> from keras_parts.training.callbacks import MetricsLog
        >>> run = RunFolder.create("runs/first")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> history = model.fit(x, y, batch_size=4, verbose=0, callbacks=[MetricsLog(run, 4)])
        >>> run.metrics()
        [{'step': 2, 'epoch': 0, 'loss': ..., 'skipped_steps': 0}]
    """

    def __init__(self, run: RunFolder, batch_size: int):
        super().__init__()
        self.run = run
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._start_time = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        steps = self.params["steps"]
        seconds = time.perf_counter() - self._start_time
        logs = {} if logs is None else logs  # the same dict for all callbacks
        losses = dict(logs)
        skipped = round(losses.pop("skipped_steps", 0))
        measured = {
            "learning_rate": float(self.model.optimizer.learning_rate),
            "images_per_second": round(steps * self.batch_size / seconds, 3),
        }
        logs |= measured
        step = {"step": (epoch + 1) * steps, "epoch": epoch}
        self.run.log(step | losses | measured | {"skipped_steps": skipped})


class DivergenceStop(keras.callbacks.Callback):
    """Ends a training in which every step is skipped, because its losses are not finite.

    Only epochs without any finite step count. Pass this callback before those that act at the end
    of the training.

    Args:
        max_skipped: number of steps, skipped one after the other, that end the training. The
            default is more than a loss scale needs to come down. A shorter training has diverged
            if all its steps were skipped.

    Attributes:
        step: number of steps until now, skipped ones included.
        skipped_steps: number of steps skipped one after the other until now.
        diverged: whether the training was ended, or made no step.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.discovery.steps import TrainStep
        >>> from keras_parts.training.callbacks import DivergenceStop
        >>> class Broken(TrainStep, keras.Model):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.dense = keras.layers.Dense(1)
        ...         self.dense.build((None, 3))
        ...         self.track_losses({"error": 1.0})
        ...         self.built = True
        ...
        ...     def compute_losses(self, batch, training):
        ...         return {"error": keras.ops.mean(self.dense(batch["x"])) * float("nan")}
        >>> model = Broken()
        >>> model.compile("sgd")
        >>> stop = DivergenceStop(max_skipped=2)
        >>> batches = (({"x": np.ones((4, 3), "float32")},) for _ in range(9))
        >>> history = model.fit(batches, steps_per_epoch=1, epochs=9, verbose=0, callbacks=[stop])
        >>> stop.diverged, stop.skipped_steps, history.history["loss"]
        (True, 2, [nan, nan])
    """

    def __init__(self, max_skipped: int = 20):
        super().__init__()
        self.max_skipped = max_skipped
        self.step = self.skipped_steps = 0
        self.diverged = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.skipped_steps, self.diverged = 0, False
        self._any_step = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.step = (epoch + 1) * self.params["steps"]
        skipped = round((logs or {}).get("skipped_steps", 0))
        if skipped < self.params["steps"]:
            self.skipped_steps, self._any_step = 0, True
            return
        self.skipped_steps += skipped
        last = epoch + 1 == self.params["epochs"]
        if self.skipped_steps >= self.max_skipped or (last and not self._any_step):
            self.diverged = self.model.stop_training = True


class LossCurves(IntervalCallback):
    """Draws curves.png from all lines of metrics.jsonl, also those from before a run was resumed.

    Args:
        run: folder of the run.
        every: epochs between two drawings.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training import RunFolder
        >>> from keras_parts.training.callbacks import LossCurves, MetricsLog
        >>> run = RunFolder.create("runs/first")
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> callbacks = [MetricsLog(run, batch_size=8), LossCurves(run)]
        >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=callbacks)
        >>> run.curves_file.exists()
        True
    """

    def __init__(self, run: RunFolder, every: int = 1):
        super().__init__(every)
        self.run = run

    def on_interval_end(self, step: int, logs: dict) -> None:
        draw_curves(self.run.metrics(), self.run.curves_file)


def draw_curves(records: Sequence[dict], path: str | os.PathLike) -> None:
    """Draw each quantity in metrics.jsonl over the steps, the total loss first.

    Args:
        records: lines of the file as `RunFolder.metrics` returns them.
        path: PNG file to write; not written if there are no records.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.training.callbacks import draw_curves
        >>> draw_curves([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}], "curves.png")
        >>> Path("curves.png").exists()
        True
    """
    # pyplot would open windows and keep global state
    Figure = import_from_extra("matplotlib.figure", "train").Figure
    found = {name: None for record in records for name in record}
    names = [name for name in found if name not in ("step", "epoch", "images_per_second")]
    names.sort(key=lambda name: name != "loss")
    names = [n for n in names if n != "skipped_steps" or any(r.get(n) for r in records)]
    if not names:
        return
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    width, height = 4.2 * columns, 2.8 * rows
    figure = Figure(figsize=(width, height), dpi=110)
    # In inches. A layout that matplotlib computes takes as long as the drawing.
    figure.subplots_adjust(
        left=0.6 / width, right=1 - 0.15 / width, bottom=0.45 / height, top=1 - 0.3 / height,
        wspace=0.65 / 3.5, hspace=0.75 / 2.0,
    )  # fmt: skip
    steps = [record["step"] for record in records]
    for i, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, i + 1)
        values = np.array([record.get(name) for record in records], float)
        noisy = len(values) >= 20 and name not in ("learning_rate", "skipped_steps")
        colour = "black" if name == "loss" else f"C{i % 10}"
        axes.plot(steps, values, color=colour, linewidth=1.2, alpha=0.3 if noisy else 1.0)
        if noisy:
            axes.plot(steps, _smooth(values), color=colour, linewidth=1.5)
        axes.set_title("total loss" if name == "loss" else name.replace("_", " "), fontsize=10)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.margins(x=0)
    with atomic_path(path) as unfinished:
        figure.savefig(unfinished)


def _smooth(values, share=0.05):
    """Moving average over a window of a `share` of all points; NaN (no value) is ignored."""
    radius = max(1, round(len(values) * share / 2))
    windows = (values[max(0, i - radius) : i + radius + 1] for i in range(len(values)))
    return [np.nan if np.isnan(w).all() else np.nanmean(w) for w in windows]


class SampleSheet(IntervalCallback):
    """Draws the same few images, segmented, at intervals: samples/step-00000300.png and so on.

    Args:
        run: folder of the run.
        images: passed to `draw` unchanged.
        draw: function of `images` that returns a `PIL.Image.Image`.
        every: epochs between two sheets.

    Example:
        >>> import keras, numpy as np
        >>> from PIL import Image
        >>> from keras_parts.training import RunFolder
        >>> from keras_parts.training.callbacks import SampleSheet
        >>> run = RunFolder.create("runs/first")
        >>> def draw(images):
        ...     return Image.fromarray(np.concatenate(images))
        >>> sheet = SampleSheet(run, np.zeros((2, 8, 8, 3), "uint8"), draw)
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[sheet])
        >>> [path.name for path in run.samples.iterdir()]
        ['step-00000001.png']
    """

    def __init__(
        self, run: RunFolder, images: Any, draw: Callable[[Any], Image.Image], every: int = 1
    ):
        super().__init__(every)
        self.run = run
        self.images = images
        self.draw = draw

    def on_interval_end(self, step: int, logs: dict) -> None:
        picture = self.draw(self.images)
        with atomic_path(self.run.sheet_file(step)) as unfinished:
            picture.save(unfinished)


class CheckpointCallback(IntervalCallback):
    """Saves a checkpoint at intervals and at the end, and after an epoch if the last one is older
    than two minutes.

    Pass this callback last: the others have then written their results before the checkpoint, and a
    run that is resumed from it has all of them.

    Args:
        checkpoints: the checkpoints of the run.
        every: epochs between two checkpoints.
        extra: function without arguments that returns the JSON values to store with the state.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training.callbacks import CheckpointCallback
        >>> from keras_parts.training.checkpoints import Checkpoints
        >>> checkpoints = Checkpoints("checkpoints")
        >>> callback = CheckpointCallback(checkpoints, every=2)
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[callback])
        >>> checkpoints.steps()
        [2, 3]
    """

    def __init__(
        self, checkpoints: Checkpoints, every: int = 1, *, extra: Callable[[], dict] | None = None
    ):
        super().__init__(every)
        self.checkpoints = checkpoints
        self.extra = extra
        self._saved_at = time.monotonic()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._saved_at = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if time.monotonic() - self._saved_at > _CHECKPOINT_SECONDS:
            self.on_interval_end((epoch + 1) * self.params["steps"], logs or {})

    def on_interval_end(self, step: int, logs: dict) -> None:
        self.checkpoints.save(step, self.model, self.extra() if self.extra else None)
        self._saved_at = time.monotonic()


class SignalStop(keras.callbacks.Callback):
    """Ends a training on Ctrl-C or SIGTERM with the epoch, after the checkpoint of that epoch.

    The second signal has its usual effect, and so has one before the first step. The block of
    `with` restores how signals are handled.

    Raises:
        KeyboardInterrupt: by `fit`, after Ctrl-C.
        SystemExit: by `fit`, after SIGTERM, with the code 143.

    Example:
        >>> import keras, numpy as np, os, signal
        >>> from keras_parts.training.callbacks import SignalStop
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> with SignalStop() as stop:
        ...     history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[stop])
    """

    def __init__(self) -> None:
        super().__init__()
        self._received: int | None = None
        self._step: int | None = None
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "SignalStop":
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def on_train_begin(self, logs: dict | None = None) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._receive)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._received is not None and epoch + 1 < self.params["epochs"]:
            self._step = (epoch + 1) * self.params["steps"]
            self.model.stop_training = True

    def on_train_end(self, logs: dict | None = None) -> None:
        self._restore()
        if self._step is None:
            return
        _LOG.warning(
            "Stopped after step %d of %d, with a checkpoint: resume=True "
            "(--resume) continues there",
            self._step, self.params["epochs"] * self.params["steps"],
        )  # fmt: skip
        if self._received == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        raise KeyboardInterrupt

    def _receive(self, number: int, frame: object) -> None:
        self._received = number
        self._restore()
        # Python's own streams may be in use at this moment.
        os.write(2, _STOPPING.encode())

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


class Tracking(keras.callbacks.Callback):
    """Sends the log and the sample sheets of each epoch to trackers.

    Pass this callback after `MetricsLog` and `SampleSheet`.

    Args:
        trackers: see `keras_parts.training.tracking`.
    """

    def __init__(self, trackers: Trackers):
        super().__init__()
        self.trackers = trackers

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.trackers.update()


class UserCallback(keras.callbacks.Callback):
    """Calls a callback of the user, and names it if it fails.

    A callback that ends the training (`stop_training`) ends it with the epoch: there all others
    write their results, and there a run can be resumed.

    Args:
        callback: the callback.
        name: its name in messages.

    Raises:
        ConfigError: `callback` is not a Keras callback.
        CallbackError: raised by the hooks, where the callback raises an error.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training.callbacks import UserCallback
        >>> class Broken(keras.callbacks.Callback):
        ...     def on_epoch_end(self, epoch, logs=None):
        ...         logs["val_loss"]
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> broken = UserCallback(Broken())
        >>> model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[broken])
        Traceback (most recent call last):
        keras_parts.errors.CallbackError: the callback Broken failed in on_epoch_end: KeyError: ...
    """

    _HOOKS = tuple(
        f"on_{what}_{when}"
        for what in ("train", "epoch", "train_batch", "batch")
        for when in ("begin", "end")
    )

    def __init__(self, callback: keras.callbacks.Callback, name: str = ""):
        super().__init__()
        self.name = name or type(callback).__name__
        if not isinstance(callback, keras.callbacks.Callback):
            raise ConfigError(f"{self.name} is no callback: expected a keras.callbacks.Callback")
        self.callback = callback
        self.async_safe = getattr(callback, "async_safe", False)
        self._stop = False
        for hook in self._HOOKS:
            function = getattr(callback, hook)
            default = getattr(keras.callbacks.Callback, hook)
            # Keras waits for the device in every step if there are hooks for batches.
            if hook == "on_epoch_end" or getattr(function, "__func__", None) is not default:
                setattr(self, hook, functools.partial(self._call, hook, function))

    def set_params(self, params: dict) -> None:
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        self.callback.set_model(model)

    def _call(self, hook: str, function: Callable, *arguments: Any, **named: Any) -> None:
        try:
            function(*arguments, **named)
        except Exception as error:
            raise CallbackError(
                f"the callback {self.name} failed in {hook}: {type(error).__name__}: {error}. Mend "
                "it, and resume the run (--resume) if it has a checkpoint",
                callback=self.callback,
                error=error,
            ) from error
        if hook == "on_epoch_end":
            self.model.stop_training |= self._stop
        elif "batch" in hook and self.model.stop_training:
            self._stop, self.model.stop_training = True, False


class ProgressBar(keras.callbacks.Callback):
    """Shows the steps of the whole run, the time left and the average total loss of the epoch.

    Args:
        file: text file to which the bar is written; by default stderr. If it is not a terminal, the
            bar is updated only every 30 seconds.

    Example:
        >>> import io, keras, numpy as np
        >>> from keras_parts.training.callbacks import ProgressBar
        >>> file = io.StringIO()
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> x, y = np.ones((8, 3)), np.ones((8, 1))
        >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[ProgressBar(file)])
        >>> "3/3" in file.getvalue()
        True
    """

    # Keras then calls the hooks for batches in another thread, and does not wait for the device in
    # every step; see test_callbacks_may_declare_themselves_safe.
    async_safe = True

    def __init__(self, file: TextIO | None = None):
        super().__init__()
        self.file = file
        self._bar: tqdm | None = None
        self._lock = threading.Lock()

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        steps = self.params["steps"]
        self._epoch_start = epoch * steps
        if self._bar is None:
            file = self.file or sys.stderr
            self._bar = tqdm(
                total=self.params["epochs"] * steps,
                initial=epoch * steps,
                file=file,
                unit="step",
                mininterval=0.5 if file.isatty() else 30,
                dynamic_ncols=True,
            )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        with self._lock:
            # Keras' thread may report a batch late: `_advance` never goes back.
            self._advance(self._epoch_start + batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._advance((epoch + 1) * self.params["steps"], logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._bar is not None:
            self._bar.close()

    def _advance(self, step, logs):
        if self._bar is not None and step > self._bar.n:
            logs = logs or {}
            shown = {name: logs[name] for name in ("loss", "skipped_steps") if logs.get(name)}
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in shown.items()}, refresh=False)
            self._bar.update(step - self._bar.n)
