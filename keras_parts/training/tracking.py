"""Experiment trackers: TensorBoard, Weights & Biases (W&B) and MLflow.

A tracker gets the settings of the recipe as parameters, what `metrics.jsonl` has after each log
interval, and the sample sheets. Their own callbacks for Keras are not used: those of TensorBoard
and W&B import TensorFlow on every backend, and that of MLflow counts epochs instead of steps.

A resumed run continues in its trackers, which get each log interval once. One that was not chosen
before, or failed, gets what it lacks from `metrics.jsonl`.
"""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time_ns
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from keras_parts.environment import OFFLINE_VARIABLE, offline
from keras_parts.errors import ConfigError, DataError, hide_secrets, suggestion
from keras_parts.extras import import_from_extra
from keras_parts.files import atomic_write, read_limited
from keras_parts.training.run_folder import RunFolder, parameters

_LOG = logging.getLogger(__name__)
_STATE_BYTES = 2**20
"""Maximum size of the file with the state of the trackers."""


class Tracker(ABC):
    """Sends what a run logs to a tracker.

    A subclass begins or continues the run of the tracker in its constructor.

    Args:
        folder: folder of the run.
        settings: parameters, `{name: value}`.
        previous: `id` of the run to continue; None to begin one.

    Attributes:
        id: what names the run in the tracker.
        shown_at: where the user finds the run.
    """

    title: ClassVar[str]
    """Name in messages."""
    module: ClassVar[str]
    """Module that is needed. The extra is called as the tracker."""

    id: str
    shown_at: str

    @abstractmethod
    def __init__(self, folder: RunFolder, settings: Mapping[str, Any], previous: str | None): ...

    @classmethod  # noqa: B027
    def check(cls, module: Any) -> None:
        """Raise an error of the library if a run cannot be begun, as for lack of a login."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the numbers of a log interval that ends after `step` steps."""

    @abstractmethod
    def picture(self, step: int, file: Path) -> None:
        """Send a sample sheet."""

    @abstractmethod
    def finish(self, failed: bool) -> None:
        """End the run of the tracker."""


class TensorBoardTracker(Tracker):
    """Writes event files into `RUN/tensorboard`."""

    title, module = "TensorBoard", "tensorboardX"

    def __init__(self, folder, settings, previous):
        from tensorboardX import SummaryWriter
        from tensorboardX.summary import hparams

        # Without the suffix, a file that is begun in the same second is overwritten.
        self._writer = SummaryWriter(str(folder.tensorboard), filename_suffix=f".{time_ns()}")
        self.id, self.shown_at = folder.tensorboard.name, str(folder.tensorboard)
        if previous is None:
            rows = [f"| {name} | {value} |" for name, value in settings.items()]
            self._writer.add_text("settings", "\n".join(["| setting | value |", "|-|-|", *rows]), 0)
            plain = {
                name: value if isinstance(value, bool | int | float) else str(value)
                for name, value in settings.items()
            }
            for summary in hparams(plain, {"loss": 0.0})[:2]:  # the third one ends the session
                self._writer.file_writer.add_summary(summary)

    def log(self, step, values):
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, step, file):
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        self._writer.add_image("parts", pixels, step, dataformats="HWC")
        self._writer.flush()

    def finish(self, failed):
        self._writer.close()


class WandbTracker(Tracker):
    """Logs to the active run of W&B, else to one of its own with files in `RUN/tracking`."""

    title, module = "W&B", "wandb"

    @classmethod
    def check(cls, module):
        if module.run is None and not offline() and module.setup().settings.mode == "online":
            module.login()

    def __init__(self, folder, settings, previous):
        import wandb

        self._is_own = wandb.run is None
        if self._is_own:
            self._run = wandb.init(
                project=wandb.setup().settings.project or "keras-parts",
                name=folder.path.absolute().name,
                dir=str(folder.tracking),
                id=previous,
                resume="allow",
                mode="offline" if offline() else None,
            )
        else:
            self._run = wandb.run
        self._image = wandb.Image
        self._run.config.update(dict(settings), allow_val_change=True)
        self._run.define_metric("step")  # W&B's own count the calls of `log`
        self._run.define_metric("*", step_metric="step")
        self.id, self.shown_at = self._run.id, self._run.url or self._run.dir

    def log(self, step, values):
        self._run.log({**values, "step": step})

    def picture(self, step, file):
        self._run.log({"parts": self._image(str(file)), "step": step})

    def finish(self, failed):
        if self._is_own:
            self._run.finish(exit_code=int(failed))


class MlflowTracker(Tracker):
    """Logs to the active run of MLflow, else to one of its own."""

    title, module = "MLflow", "mlflow"

    @classmethod
    def check(cls, module):
        if offline() and module.get_tracking_uri().startswith("http"):
            raise ConfigError(
                f"MLflow: {module.get_tracking_uri()} is not requested, because {OFFLINE_VARIABLE} "
                "is set"
            )
        module.search_experiments(max_results=1)  # it asks the server

    def __init__(self, folder, settings, previous):
        import mlflow

        self._mlflow = mlflow
        run = mlflow.active_run()
        self._is_own = run is None
        if run is None:
            run = mlflow.start_run(run_id=previous, run_name=folder.path.absolute().name)
        self.id = run.info.run_id
        self.shown_at = f"{hide_secrets(mlflow.get_tracking_uri())}, run {self.id}"
        if previous is None:
            mlflow.log_params({name: str(value)[:500] for name, value in settings.items()})

    def log(self, step, values):
        self._mlflow.log_metrics(dict(values), step=step, run_id=self.id)

    def picture(self, step, file):
        self._mlflow.log_artifact(str(file), "samples", run_id=self.id)

    def finish(self, failed):
        if self._is_own:
            self._mlflow.end_run("FAILED" if failed else "FINISHED")


