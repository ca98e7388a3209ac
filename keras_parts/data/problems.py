"""Problems of a data set: the first one is raised, or all of them are collected."""

# What happens to a problem depends on who reads. Ordinarily it is raised. A check collects all
# problems. `skip_bad` collects those of single samples, which are then left out, and raises the
# others, such as a missing table: without it, samples would be misread instead of left out.

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from keras_parts.errors import DataError, hide_secrets

_Result = TypeVar("_Result")
_MAX_SHOWN = 10


@dataclass(frozen=True)
class _Collection:
    problems: list[str] = field(default_factory=list)
    of_samples: bool = False


_collection: ContextVar[_Collection | None] = ContextVar("problems", default=None)


def report(problem: str, *, of_sample: bool = True) -> None:
    """Raise a problem as a `DataError`; inside `collect_problems()`, collect it and return.

    After the return, the caller continues without the damaged value.

    Args:
        problem: the message: the file, the line or value, and the way out.
        of_sample: whether the problem concerns single samples; if not,
            `collect_problems(of_samples=True)` raises it.

    Raises:
        DataError: outside `collect_problems()`.
    """
    problem = hide_secrets(problem)
    collection = _collection.get()
    if collection is None or (collection.of_samples and not of_sample):
        raise DataError(problem)
    collection.problems.append(problem)


def report_all(problems: Sequence[str], summary: str, way_out: str) -> None:
    """Report problems of samples; outside `collect_problems()`, a single error shows the first ten.

    Args:
        problems: the messages.
        summary, way_out: the beginning and the end of that error.

    Raises:
        DataError: there is a problem, outside `collect_problems()`.
    """
    if problems and not is_collecting():
        raise DataError(f"{listed(summary, problems)}\n{way_out}")
    for problem in problems:
        report(problem)


def listed(summary: str, problems: Sequence[str]) -> str:
    """A summary, followed by the first ten problems, a line each, and the number of the others."""
    more = len(problems) - _MAX_SHOWN
    lines = [f"{summary}:", *problems[:_MAX_SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return "\n  ".join(lines)


def attempt(
    read: Callable[..., _Result], *arguments: Any, of_sample: bool = False, **options: Any
) -> _Result | None:
    """Call a function; inside `collect_problems()`, collect its `DataError` and return None.

    Thus the other files are checked even if one is damaged.

    Args:
        read: the function.
        arguments, options: of the function.
        of_sample: whether its errors concern single samples, see `report`.

    Raises:
        DataError: the function's own, outside `collect_problems()`.
    """
    try:
        return read(*arguments, **options)
    except DataError as error:
        if not is_collecting():
            raise
        report(str(error), of_sample=of_sample)
        return None


def required(read: Callable[..., _Result], *arguments: Any, **options: Any) -> _Result:
    """Call a function all of whose problems concern every sample, such as a table of names."""
    collection = _collection.get()
    if collection is None or not collection.of_samples:
        return read(*arguments, **options)
    token = _collection.set(None)
    try:
        return read(*arguments, **options)
    finally:
        _collection.reset(token)


WAY_OUT = "Correct or remove them, or leave them out with skip_bad (--skip-bad)"
"""What to do about images with a problem."""


@contextmanager
def way_out() -> Iterator[None]:
    """Add the way out to the error of a sample that is read for training."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}\n{WAY_OUT}", path=error.path) from error


def is_collecting() -> bool:
    """Whether problems are collected: a reader then has to find all of them."""
    return _collection.get() is not None


@contextmanager
def collect_problems(*, of_samples: bool = False) -> Iterator[list[str]]:
    """Collect all problems that are reported inside the block, in order, in the yielded list.

    Args:
        of_samples: collect those of single samples, and raise the others.
    """
    collection = _Collection(of_samples=of_samples)
    token = _collection.set(collection)
    try:
        yield collection.problems
    finally:
        _collection.reset(token)
