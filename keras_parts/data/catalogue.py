"""The data sets by name: their readers and descriptions."""

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from numbers import Integral, Real
from os import PathLike
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from keras_parts.data.dataset import Dataset
from keras_parts.data.discovered import DISCOVER, Photographs, WithDiscoveredMasks
from keras_parts.data.problems import is_collecting
from keras_parts.data.skipping import load_good_samples
from keras_parts.errors import ConfigError, suggestion

_LOG = logging.getLogger(__name__)
_READERS = "keras_parts.data.readers"
# Data set -> the module of its reader, which defines `SOURCE`, and the function that loads it.
_LOADERS = {
    "toy": ("keras_parts.data.toy.dataset", "load_toy"),
    "cub": (f"{_READERS}.cub", "load_cub"),
    "cub_parts": (f"{_READERS}.cub_parts", "load_cub_parts"),
    "folder": (f"{_READERS}.folder", "load_folder"),
    "deepfashion": (f"{_READERS}.deepfashion", "load_deepfashion"),
    "nabirds": (f"{_READERS}.nabirds", "load_nabirds"),
    "pascal_part": (f"{_READERS}.pascal_part", "load_pascal_part"),
    "part_imagenet": (f"{_READERS}.part_imagenet", "load_part_imagenet"),
    "celebamask": (f"{_READERS}.celebamask", "load_celebamask"),
    "clothing_co_parsing": (f"{_READERS}.clothing_co_parsing", "load_clothing_co_parsing"),
}
_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "a text",
    PathLike: "a path", type(None): "null",
}  # fmt: skip
_OWN = "folder"
"""The data set of the user's own images."""
DATASETS: tuple[str, ...] = tuple(_LOADERS)
"""The names of all data sets."""


def load(
    name: str,
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    skip_bad: bool = False,
    progress: bool = True,
    **options: Any,
) -> Dataset:
    """Load a split of a data set.

    Args:
        name: one of `DATASETS`: "toy" (drawn by the program), "cub" (CUB-200-2011), "folder" (your
            own images), ...
        split: "train", "test", or "fit" and "validation", two fixed parts of "train" for choosing
            settings; a reader may have more.
        data_dir: folder of the data; None for the reader's default folder, if it has one.
        skip_bad: read every sample once, and leave out those that have a problem, with a warning
            that counts and lists them; `left_out` of the data set has all problems.
        progress: show progress bars while objects are found.
        options: options of the reader, listed in `about(name).options`. Of every data set,
            `masks="discover"` finds the objects in the images, and reads no annotation; the masks
            are kept in the cache.

    Returns:
        A lazy sequence of `Sample`s.

    Raises:
        ConfigError: the name, the split or an option is unknown.
        DataError: the data are missing or damaged; with `skip_bad`, all of them, or a file that all
            samples need.

    Example:
        >>> from keras_parts import data
        >>> dataset = data.load("toy", "test", count=5)
        >>> dataset
        <ToyDataset 'toy', split 'test', 5 samples, licence: Apache-2.0>
        >>> dataset[0].image.shape, dataset[0].part_labels.shape
        ((161, 161, 3), (161, 161))
    """
    # The reader of folders finds objects itself: it keeps the other annotations that are given.
    discovers = options.get("masks") == DISCOVER and name != _OWN
    if discovers:
        dataset = load_photographs(name, split, data_dir, skip_bad=skip_bad, **options)
        # A check reads the images, of which some may be damaged, and finds no objects.
        dataset = dataset if is_collecting() else WithDiscoveredMasks(dataset, progress=progress)
    else:
        if name == _OWN:
            options["progress"] = progress
        read = _reader(name, split, data_dir, options)
        dataset = load_good_samples(read) if skip_bad else read()
    dataset.split = split
    if not is_collecting():  # a check shows the notes itself
        for note in dataset.notes:
            _say_once(note)
    return dataset


def load_photographs(
    name: str,
    split: str,
    data_dir: str | PathLike | None = None,
    *,
    skip_bad: bool = False,
    **options: Any,
) -> Dataset:
    """Load the images of a split alone; no annotation is read, whatever the options say of masks.

    Args:
        name, split, data_dir, skip_bad, options: see `load`.

    Example:
        >>> from keras_parts.data.catalogue import load_photographs
        >>> load_photographs("toy", "test", count=5)[0].foreground is None
        True
    """
    kept = {key: value for key, value in options.items() if key not in _OF_MASKS}
    if "masks" in inspect.signature(loader(name)).parameters and name != _OWN:
        kept["masks"] = False
    read = _reader(name, split, data_dir, kept)

    def photographs() -> Dataset:
        return Photographs(read())

    return load_good_samples(photographs) if skip_bad else photographs()


