"""Left and right in the names of landmarks and parts."""

from collections.abc import Sequence

_SIDES = {"left": "right", "right": "left"}


def other_side(name: str) -> str:
    """The name with left and right exchanged: "right wing" for "left wing", "left_ear" for
    "right_ear". A name without a side is returned unchanged."""
    separator = _separator(name)
    return separator.join(_SIDES.get(word, word) for word in name.split(separator))


def without_side(name: str) -> str:
    """The name without left and right: "wing" for "left wing", "ear" for "left_ear"."""
    separator = _separator(name)
    return separator.join(word for word in name.split(separator) if word not in _SIDES) or name


def _separator(name):
    """The character between the words of a name."""
    return next((separator for separator in " _-" if separator in name), " ")


def mirrored_order(names: Sequence[str]) -> tuple[int, ...]:
    """The order of landmarks in a mirrored image: the i-th is landmark `order[i]` of the original.

    "left" and "right" are exchanged where both names exist.

    Example:
        >>> from keras_parts.data.sides import mirrored_order
        >>> mirrored_order(["left eye", "nose", "right eye"])
        (2, 1, 0)
    """
    names = list(names)
    return tuple(
        names.index(other_side(name)) if other_side(name) in names else index
        for index, name in enumerate(names)
    )
