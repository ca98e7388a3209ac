"""Recipes as files: TOML to write by hand, and the config.json of a run."""

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_parts.errors import ConfigError, DataError
from keras_parts.files import decode_text, read_file
from keras_parts.training.recipes import (
    GROUPS,
    RECIPES,
    Recipe,
    translate_settings,
)

_CONFIG_FILE, _SUFFIXES = "config.json", (".toml", ".json")
_MAX_BYTES = 16 * 2**20
_BASE, _NONE = "name", "none"
_PATHS = ("backbone_weights", "init_from", "teacher_weights")


def is_recipe_file(name: str) -> bool:
    """Whether a name is the path of a recipe file or of a run folder, and no recipe's name.

    Example:
        >>> from keras_parts.training.recipe_files import is_recipe_file
        >>> is_recipe_file("mine.toml"), is_recipe_file("paper")
        (True, False)
    """
    if name in RECIPES:
        return False
    return name.lower().endswith(_SUFFIXES) or os.path.isfile(os.path.join(name, _CONFIG_FILE))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a file.

    A TOML file has the settings that differ from those of the recipe `name`, by default "default".
    A table "loss_weights" replaces all weights; other tables change only the settings in them. A
    setting of a loss is `contrastive.temperature = 0.3`. As TOML has no null, the list `none` names
    the settings that are None. JSON files are as `Recipe.to_json` gives them; the config.json of a
    run is one.

    Args:
        path: of a .toml or .json file, or a run folder.

    Raises:
        ConfigError: there is no such setting, or a value is outside its range; the message names
            the file.
        DataError: the file is missing, or is no TOML or JSON.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.training.recipe_files import read_recipe
        >>> _ = Path("mine.toml").write_text('name = "paper"\\nsteps = 100\\nclip_norm = 1.0')
        >>> read_recipe("mine.toml").steps
        100
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / _CONFIG_FILE
    is_toml = path.suffix.lower() == ".toml"
    values = _content(path, is_toml)
    try:
        chosen = _of_toml(values) if is_toml else Recipe.from_json(values.get("settings", values))
        paths = {name: getattr(chosen, name) for name in _PATHS}
        return chosen.with_settings(
            {name: os.path.expanduser(value) for name, value in paths.items() if value}
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _content(path: Path, is_toml: bool) -> dict[str, Any]:
    kind = "TOML" if is_toml else "JSON"
    try:
        text = decode_text(read_file(path, max_bytes=_MAX_BYTES))
        values = tomllib.loads(text) if is_toml else json.loads(text)
    except (ValueError, RecursionError) as error:  # of each decoder
        raise DataError(f"{path}: is not {kind}: {error}", path=path) from None
    if not isinstance(values, dict) or not isinstance(values.get("settings", {}), dict):
        raise DataError(f"{path}: has no table of settings", path=path)
    return values


def _of_toml(values: Mapping[str, Any]) -> Recipe:
    values = translate_settings(values)
    base, none = values.pop(_BASE, "default"), values.pop(_NONE, [])
    if not isinstance(base, str) or base not in RECIPES:
        raise ConfigError(f"recipe: name is {base!r}, expected one of {', '.join(RECIPES)}")
    if not isinstance(none, list) or not all(isinstance(name, str) for name in none):
        raise ConfigError(f"recipe: none is {none!r}, expected a list of names")
    return RECIPES[base].with_settings({**dict(_flat(values)), **dict.fromkeys(none)})


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) as `Recipe.with_settings` takes them."""
    for name, value in values.items():
        if name == "loss_settings" and isinstance(value, Mapping):
            yield from _flat(value)
        elif name == "loss_weights" or not isinstance(value, Mapping):
            yield name, value
        else:
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())


def to_toml(chosen: Recipe) -> str:
    """A recipe as TOML, which `read_recipe` reads.

    Example:
        >>> from keras_parts.training import recipe
        >>> from keras_parts.training.recipe_files import to_toml
        >>> print(to_toml(recipe("paper")).splitlines()[0])
        name = "paper"
    """
    values = chosen.to_json()
    losses = {name: values["loss_settings"].get(name, {}) for name in values["loss_weights"]}
    tables = {"loss_weights": values.pop("loss_weights")}
    tables |= {group: values.pop(group) for group in GROUPS}
    tables |= {name: settings for name, settings in losses.items() if settings}
    del values["loss_settings"]
    base = RECIPES.get(chosen.name, RECIPES["default"])
    values[_BASE] = base.name
    lines = [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]
    none = [name for name, value in values.items() if value is None]
    lines += [f"{_NONE} = {_toml(none)}"] if none else []
    for name, table in tables.items():
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value as TOML: JSON's notation of texts, numbers, booleans and lists is valid there."""
    return json.dumps(list(value) if isinstance(value, tuple) else value)
