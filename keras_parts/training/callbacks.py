"""What a run writes down and shows while it trains.

An epoch of `fit` is an interval of `steps_per_epoch` steps of an endless stream of batches: give
`initial_epoch` when a run is resumed and every step number follows.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Sequence

import keras
import numpy as np
from tqdm import tqdm

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_path
from keras_parts.training.checkpoints import Checkpoints
from keras_parts.training.run_folder import RunFolder


class Interval(keras.callbacks.Callback):
    """Something done at the end of every `every`-th epoch, and of the last one."""

    def __init__(self, every: int = 1):
        super().__init__()
        if every < 1:
            raise ConfigError(f"every is {every} intervals, expected at least 1")
        self.every = every

    def at_step(self, step: int, logs: dict) -> None:
        """`step` steps are made; `logs` are the epoch's averages."""
        raise NotImplementedError

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"] or self.model.stop_training
        if last or (epoch + 1) % self.every == 0:
            self.at_step((epoch + 1) * self.params["steps"], logs or {})


class MetricsLog(keras.callbacks.Callback):
    """One line of metrics.jsonl an epoch.

    step, epoch (from 0), every loss (null if all steps of the epoch were skipped), learning_rate
    of the next step, images_per_second, skipped_steps. First in the list of callbacks, so that it
    times the steps and not what others do between them.

    Args:
        run: where to.
        batch_size: images a step.
    """

    def __init__(self, run: RunFolder, batch_size: int):
        super().__init__()
        self.run = run
        self.batch_size = batch_size

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        steps = self.params["steps"]
        seconds = time.perf_counter() - self._began
        losses = dict(logs or {})
        skipped = round(losses.pop("skipped_steps", 0))
        if skipped == steps:
            losses = dict.fromkeys(losses)
        self.run.log(
            {
                "step": (epoch + 1) * steps,
                "epoch": epoch,
                **losses,
                "learning_rate": float(self.model.optimizer.learning_rate),
                "images_per_second": round(steps * self.batch_size / seconds, 3),
                "skipped_steps": skipped,
            }
        )


class LossCurves(Interval):
    """curves.png, drawn from all lines of metrics.jsonl, those before a resume included."""

    def __init__(self, run: RunFolder, every: int = 1):
        super().__init__(every)
        self.run = run

    def at_step(self, step, logs):
        draw_curves(self.run.metrics(), self.run.curves_file)


def draw_curves(records: Sequence[dict], path) -> None:
    """A picture of every quantity in the lines of a metrics.jsonl over the steps, total loss first.

    Args:
        records: from `RunFolder.metrics`.
        path: PNG to write; not written if there are no records.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    names = {name: None for record in records for name in record}
    names = [n for n in names if n not in ("step", "epoch", "images_per_second")]
    names.sort(key=lambda name: name != "loss")
    names = [n for n in names if n != "skipped_steps" or any(r.get(n) for r in records)]
    if not names:
        return
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 2.8 * rows), dpi=110, layout="constrained")
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
    """Mean over a window of `share` of the points around each; gaps (NaN) are left out."""
    radius = max(1, round(len(values) * share / 2))
    windows = (values[max(0, i - radius) : i + radius + 1] for i in range(len(values)))
    return [np.nan if np.isnan(w).all() else np.nanmean(w) for w in windows]


class SampleSheet(Interval):
    """samples/step-00000300.png: the same few images, segmented, at intervals.

    Args:
        run: where to.
        images: what to draw, given to `draw` as it is.
        draw: images -> PIL.Image.Image.
        every: epochs between two sheets.
    """

    def __init__(self, run: RunFolder, images, draw: Callable, every: int = 1):
        super().__init__(every)
        self.run = run
        self.images = images
        self.draw = draw

    def at_step(self, step, logs):
        picture = self.draw(self.images)
        with atomic_path(self.run.samples / f"step-{step:08d}.png") as unfinished:
            picture.save(unfinished)


class CheckpointCallback(Interval):
    """A checkpoint at intervals and at the end.

    Last in the list of callbacks: what the others write about the interval is then there when the
    checkpoint is, and what they wrote after it goes when a run is resumed.

    Args:
        checkpoints: where to.
        every: epochs between two checkpoints.
        extra: called without arguments, gives what is stored beside the state.
    """

    def __init__(
        self, checkpoints: Checkpoints, every: int = 1, extra: Callable[[], dict] | None = None
    ):
        super().__init__(every)
        self.checkpoints = checkpoints
        self.extra = extra

    def at_step(self, step, logs):
        self.checkpoints.save(step, self.model, self.extra() if self.extra else None)


class Progress(keras.callbacks.Callback):
    """A bar with the steps of the whole run, the time left and the losses so far in the epoch.

    Args:
        file: where to, by default stderr. Written rarely where it is no terminal.
    """

    # Keras calls the hooks for batches beside the training then, instead of waiting for the
    # device in every step to have numbers for them.
    async_safe = True

    def __init__(self, file=None):
        super().__init__()
        self.file = file
        self._bar = None
        self._lock = threading.Lock()

    def on_epoch_begin(self, epoch, logs=None):
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

    def on_train_batch_end(self, batch, logs=None):
        with self._lock:
            # a batch may be reported late; one of the epoch before is of no interest any more
            self._advance(self._epoch_start + batch + 1, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._advance((epoch + 1) * self.params["steps"], logs)

    def on_train_end(self, logs=None):
        self._bar.close()

    def _advance(self, step, logs):
        if step > self._bar.n:
            losses = {k: v for k, v in (logs or {}).items() if k != "skipped_steps" or v}
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in losses.items()}, refresh=False)
            self._bar.update(step - self._bar.n)
