"""Builds all that a recipe's training needs: segmenter, teacher, batches and compiled model."""

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_parts.backbones.resnet50 import freeze_affine
from keras_parts.data.batches import Batches
from keras_parts.data.dataset import Dataset
from keras_parts.data.features import FeatureCache, FeaturesTooLarge
from keras_parts.discovery.clusters import find_clusters
from keras_parts.discovery.losses import Clusters
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.standardiser import Standardiser, fit_standardiser, mirror_noise
from keras_parts.discovery.teachers import Teacher, create_teacher
from keras_parts.environment import (
    FEATURES_VARIABLE,
    HOME_VARIABLE,
    cache_path,
    max_feature_bytes,
)
from keras_parts.errors import ConfigError
from keras_parts.models.architectures import architecture_of
from keras_parts.models.precision import precision_policy
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.training.optimisers import Schedule, create_optimizer
from keras_parts.training.recipes import Recipe

_LOG = logging.getLogger(__name__)
_MEASURED_CROPS = 2000
"""Number of crops from which the standardiser and the clusters are computed, if there are as many.
It is rounded up to whole batches, as is the next number."""
_NOISE_CROPS, _NOISE_BATCH_SIZE = 256, 8
"""Number of crops from which the noise of the features is computed, and their batch size."""


def build_teacher(recipe: Recipe) -> Teacher:
    """The teacher of a recipe.

    If its features are cached, it computes in float32, whatever the precision of the recipe, so
    that runs of every precision share the cache. If it runs in every step, it has the precision of
    the recipe.

    Raises:
        ConfigError: there is no such teacher or layer.
        DataError: its weights are missing or belong to another network.

    Example:
        >>> from keras_parts.training import recipe
        >>> from keras_parts.training.build import build_teacher
        >>> build_teacher(recipe("toy")).layer_names
        ('stage4',)
    """
    patches = recipe.teacher_patches
    options: dict[str, Any] = {} if patches is None else {"patches": patches}
    with precision_policy(recipe.precision if recipe.crops.jitter else "float32"):
        return create_teacher(
            recipe.teacher,
            recipe.teacher_layers or None,
            recipe.teacher_weights or (recipe.init_from if recipe.teacher == "segmenter" else None),
            turns=recipe.teacher_turns,
            mirror=recipe.teacher_mirror,
            **options,
        )


def build_segmenter(recipe: Recipe) -> PartSegmenter:
    """The segmenter of a recipe, with pretrained weights or those of another segmenter.

    Raises:
        ConfigError: a setting of the segmenter is outside its range for the architecture.
        DataError: weights are missing or belong to another network.
    """
    initial = PartSegmenter.from_preset(recipe.init_from) if recipe.init_from else None
    config = segmenter_config(recipe)
    if initial:
        config = _continued(config, recipe, initial.config)
    segmenter = PartSegmenter(config)
    if initial:
        _copy_weights(initial, segmenter, parts=_keeps_parts(recipe, initial.config))
    elif recipe.backbone_weights != "random":
        _load_backbone(segmenter, recipe.backbone_weights)
    if recipe.train_from:
        segmenter.backbone.freeze_before(recipe.train_from)
    segmenter.updates_statistics = recipe.batch_norm != "frozen"
    if recipe.batch_norm == "statistics":
        freeze_affine(segmenter.backbone)
    return segmenter


def segmenter_config(recipe: Recipe) -> SegmenterConfig:
    """The configuration of the segmenter of a recipe.

    Raises:
        ConfigError: the architecture is not registered, or `output_stride` or `image_size` is
            outside its range.
    """
    return SegmenterConfig(
        recipe.num_parts,
        recipe.architecture,
        recipe.output_stride or min(architecture_of(recipe.architecture).layers),
        image_size=recipe.image_size,
    )


def _continued(
    config: SegmenterConfig, recipe: Recipe, initial: SegmenterConfig
) -> SegmenterConfig:
    """The configuration of a segmenter that begins with the weights of another one.

    Parts that are kept have their names, and stay joined.
    """
    config = replace(config, preprocessing=initial.preprocessing)
    if not _keeps_parts(recipe, initial):
        return config
    return replace(config, part_names=initial.part_names, joined=initial.joined)