TRACKERS: dict[str, type[Tracker]] = {
    "tensorboard": TensorBoardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
}
"""The trackers by the names that `train(track=...)` takes."""


def check_trackers(names: Sequence[str]) -> None:
    """Check that there are these trackers, and that a run can be begun in each.

    Raises:
        ConfigError: a name is unknown, a package is not installed, W&B knows no user, or the server
            of MLflow does not answer.

    Example:
        >>> from keras_parts.training.tracking import check_trackers
        >>> check_trackers(["tensorbord"])
        Traceback (most recent call last):
        keras_parts.errors.ConfigError: no tracker is called 'tensorbord': ...
    """
    for name in names:
        if name not in TRACKERS:
            raise ConfigError(
                f"no tracker is called {name!r}: choose from {', '.join(TRACKERS)}"
                f"{suggestion(name, TRACKERS)}"
            )
        with _begins(name):
            TRACKERS[name].check(import_from_extra(TRACKERS[name].module, name))


@contextmanager
def _begins(name: str) -> Iterator[None]:
    """Turn an error of a tracker into one that names it."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{TRACKERS[name].title} cannot be used: {_reason(error)}. Mend it, or leave out "
            f"--track {name}"
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")


class Trackers:
    """The trackers of a run, and what each has got.

    A tracker that fails is left out from then on, with a warning: the training continues.

    Args:
        folder: folder of the run, which must exist.
        settings: settings of the recipe, and what else describes the run.

    Attributes:
        shown_at: `{name: where the user finds the run}`.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any]):
        self.shown_at: dict[str, str] = {}
        self._folder = folder
        self._settings = parameters(settings)
        self._trackers: dict[str, Tracker] = {}
        self._state = _read_state(folder.tracking_file)

    def begin(self, name: str) -> None:
        """Begin or continue the run of a tracker, and send what it lacks.

        Raises:
            ConfigError: it cannot be used.
        """
        previous = self._state.get(name, {"id": None, "step": 0})
        with _begins(name):
            tracker = TRACKERS[name](self._folder, self._settings, previous["id"])
        self._trackers[name] = tracker
        self._state[name] = previous | {"id": tracker.id}
        self.shown_at[name] = tracker.shown_at
        self.update()

    def update(self) -> None:
        """Send what metrics.jsonl and the sample sheets have besides what was sent before."""
        for record in self._folder.metrics():
            for name in list(self._trackers):
                if record["step"] > self._state[name]["step"]:
                    with self._left_out_if_it_fails(name) as tracker:
                        self._send(tracker, record)
                        self._state[name]["step"] = record["step"]
        self._folder.tracking.mkdir(exist_ok=True)
        with atomic_write(self._folder.tracking_file, "w") as file:
            json.dump(self._state, file)

    def finish(self, *, failed: bool) -> None:
        """End the runs of all trackers."""
        for name in list(self._trackers):
            with self._left_out_if_it_fails(name) as tracker:
                tracker.finish(failed)

    def _send(self, tracker: Tracker, record: Mapping[str, Any]) -> None:
        values = {name: value for name, value in record.items() if value is not None}
        step = values.pop("step")
        values.pop("epoch", None)
        tracker.log(step, values)
        sheet = self._folder.sheet_file(step)
        if sheet.is_file():
            tracker.picture(step, sheet)

    @contextmanager
    def _left_out_if_it_fails(self, name: str) -> Iterator[Tracker]:
        tracker = self._trackers[name]
        try:
            yield tracker
        except Exception as error:
            del self._trackers[name]
            _LOG.warning(
                "%s failed and gets nothing more: %s. The training continues; resume the run with "
                "--track %s to send the rest",
                tracker.title, _reason(error), name,
            )  # fmt: skip


@contextmanager
def tracked(
    names: Sequence[str], folder: RunFolder, settings: Mapping[str, Any]
) -> Iterator[Trackers]:
    """The trackers of a run, which end with the block.

    Args:
        names: keys of `TRACKERS`.
        folder, settings: see `Trackers`.

    Raises:
        ConfigError: one of them cannot be used.
    """
    trackers = Trackers(folder, settings)
    failed = True
    try:
        for name in dict.fromkeys(names):
            trackers.begin(name)
        yield trackers
        failed = False
    finally:
        trackers.finish(failed=failed)


def _read_state(file: Path) -> dict[str, dict[str, Any]]:
    """`{name: {"id": ..., "step": number of steps that it has got}}`."""
    if not file.exists():
        return {}
    try:
        state = json.loads(read_limited(file, _STATE_BYTES)).items()
        return {name: {"id": str(one["id"]), "step": int(one["step"])} for name, one in state}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        raise DataError(
            f"{file} is damaged: remove it, and the trackers begin new runs", path=file
        ) from None
