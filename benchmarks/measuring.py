"""What the benchmarks share: repeated timings, peak memory, processes of their own, tables.

Times are wall-clock seconds. What is compared is measured in turns, one repetition of each after
the other, so that what else the machine does meets all of them alike.
"""

import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

_PACKAGES = ("keras", "numpy", "tensorflow-cpu", "tensorflow", "jax", "torch", "onnxruntime")
BACKENDS = ("tensorflow", "jax", "torch")
_OUT_OF_MEMORY = 75
_WANT_OF_MEMORY = (_OUT_OF_MEMORY, -signal.SIGKILL, -signal.SIGABRT)
"""Exit statuses of a worker: its own word for it, the kernel's, a C++ program's."""


@dataclass(frozen=True)
class Times:
    """Repeated measurements of one thing, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self):
        return statistics.median(self.seconds)

    def cell(self, scale=1.0, digits=4):
        """ "median (lowest to highest)" in units of 1 / scale seconds."""
        values = (self.median, min(self.seconds), max(self.seconds))
        median, low, high = (f"{scale * value:.{digits}g}" for value in values)
        return f"{median} ({low} to {high})"


def timed(function, *arguments):
    """Wall-clock seconds that a call takes, its result."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def processor_timed(function, *arguments):
    """Wall-clock seconds, processor seconds of all threads, result.

    The latter tell more where other programs share the processor.
    """
    used = time.process_time()
    seconds, result = timed(function, *arguments)
    return seconds, time.process_time() - used, result


class PeakMemory:
    """Largest resident memory of this process while inside, in bytes, less that at the start."""

    def __enter__(self):
        self.start = self.peak = resident()
        self.running = True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while self.running:
            self.peak = max(self.peak, resident())
            time.sleep(0.001)

    def __exit__(self, *_):
        self.running = False
        self.thread.join()
        self.used = self.peak - self.start


def resident():
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_of_process():
    """Largest resident memory that this process ever had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def installed(backends=BACKENDS):
    """Which of the backends are installed."""
    return [backend for backend in backends if find_spec(backend)]


class Worker:
    """A script of this folder in a process of its own, which answers requests with measurements.

    Processes that are measured in turns live beside each other, each waiting for its turn.

    Args:
        script: path of the script, which calls `answer_requests` when `--worker` is given.
        settings: JSON values for it.
        backend: of Keras, or None.
        limit: GiB of memory it may take; None for all there is.

    Attributes:
        short_of_memory: whether it died for want of memory.
    """

    def __init__(self, script, settings, backend=None, limit=None):
        # oneDNN as the command line has it
        environment = {"TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        if backend:
            environment["KERAS_BACKEND"] = backend
        self.short_of_memory = False
        cap = None if limit is None else int(limit * 2**30)
        self._process = subprocess.Popen(
            [sys.executable, script, "--worker", json.dumps(settings)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=cap and (lambda: resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))),
        )

    def ask(self, request=None):
        """The answer to a request; None if the process has died, of what stands on stderr."""
        try:
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        self.short_of_memory = self._process.wait() in _WANT_OF_MEMORY
        return None

    def close(self):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()


def answer_requests(function):
    """Answer every line of stdin, JSON, with what `function` makes of it, until stdin ends.

    Whatever else is printed meanwhile goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = function(json.loads(line))
        except Exception as error:
            if not wants_memory(error):
                raise
            sys.exit(_OUT_OF_MEMORY)
        answers.write(f"{json.dumps(answer)}\n")
        answers.flush()


def wants_memory(error):
    """Whether an error of NumPy or of any backend is one of memory; they share no class."""
    words = ("allocate", "out of memory", "resource_exhausted", "oom when")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def workers_in_turns(workers, repeats):
    """`{name: [answers]}` of `{name: Worker}`, a first request each, which is left out, to warm up.

    A worker that died has None for an answer, and is asked no more.
    """
    alive = {name: worker for name, worker in workers.items() if worker.ask() is not None}
    answers = {name: [] if name in alive else None for name in workers}
    for _ in range(repeats):
        for name, worker in alive.items():
            answers[name].append(worker.ask())
    for worker in workers.values():
        worker.close()
    return answers


def print_machine():
    """A line about this machine and what runs on it, without names."""
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    busy = os.getloadavg()[0]
    print(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load average "
        f"{busy:.1f} at the start; "
        f"Python {platform.python_version()}, {', '.join(versions)}.\n"
    )


def print_table(columns, rows):
    """A Markdown table; the first column is text, the others are numbers."""
    print(f"| {' | '.join(columns)} |")
    print(f"|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def mebibytes(count):
    return f"{count / 2**20:.0f}"


def ratio(value, base):
    return f"{value / base:.2f} x"
