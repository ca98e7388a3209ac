"""The rules for names of parts and for joined parts. Imports no Keras."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_parts.errors import ConfigError, is_plain_line
from keras_parts.results.part_labels import part_label
from keras_parts.results.parts import numbered_names

_MAX_NAME = 100
_SEPARATORS = ',;"'
"""Characters that no name has: lists of names and CSV files separate names by them."""
_MAX_PARTS = 64

Groups = tuple[tuple[int, ...], ...]
"""For each part, the outputs of the head, from 1, of which it consists."""


def check_part_names(names: Iterable[str], num_parts: int) -> tuple[str, ...]:
    """The names that somebody gives to the parts of a segmenter, without spaces around them.

    Args:
        names: one for each part, all different: lines of 1 to 100 characters without control
            characters, commas, semicolons and double quotes; no number alone.
        num_parts: number of parts K.

    Raises:
        ConfigError: a name is none of these, or their number is another one.

    Example:
        >>> from keras_parts.models.part_names import check_part_names
        >>> check_part_names(["head", " left wing "], 2)
        ('head', 'left wing')
    """
    names = tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"part names are {names!r:.200}, expected texts")
    names = tuple(name.strip() for name in names)
    for part, name in enumerate(names, 1):
        wrong = _what_is_wrong(name)
        if wrong:
            raise ConfigError(f"the name of part {part} is {name!a:.200}: it {wrong}")
    for name in names:
        same = [str(part) for part, other in enumerate(names, 1) if other == name]
        if len(same) > 1:
            raise ConfigError(
                f"parts {' and '.join(same)} are both called {name!r}: give each part a name of "
                f"its own, or join them: --join {','.join(same)}"
            )
    if len(names) != num_parts:
        raise ConfigError(
            f"the model has {num_parts} parts, but the number of names is {len(names)}: "
            f"{', '.join(names):.200}"
        )
    return names


def _what_is_wrong(name: str) -> str:
    if not name:
        return "is empty"
    if len(name) > _MAX_NAME:
        return f"has {len(name)} characters, at most {_MAX_NAME} are allowed"
    if name.isdecimal():
        return "is a number, and parts have numbers already"
    if not is_plain_line(name) or set(_SEPARATORS) & set(name):
        return "has a comma, a semicolon, a double quote or a control character"
    return ""


def plain_name(text: str) -> str:
    """A text as a part's name, without the characters that no name has.

    Example:
        >>> from keras_parts.models.part_names import plain_name
        >>> plain_name("neck, throat")
        'neck throat'
    """
    separated = "".join(" " if letter in _SEPARATORS else letter for letter in text)
    return " ".join(separated.split())[:_MAX_NAME].strip()


def check_joined(joined: Any, num_parts: int) -> Groups:
    """Groups of the head's outputs as tuples; empty if each part is one output.

    Args:
        joined: for each part, the outputs of which it consists; JSON values.
        num_parts: number of parts K.

    Raises:
        ConfigError: they are no groups of all outputs, from 1, each in one of them.
    """
    is_groups = isinstance(joined, list | tuple) and all(
        isinstance(group, list | tuple) and group and all(type(one) is int for one in group)
        for group in joined
    )
    outputs = sorted(one for group in joined for one in group) if is_groups else None
    if (
        outputs is None
        or (joined and len(joined) != num_parts)
        or outputs != list(range(1, 1 + len(outputs)))
        or len(outputs) > _MAX_PARTS
    ):
        raise ConfigError(
            f"segmenter: joined is {joined!r:.200}, expected {num_parts} lists, which have the "
            f"outputs 1, 2, ... of the head (at most {_MAX_PARTS}), each once; or none"
        )
    groups = tuple(tuple(group) for group in joined)
    return () if groups == _each_alone(num_parts) else groups


def parts_of(values: Mapping[str, Any], source: object) -> tuple[int, tuple[str, ...], Groups]:
    """Number of parts, their names and joined outputs in a saved configuration, checked.

    Args:
        values: as `read_saved_config` returns them.
        source: name of the file in error messages.

    Raises:
        ConfigError: they are damaged.
    """
    num_parts: Any = values.get("num_parts")
    names: Any = values.get("part_names")
    is_number = type(num_parts) is int and 2 <= num_parts <= _MAX_PARTS
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_number or not is_list or len(names) not in (0, num_parts):
        raise ConfigError(
            f"{source}: num_parts is {num_parts!r:.50} and part_names {names!r:.200}, expected 2 "
            f"to {_MAX_PARTS} and as many names, or none"
        )
    try:
        return num_parts, tuple(names), check_joined(values.get("joined", ()), num_parts)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None


def _each_alone(num_parts: int) -> Groups:
    return tuple((part,) for part in range(1, 1 + num_parts))


def join(
    num_parts: int,
    part_names: Sequence[str],
    joined: Groups,
    groups: Iterable[Iterable[int | str]],
) -> dict[str, Any]:
    """The settings of a segmenter after parts of it are joined.

    Joined parts take the position of the first of them. Their names are joined by "and".

    Args:
        num_parts, part_names, joined: fields of its `SegmenterConfig`.
        groups: parts to join, see `keras_parts.results.part_labels.part_label`.

    Returns:
        "num_parts", "part_names" and "joined" of the new configuration.

    Raises:
        ConfigError: there is no such part, a group has fewer than two parts, a part is in two
            groups, or fewer than two parts would be left.

    Example:
        >>> from keras_parts.models.part_names import join
        >>> join(4, ("beak", "wing", "tail", "crown"), (), [["beak", "crown"]])["part_names"]
        ('beak and crown', 'wing', 'tail')
    """
    names = tuple(part_names) or numbered_names(num_parts)
    chosen = [_group(group, names) for group in groups]
    owners: dict[int, tuple[int, ...]] = {}
    for group in chosen:
        for part in group:
            if part in owners:
                raise ConfigError(f"part {part} is in two groups of parts to join: name it once")
            owners[part] = group
    together = [owners.get(part, (part,)) for part in range(1, 1 + num_parts)]
    together = list(dict.fromkeys(together))
    if len(together) < 2:
        raise ConfigError(
            f"all {num_parts} parts would be joined into one, and a segmenter has at least 2"
        )
    outputs = joined or _each_alone(num_parts)
    new_names: tuple[str, ...] = ()
    if part_names:
        taken = {names[group[0] - 1] for group in together if len(group) == 1}
        new_names = tuple(_joined_name(group, names, taken) for group in together)
    return {
        "num_parts": len(together),
        "part_names": new_names,
        "joined": tuple(
            tuple(sorted(output for part in group for output in outputs[part - 1]))
            for group in together
        ),
    }


def _joined_name(group: Sequence[int], names: Sequence[str], taken: set[str]) -> str:
    if len(group) == 1:
        return names[group[0] - 1]
    return unique_name(plain_name(" and ".join(names[part - 1] for part in group)), taken)


def unique_name(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken; adds it to those that are taken.

    Example:
        >>> from keras_parts.models.part_names import unique_name
        >>> taken = {"wing"}
        >>> unique_name("wing", taken), unique_name("wing", taken)
        ('wing 2', 'wing 3')
    """
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name} {number}"
    taken.add(candidate)
    return candidate


def _group(parts: Iterable[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """The numbers of parts to join, in order."""
    if isinstance(parts, str | int):
        raise ConfigError(f"parts to join are {parts!r}, expected a list such as [2, 5]")
    group = tuple(sorted({part_label(part, names) for part in parts}))
    if len(group) < 2:
        raise ConfigError(
            f"parts to join are {', '.join(map(str, group)) or 'none'}: name two or more"
        )
    return group
