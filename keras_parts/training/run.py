"""A training run: a recipe and a data set in, a run folder with a segmenter out."""

import math
import time
import warnings
from contextlib import contextmanager

import keras
import numpy as np

from keras_parts.architectures import architecture_of
from keras_parts.backbones.resnet50 import freeze_affine
from keras_parts.cache import FEATURES_VARIABLE, HOME_VARIABLE, cache_folder, feature_bytes
from keras_parts.clusters import find_clusters
from keras_parts.data.features import FeatureCache, FeaturesTooLarge
from keras_parts.data.pipeline import Batches, CropSettings, object_crop
from keras_parts.discovery import PartDiscovery
from keras_parts.errors import ConfigError
from keras_parts.parts import contact_sheet
from keras_parts.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.teachers import create_teacher, fit_standardiser, mirror_noise
from keras_parts.training.callbacks import (
    CheckpointCallback,
    LossCurves,
    MetricsLog,
    Progress,
    SampleSheet,
)
from keras_parts.training.checkpoints import Checkpoints, array_of
from keras_parts.training.devices import find_devices
from keras_parts.training.optimisers import (
    Schedule,
    averaged,
    averaged_weights,
    create_optimizer,
)
from keras_parts.training.recipes import Recipe
from keras_parts.training.run_folder import RunFolder

_INTERVALS = 40  # lines of a run's log
_SHEETS = 4  # pictures of samples, and checkpoints, of a run
_SHOWN = 16  # images a picture
_MEASURED = 2000  # crops on which the teacher's features are standardised
_COMPARED, _COMPARED_AT_ONCE = 256, 8  # crops that the teacher compares with their mirror images


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
    if devices.leads or resume:
        folder = RunFolder.create(output, overwrite=overwrite, resume=resume)
    else:
        folder = RunFolder(output)
    if resume:
        folder.check_settings(recipe.to_json(), Recipe().to_json())
    elif devices.leads:
        folder.write_config(recipe.to_json(), recipe.seed, _data(dataset, split))
    keras.utils.set_random_seed(recipe.seed)
    with _precision(recipe.precision):
        with devices.placed():
            segmenter = build_segmenter(recipe)
        batches, teacher, standardiser = prepare_batches(
            recipe, dataset, progress and devices.leads
        )
        clusters = _clusters(recipe, batches, teacher, standardiser)
        with devices.placed():
            if teacher and devices.count > 1:
                teacher = build_teacher(recipe)  # the one above is on one device
            discovery = build_discovery(
                recipe, segmenter, teacher, standardiser, interval * intervals, clusters
            )
            discovery.optimizer.build(discovery.trainable_variables)
            checkpoints = Checkpoints(folder.checkpoints, without=[teacher] if teacher else [])
            done = _restore(checkpoints, discovery, folder, devices.leads) if resume else 0
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
                callbacks=callbacks if devices.leads else [],
            )
        seconds = time.perf_counter() - started
        if devices.leads:
            with trained_segmenter(discovery, devices) as segmenter:
                segmenter.save_preset(folder.segmenter)
    return _summary(folder, recipe, devices, seconds, interval * intervals - done)


def check_execution(steps, interval):
    """Raise ConfigError unless Keras can make so many steps at once, and a log interval of them."""
    if interval % steps:
        fitting = [str(number) for number in range(1, interval + 1) if not interval % number]
        raise ConfigError(
            f"recipe: steps_per_execution is {steps}, which does not divide the {interval} steps "
            f"of a log interval: take {' or '.join(fitting)}"
        )
    if steps > 1 and keras.config.backend() == "torch":
        raise ConfigError(
            f"recipe: steps_per_execution is {steps}, but on PyTorch Keras makes one step at a "
            "time: set it to 1, or take --backend tensorflow or jax"
        )


def build_teacher(recipe):
    """The teacher of a recipe.

    In float32 where its features are kept, whatever the recipe's precision: runs of every
    precision share them. Where it runs in every step it has the recipe's.
    """
    with _precision(recipe.precision if recipe.box_jitter else "float32"):
        return create_teacher(
            recipe.teacher,
            recipe.teacher_layers or None,
            recipe.teacher_weights,
            turns=recipe.teacher_turns,
            mirror=recipe.teacher_mirror,
        )


