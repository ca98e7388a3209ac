"""A training run: it trains a recipe on a data set, and writes a run folder with the segmenter."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import keras
import numpy as np
from PIL import Image

from keras_parts.data.crops import object_crop
from keras_parts.data.dataset import Dataset
from keras_parts.data.sample import Sample
from keras_parts.discovery.model import PartDiscovery
from keras_parts.errors import CallbackError, DivergenceError, OutOfMemoryError, is_out_of_memory
from keras_parts.extras import check_train_extra
from keras_parts.keras_private import set_random_seed, sync_variables
from keras_parts.models.part_names import parts_of
from keras_parts.models.precision import precision_policy
from keras_parts.models.saved_config import CONFIG_FILE, read_saved_config
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.results.page import write_page
from keras_parts.results.pictures import contact_sheet
from keras_parts.training.callbacks import (
    CheckpointCallback,
    DivergenceStop,
    LossCurves,
    MetricsLog,
    ProgressBar,
    SampleSheet,
    Tracking,
    UserCallback,
)
from keras_parts.training.checkpoints import Checkpoints, variable_to_numpy
from keras_parts.training.checks import check_dataset, check_recipe, check_steps_per_execution
from keras_parts.training.data_record import check_same_data, record_data
from keras_parts.training.devices import Devices, find_devices
from keras_parts.training.hosts import Hosts
from keras_parts.training.optimisers import averaged_weights, weight_averages
from keras_parts.training.origins import Origin, find_origins
from keras_parts.training.preparation import prepare
from keras_parts.training.recipes import Recipe
from keras_parts.training.run_folder import RunFolder, check_folder
from keras_parts.training.tracking import Trackers, check_trackers, tracked

_LOG = logging.getLogger(__name__)
_INTERVALS = 40
"""Maximum number of log intervals of a run."""
_SHEETS = 4
"""Number of sample sheets, and of checkpoints, of a run."""
_SHORT = 20
"""Steps of a run from which its curves are drawn before its end too: that takes half a second."""
_SHEET_IMAGES = 16
"""Maximum number of images on a sample sheet."""


def train(
    recipe: Recipe,
    dataset: Dataset,
    output: str | PathLike,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    split: str = "train",
    devices: int | str | None = None,
    hosts: Hosts | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    track: Sequence[str] = (),
) -> dict[str, Any]:
    """Train a segmenter and write a run folder (see `keras_parts.training.RunFolder`).

    A run has up to 40 log intervals of equal length; the number of steps is rounded up to fill the
    last one. Settings, weights and the first sample are checked before anything is computed or
    written. A run that fails in its first log interval leaves nothing behind.

    Args:
        recipe: a `Recipe`.
        dataset: training samples, each with a foreground.
        output: the run folder.
        resume: continue from the newest checkpoint in the folder; the result equals that of an
            uninterrupted run. Settings and data must be the same, see `data_record`.
        overwrite: replace the run in the folder.
        progress: show progress bars on stderr.
        split: name of the split, which is written to config.json.
        devices, hosts: see `keras_parts.training.devices.find_devices`. `batch_size` is the number
            of images on all devices together, so that the result is that of one device. A run can
            be resumed on other devices. If there are several hosts, each calls this function with
            the same arguments. The first one writes the folder; to resume a run, all must be able
            to read it.
        callbacks: Keras callbacks, called in every host. An epoch is a log interval, and goes on
            counting in a resumed run. Their `logs` have the average of each loss and skipped_steps,
            and on the first host learning_rate and images_per_second. One that sets
            `stop_training` ends the run with the log interval.
        track: names of experiment trackers: "tensorboard" (event files in the run folder), "wandb",
            "mlflow". They get the settings, the log and the sample sheets. A resumed run continues
            in the same runs of the trackers.

    Returns:
        dict of "output", "segmenter" (its folder), "devices" (their number), "seconds" (duration
        of the training in this call) and "images_per_second"; on the first host also of "steps",
        "skipped_steps", the losses of the last interval, and "tracked", where the trackers have the
        run, if there are any.

    Raises:
        CallbackError: one of the callbacks failed; the message names it.
        ConfigError: the folder holds a run and neither `resume` nor `overwrite` is set, another
            process trains it, it was begun with other settings or data, a setting is not valid, or
            a tracker cannot be used.
        DataError: a sample cannot be read or has no foreground, or weights are missing.
        OutOfMemoryError: the memory of a device is full; the message names a size to try.
        DivergenceError: 20 steps or more, one after the other, were not finite. The log and the
            checkpoints are kept.

    Example:
        >>> from keras_parts import data
        >>> from keras_parts.training import recipe, train
        >>> small = dict(steps=1, batch_size=2, image_size=33, loss_size=9, jit_compile=False)
        >>> summary = train(
        ...     recipe("toy", **small), data.load("toy", "train", count=2, size=33), "runs/toy",
        ...     progress=False,
        ... )
        >>> summary["steps"], summary["segmenter"]
        (1, 'runs/toy/segmenter')
    """
    placement = find_devices(devices, hosts)
    intervals = LogIntervals.of(recipe.steps)
    folder = RunFolder(output)
    _check(recipe, dataset, folder, placement, intervals, overwrite=overwrite, resume=resume)
    guarded: list[keras.callbacks.Callback] = [
        UserCallback(each, f"callbacks[{i}], {type(each).__name__},")
        for i, each in enumerate(callbacks)
    ]
    trackers: Trackers | None = None
    if placement.is_leader:
        check_trackers(track)
    set_random_seed(recipe.seed)
    progress = progress and placement.is_leader
    with precision_policy(recipe.precision), ExitStack() as stack:
        if placement.is_leader and folder.path.exists():
            stack.enter_context(folder.locked())
        described = record_data(dataset, split)
        settings = recipe.to_json()
        if resume:
            check_same_data(folder.read_config().get("data", {}), described, folder.path)
        with _enough_memory(_smaller_teacher(recipe)):
            discovery, batches = prepare(
                recipe, dataset, placement, steps=intervals.steps, progress=progress
            )
        if placement.is_leader and not resume:
            folder.make(overwrite=overwrite)
            stack.enter_context(folder.locked())
            stack.enter_context(folder.removed_if_empty())
            models = _inherited(find_origins(settings), described["licence"])
            folder.write_config(settings, recipe.seed, described | {"models": models})
        if placement.is_leader:
            stack.enter_context(folder.logged())
        teacher = discovery.teacher
        checkpoints = Checkpoints(folder.checkpoints, exclude=[teacher] if teacher else [])
        with placement.scope():
            done = _restore(checkpoints, discovery, folder, placement.is_leader) if resume else 0
        if placement.is_leader:
            about = settings | {"dataset": dataset.info.name, "split": split}
            if track:
                trackers = stack.enter_context(tracked(track, folder, about))
        started, before = time.perf_counter(), done
        if done < intervals.steps:
            stop = DivergenceStop()
            if placement.is_leader:
                log, *others = _callbacks(
                    folder, recipe, discovery, placement, dataset, checkpoints, intervals, progress
                )
                tracking = [Tracking(trackers)] if trackers else []
                guarded = [log, *guarded, *others[:-1], *tracking, others[-1]]
            with _enough_memory(_smaller_step(recipe, placement, resume)), _cause_of_error():
                placement.fit(
                    discovery,
                    batches,
                    done,
                    steps_per_epoch=intervals.length,
                    initial_epoch=done // intervals.length,
                    epochs=intervals.count,
                    shuffle=False,
                    verbose=0,
                    # All hosts stop together: they see the same losses.
                    callbacks=[stop, *guarded],
                )
            if stop.diverged:
                raise _divergence(folder, recipe, stop)
            done = stop.step
            if done < intervals.steps:
                _LOG.warning("A callback ended the training after %d steps", done)
        seconds = time.perf_counter() - started
        if placement.is_leader:
            with trained_segmenter(discovery, placement) as segmenter:
                _keep_names(segmenter, folder)
                segmenter.save_preset(folder.segmenter)
                _write_page(folder, recipe, dataset, segmenter)
    summary = _summary(folder, recipe, placement, seconds, done, before)
    return summary | ({"tracked": trackers.shown_at} if trackers else {})


@dataclass(frozen=True)
class LogIntervals:
    """The log intervals of a run.

    Attributes:
        length: number of steps in an interval.
        count: number of intervals.

    Example:
        >>> from keras_parts.training.run import LogIntervals
        >>> LogIntervals.of(240), LogIntervals.of(5), LogIntervals.of(100).steps
        (LogIntervals(length=6, count=40), LogIntervals(length=1, count=5), 102)
    """

    length: int
    count: int

    @classmethod
    def of(cls, steps: int) -> "LogIntervals":
        """The intervals of a run of at least `steps` steps."""
        length = math.ceil(steps / _INTERVALS)
        return cls(length, math.ceil(steps / length))

    @property
    def steps(self) -> int:
        """Number of steps of the run."""
        return self.length * self.count


def _inherited(origins: Sequence[Origin], licence: str) -> list[dict[str, str]]:
    """The record of the models that a training begins from; says whose terms are not the data's."""
    for origin in origins:
        if origin.data != licence:
            terms = origin.data or "unknown"
            _LOG.warning("The model inherits terms of %s (%s): %s", origin.model, origin.use, terms)
    return [origin.to_json() for origin in origins]


