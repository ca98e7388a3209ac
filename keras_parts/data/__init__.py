"""Data sets: `load(name, split)` gives a lazy sequence of `Sample`s."""

import importlib
import inspect
from collections.abc import Callable
from os import PathLike

from keras_parts.data.dataset import Dataset, DatasetInfo, Subset, hold_out
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

__all__ = ["DATASETS", "Dataset", "DatasetInfo", "Sample", "Subset", "hold_out", "load", "loader"]

_LOADERS = {
    "toy": ("keras_parts.data.toy", "load_toy"),
    "cub": ("keras_parts.data.cub", "load_cub"),
    "cub_parts": ("keras_parts.data.cub_parts", "load_cub_parts"),
    "folder": ("keras_parts.data.folder", "load_folder"),
    "deepfashion": ("keras_parts.data.deepfashion", "load_deepfashion"),
    "pascal_part": ("keras_parts.data.pascal_part", "load_pascal_part"),
    "celebamask": ("keras_parts.data.celebamask", "load_celebamask"),
    "clothing_co_parsing": (
        "keras_parts.data.clothing_co_parsing",
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
