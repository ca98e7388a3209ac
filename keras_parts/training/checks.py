"""Checks of a training that come before anything is computed or written."""

import difflib
import logging

import keras

from keras_parts.data.dataset import Dataset
from keras_parts.discovery.teachers import TEACHERS
from keras_parts.errors import ConfigError, DataError
from keras_parts.training.build import segmenter_config
from keras_parts.training.recipes import Recipe

_LOG = logging.getLogger(__name__)


def check_recipe(recipe: Recipe) -> None:
    """Check the settings whose ranges depend on what is registered in this process.

    Names of backbone outputs and weights files are checked when the networks are built.

    Raises:
        ConfigError: a setting is outside its range for the architecture, or there is no such
            teacher.
    """
    segmenter_config(recipe)
    if recipe.teacher not in TEACHERS:
        close = difflib.get_close_matches(recipe.teacher, TEACHERS, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(
            f"recipe: teacher is {recipe.teacher!r}, expected one of {', '.join(TEACHERS)}{hint}"
        )
    if recipe.crops.jitter and recipe.teacher_size not in (None, recipe.image_size):
        _LOG.warning(
            "teacher_size is %s, but with crops.jitter the teacher runs in every step, on images "
            "of %s pixels",
            recipe.teacher_size,
            recipe.image_size,
        )


def check_dataset(dataset: Dataset) -> None:
    """Check that there are samples and that the first one can be trained on.

    Raises:
        DataError: there are no samples, or the first has no foreground or cannot be read.
    """
    name = dataset.info.name
    if not len(dataset):
        raise DataError(f"{name}: there are no samples to train on")
    sample = dataset[0]
    if sample.foreground is None:
        raise DataError(
            f"{name}: sample {sample.id!r} has no foreground: training needs masks (see the "
            "option `masks` of the data set)"
        )


def check_execution(steps: int, interval: int) -> None:
    """Check that Keras can make `steps` steps in one call, within log intervals of `interval`.

    Raises:
        ConfigError: it cannot.
    """
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
