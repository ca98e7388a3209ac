"""How long commands take to start, compared with `python -c pass` and `import keras`.

Each command is a separate process, `python -m keras_parts.cli` for `keras-parts`; the commands take
turns. Processor seconds are those of the process alone, wall-clock seconds include the waiting for
other programs. The table lists which large packages a command imports. With `--image`, the
segmentation of one image is timed too, with a model of the package, by ONNX Runtime and by Keras.

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
_LARGE = ("keras", "tensorflow", "jax", "torch", "sklearn", "scipy", "matplotlib", "numpy", "PIL")


def command(*arguments):
    return [sys.executable, "-m", "keras_parts.cli", *arguments]


def started(arguments):
    """(processor seconds, wall-clock seconds) of a process that runs to its end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(arguments, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def in_turns(processes, repeats):
    """`{name: (processor Times, wall-clock Times)}` of the processes `{name: arguments}`."""
    seconds = {name: [] for name in processes}
    for _ in range(repeats):
        for name, arguments in processes.items():
            seconds[name].append(started(arguments))
    return {name: tuple(map(Times, zip(*each, strict=True))) for name, each in seconds.items()}


def imported(arguments):
    """The large packages that a command imports."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *command(*arguments)[1:]],
        check=True,
        capture_output=True,
        text=True,
    )
    names = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    return [name for name in _LARGE if name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--with-keras", action="store_true", help="time `import keras` too")
    parser.add_argument("--image", help="an image to segment")
    parser.add_argument("--model", default="toy")
    options = parser.parse_args()

    quick = {PASS: [sys.executable, "-c", "pass"]}
    quick |= {name: command(*arguments) for name, arguments in COMMANDS.items()}
    slow = {}
    if options.with_keras:
        slow["import keras"] = [sys.executable, "-c", "import keras"]
    for runtime in ("onnx", "keras") if options.image else ():
        arguments = ("segment", options.image, "--model", options.model, "--runtime", runtime)
        arguments += ("--output", tempfile.mkdtemp(), "--overwrite", "--quiet")
        slow[f"keras-parts segment --runtime {runtime}, one image"] = command(*arguments)
    print_machine()
    in_turns(quick, 1)  # fills the disk cache and compiles byte code
    times = in_turns(quick, options.repeats) | in_turns(slow, min(3, options.repeats))
    base = [each.median for each in times[PASS]]
    print_table(
        (
            "process", "processor s, median (range)", f"relative to {PASS}", "wall-clock s",
            f"relative to {PASS}", "large packages that it imports",
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