def prepare_batches(
    recipe: Recipe, dataset: Dataset, teacher: Teacher | None, *, progress: bool = True
) -> tuple[Batches, Teacher | None, Standardiser | None]:
    """Training batches, with cached teacher features if crops are not jittered.

    Args:
        recipe: the recipe.
        dataset: training samples, each with a foreground.
        teacher: from `build_teacher`; None if no loss needs its features.
        progress: show a progress bar while the features are computed.

    Returns:
        The batches; the teacher, or None if the batches have its features; the standardiser of its
        features, or None if the recipe has none.

    Raises:
        FeaturesTooLarge: the features exceed the limit of the cache, and the teacher cannot run in
            every step because `teacher_size` is not `image_size`.
        DataError: a sample has no foreground or cannot be read.
    """
    features = None
    if teacher is not None and not recipe.crops.jitter:
        features = _cached_features(recipe, dataset, teacher, progress)
    batches = Batches(
        dataset,
        recipe.crops,
        batch_size=recipe.batch_size,
        image_size=recipe.image_size,
        seed=recipe.seed,
        features=features,
        scenes=recipe.scenes,
    )
    standardiser = None
    if teacher is not None and recipe.standardise:
        standardiser = _fit_standardiser(recipe, batches, teacher)
    return batches, None if features else teacher, standardiser


def _cached_features(
    recipe: Recipe, dataset: Dataset, teacher: Teacher, progress: bool
) -> FeatureCache | None:
    """The teacher features of all crops; None, with a warning, if they exceed the cache limit."""
    try:
        return FeatureCache(
            dataset,
            recipe.crops,
            image_size=recipe.teacher_size or recipe.image_size,
            teacher=teacher.predict_on_batch,
            fingerprint=teacher.fingerprint,
            folder=cache_path("features", writable=True),
            symmetric=teacher.mirror,
            folder_bytes=max_feature_bytes(),
            progress=progress,
        )
    except FeaturesTooLarge as error:
        message = f"{error}. Raise {FEATURES_VARIABLE}, or name another folder in {HOME_VARIABLE}"
        if recipe.teacher_size not in (None, recipe.image_size):
            # In a training step the teacher gets images of `image_size`: the result would differ.
            raise FeaturesTooLarge(message) from None
        warnings.warn(
            f"{message}; until then the teacher runs in every step, which takes longer",
            stacklevel=2,
        )
        return None


def find_initial_clusters(
    recipe: Recipe, batches: Batches, teacher: Teacher | None, standardiser: Standardiser | None
) -> np.ndarray | None:
    """Centres of clusters of the teacher features, which initialise the parts.

    Args:
        recipe: the recipe.
        batches, teacher, standardiser: from `prepare_batches`.

    Returns:
        float32 `(parts, channels)`; None if the recipe has no weight for the loss "clusters", or
        keeps the parts of another segmenter.

    Raises:
        DataError: the masks have fewer positions than there are parts.
    """
    if not recipe.loss_weights.get("clusters"):
        return None
    if recipe.init_from and _keeps_parts(
        recipe, PartSegmenter.from_preset(recipe.init_from).config
    ):
        return None
    crops = (
        (standardiser.apply(features) if standardiser else features, foreground)
        for features, foreground in _features_and_foregrounds(batches, teacher)
    )
    return find_clusters(
        crops,
        recipe.num_parts,
        num_images=min(_MEASURED_CROPS, len(batches.dataset)),
        prominence_exponent=recipe.prominence_exponent,
        centre_features=recipe.centre_features,
        seed=recipe.seed,
    )


def build_discovery(
    recipe: Recipe,
    segmenter: keras.Model,
    *,
    teacher: Teacher | None,
    standardiser: Standardiser | None,
    steps: int,
    clusters: np.ndarray | None = None,
    losses: Mapping[str, Any] | None = None,
) -> PartDiscovery:
    """The compiled model that trains the segmenter.

    Args:
        recipe: the recipe.
        segmenter: from `build_segmenter`.
        teacher: from `prepare_batches`.
        standardiser: from `prepare_batches`.
        steps: number of training steps, the length of the learning-rate schedule.
        clusters: from `find_initial_clusters`.
        losses: further losses, or others of the same names, see `PartDiscovery`.
    """
    weighted: dict[str, Any] = recipe.create_losses()
    if clusters is not None:
        loss, weight = weighted[Clusters.name]
        weighted[Clusters.name] = replace(loss, centres=clusters), weight
    discovery = PartDiscovery(
        segmenter,
        {**weighted, **(losses or {})},
        teacher=teacher,
        standardiser=standardiser,
        loss_size=recipe.loss_size,
        view_transforms=recipe.view_transforms,
        centre_features=recipe.centre_features,
        prominence_exponent=recipe.prominence_exponent,
        seed=recipe.seed,
    )
    optimizer = create_optimizer(
        recipe.optimizer,
        Schedule(recipe.schedule, recipe.learning_rate, steps, recipe.warmup_steps),
        weight_decay=recipe.weight_decay,
        clip_norm=recipe.clip_norm,
        ema=recipe.ema_momentum,
        head_multiplier=recipe.head_multiplier,
        is_head=_head_paths(segmenter),
    )
    discovery.compile(
        optimizer=optimizer,
        jit_compile="auto" if recipe.jit_compile is None else recipe.jit_compile,
        steps_per_execution=recipe.steps_per_execution,
    )
    return discovery


