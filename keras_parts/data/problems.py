"""Problems of a data set: the first one raises, or all are collected."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from keras_parts.errors import DataError

_Result = TypeVar("_Result")
_collection: ContextVar[list[str] | None] = ContextVar("problems", default=None)


def report(problem: str) -> None:
    """Raise a problem as a `DataError`; inside `collect_problems()`, note it and return.

    After the return the caller continues without the damaged value.

    Args:
        problem: the message: the file, the line or value, and the way out.

    Raises:
        DataError: outside `collect_problems()`.
    """
    problems = _collection.get()
    if problems is None:
        raise DataError(problem)
    problems.append(problem)


def attempt(read: Callable[..., _Result], *arguments: Any, **options: Any) -> _Result | None:
    """Call a function; inside `collect_problems()` a `DataError` is noted and None returned.

    This way one damaged file does not keep the others from being checked.

    Raises:
        DataError: the function's own, outside `collect_problems()`.
    """
    try:
        return read(*arguments, **options)
    except DataError as error:
        if not is_collecting():
            raise
        report(str(error))
        return None


def is_collecting() -> bool:
    """Whether `report` notes problems, so that all of them should be found."""
    return _collection.get() is not None


@contextmanager
def collect_problems() -> Iterator[list[str]]:
    """A list of all problems reported inside the block, in order; it grows meanwhile."""
    problems: list[str] = []
    token = _collection.set(problems)
    try:
        yield problems
    finally:
        _collection.reset(token)
