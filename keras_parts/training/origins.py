"""The models that a training begins from, and their terms, which the trained model inherits.

Imports no Keras.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from keras_parts.errors import DataError, hide_secrets
from keras_parts.files import read_limited
from keras_parts.training.run_folder import run_of_segmenter

_CARD_FILE = "card.json"
_MAX_CARD_BYTES = 2**20
_MAX_GENERATIONS = 16
"""Longest chain of runs that is followed; a longer one is a circle."""


@dataclass(frozen=True)
class Origin:
    """A model whose weights a training takes over, or that it learns from.

    Attributes:
        model: NAME@VERSION of a model with a card; else the name of its run or folder.
        use: "initialisation" or "teacher".
        data: terms of the data that it was trained on; "" if unknown.
        weights: licence of its weights; "" if unknown.
    """

    model: str
    use: str
    data: str = ""
    weights: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON values, for config.json."""
        return asdict(self)


def find_origins(settings: Mapping[str, Any]) -> tuple[Origin, ...]:
    """The models that a recipe's training begins from, and those that these began from.

    Their terms are read from the cards and run folders beside their weights. A model without
    either has unknown terms.

    Args:
        settings: of a recipe, as `Recipe.to_json` returns them.

    Example:
        >>> from keras_parts import zoo
        >>> from keras_parts.training.origins import find_origins
        >>> find_origins({"init_from": str(zoo.path("toy"))})
        (Origin(model='toy@1.0.0', use='initialisation', data='Apache-2.0', weights='Apache-2.0'),)
    """
    return _find(settings, 0)


def run_origins(config: Mapping[str, Any]) -> tuple[Origin, ...]:
    """The origins of a run: those in its config.json, or found by its settings in older runs.

    Args:
        config: as `RunFolder.read_config` returns it.
    """
    return _of_run(config, 0)


def _find(settings: Mapping[str, Any], generation: int) -> tuple[Origin, ...]:
    folders = {"initialisation": settings.get("init_from")}
    if settings.get("teacher") == "segmenter":
        folders["teacher"] = settings.get("teacher_weights")
    if generation > _MAX_GENERATIONS:
        return ()
    found = [
        origin
        for use, folder in folders.items()
        if folder
        for origin in _of_folder(Path(folder).expanduser(), use, generation)
    ]
    return tuple(dict.fromkeys(found))


def _of_folder(folder: Path, use: str, generation: int) -> list[Origin]:
    """The model in a folder, and the models that it began from, whose terms it has too."""
    if (folder / _CARD_FILE).is_file():
        return [_of_card(folder, use)]
    run = run_of_segmenter(folder)
    if run is None:
        return [Origin(hide_secrets(folder.name), use)]
    try:
        config = run.read_config()
    except DataError:
        return [Origin(run.path.name, use)]
    own = Origin(run.path.name, use, config.get("data", {}).get("licence", ""))
    return [own, *(replace(one, use=use) for one in _of_run(config, generation + 1))]


def _of_run(config: Mapping[str, Any], generation: int) -> tuple[Origin, ...]:
    recorded = config.get("data", {}).get("models")
    if recorded is None:
        return _find(config["settings"], generation)
    fields = ("model", "use", "data", "weights")
    return tuple(Origin(*(str(one.get(name, "")) for name in fields)) for one in recorded)


def _of_card(folder: Path, use: str) -> Origin:
    # The zoo checks cards; here the terms alone are read, whatever the card's format.
    try:
        card = json.loads(read_limited(folder / _CARD_FILE, _MAX_CARD_BYTES))
        terms = card["licences"]
        name = f"{card['name']}@{card['version']}"
        return Origin(name, use, str(terms["data"]), str(terms["weights"]))
    except (DataError, ValueError, KeyError, TypeError, RecursionError):
        return Origin(folder.name, use)