_OF_MASKS = ("masks", "missing_masks", "mask_threshold", "part_labels", "keypoints")
"""Options of annotations, which are not read where images are read alone."""


def _reader(
    name: str, split: str, data_dir: str | PathLike | None, options: Mapping[str, Any]
) -> Callable[[], Dataset]:
    """The reader of a split, after checking the options; each call reads the data set anew."""
    given = {**options} if data_dir is None else {**options, "data_dir": data_dir}
    function = loader(name)
    signature = inspect.signature(function)
    try:
        signature.bind(split, **given)
    except TypeError as error:
        known = ", ".join(list(signature.parameters)[1:])
        raise ConfigError(f"{name}: {error}; the options are {known}") from None
    _check_kinds(name, function, given)
    return partial(function, split, **given)


def _check_kinds(name: str, function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raise `ConfigError` unless each option is of the kind that the reader declares."""
    kinds = get_type_hints(function)
    for option, value in options.items():
        if not _is_kind(value, kinds[option]):
            raise ConfigError(
                f"{name}: {option} is {value!r}, expected {_in_words(kinds[option])}",
                setting=option,
                value=value,
            )


def _is_kind(value: Any, kind: Any) -> bool:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any or origin is Literal:  # the reader names the choices
        return True
    if origin in (Union, UnionType):
        return any(_is_kind(value, each) for each in arguments)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    if origin in (Sequence, Iterable):  # a text is not meant as a list of letters
        listed = isinstance(value, Iterable) and not isinstance(value, str | bytes)
        if not isinstance(value, Sequence):
            return listed
        return listed and all(_is_kind(item, arguments[0]) for item in value)
    return isinstance(value, origin or kind)


def _in_words(kind: Any) -> str:
    """A kind of value, for messages."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, arguments)))
    if origin in (Sequence, Iterable):
        return f"a list, each {_in_words(arguments[0])}"
    return _WORDS.get(kind, kind.__name__)


@cache
def _say_once(note: str) -> None:
    # A command may load several splits of a data set.
    _LOG.warning("%s", note)


def loader(name: str) -> Callable[..., Dataset]:
    """The function that loads a data set: `(split, ...) -> Dataset`.

    Raises:
        ConfigError: there is no data set of this name.

    Example:
        >>> from keras_parts import data
        >>> data.loader("toy").__name__
        'load_toy'
    """
    if name not in _LOADERS:
        raise ConfigError(
            f"no data set is called {name!r}: choose from {', '.join(DATASETS)}"
            f"{suggestion(name, DATASETS)}"
        )
    module, function = _LOADERS[name]
    return getattr(importlib.import_module(module), function)


@dataclass(frozen=True)
class DatasetDescription:
    """The description of a data set for users.

    Attributes:
        name: the name for `keras_parts.data.load`.
        title: a description in one line.
        annotations: the kinds of annotations.
        splits: names of the splits.
        licence: the terms of the images and their annotations.
        how_to_obtain: instructions to obtain the data.
        description: the paper and the folder layout.
        options: the reader's options, with explanations.
    """

    name: str
    title: str
    annotations: str
    splits: tuple[str, ...]
    licence: str
    how_to_obtain: str
    description: str
    options: str


def about(name: str) -> DatasetDescription:
    """Describe a data set, from its reader's `SOURCE` and docstrings.

    Raises:
        ConfigError: there is no data set of this name.

    Example:
        >>> from keras_parts import data
        >>> data.about("toy").annotations
        'masks, part labels, keypoints'
    """
    function = loader(name)
    module = importlib.import_module(function.__module__)
    title, _, description = (inspect.getdoc(module) or "").partition("\n\n")
    _, _, options = (inspect.getdoc(function) or "").partition("Args:\n")
    for section in ("Returns:", "Raises:", "Example:"):
        options = options.partition(f"\n\n{section}")[0]
    return DatasetDescription(
        name=name,
        title=" ".join(title.replace("`", "").split()),
        annotations=module.SOURCE.annotations,
        splits=module.SOURCE.splits,
        licence=module.SOURCE.licence,
        how_to_obtain=module.SOURCE.how_to_obtain,
        description=description.strip(),
        options=inspect.cleandoc(options),
    )
