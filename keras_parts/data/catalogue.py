"""Every data set by name: its reader, and what is known of it without reading it."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

from keras_parts.data.dataset import Dataset
from keras_parts.errors import ConfigError

_LOADERS = {
    "toy": ("keras_parts.data.toy.dataset", "load_toy"),
    "cub": ("keras_parts.data.readers.cub", "load_cub"),
    "cub_parts": ("keras_parts.data.readers.cub_parts", "load_cub_parts"),
    "folder": ("keras_parts.data.readers.folder", "load_folder"),
    "deepfashion": ("keras_parts.data.readers.deepfashion", "load_deepfashion"),
    "pascal_part": ("keras_parts.data.readers.pascal_part", "load_pascal_part"),
    "celebamask": ("keras_parts.data.readers.celebamask", "load_celebamask"),
    "clothing_co_parsing": (
        "keras_parts.data.readers.clothing_co_parsing",
        "load_clothing_co_parsing",
    ),
}
DATASETS = tuple(_LOADERS)


def load(name: str, split: str, data_dir: str | PathLike | None = None, **options) -> Dataset:
    """A data set by name.

    Args:
        name: out of `DATASETS`: "toy" (drawn by the program), "cub" (CUB-200-2011), "folder" (one's
            own images), ...; see `keras_parts.data.catalogue.about`.
        split: "train", "test", or "fit" and "validation", a fixed partition of "train" for
            choosing settings; a reader may have more.
        data_dir: where the data lie; None for the usual place, if the reader knows one.
        options: the reader's own, see `cub.load_cub`, `folder.load_folder` and so on.

    Raises:
        ConfigError: the name, the split or an option is unknown.
        DataError: the data are not there, or damaged.
    """
    function = loader(name)
    if data_dir is not None:
        options["data_dir"] = data_dir
    try:
        inspect.signature(function).bind(split, **options)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None
    return function(split, **options)


def loader(name: str) -> Callable[..., Dataset]:
    """The function that loads a data set: `(split, ...) -> Dataset`.

    Raises:
        ConfigError: there is no data set of this name.
    """
    if name not in _LOADERS:
        raise ConfigError(f"no data set is called {name!r}: choose from {', '.join(DATASETS)}")
    module, function = _LOADERS[name]
    return getattr(importlib.import_module(module), function)


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
