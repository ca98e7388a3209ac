"""What is known of every data set without reading it."""

import importlib
import inspect
from dataclasses import dataclass

from keras_parts.data import DATASETS, loader
from keras_parts.errors import ConfigError


@dataclass(frozen=True)
class About:
    """A data set, as it is told to a user.

    Attributes:
        name: as `keras_parts.data.load` takes it.
        title: one line.
        truth: what there is besides images.
        splits: their names.
        licence: the terms of the images and their truth.
        how_to_obtain: what a user does to get the data.
        description: the layout that is read, and the paper.
        options: what the reader takes, with explanations.
    """

    name: str
    title: str
    truth: str
    splits: tuple[str, ...]
    licence: str
    how_to_obtain: str
    description: str
    options: str


_TRUTH = {
    "toy": "masks, part labels, keypoints",
    "cub": "masks, 15 keypoints, boxes, species",
    "cub_parts": "masks, 15 keypoints, boxes, species",
    "folder": "masks, part labels or keypoints if given",
    "deepfashion": "15 part labels",
    "pascal_part": "part labels, ten classes",
    "celebamask": "18 part labels",
    "clothing_co_parsing": "58 part labels",
}
_TOY = {
    "SPLITS": ("train", "test", "fit", "validation"),
    "LICENCE": "Apache-2.0",
    "HOW_TO_OBTAIN": "it is drawn by keras_parts itself",
}


def about(name: str) -> About:
    """What is known of a data set.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in DATASETS:
        raise ConfigError(f"no data set is called {name!r}: choose from {', '.join(DATASETS)}")
    load = loader(name)
    module = importlib.import_module(load.__module__)
    title, _, description = inspect.getdoc(module).partition("\n\n")
    fixed = {key: getattr(module, key, _TOY.get(key)) for key in _TOY}
    _, _, options = inspect.getdoc(load).partition("Args:\n")
    return About(
        name=name,
        title=" ".join(title.replace("`", "").split()),
        truth=_TRUTH[name],
        splits=fixed["SPLITS"],
        licence=fixed["LICENCE"],
        how_to_obtain=fixed["HOW_TO_OBTAIN"],
        description=description.strip(),
        options=inspect.cleandoc(options.partition("\n\nReturns:")[0].partition("\n\nRaises:")[0]),
    )
