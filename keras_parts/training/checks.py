"""Checks that are made before a training computes or writes anything."""

import logging

import keras

from keras_parts.data.dataset import Dataset
from keras_parts.discovery.teachers import TEACHERS
from keras_parts.errors import ConfigError, DataError, suggestion
from keras_parts.training.build import segmenter_config
from keras_parts.training.recipes import Recipe

_LOG = logging.getLogger(__name__)


def check_recipe(recipe: Recipe) -> None:
    """Check the settings whose valid values depend on the registered architectures and teachers.

    Layer names and weights files are checked later, when the networks are built.

    Raises:
        ConfigError: a setting is outside its range for the architecture, or there is no such
            teacher.
    """
    segmenter_config(recipe)
    if recipe.teacher not in TEACHERS:
        hint = suggestion(recipe.teacher, TEACHERS)
        raise ConfigError(
            f"recipe: teacher is {recipe.teacher!r}, expected one of {', '.join(TEACHERS)}{hint}"
        )
    if recipe.teacher == "segmenter" and not (recipe.teacher_weights or recipe.init_from):
        raise ConfigError(
            f"recipe: the teacher of the recipe {recipe.name} is a segmenter, but none is given: "
            "name it by init_from (--init-from MODEL) or teacher_weights"
        )
    if recipe.crops.jitter and recipe.teacher_size not in (None, recipe.image_size):
        _LOG.warning(
            "teacher_size is %s, but has no effect: with crops.jitter the teacher runs in every "
            "step, on the images of %s pixels. Set it to null",
            recipe.teacher_size,
            recipe.image_size,
        )


def check_dataset(dataset: Dataset) -> None:
    """Check that there are samples, and that the first one can be read and has a foreground.

    Raises:
        DataError: there are no samples, or the first has no foreground or cannot be read.
    """
    if not hasattr(dataset, "info"):
        raise ConfigError(
            f"the data set is {type(dataset).__name__}, expected one of keras_parts.data.load, "
            "such as load('folder', 'all', data_dir='photos', masks='masks')"
        )
    name = dataset.info.name
    if not len(dataset):
        raise DataError(f"{name}: there are no samples to train on")
    sample = dataset[0]
    if sample.foreground is None:
        raise DataError(
            f"{name}: sample {sample.id!r} has no foreground: training needs a mask of each "
            "object. Give them, or let objects be found by --masks discover (in Python: the option "
            "masks of the data set)"
        )


def check_steps_per_execution(steps_per_execution: int, interval: int) -> None:
    """Check `steps_per_execution` for log intervals of `interval` steps and for the backend.

    Raises:
        ConfigError: it does not divide the interval, or it is not 1 on PyTorch.
    """
    if interval % steps_per_execution:
        divisors = [str(number) for number in range(1, interval + 1) if not interval % number]
        raise ConfigError(
            f"recipe: steps_per_execution is {steps_per_execution}, which does not divide the "
            f"{interval} steps of a log interval: set it to {' or '.join(divisors)}"
        )
    if steps_per_execution > 1 and keras.config.backend() == "torch":
        raise ConfigError(
            f"recipe: steps_per_execution is {steps_per_execution}, but on PyTorch Keras makes one "
            "step at a time: set it to 1, or choose --backend tensorflow or jax"
        )