def _check(
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    devices: Devices,
    intervals: LogIntervals,
    *,
    overwrite: bool,
    resume: bool,
) -> None:
    """All checks that need neither a network nor the teacher features."""
    check_train_extra()
    devices.check_batch(recipe.batch_size)
    check_steps_per_execution(recipe.steps_per_execution, intervals.length)
    check_recipe(recipe)
    check_dataset(dataset)
    if resume or devices.is_leader:
        check_folder(folder, recipe, overwrite=overwrite, resume=resume)


@contextmanager
def trained_segmenter(discovery: PartDiscovery, devices: Devices) -> Iterator[PartSegmenter]:
    """The segmenter with the weights that are saved: the averaged ones, if there are any.

    If there are several devices, it is a copy on one of them, because the others may be on another
    host, and do not take part in what the copy computes.
    """
    if devices.num_devices == 1:
        with averaged_weights(discovery):
            yield discovery.segmenter
        return
    sync_variables(discovery)
    averages = {id(variable): average for variable, average in weight_averages(discovery)}
    with devices.single_device():
        copy = PartSegmenter(discovery.segmenter.config)
        # Read from this host: a computation would need all hosts.
        for target, source in zip(copy.weights, discovery.segmenter.weights, strict=True):
            target.assign(variable_to_numpy(averages.get(id(source), source)))
        yield copy


