"""Results computed in threads while the caller uses the previous ones."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock
from typing import Any


def loader_threads() -> int:
    """One thread for each processor that this process may use, at least 2 and at most 8.

    Two threads prepare the next batch even while training occupies the only processor; more than
    eight gain little because of the interpreter's lock.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(2, min(8, processors))


def computed_ahead(
    function: Callable[[Any], Any],
    arguments: Iterable[Any],
    workers: int | None = None,
    ahead: int | None = None,
) -> Generator[Any, None, None]:
    """`map(function, arguments)` in threads, with at most `ahead` results in advance.

    Args:
        function: called in any thread.
        arguments: may be endless.
        workers: number of threads; None for `loader_threads()`.
        ahead: maximum number of results that wait or are being computed; None for workers + 2.

    Example:
        >>> from keras_parts.data.prefetch import computed_ahead
        >>> list(computed_ahead(str.upper, "abc", workers=2))
        ['A', 'B', 'C']
    """
    workers = workers or loader_threads()
    arguments = iter(arguments)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="keras-parts-data")
    try:
        pending = deque(
            pool.submit(function, argument) for argument in islice(arguments, ahead or workers + 2)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, argument) for argument in islice(arguments, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Stream:
    """A generator that may be closed while another thread waits for its next value.

    This is needed because TensorFlow reads ahead in its own thread and never closes its source.
    """

    def __init__(self, generator: Generator[Any, None, None]):
        self._generator, self._lock = generator, Lock()

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._generator)

    def close(self) -> None:
        """Close the generator, after waiting for a value that another thread is computing."""
        with self._lock:
            self._generator.close()