def build_segmenter(recipe):
    """The segmenter of a recipe, with its backbone's weights or those of another segmenter."""
    start = PartSegmenter.from_preset(recipe.init_from) if recipe.init_from else None
    config = SegmenterConfig(
        recipe.parts,
        recipe.architecture,
        recipe.output_stride,
        recipe.size,
        preprocessing=start.config.preprocessing if start else None,
    )
    segmenter = PartSegmenter(config)
    if start:
        _start_from(segmenter, start)
    elif recipe.backbone_weights != "random":
        _load_backbone(segmenter, recipe.backbone_weights)
    if recipe.train_from:
        segmenter.backbone.freeze_before(recipe.train_from)
    segmenter.updates_statistics = recipe.batch_norm != "frozen"
    if recipe.batch_norm == "statistics":
        freeze_affine(segmenter.backbone)
    return segmenter


def prepare_batches(recipe, dataset, progress=True):
    """Training batches, with the teacher's features where crops never change.

    Returns:
        `Batches`; the teacher, or None where its features are in the batches; its standardiser,
        or None.
    """
    crops = CropSettings(recipe.padding, recipe.box_jitter, recipe.mirror)
    teacher = build_teacher(recipe)
    features = None if recipe.box_jitter else _features(recipe, dataset, crops, teacher, progress)
    batches = Batches(dataset, crops, recipe.batch_size, recipe.size, recipe.seed, features)
    standardiser = _standardiser(recipe, batches, teacher) if recipe.standardise else None
    return batches, None if features else teacher, standardiser


def _features(recipe, dataset, crops, teacher, progress):
    """The teacher's features of all crops, or None, with a warning, if there is no room."""
    try:
        return FeatureCache(
            dataset,
            crops,
            recipe.teacher_size or recipe.size,
            teacher.predict_on_batch,
            teacher.fingerprint,
            folder=cache_folder() / "features",
            symmetric=teacher.mirror,
            folder_bytes=feature_bytes(),
            progress=progress,
        )
    except FeaturesTooLarge as error:
        message = f"{error}. Raise {FEATURES_VARIABLE}, or name another folder in {HOME_VARIABLE}"
        if recipe.teacher_size not in (None, recipe.size):
            # In a step the teacher would see images of another size, and the result be another.
            raise FeaturesTooLarge(message) from None
        warnings.warn(
            f"{message}; until then the teacher runs in every step, which takes longer",
            stacklevel=2,
        )
        return None


def build_discovery(recipe, segmenter, teacher, standardiser, steps, clusters=None):
    """The compiled model that trains the segmenter."""
    discovery = PartDiscovery(
        segmenter,
        recipe.weights,
        teacher=teacher,
        standardiser=standardiser,
        loss_size=recipe.loss_size,
        views=recipe.views,
        temperature=recipe.temperature,
        positives=recipe.positives,
        centre=recipe.centre,
        prominence=recipe.prominence,
        clusters=clusters,
        start_steps=recipe.start_steps,
        seed=recipe.seed,
    )
    head = {variable.path for variable in segmenter.head.variables}
    optimizer = create_optimizer(
        recipe.optimizer,
        Schedule(recipe.schedule, recipe.learning_rate, steps, recipe.warmup),
        weight_decay=recipe.weight_decay,
        clip_norm=recipe.clip_norm,
        ema=recipe.ema,
        head_multiplier=recipe.head_multiplier,
        is_head=head,
    )
    jit_compile = "auto" if recipe.jit_compile is None else recipe.jit_compile
    discovery.compile(
        optimizer=optimizer,
        jit_compile=jit_compile,
        steps_per_execution=recipe.steps_per_execution,
    )
    return discovery