def _head_paths(segmenter: keras.Model) -> set[str]:
    """Paths of the variables of the head; another model than a `PartSegmenter` may have none."""
    head = getattr(segmenter, "head", None)
    return {variable.path for variable in head.variables} if head is not None else set()


def _load_backbone(segmenter: PartSegmenter, weights: str) -> None:
    """Load the weights of a file, or the pretrained ones."""
    name = segmenter.config.architecture
    load = architecture_of(name).load
    if load is None:
        raise ConfigError(
            f"recipe: backbone_weights is {weights!r}, but the architecture {name} was registered "
            "without `load`: register it with this function, or set backbone_weights to 'random'"
        )
    load(segmenter.backbone, None if weights == "pretrained" else weights)


def _copy_weights(source: PartSegmenter, target: PartSegmenter, *, parts: bool) -> None:
    """Copy all weights; of the logits, those of the foreground always, those of the parts only if
    `parts`. A head of another kind keeps its own weights, with a warning."""
    if source.config.architecture != target.config.architecture:
        raise ConfigError(
            f"recipe: init_from is a segmenter of architecture {source.config.architecture!r}, the "
            f"recipe's is {target.config.architecture!r}: set architecture to that of init_from"
        )
    same_head = _have_same_head(source.config, target.config)
    if not same_head:
        _LOG.warning(
            "init_from has the output stride %d, the recipe %d: their heads differ, and only the "
            "backbone's weights are taken over",
            source.config.output_stride,
            target.config.output_stride,
        )
    copied = source if same_head else source.backbone
    found = {variable.path: variable for variable in copied.variables}
    of_logits = {variable.path for variable in getattr(target.head, "logit_variables", ())}
    for variable in target.variables:
        value = found.get(variable.path)
        if value is None:
            continue
        if value.shape == variable.shape and (parts or variable.path not in of_logits):
            variable.assign(value)
        elif variable.path in of_logits and value.shape[:-1] == variable.shape[:-1]:
            # Channel 0 is the foreground, see `keras_parts.ops.join_background`.
            foreground = keras.ops.convert_to_numpy(value)[..., :1]
            own = keras.ops.convert_to_numpy(variable)[..., 1:]
            variable.assign(np.concatenate([foreground, own], axis=-1))


def _have_same_head(config: SegmenterConfig, other: SegmenterConfig) -> bool:
    """Whether the heads share the weights of their coarsest maps; one may be the decoder."""
    own = architecture_of(config.architecture)
    if own.has_decoder(config.output_stride) == own.has_decoder(other.output_stride):
        return True
    decoder, head = own.decoder, own.head
    return isinstance(decoder, type) and isinstance(head, type) and issubclass(decoder, head)


def _keeps_parts(recipe: Recipe, initial: SegmenterConfig) -> bool:
    """Whether the training keeps the parts of `init_from`, whose configuration is `initial`."""
    same_parts = recipe.keep_parts and initial.num_parts == recipe.num_parts
    return same_parts and _have_same_head(initial, segmenter_config(recipe))


def _features_and_foregrounds(
    batches: Batches, teacher: Teacher | None
) -> Iterator[tuple[Any, np.ndarray]]:
    """Batches of teacher features and foregrounds of the first `_MEASURED_CROPS` crops."""
    for batch in _first_batches(batches, _MEASURED_CROPS):
        features: Any = batch.get("features")
        if features is None:
            assert teacher is not None
            features = teacher.predict_on_batch(batch["image"])
        yield features, batch["foreground"]


def _fit_standardiser(recipe: Recipe, batches: Batches, teacher: Teacher) -> Standardiser:
    crops = _features_and_foregrounds(batches, teacher)
    if recipe.noise_floor is None:
        return fit_standardiser(crops)
    size = recipe.teacher_size or recipe.image_size
    images = Batches(
        batches.dataset,
        batches.crops,
        batch_size=_NOISE_BATCH_SIZE,
        image_size=size,
        seed=recipe.seed,
    )
    compared = _first_batches(images, _NOISE_CROPS)
    noise = mirror_noise(teacher, ((batch["image"], batch["foreground"]) for batch in compared))
    return fit_standardiser(crops, noise=noise, noise_floor=recipe.noise_floor)


def _first_batches(batches: Batches, count: int) -> Iterable[dict[str, np.ndarray]]:
    """The first batches, as few as have `count` crops, or all crops if there are fewer."""
    count = min(count, len(batches.dataset))
    return map(batches.batch, range(-(-count // batches.batch_size)))
