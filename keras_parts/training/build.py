"""From a recipe to what trains it: segmenter, teacher, batches and the compiled model."""

import math
import warnings
from contextlib import contextmanager

import keras

from keras_parts.backbones.resnet50 import freeze_affine
from keras_parts.data.batches import Batches
from keras_parts.data.crops import CropSettings
from keras_parts.data.features import FeatureCache, FeaturesTooLarge
from keras_parts.discovery.clusters import find_clusters
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.standardiser import fit_standardiser, mirror_noise
from keras_parts.discovery.teachers import create_teacher
from keras_parts.environment import FEATURES_VARIABLE, HOME_VARIABLE, cache_folder, feature_bytes
from keras_parts.errors import ConfigError
from keras_parts.models.architectures import architecture_of
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.optimisers import (
    Schedule,
    create_optimizer,
)

_MEASURED = 2000  # crops on which the teacher's features are standardised
_COMPARED, _COMPARED_AT_ONCE = 256, 8  # crops that the teacher compares with their mirror images


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


@contextmanager
def _precision(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
