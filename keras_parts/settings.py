"""Frozen dataclasses with checked fields: the valid values of a field stand beside its default.

@dataclass(frozen=True)
class Jitter(Settings):
    hue: float = number(0.2, 0, 0.5)

Jitter(hue=0.7)  # ConfigError: hue is 0.7, expected 0 to 0.5
"""

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import field, fields
from typing import Any, ClassVar

from keras_parts.errors import ConfigError

_CHECK = "check"


class Settings:
    """Base of a frozen dataclass whose fields are checked when an instance is made.

    Checked fields are declared with `number`, `integer`, `choice`, `flag`, `string`, `strings` and
    `numbers`.

    Attributes:
        prefix: text before the name of a field in error messages.

    Raises:
        ConfigError: a value is not valid for its field; the message names field, value and valid
            values.

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
            except _InvalidValueError as error:
                raise ConfigError(
                    f"{self.prefix}{each.name} is {value!r}, expected {error}",
                    setting=each.name,
                    value=value,
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
    exclude_minimum: bool = False,
    exclude_maximum: bool = False,
) -> Any:
    """A field that holds a number from `minimum` to `maximum`.

    Args:
        default: default value of the field.
        minimum, maximum: the range.
        optional: None is valid as well.
        exclude_minimum: `minimum` itself is not valid.
        exclude_maximum: `maximum` itself is not valid.
    """
    expected = f"{minimum:g} to {maximum:g}"
    if exclude_minimum:
        expected = f"more than {minimum:g}, at most {maximum:g}"
    if exclude_maximum:
        expected = f"more than {minimum:g}" if exclude_minimum else f"{minimum:g} or more"
        expected += f", less than {maximum:g}"

    def check(value: Any) -> Any:
        if value is None and optional:
            return value
        _check_is_number(value)
        above_minimum = minimum < value or (minimum == value and not exclude_minimum)
        below_maximum = value < maximum or (maximum == value and not exclude_maximum)
        if not (above_minimum and below_maximum):
            raise _InvalidValueError(expected)
        return value

    return field(default=default, metadata={_CHECK: check})


def integer(default: int | None, minimum: int, maximum: int, *, optional: bool = False) -> Any:
    """A field that holds an integer from `minimum` to `maximum`, or None if `optional`.

    A float without a fraction is converted: JSON and the command line may give 4.0.
    """

    def check(value: Any) -> int | None:
        if value is None and optional:
            return None
        _check_is_number(value)
        if not math.isfinite(value) or value != int(value):
            raise _InvalidValueError("a whole number")
        if not minimum <= value <= maximum:
            raise _InvalidValueError(f"{minimum:,} to {maximum:,}")
        return int(value)

    return field(default=default, metadata={_CHECK: check})


def choice(default: Any, choices: Iterable[Any]) -> Any:
    """A field that holds one of `choices`."""
    allowed = tuple(choices)

    def check(value: Any) -> Any:
        # Types are compared as well, because 1 equals True.
        if not any(value == each and isinstance(value, type(each)) for each in allowed):
            raise _InvalidValueError(f"one of {', '.join(map(str, allowed))}")
        return value

    return field(default=default, metadata={_CHECK: check})


def flag(default: bool) -> Any:
    """A field that holds True or False."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise _InvalidValueError("true or false")
        return value

    return field(default=default, metadata={_CHECK: check})


def string(default: str | None, *, optional: bool = False) -> Any:
    """A field that holds a string that is not empty, or None if `optional`; paths are converted."""

    def check(value: Any) -> str | None:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not (isinstance(value, str) and value or (value is None and optional)):
            raise _InvalidValueError("a string or null" if optional else "a string")
        return value

    return field(default=default, metadata={_CHECK: check})


def strings(default: tuple[str, ...]) -> Any:
    """A field that holds a tuple of strings; a list of strings is converted."""

    def check(value: Any) -> tuple[str, ...]:
        if isinstance(value, str) or not _is_sequence(value, str):
            raise _InvalidValueError("a list of strings")
        return tuple(value)

    return field(default=default, metadata={_CHECK: check})


def numbers(
    default: tuple[float, ...], expected: str, is_valid: Callable[[tuple[float, ...]], bool]
) -> Any:
    """A field that holds a tuple of numbers, as many as the default has; a list is converted.

    Args:
        default: default value of the field.
        expected: description of the valid values, for error messages.
        is_valid: returns whether a tuple of this length is valid.
    """

    def check(value: Any) -> tuple[float, ...]:
        if not _is_sequence(value, (int, float)) or len(value) != len(default):
            raise _InvalidValueError(expected)
        if not is_valid(tuple(value)):
            raise _InvalidValueError(expected)
        return tuple(value)

    return field(default=default, metadata={_CHECK: check})


class _InvalidValueError(ValueError):
    """A value is not valid; the message describes the valid values."""


def _check_is_number(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _InvalidValueError("a number")


def _is_sequence(value: Any, of: Any) -> bool:
    return isinstance(value, tuple | list) and all(
        isinstance(each, of) and not isinstance(each, bool) for each in value
    )
