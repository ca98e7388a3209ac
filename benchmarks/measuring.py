"""Shared by the benchmarks: repeated timings, peak memory, worker processes, tables.

Times are wall-clock seconds. Variants are measured in turns, one repetition of each, so that other
programs on the machine disturb all of them alike.
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
_MEMORY_STATUSES = (_OUT_OF_MEMORY, -signal.SIGKILL, -signal.SIGABRT)
"""Exit statuses of a worker without memory: its own, the kernel's, that of a C++ library."""


@dataclass(frozen=True)
class Times:
    """Repeated measurements of one duration, in seconds."""

    seconds: tuple[float, ...]

    @property
    def median(self):
        return statistics.median(self.seconds)

    def cell(self, scale=1.0, digits=4):
        """The text "median (minimum to maximum)", in units of 1 / `scale` seconds."""
        values = (self.median, min(self.seconds), max(self.seconds))
        median, low, high = (f"{scale * value:.{digits}g}" for value in values)
        return f"{median} ({low} to {high})"


def timed(function, *arguments):
    """(wall-clock seconds of a call, its result)."""
    started = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - started, result


def processor_timed(function, *arguments):
    """(wall-clock seconds of a call, processor seconds of all threads, its result).

    Processor seconds are more reliable if other programs share the machine.
    """
    used = time.process_time()
    seconds, result = timed(function, *arguments)
    return seconds, time.process_time() - used, result


class PeakMemory:
    """Context that measures `used`: by how many bytes the process' resident memory grows in it."""

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
    """Maximum resident memory of this process since it started, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def installed(backends=BACKENDS):
    """Those of the backends that are installed."""
    return [backend for backend in backends if find_spec(backend)]


class Worker:
    """A script of this folder in a separate process, which measures on request.

    Workers that are measured in turns run at the same time, each waiting for its next request.

    Args:
        script: path of the script; with `--worker` it calls `serve_requests`.
        settings: JSON values for the script.
        backend: of Keras; None for that of the environment.
        limit: maximum memory of the process in GiB; None for no limit.

    Attributes:
        ran_out_of_memory: whether the process ended because memory was full.
    """

    def __init__(self, script, settings, backend=None, limit=None):
        # oneDNN as on the command line
        environment = {"TF_ENABLE_ONEDNN_OPTS": "1"} | os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        if backend:
            environment["KERAS_BACKEND"] = backend
        self.ran_out_of_memory = False
        cap = None if limit is None else int(limit * 2**30)
        self._process = subprocess.Popen(
            [sys.executable, script, "--worker", json.dumps(settings)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=cap and (lambda: resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))),
        )

    def request(self, content=None):
        """The result of a request, JSON values; None if the process has ended with an error."""
        try:
            self._process.stdin.write(f"{json.dumps(content)}\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            return json.loads(line)
        self.ran_out_of_memory = self._process.wait() in _MEMORY_STATUSES
        return None

    def close(self):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()


def serve_requests(function):
    """Call `function` with each line of stdin, JSON, and print its results, until stdin ends.

    Everything else that the process prints is redirected to stderr.
    """
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            result = function(json.loads(line))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            sys.exit(_OUT_OF_MEMORY)
        output.write(f"{json.dumps(result)}\n")
        output.flush()


def is_out_of_memory(error):
    """Whether NumPy or a backend raised an error because memory is full; they share no class."""
    words = ("allocate", "out of memory", "resource_exhausted", "oom when")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def workers_in_turns(workers, repeats):
    """`{name: [results]}` of `{name: Worker}`; a first request to each, to warm up, is not counted.

    If a worker fails in its first request, its value is None. If it fails later, the result of that
    request is None.
    """
    running = {name: worker for name, worker in workers.items() if worker.request() is not None}
    results = {name: [] if name in running else None for name in workers}
    for _ in range(repeats):
        for name, worker in running.items():
            results[name].append(worker.request())
    for worker in workers.values():
        worker.close()
    return results


def print_machine():
    """Print a line about this machine, its load and the installed libraries."""
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
    """Print a Markdown table; the first column is text, the others are numbers."""
    print(f"| {' | '.join(columns)} |")
    print(f"|---|{'---:|' * (len(columns) - 1)}")
    for row in rows:
        print(f"| {' | '.join(str(cell) for cell in row)} |", flush=True)


def mebibytes(count):
    return f"{count / 2**20:.0f}"


def ratio(value, base):
    return f"{value / base:.2f} x"
