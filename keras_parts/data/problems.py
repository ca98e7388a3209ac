"""Problems of a data set: the first one is raised, or all of them are collected."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from keras_parts.errors import DataError

_Result = TypeVar("_Result")
_collection: ContextVar[list[str] | None] = ContextVar("problems", default=None)


def report(problem: str) -> None:
    """Raise a problem as a `DataError`; inside `collect_problems()`, collect it and return.

    After the return, the caller continues without the damaged value.

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
    """Call a function; inside `collect_problems()`, collect its `DataError` and return None.

    Thus the other files are checked even if one is damaged.

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
    """Whether problems are collected: a reader then has to find all of them."""
    return _collection.get() is not None


@contextmanager
def collect_problems() -> Iterator[list[str]]:
    """Collect all problems that are reported inside the block, in order, in the yielded list."""
    problems: list[str] = []
    token = _collection.set(problems)
    try:
        yield problems
    finally:
        _collection.reset(token)
