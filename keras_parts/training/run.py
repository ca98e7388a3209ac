"""A training run: a recipe and a data set in, a run folder with a segmenter out."""

import math
import time
from contextlib import contextmanager

import keras
import numpy as np

from keras_parts.data.crops import CropSettings, object_crop
from keras_parts.keras_private import sync_variables
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.results.pictures import contact_sheet
from keras_parts.training.build import (
    _clusters,
    _precision,
    build_discovery,
    build_segmenter,
    build_teacher,
    check_execution,
    prepare_batches,
)
from keras_parts.training.callbacks import (
    CheckpointCallback,
    LossCurves,
    MetricsLog,
    ProgressBar,
    SampleSheet,
)
from keras_parts.training.checkpoints import Checkpoints, variable_to_numpy
from keras_parts.training.devices import find_devices
from keras_parts.training.optimisers import (
    averaged_weights,
    weight_averages,
)
from keras_parts.training.recipes import Recipe
from keras_parts.training.run_folder import RunFolder

_INTERVALS = 40  # lines of a run's log
_SHEETS = 4  # pictures of samples, and checkpoints, of a run
_SHOWN = 16  # images a picture


def train(
    recipe,
    dataset,
    output,
    resume=False,
    overwrite=False,
    progress=True,
    split="train",
    devices=None,
    hosts=None,
):
    """Train a segmenter and leave a run folder (see `keras_parts.training.run_folder`).

    The steps are rounded up to a whole number of log intervals, a fortieth of them each.

    Args:
        recipe: a `Recipe`.
        dataset: `Dataset` of training samples with a foreground each.
        output: the run folder.
        resume: go on from the newest checkpoint there; the result equals an uninterrupted run's.
        overwrite: replace the run that is there.
        progress: show bars with the remaining time on stderr.
        split: what the samples are of their data set, for the run's config.json.
        devices, hosts: see `keras_parts.training.devices.find_devices`. The batch is that of all
            devices together, the result is that of one; a run may be resumed on others. With
            several hosts each calls this with the same arguments; the first writes the folder,
            which the others must be able to read where the run is resumed.

    Returns:
        dict: "output", "segmenter" (its folder), "devices", "seconds" (of this call's training),
        "images_per_second"; and, but for hosts after the first, "steps", "skipped_steps" and the
        losses of the last interval.

    Raises:
        ConfigError: the folder holds a run and neither flag is given, or settings that contradict
            each other. DataError: a sample cannot be used, or weights are missing.
    """
    devices = find_devices(devices, hosts)
    devices.check_batch(recipe.batch_size)
    interval = math.ceil(recipe.steps / _INTERVALS)
    intervals = math.ceil(recipe.steps / interval)
    check_execution(recipe.steps_per_execution, interval)
    if devices.is_leader or resume:
        folder = RunFolder.create(output, overwrite=overwrite, resume=resume)
    else:
        folder = RunFolder(output)
    if resume:
        folder.check_settings(recipe.to_json(), Recipe().to_json())
    elif devices.is_leader:
        folder.write_config(recipe.to_json(), recipe.seed, _data(dataset, split))
    keras.utils.set_random_seed(recipe.seed)
    with _precision(recipe.precision):
        with devices.scope():
            segmenter = build_segmenter(recipe)
        batches, teacher, standardiser = prepare_batches(
            recipe, dataset, progress and devices.is_leader
        )
        clusters = _clusters(recipe, batches, teacher, standardiser)
        with devices.scope():
            if teacher and devices.num_devices > 1:
                teacher = build_teacher(recipe)  # the one above is on one device
            discovery = build_discovery(
                recipe, segmenter, teacher, standardiser, interval * intervals, clusters
            )
            discovery.optimizer.build(discovery.trainable_variables)
            checkpoints = Checkpoints(folder.checkpoints, exclude=[teacher] if teacher else [])
            done = _restore(checkpoints, discovery, folder, devices.is_leader) if resume else 0
        started = time.perf_counter()
        if done < interval * intervals:
            callbacks = _callbacks(
                folder, recipe, discovery, devices, dataset, checkpoints, progress
            )
            devices.fit(
                discovery,
                batches,
                done,
                steps_per_epoch=interval,
                initial_epoch=done // interval,
                epochs=intervals,
                shuffle=False,
                verbose=0,
                callbacks=callbacks if devices.is_leader else [],
            )
        seconds = time.perf_counter() - started
        if devices.is_leader:
            with trained_segmenter(discovery, devices) as segmenter:
                segmenter.save_preset(folder.segmenter)
    return _summary(folder, recipe, devices, seconds, interval * intervals - done)


@contextmanager
def trained_segmenter(discovery, devices):
    """The segmenter as it would be saved now, with the averaged weights where those are kept.

    Where several devices train it is a copy on one of them: the others need take no part in
    what is done with it, and may be on another host.
    """
    if devices.num_devices == 1:
        with averaged_weights(discovery):
            yield discovery.segmenter
        return
    sync_variables(discovery)
    averages = {id(variable): average for variable, average in weight_averages(discovery)}
    with devices.single_device():
        copy = PartSegmenter(discovery.segmenter.config)
        # By what lies on this host already, without a computation that all would have to join.
        for mine, theirs in zip(copy.weights, discovery.segmenter.weights, strict=True):
            mine.assign(variable_to_numpy(averages.get(id(theirs), theirs)))
        yield copy


def _data(dataset, split):
    """What a run says about its training data."""
    categories = dataset.categories()
    return {
        "dataset": dataset.info.name,
        "split": split,
        "images": len(dataset),
        "categories": len(np.unique(categories[categories >= 0])),
        "licence": dataset.info.licence,
    }


def _restore(checkpoints, discovery, folder, leads):
    """Bring model and folder to the newest checkpoint; the steps that were done."""
    step = 0
    if checkpoints.latest() is not None:
        step, _ = checkpoints.restore(discovery)
    if leads:
        folder.rewind(step)
    return step


def _callbacks(folder, recipe, discovery, devices, dataset, checkpoints, progress):
    every = _INTERVALS // _SHEETS
    callbacks = [
        MetricsLog(folder, recipe.batch_size),
        LossCurves(folder, every),
        SampleSheet(folder, _shown(dataset, recipe), _drawing(discovery, devices), every),
        CheckpointCallback(checkpoints, every),
    ]
    return [ProgressBar(), *callbacks] if progress else callbacks


def _shown(dataset, recipe):
    """Crops from all over the data set."""
    chosen = np.linspace(0, len(dataset) - 1, min(_SHOWN, len(dataset))).astype(int)
    crops = CropSettings(recipe.padding, jitter=0.0)
    return [object_crop(dataset[int(i)], crops, recipe.size).image for i in chosen]


def _drawing(discovery, devices):
    def draw(images):
        with trained_segmenter(discovery, devices) as segmenter:
            return contact_sheet([parts.overlay() for parts in segmenter.segment(images)])

    return draw


def _summary(folder, recipe, devices, seconds, steps):
    trained = {
        "output": str(folder.path),
        "segmenter": str(folder.segmenter),
        "devices": devices.num_devices,
        "seconds": round(seconds, 1),
        "images_per_second": round(steps * recipe.batch_size / seconds, 2),
    }
    if not devices.is_leader:  # the folder may be on another host
        return trained
    records = folder.metrics()
    skip = ("step", "epoch", "learning_rate", "images_per_second", "skipped_steps")
    return trained | {
        "steps": records[-1]["step"],
        "skipped_steps": sum(record["skipped_steps"] for record in records),
        **{name: value for name, value in records[-1].items() if name not in skip},
    }
