"""Left and right in the names of landmarks and parts."""

from collections.abc import Sequence

_SIDES = {"left": "right", "right": "left"}


def other_side(name: str) -> str:
    """The name with left and right exchanged: "right wing" for "left wing", "left_ear" for
    "right_ear". A name without a side is returned unchanged."""
    for separator in (" ", "_", "-"):
        if separator in name:
            return separator.join(_SIDES.get(word, word) for word in name.split(separator))
    return _SIDES.get(name, name)


def without_side(name: str) -> str:
    """The name without left and right: "wing" for "left wing"."""
    return " ".join(word for word in name.split(" ") if word not in _SIDES) or name


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
