"""The features that baselines cluster beside a model: those that the model learned from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keras_parts.metrics import NamedFeatures, teacher_features

_OF_TEACHER = (
    "teacher", "teacher_layers", "teacher_weights", "teacher_size", "teacher_turns",
    "teacher_mirror", "image_size",
)  # fmt: skip
"""Settings of a recipe that decide the features of its teacher."""
_UPRIGHT = {
    "teacher_weights": None,
    "teacher_turns": (1.0, 0.0, 0.0, 0.0),
    "teacher_mirror": False,
}


def recipe_settings(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Settings of the recipe that a model was trained with; empty if no run and no card has them.

    Args:
        folder: of the segmenter, as `keras_parts.zoo.path` returns it.
    """
    from keras_parts.training.recipes import translate_settings
    from keras_parts.training.run_folder import RunFolder
    from keras_parts.zoo.cards import CARD_FILE, read_card

    folder = Path(folder).resolve()
    if (folder / CARD_FILE).is_file():
        return translate_settings(read_card(folder).training.recipe)
    run = RunFolder(folder.parent)
    if run.segmenter != folder or not run.config_file.is_file():
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

    Args:
        base: name of the recipe for what the model's recipe does not tell.
        folder: of the segmenter, as `keras_parts.zoo.path` returns it; None for `base` alone.
        changes: settings of the recipe that name another teacher.
        upright: the teacher's own features, of the upright image alone, at the network's own input
            size if it has one.
    """
    from keras_parts.training.build import build_teacher
    from keras_parts.training.recipes import recipe

    known = recipe_settings(folder) if folder else {}
    settings = {name: known[name] for name in _OF_TEACHER if name in known}
    if upright:
        settings |= _UPRIGHT
    chosen = recipe(base, **settings | dict(changes or {}))
    teacher = build_teacher(chosen)
    image_size = chosen.teacher_size or chosen.image_size
    if upright:
        image_size = teacher.network.inputs[0].shape[1] or image_size
    return teacher_features(teacher, image_size, name=chosen.teacher, views=chosen.teacher_views)
