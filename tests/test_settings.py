"""Fields of settings are checked and converted."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from keras_parts.errors import ConfigError
from keras_parts.settings import Settings, choice, flag, integer, number, numbers, string, strings


@dataclass(frozen=True)
class Example(Settings):
    prefix: ClassVar[str] = "example: "

    rate: float = number(0.5, 0, 1, exclude_minimum=True)
    share: float | None = number(0.5, 0, 1, optional=True, exclude_maximum=True)
    count: int = integer(3, 1, 10)
    size: int | None = integer(None, 1, 10, optional=True)
    mode: bool | None = choice(None, (None, True, False))
    on: bool = flag(True)
    path: str | None = string(None, optional=True)
    names: tuple[str, ...] = strings(("a",))
    pair: tuple[float, float] = numbers((0.0, 1.0), "two rising numbers", lambda v: v[0] < v[1])
    free: object = None


def test_defaults_and_conversions():
    example = Example(path=Path("a/b"), names=["x", "y"], pair=[1, 2], count=4.0, share=None)
    assert (example.path, example.names, example.pair) == ("a/b", ("x", "y"), (1, 2))
    assert isinstance(example.count, int) and example.share is None
    assert "free" not in Example.setting_names() and "free" not in example.to_json()
    assert example.to_json()["names"] == ["x", "y"]
    assert Example(**example.to_json()) == example
    with pytest.raises(FrozenInstanceError):
        example.count = 5


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("rate", 0, "more than 0, at most 1"),
        ("rate", float("nan"), "more than 0, at most 1"),
        ("rate", "fast", "a number"),
        ("rate", None, "a number"),
        ("rate", True, "a number"),
        ("share", 1, "0 or more, less than 1"),
        ("count", 2.5, "a whole number"),
        ("count", float("inf"), "a whole number"),
        ("count", 11, "1 to 10"),
        ("count", None, "a number"),
        ("size", 0, "1 to 10"),
        ("mode", 1, "one of None, True, False"),
        ("on", "yes", "true or false"),
        ("path", "", "a string or null"),
        ("names", "ab", "a list of strings"),
        ("names", (1,), "a list of strings"),
        ("pair", (1,), "two rising numbers"),
        ("pair", (2, 1), "two rising numbers"),
        ("pair", "ab", "two rising numbers"),
    ],
)
def test_values_outside_the_range_are_named(field, value, expected):
    with pytest.raises(ConfigError) as error:
        Example(**{field: value})
    assert str(error.value) == f"example: {field} is {value!r}, expected {expected}"
