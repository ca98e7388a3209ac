"""How a user names a part: one rule, wherever parts are named."""

from collections.abc import Sequence

from keras_parts.errors import ConfigError, suggestion


def part_label(part: int | str, names: Sequence[str]) -> int:
    """The label of a part, from 1.

    Args:
        part: its name, a word that only one part's name contains, or its label; upper and lower
            case of a word are the same.
        names: of all parts.

    Raises:
        ConfigError: no part is called so, or several are; the message lists the parts.

    Example:
        >>> from keras_parts.results.part_labels import part_label
        >>> names = "wing and belly", "forehead and beak"
        >>> part_label("forehead and beak", names), part_label("beak", names), part_label(1, names)
        (2, 2, 1)
    """
    text = str(part).strip()
    word, lower = text.lower(), [name.lower() for name in names]
    rules = (
        [name == text for name in names],
        [text == str(label) for label in range(1, 1 + len(names))],
        [word in name.split() for name in lower],
        [bool(word) and word in name for name in lower],
    )
    found = next((found for found in rules if any(found)), [])
    if sum(found) == 1:
        return 1 + found.index(True)
    listed = ", ".join(f"{label} {name}" for label, name in enumerate(names, 1))
    wrong = "several parts have in their names" if any(found) else "there is no part"
    similar = "" if text.isdecimal() or any(found) else _suggestion(text, names)
    raise ConfigError(
        f"{wrong} {text!r:.200}{similar}; there are {listed}", setting="part", value=part
    )


def _suggestion(text: str, names: Sequence[str]) -> str:
    """The most similar name or word of a name."""
    return suggestion(text, [*names, *(word for name in names for word in name.split())])
