"""Trained segmenters: `load("toy")`, or `load(folder)` for one's own.

The models that ship with the package lie in `entries/NAME/`: a card, a configuration and weights.
Every file is checked against the card before it is opened, and weights are checked to be nothing
but weights. Listing imports no Keras.
"""

import builtins
import difflib
import os
from os import PathLike
from pathlib import Path

from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.zoo.cards import (
    CARD_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    Card,
    FileRecord,
    read_card,
    verify,
)
from keras_parts.zoo.errors import UnknownModel
from keras_parts.zoo.packing import pack

__all__ = ["Card", "FileRecord", "UnknownModel", "info", "list", "load", "pack"]

_ENTRIES = Path(__file__).parent / "entries"
_IN_RUN = "segmenter"
"""Where a training run keeps its segmenter."""


def list() -> builtins.list[Card]:
    """The cards of all models, by name.

    Raises:
        IntegrityError: a card is damaged.
    """
    return [read_card(_ENTRIES / name) for name in _names()]


def info(name: str) -> Card:
    """The card of one model.

    Raises:
        UnknownModel: there is none of this name; the message suggests one.
        IntegrityError: its card is damaged.
    """
    if name not in _names():
        raise _unknown(name)
    return read_card(_ENTRIES / name)


def load(model: str | PathLike):
    """A `PartSegmenter` that is ready to segment.

    Args:
        model: a name out of `list()`; or the folder of a training run, of an entry, or of what
            `PartSegmenter.save_preset` wrote. A name of the zoo goes before a folder of the same
            name: write "./name" for that.

    Raises:
        UnknownModel: neither a model's name nor a folder that holds a segmenter.
        IntegrityError: a file differs from its card, or is not what it should be.
    """
    folder = _folder(model)
    from keras_parts.safety import check_weights_file, weights_layout
    from keras_parts.segmenter import PartSegmenter

    if (folder / CARD_FILE).is_file():
        verify(folder, read_card(folder))
    check_weights_file(folder / WEIGHTS_FILE)
    try:
        segmenter = PartSegmenter.from_preset(folder)
    except (ConfigError, DataError) as error:
        raise IntegrityError(str(error)) from error
    # Keras passes over what is missing or too much in some places of a file.
    check_weights_file(folder / WEIGHTS_FILE, weights_layout(segmenter))
    return segmenter


def _names():
    return sorted(path.parent.name for path in _ENTRIES.glob(f"*/{CARD_FILE}"))


def _unknown(name):
    names = _names()
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names) or 'none'}"
    return UnknownModel(f"no model is called {name!r}, and there is no such folder; {hint}")


def _folder(model):
    """Where the files of a segmenter lie."""
    model = os.fspath(model)
    if model in _names():
        return _ENTRIES / model
    if not model or not os.path.isdir(model):
        raise _unknown(model)
    for folder in (Path(model), Path(model, _IN_RUN)):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise UnknownModel(f"{model} holds no segmenter: expected {Path(model, CONFIG_FILE)}")
