"""How long the command line takes to answer, beside `python -c pass` and `import keras`.

Each is a process of its own, started in turns, `python -m keras_parts.cli` for `keras-parts`.
Processor seconds are those that the process used, whatever else ran beside it; wall-clock seconds
are those that passed. What the commands import of the large packages is listed. With `--image` the
first segmented image is timed too, with a model of the zoo or of a run.

    python benchmarks/startup.py
    python benchmarks/startup.py --with-keras --image photo.png --model toy
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time

from measuring import Times, print_machine, print_table, ratio

PASS = "python -c pass"
COMMANDS = {
    "keras-parts --help": ("--help",),
    "keras-parts --version": ("--version",),
    "keras-parts zoo list": ("zoo", "list"),
    "keras-parts train --help": ("train", "--help"),
}
_HEAVY = ("keras", "tensorflow", "jax", "torch", "sklearn", "scipy", "matplotlib", "numpy", "PIL")


def command(*arguments):
    return [sys.executable, "-m", "keras_parts.cli", *arguments]


def started(arguments):
    """(processor seconds, wall-clock seconds) of a process."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def in_turns(processes, repeats):
    """`{name: (Times of the processor, Times of the clock)}` of `{name: arguments}`."""
    seconds = {name: [] for name in processes}
    for _ in range(repeats):
        for name, arguments in processes.items():
            seconds[name].append(started(arguments))
    return {name: tuple(map(Times, zip(*each, strict=True))) for name, each in seconds.items()}


def imported(arguments):
    """Which heavy packages a command imports."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command(*arguments)[1:]],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    return [name for name in _HEAVY if name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--with-keras", action="store_true", help="time `import keras` too")
    parser.add_argument("--image", help="a picture to segment")
    parser.add_argument("--model", default="toy")
    options = parser.parse_args()

    quick = {PASS: [sys.executable, "-c", "pass"]}
    quick |= {name: command(*arguments) for name, arguments in COMMANDS.items()}
    slow = {}
    if options.with_keras:
        slow["import keras"] = [sys.executable, "-c", "import keras"]
    if options.image:
        target = tempfile.mkdtemp()
        arguments = ("segment", options.image, "--model", options.model, "--output", target)
        slow["keras-parts segment, one image"] = command(*arguments, "--overwrite", "--quiet")
    print_machine()
    in_turns(quick, 1)  # from the disk into memory, source into byte code
    times = in_turns(quick, options.repeats) | in_turns(slow, min(3, options.repeats))
    base = [each.median for each in times[PASS]]
    print_table(
        (
            "process", "processor s, median (range)", f"beside {PASS}", "wall-clock s",
            f"beside {PASS}", "large packages that it imports",
        ),
        (
            (
                f"`{name}`",
                processor.cell(digits=2),
                ratio(processor.median, base[0]),
                wall.cell(digits=2),
                ratio(wall.median, base[1]),
                ", ".join(imported(COMMANDS[name])) or "none" if name in COMMANDS else "",
            )
            for name, (processor, wall) in times.items()
        ),
    )  # fmt: skip


if __name__ == "__main__":
    main()
