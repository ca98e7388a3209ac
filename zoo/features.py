"""Features for baselines that are compared with a model: those that the model learned from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_parts.metrics import NamedFeatures, teacher_features

_TEACHER_SETTINGS = (
    "teacher", "teacher_layers", "teacher_weights", "teacher_size", "teacher_turns",
    "teacher_mirror", "teacher_patches", "image_size",
)  # fmt: skip
"""Settings of a recipe that determine the teacher features."""
_UPRIGHT_SETTINGS = {
    "teacher_weights": None,
    "teacher_turns": (1.0, 0.0, 0.0, 0.0),
    "teacher_mirror": False,
    "teacher_patches": None,
}
"""Settings for a network's own features of the upright image alone."""


def recipe_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The recipe settings of a trained model, from its run or its card; empty if it has neither.

    Args:
        folder: folder of the segmenter, as returned by `keras_parts.zoo.path`.
    """
    from keras_parts.training.recipes import translate_settings
    from keras_parts.training.run_folder import run_of_segmenter
    from keras_parts.zoo.cards import CARD_FILE, read_card

    folder = Path(folder).resolve()
    if (folder / CARD_FILE).is_file():
        return translate_settings(read_card(folder).training.recipe)
    run = run_of_segmenter(folder)
    if run is None:
        return {}
    settings = run.read_config()["settings"]
    weights = settings.get("teacher_weights")  # runs write the home folder as "~"
    return settings | {"teacher_weights": weights and os.path.expanduser(weights)}


def baseline_features(
    base: str,
    *,
    folder: str | os.PathLike[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    upright: bool = False,
) -> NamedFeatures:
    """The teacher features of a model's recipe, or of another recipe.

    A model whose teacher gave part logits, as in the recipe "outline", has those of `base`.

    Args:
        base: name of the recipe with the settings that the model's recipe lacks.
        folder: folder of the segmenter, as returned by `keras_parts.zoo.path`; None to use `base`
            alone.
        changes: recipe settings that replace the others, such as those of another teacher.
        upright: use the features of the upright image alone, at the network's fixed input size if
            it has one.

    Raises:
        ConfigError: a recipe or setting is unknown or invalid.
    """
    from keras_parts.discovery.teachers import PART_LOGITS
    from keras_parts.training.build import build_teacher
    from keras_parts.training.recipes import recipe

    trained_with = recipe_settings(folder) if folder else {}
    settings = {name: trained_with[name] for name in _TEACHER_SETTINGS if name in trained_with}
    if PART_LOGITS in settings.get("teacher_layers", ()):
        settings = {}  # as after the recipe "outline", whose teacher has no features
    if upright:
        settings |= _UPRIGHT_SETTINGS
    chosen = recipe(base, **settings | dict(changes or {}))
    teacher = build_teacher(chosen)
    image_size = chosen.teacher_size or chosen.image_size
    if upright:
        image_size = teacher.network.inputs[0].shape[1] or image_size
    return teacher_features(teacher, image_size, name=chosen.teacher, views=chosen.teacher_views)
