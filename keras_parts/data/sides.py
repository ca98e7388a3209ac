"""Left and right in the names of landmarks."""

from collections.abc import Sequence

_SIDES = {"left": "right", "right": "left"}


def other_side(name: str) -> str:
    """The name with left and right exchanged: "left wing" and "left_wing" for the right ones."""
    for mark in (" ", "_", "-"):
        if mark in name:
            return mark.join(_SIDES.get(word, word) for word in name.split(mark))
    return _SIDES.get(name, name)


def without_side(name: str) -> str:
    """The name without left and right: "wing" for "left wing"."""
    return " ".join(word for word in name.split(" ") if word not in _SIDES) or name


def mirrored_order(landmarks: Sequence[str]) -> tuple[int, ...]:
    """Landmark i of a mirrored image is landmark order[i] of the original: left and right of the
    same name change places."""
    landmarks = list(landmarks)
    return tuple(
        landmarks.index(other_side(name)) if other_side(name) in landmarks else place
        for place, name in enumerate(landmarks)
    )
