"""The first batch of what `fit` is given, to check it before anything is computed."""

from collections.abc import Iterator, Mapping
from itertools import chain
from types import GeneratorType
from typing import Any

import keras

_CHECKED = 8
"""Number of samples of an array that are taken."""


def peek(x: Any, y: Any = None, sample_weight: Any = None) -> tuple[Any, Any]:
    """The first batch of what `fit` is given, and what to give to Keras instead.

    A generator is put back together. A `torch.utils.data.DataLoader` with processes of its own is
    not read, as they would be started twice.

    Returns:
        `x`, unchanged but for a generator; and the batch as Keras passes it to a step, such as
        `(x, y)`, or None if it cannot be read twice.
    """
    if isinstance(x, GeneratorType):
        first = next(x, None)
        return (x if first is None else _chained(first, x)), first
    if isinstance(x, keras.utils.PyDataset):
        return x, x[0]
    if hasattr(x, "element_spec") and hasattr(x, "take"):  # tf.data.Dataset
        return x, next(iter(x.take(1)), None)
    if hasattr(x, "num_workers") and hasattr(x, "collate_fn"):  # torch.utils.data.DataLoader
        return x, None if x.num_workers else next(iter(x), None)
    if isinstance(x, Mapping) or hasattr(x, "dtype"):
        return x, tuple(
            None if each is None else keras.tree.map_structure(lambda a: a[:_CHECKED], each)
            for each in (x, y, sample_weight)
        )
    if isinstance(x, list | tuple):
        return x, (x, y, sample_weight)
    return x, None


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    """A generator, which is what Keras recognises, of `first` and the rest."""
    yield from chain([first], rest)
