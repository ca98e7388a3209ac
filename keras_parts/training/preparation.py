"""From a recipe and a data set to the compiled model and its batches."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_parts.data.batches import Batches
from keras_parts.data.dataset import Dataset
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.teachers import as_teacher
from keras_parts.errors import ConfigError
from keras_parts.keras_private import set_random_seed
from keras_parts.models.precision import precision_policy
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.training.build import (
    build_discovery,
    build_segmenter,
    build_teacher,
    find_initial_clusters,
    prepare_batches,
)
from keras_parts.training.checks import check_dataset, check_recipe
from keras_parts.training.devices import Devices
from keras_parts.training.recipes import Recipe
from keras_parts.training.recipes import recipe as recipe_of


def prepare_training(
    recipe: Recipe | str,
    dataset: Dataset,
    *,
    segmenter: keras.Model | None = None,
    teacher: keras.Model | None = None,
    losses: Mapping[str, Any] | None = None,
    progress: bool = True,
    **settings: Any,
) -> tuple[PartDiscovery, Batches]:
    """The compiled model and the batches of a training, as the command `train` makes them.

    Teacher features are computed and cached, or the teacher runs in every step (see
    `Recipe.crops`); they are standardised; and clusters of them initialise the parts. The seeds of
    Python, NumPy and the backend are set to that of the recipe.

    Args:
        recipe: a `Recipe`, or the name of one.
        dataset: training samples, each with a foreground.
        segmenter: the network to train instead of the recipe's: a `PartSegmenter`, whose number of
            parts and image size the recipe then takes; or a Keras model from images to logits
            `(batch, h, w, 1 + parts)`. The recipe's settings of networks and their initial weights
            have no effect on it.
        teacher: a teacher instead of the recipe's, see `keras_parts.discovery.as_teacher`.
        losses: further losses, or others of the same names, see `PartDiscovery`.
        progress: show a progress bar while the teacher features are computed.
        settings: changes of the recipe, see `Recipe.with_settings`.

    Returns:
        The compiled model; its batches, which never end: pass `steps_per_epoch` to `fit`, and
        epochs that make the recipe's `steps` together, over which the learning rate decays.

    Raises:
        ConfigError: a setting is outside its range, or the segmenter has another number of parts.
        DataError: a sample cannot be read or has no foreground, or weights are missing.

    Example:
        >>> import keras_parts
        >>> small = dict(image_size=33, loss_size=9, batch_size=2, steps=2, jit_compile=False)
        >>> animals = keras_parts.data.load("toy", "train", count=2, size=33)
        >>> discovery, batches = keras_parts.prepare_training("toy", animals, **small)
        >>> history = discovery.fit(batches, steps_per_epoch=2, verbose=0)
        >>> sorted(history.history)[:2], discovery.segmenter.num_parts
        (['balance', 'contrastive'], 5)
    """
    chosen = recipe_of(recipe) if isinstance(recipe, str) else recipe
    chosen = chosen.with_settings(_settings_of(segmenter) | settings)
    check_recipe(chosen)
    check_dataset(dataset)
    set_random_seed(chosen.seed)
    with precision_policy(chosen.precision):
        return prepare(
            chosen,
            dataset,
            Devices(),
            steps=chosen.steps,
            progress=progress,
            segmenter=segmenter,
            teacher=teacher,
            losses=losses,
        )


def _settings_of(segmenter: keras.Model | None) -> dict[str, Any]:
    if not isinstance(segmenter, PartSegmenter):
        return {}
    config = segmenter.config
    return {
        "num_parts": config.num_parts,
        "architecture": config.architecture,
        "output_stride": config.output_stride,
        "image_size": config.image_size,
    }


def prepare(
    recipe: Recipe,
    dataset: Dataset,
    devices: Devices,
    *,
    steps: int,
    progress: bool = True,
    segmenter: keras.Model | None = None,
    teacher: keras.Model | None = None,
    losses: Mapping[str, Any] | None = None,
) -> tuple[PartDiscovery, Batches]:
    """The compiled model and its batches; see `prepare_training`.

    Weights are loaded before features are computed, so that a wrong file is reported at once.

    Args:
        recipe, dataset, progress, segmenter, teacher, losses: see `prepare_training`.
        devices: the devices to train on.
        steps: number of training steps, the length of the learning-rate schedule.
    """
    with devices.scope():
        if segmenter is None:
            segmenter = build_segmenter(recipe)
        else:
            _check_parts(segmenter, recipe)
    first_teacher = None
    if teacher is not None:
        first_teacher = as_teacher(teacher)
    elif losses or recipe.needs_features:
        first_teacher = build_teacher(recipe)
    batches, used_teacher, standardiser = prepare_batches(
        recipe, dataset, first_teacher, progress=progress
    )
    clusters = find_initial_clusters(recipe, batches, used_teacher, standardiser)
    with devices.scope():
        if used_teacher and devices.num_devices > 1:
            used_teacher = build_teacher(recipe)  # the first one is on a single device
        discovery = build_discovery(
            recipe,
            segmenter,
            teacher=used_teacher,
            standardiser=standardiser,
            steps=steps,
            clusters=clusters,
            losses=losses,
        )
        discovery.optimizer.build(discovery.trainable_variables)
    return discovery, batches


def _check_parts(segmenter: keras.Model, recipe: Recipe) -> None:
    """Check that a segmenter has the parts of the recipe, from which the clusters are found."""
    image = keras.KerasTensor((1, recipe.image_size, recipe.image_size, 3))
    shape = tuple(getattr(segmenter.compute_output_spec(image), "shape", ()))
    if len(shape) != 4 or shape[-1] != 1 + recipe.num_parts:
        raise ConfigError(
            f"the segmenter {segmenter.name} returns {shape}, expected logits (batch, h, w, "
            f"{1 + recipe.num_parts}): the background and num_parts={recipe.num_parts} parts"
        )