@contextmanager
def trained_segmenter(discovery, devices):
    """The segmenter as it would be saved now, with the averaged weights where those are kept.

    Where several devices train it is a copy on one of them: the others need take no part in
    what is done with it, and may be on another host.
    """
    if devices.count == 1:
        with averaged_weights(discovery):
            yield discovery.segmenter
        return
    if hasattr(discovery, "jax_state_sync"):
        discovery.jax_state_sync()  # during fit on JAX the variables are empty until then
    averages = {id(variable): average for variable, average in averaged(discovery)}
    with devices.alone():
        copy = PartSegmenter(discovery.segmenter.config)
        # By what lies on this host already, without a computation that all would have to join.
        for mine, theirs in zip(copy.weights, discovery.segmenter.weights, strict=True):
            mine.assign(array_of(averages.get(id(theirs), theirs)))
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


def _load_backbone(segmenter, weights):
    """Put in the weights of a file, or those that are "pretrained"."""
    name = segmenter.config.architecture
    load = architecture_of(name).load
    if load is None:
        raise ConfigError(
            f"backbone_weights is {weights!r}, but {name} was registered without `load`, which "
            "puts them in: register it with, or set backbone_weights to 'random'"
        )
    load(segmenter.backbone, None if weights == "pretrained" else weights)


def _start_from(segmenter, start):
    """Copy every weight that both have in the same shape: with another K, all but the logits."""
    if start.config.architecture != segmenter.config.architecture:
        raise ConfigError(
            f"init_from is a segmenter of architecture {start.config.architecture!r}, the recipe's "
            f"is {segmenter.config.architecture!r}: set architecture to the same"
        )
    theirs = {variable.path: variable for variable in start.variables}
    for variable in segmenter.variables:
        source = theirs.get(variable.path)
        if source is not None and source.shape == variable.shape:
            variable.assign(source)


def _clusters(recipe, batches, teacher, standardiser):
    """Where the parts start; None by chance, or where those of another segmenter are."""
    if not recipe.weights.get("clusters") or _goes_on(recipe):
        return None
    crops = (
        (standardiser.apply(features) if standardiser else features, foreground)
        for features, foreground in _measured(batches, teacher)
    )
    images = min(_MEASURED, len(batches.dataset))
    return find_clusters(crops, images, recipe.parts, recipe.prominence, recipe.centre, recipe.seed)


def _goes_on(recipe):
    """Whether there are parts already: those of a segmenter with as many."""
    start = recipe.init_from
    return start is not None and PartSegmenter.from_preset(start).parts == recipe.parts


def _measured(batches, teacher):
    """Features and foregrounds of some crops, batch by batch."""
    for batch in _first(batches, _MEASURED):
        features = batch.get("features")
        if features is None:
            features = teacher.predict_on_batch(batch["image"])
        yield features, batch["foreground"]


def _standardiser(recipe, batches, teacher):
    measured = _measured(batches, teacher)
    if recipe.noise_floor is None:
        return fit_standardiser(measured)
    size = recipe.teacher_size or recipe.size
    seen = Batches(batches.dataset, batches.crops, _COMPARED_AT_ONCE, size, recipe.seed)
    noise = mirror_noise(
        teacher, ((batch["image"], batch["foreground"]) for batch in _first(seen, _COMPARED))
    )
    return fit_standardiser(measured, noise, recipe.noise_floor)


def _first(batches, count):
    """Batches of `count` crops or a little more, or of as many as there are samples."""
    count = min(count, len(batches.dataset))
    return map(batches.batch, range(math.ceil(count / batches.batch_size)))


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
    return [Progress(), *callbacks] if progress else callbacks


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


@contextmanager
def _precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _summary(folder, recipe, devices, seconds, steps):
    trained = {
        "output": str(folder.path),
        "segmenter": str(folder.segmenter),
        "devices": devices.count,
        "seconds": round(seconds, 1),
        "images_per_second": round(steps * recipe.batch_size / seconds, 2),
    }
    if not devices.leads:  # the folder may be on another host
        return trained
    records = folder.metrics()
    skip = ("step", "epoch", "learning_rate", "images_per_second", "skipped_steps")
    return trained | {
        "steps": records[-1]["step"],
        "skipped_steps": sum(record["skipped_steps"] for record in records),
        **{name: value for name, value in records[-1].items() if name not in skip},
    }
