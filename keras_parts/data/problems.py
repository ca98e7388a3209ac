"""Problems of a data set: the first raises, or all are noted and what is damaged left out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from keras_parts.errors import DataError

_Result = TypeVar("_Result")
_collection: ContextVar[list[str] | None] = ContextVar("problems", default=None)


def report(problem: str) -> None:
    """Raise a problem as a `DataError`; inside `collected()`, note it and return.

    Who calls this goes on without what is damaged, as if it were not there.

    Args:
        problem: names the file, the line or value, and the way out.

    Raises:
        DataError: nobody collects.
    """
    problems = _collection.get()
    if problems is None:
        raise DataError(problem)
    problems.append(problem)


def attempt(read: Callable[..., _Result], *arguments, **options) -> _Result | None:
    """What a function returns; inside `collected()` None where it raises, and the error is noted.

    So what does not depend on it is looked at all the same.

    Raises:
        DataError: the function's own, where nobody collects.
    """
    try:
        return read(*arguments, **options)
    except DataError as error:
        if not are_collected():
            raise
        report(str(error))
        return None


def are_collected() -> bool:
    """Whether `report` notes problems, so that all of them should be told."""
    return _collection.get() is not None


@contextmanager
def collected() -> Iterator[list[str]]:
    """All problems that are reported inside the block, in order, in a list that grows."""
    problems: list[str] = []
    token = _collection.set(problems)
    try:
        yield problems
    finally:
        _collection.reset(token)
