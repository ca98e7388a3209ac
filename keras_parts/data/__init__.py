"""Data sets: `load(name, split)` gives a lazy sequence of `Sample`s."""

import importlib
import inspect
from os import PathLike

from keras_parts.data.dataset import Dataset, DatasetInfo, Subset, hold_out
from keras_parts.data.sample import Sample
from keras_parts.errors import ConfigError

__all__ = ["DATASETS", "Dataset", "DatasetInfo", "Sample", "Subset", "hold_out", "load"]

_LOADERS = {
    "toy": ("keras_parts.data.toy", "load_toy"),
    "cub": ("keras_parts.data.cub", "load_cub"),
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
        name: "toy" (drawn by the program), "cub" (CUB-200-2011) or "folder" (one's own images).
        split: "train", "test", or "fit" and "validation", a fixed partition of "train" for
            choosing settings; a reader may have more.
        data_dir: where the data lie; None for the usual place, if the reader knows one.
        options: the reader's own, see `toy.load_toy`, `cub.load_cub` and `folder.load_folder`.

    Raises:
        ConfigError: the name, the split or an option is unknown.
        DataError: the data are not there, or damaged.
    """
    if name not in _LOADERS:
        raise ConfigError(f"no data set is called {name!r}: choose from {', '.join(DATASETS)}")
    module, function = _LOADERS[name]
    loader = getattr(importlib.import_module(module), function)
    if data_dir is not None:
        options["data_dir"] = data_dir
    try:
        inspect.signature(loader).bind(split, **options)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None
    return loader(split, **options)
