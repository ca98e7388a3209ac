"""Checked fields of frozen dataclasses: the range of a field stands beside its default.

@dataclass(frozen=True)
class Jitter(Settings):
    hue: float = number(0.2, 0, 0.5)

Jitter(hue=0.7)  # ConfigError: hue is 0.7, expected 0 to 0.5
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import field, fields
from typing import Any, ClassVar

from keras_parts.errors import ConfigError

_CHECK = "check"


class Settings:
    """Base of a frozen dataclass whose fields are checked when an instance is made.

    Fields are declared with `number`, `whole`, `choice`, `flag`, `text`, `texts` and `numbers`.

    Attributes:
        prefix: text before the name of a field in error messages.

    Raises:
        ConfigError: a field is outside its range.

    Example:
        >>> from dataclasses import dataclass
        >>> from keras_parts.settings import Settings, number
        >>> @dataclass(frozen=True)
        ... class Jitter(Settings):
        ...     hue: float = number(0.2, 0, 0.5)
        >>> Jitter(hue=0.1)
        Jitter(hue=0.1)
        >>> Jitter(hue=0.7)
        Traceback (most recent call last):
        ...
        keras_parts.errors.ConfigError: hue is 0.7, expected 0 to 0.5
    """

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            check = each.metadata.get(_CHECK)
            if check is None:
                continue
            value = getattr(self, each.name)
            try:
                object.__setattr__(self, each.name, check(value))
            except _Unexpected as error:
                raise ConfigError(
                    f"{self.prefix}{each.name} is {value!r}, expected {error}"
                ) from None

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Names of the checked fields."""
        return tuple(each.name for each in fields(cls) if _CHECK in each.metadata)  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """The checked fields as plain JSON values."""
        values = {name: getattr(self, name) for name in self.setting_names()}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
        }


def number(
    default: float | None,
    minimum: float,
    maximum: float,
    *,
    optional: bool = False,
    above: bool = False,
    below: bool = False,
) -> Any:
    """A field that holds a number from `minimum` to `maximum`.

    Args:
        default: value of the field unless it is given.
        minimum, maximum: the range.
        optional: None is allowed as well.
        above: `minimum` itself is not allowed.
        below: `maximum` itself is not allowed.
    """
    expected = f"{minimum:g} to {maximum:g}"
    if above:
        expected = f"more than {minimum:g}, at most {maximum:g}"
    if below:
        expected = f"more than {minimum:g}" if above else f"{minimum:g} or more"
        expected += f", less than {maximum:g}"

    def check(value: Any) -> Any:
        if value is None and optional:
            return value
        _check_is_number(value)
        inside = minimum <= value <= maximum
        if not inside or (above and value == minimum) or (below and value == maximum):
            raise _Unexpected(expected)
        return value

    return field(default=default, metadata={_CHECK: check})


def whole(default: int | None, minimum: int, maximum: int, *, optional: bool = False) -> Any:
    """A field that holds a whole number from `minimum` to `maximum`, or None where `optional`."""

    def check(value: Any) -> int | None:
        if value is None and optional:
            return None
        _check_is_number(value)
        if value != value or value in (float("inf"), float("-inf")) or value != int(value):
            raise _Unexpected("a whole number")
        if not minimum <= value <= maximum:
            raise _Unexpected(f"{minimum:g} to {maximum:g}")
        return int(value)

    return field(default=default, metadata={_CHECK: check})


def choice(default: Any, choices: Iterable[Any]) -> Any:
    """A field that holds one of `choices`."""
    allowed = tuple(choices)

    def check(value: Any) -> Any:
        # 1 equals True: types are compared as well.
        if not any(value == each and isinstance(value, type(each)) for each in allowed):
            raise _Unexpected(f"one of {', '.join(map(str, allowed))}")
        return value

    return field(default=default, metadata={_CHECK: check})


def flag(default: bool) -> Any:
    """A field that holds True or False."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise _Unexpected("true or false")
        return value

    return field(default=default, metadata={_CHECK: check})


def text(default: str | None, *, optional: bool = False) -> Any:
    """A field that holds a text (paths are converted), or None where `optional`."""

    def check(value: Any) -> str | None:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not (isinstance(value, str) and value or (value is None and optional)):
            raise _Unexpected("a text or null" if optional else "a text")
        return value

    return field(default=default, metadata={_CHECK: check})


def texts(default: tuple[str, ...]) -> Any:
    """A field that holds a tuple of texts; any sequence of them is converted."""

    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or not _is_sequence(value, str):
            raise _Unexpected("a list of texts")
        return tuple(value)

    return field(default=default, metadata={_CHECK: check})


def numbers(
    default: tuple[float, ...], expected: str, is_valid: Callable[[tuple[float, ...]], bool]
) -> Any:
    """A field that holds a tuple of numbers; any sequence of them is converted.

    Args:
        default: value of the field unless it is given.
        expected: description of the valid values, for error messages.
        is_valid: whether a tuple of as many numbers as the default has is valid.
    """

    def check(value: Any) -> tuple[float, ...]:
        if not _is_sequence(value, (int, float)) or len(value) != len(default):
            raise _Unexpected(expected)
        if not is_valid(tuple(value)):
            raise _Unexpected(expected)
        return tuple(value)

    return field(default=default, metadata={_CHECK: check})


class _Unexpected(ValueError):
    """A value outside its range; its message describes the range."""


def _check_is_number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unexpected("a number")


def _is_sequence(value: Any, of: Any) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(each, of) and not isinstance(each, bool) for each in value
    )
