"""Left and right in names."""

import pytest

from keras_parts.data.sides import mirrored_order, other_side, without_side


@pytest.mark.parametrize(
    "name, other",
    [("left wing", "right wing"), ("right_ear", "left_ear"), ("tail", "tail"), ("left", "right")],
)
def test_left_and_right_are_exchanged(name, other):
    assert other_side(name) == other and other_side(other) == name


@pytest.mark.parametrize(
    "name, rest",
    [("left front leg", "front leg"), ("right_ear", "ear"), ("tail", "tail"), ("left", "left")],
)
def test_names_without_left_and_right(name, rest):
    assert without_side(name) == rest


def test_landmarks_with_both_sides_are_exchanged():
    assert mirrored_order(["left eye", "nose", "right eye", "left ear"]) == (2, 1, 0, 3)