def _restore(
    checkpoints: Checkpoints, discovery: PartDiscovery, folder: RunFolder, is_leader: bool
) -> int:
    """Set model and folder to the newest checkpoint, and return its number of steps."""
    step = 0
    if checkpoints.latest() is not None:
        step, _ = checkpoints.restore(discovery)
    if is_leader:
        folder.rewind(step)
        if step and [record["step"] for record in folder.metrics()][-1:] != [step]:
            _LOG.warning(
                "%s: lines up to step %d are missing, so the curves are incomplete; the training "
                "itself does not need them",
                folder.metrics_file, step,
            )  # fmt: skip
        folder.samples.mkdir(exist_ok=True)
    return step


def _callbacks(
    folder: RunFolder,
    recipe: Recipe,
    discovery: PartDiscovery,
    devices: Devices,
    dataset: Dataset,
    checkpoints: Checkpoints,
    intervals: LogIntervals,
    progress: bool,
) -> list[keras.callbacks.Callback]:
    """What the first host does after each log interval; the log first, the checkpoint last."""
    every = max(1, intervals.count // _SHEETS)
    callbacks = [
        MetricsLog(folder, recipe.batch_size),
        LossCurves(folder, every if intervals.steps >= _SHORT else intervals.count),
        SampleSheet(folder, _sheet_images(dataset, recipe), _sheet_of(discovery, devices), every),
        CheckpointCallback(checkpoints, every),
    ]
    return [callbacks[0], ProgressBar(), *callbacks[1:]] if progress else callbacks


@contextmanager
def _enough_memory(way_out: str) -> Iterator[None]:
    """Turn an error of the backend into one that says which sizes to try."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"the memory is full: {way_out}") from error


@contextmanager
def _cause_of_error() -> Iterator[None]:
    """Show where a callback failed: Keras removes the cause of an error that leaves `fit`."""
    try:
        yield
    except CallbackError as error:
        raise error from error.error


def _smaller_teacher(recipe: Recipe) -> str:
    size = recipe.teacher_size or recipe.image_size
    name = "teacher_size" if recipe.teacher_size else "image_size"
    return (
        f"the teacher computes features of {size} pixels; try --set {name}={_half(size)}, a "
        "smaller --teacher, or --device cpu"
    )


def _smaller_step(recipe: Recipe, devices: Devices, resume: bool) -> str:
    count = devices.num_devices
    share = recipe.batch_size // count
    smaller = (
        f"--batch-size {share // 2 * count}"
        if share > 1
        else f"--image-size {_half(recipe.image_size)}"
    )
    tries = [smaller] + (["--precision mixed_bfloat16"] if recipe.precision == "float32" else [])
    text = (
        f"a step takes {recipe.batch_size} images of {recipe.image_size} pixels; try "
        f"{' or '.join(tries)}"
    )
    if resume:
        text += (
            " in a new run. This run keeps its sizes: resume it on a larger or on more --devices"
        )
    return text


def _half(size: int) -> int:
    """Half of a network's input size, on the same grid: 257 -> 129, 256 -> 128."""
    return size // 2 + size % 2


def _divergence(folder: RunFolder, recipe: Recipe, stop: DivergenceStop) -> DivergenceError:
    precision = "" if recipe.precision == "float32" else " or --precision float32"
    return DivergenceError(
        f"{folder.path}: the training diverged: the last {stop.skipped_steps} steps, up to step "
        f"{stop.step}, were skipped, because losses or gradients were not finite. Start it again "
        f"(--overwrite) with a smaller learning rate than {recipe.learning_rate:g} "
        f"(--set learning_rate=...){precision}",
        path=folder.path,
        step=stop.step,
    )


def _sheet_samples(dataset: Dataset, recipe: Recipe) -> list[Sample]:
    """Crops of samples at regular distances in the data set, without jitter."""
    chosen = np.linspace(0, len(dataset) - 1, min(_SHEET_IMAGES, len(dataset))).astype(int)
    return [object_crop(dataset[int(i)], recipe.crops, recipe.image_size) for i in chosen]


def _sheet_images(dataset: Dataset, recipe: Recipe) -> list[np.ndarray]:
    return [sample.image for sample in _sheet_samples(dataset, recipe)]


def _write_page(
    folder: RunFolder, recipe: Recipe, dataset: Dataset, segmenter: PartSegmenter
) -> None:
    """Write the page of the run: losses, sample sheets, and the parts of the sheets' images."""
    samples = _sheet_samples(dataset, recipe)
    parts = segmenter.segment(tuple(sample.image for sample in samples))
    sheets = [(f"parts, {path.stem}", path) for path in sorted(folder.samples.glob("step-*.png"))]
    figures = [("losses", folder.curves_file), *reversed(sheets)]
    write_page(
        folder.path,
        {sample.id: one for sample, one in zip(samples, parts, strict=True)},
        title=f"Training of {folder.path.absolute().name}",
        settings=recipe.to_json(),
        model=str(folder.path),
        total=len(dataset),
        figures=[
            (caption, path.relative_to(folder.path).as_posix())
            for caption, path in figures
            if path.is_file()
        ],
    )


def _sheet_of(
    discovery: PartDiscovery, devices: Devices
) -> Callable[[Sequence[np.ndarray]], Image.Image]:
    """A function that draws the parts of images as the model finds them now."""

    def draw(images: Sequence[np.ndarray]) -> Image.Image:
        with trained_segmenter(discovery, devices) as segmenter:
            return contact_sheet([parts.overlay() for parts in segmenter.segment(tuple(images))])

    return draw


def _keep_names(segmenter: PartSegmenter, folder: RunFolder) -> None:
    """Take over the names that were given to the parts of a finished run, which is resumed."""
    if not (folder.segmenter / CONFIG_FILE).is_file():
        return
    num_parts, names, _ = parts_of(read_saved_config(folder.segmenter), folder.segmenter)
    if names and num_parts == segmenter.num_parts:
        segmenter.config = replace(segmenter.config, part_names=names)


def _summary(
    folder: RunFolder, recipe: Recipe, devices: Devices, seconds: float, steps: int, before: int
) -> dict[str, Any]:
    """The result of `train`: of `steps` steps, `before` were made by an earlier call."""
    speed = (steps - before) * recipe.batch_size / max(seconds, 1e-9)
    summary = {
        "output": str(folder.path),
        "segmenter": str(folder.segmenter),
        "devices": devices.num_devices,
        "seconds": round(seconds, 1),
        "images_per_second": round(speed, 2),
    }
    if not devices.is_leader:  # the folder may be on another host
        return summary
    records = folder.metrics()
    last = records[-1] if records else {}  # the log of a finished run may be lost
    skip = ("step", "epoch", "learning_rate", "images_per_second", "skipped_steps")
    return summary | {
        "steps": steps,
        "skipped_steps": sum(record.get("skipped_steps") or 0 for record in records),
        **{name: value for name, value in last.items() if name not in skip},
    }
