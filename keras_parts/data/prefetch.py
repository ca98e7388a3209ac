"""Results computed ahead in threads, while the caller works on the one before."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Lock


def loader_threads() -> int:
    """One a processor that this process may use, at least 2 and at most 8.

    Two keep the next batch coming where a training takes the only processor; of more than eight
    the interpreter's lock leaves little.
    """
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return max(2, min(8, processors))


def computed_ahead(
    function: Callable,
    arguments: Iterable,
    workers: int | None = None,
    ahead: int | None = None,
) -> Iterator:
    """`map(function, arguments)` in threads, at most `ahead` results before they are asked for.

    Args:
        function: may be called in any thread.
        arguments: taken one after the other, also without end.
        workers: threads; None for `loader_threads()`.
        ahead: results that wait or are being computed; None for two more than workers.
    """
    workers = workers or loader_threads()
    arguments = iter(arguments)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="keras-parts-data")
    try:
        coming = deque(
            pool.submit(function, argument) for argument in islice(arguments, ahead or workers + 2)
        )
        while coming:
            result = coming.popleft().result()
            coming.extend(pool.submit(function, argument) for argument in islice(arguments, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Stream:
    """A generator that may be closed while another thread asks for its next value.

    TensorFlow reads ahead in a thread of its own, and keeps what it reads from for ever.
    """

    def __init__(self, generator: Generator):
        self._generator, self._lock = generator, Lock()

    def __iter__(self):
        return self

    def __next__(self):
        with self._lock:
            return next(self._generator)

    def close(self) -> None:
        with self._lock:
            self._generator.close()
