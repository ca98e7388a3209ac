"""Processes of Python that tests start."""

import os
import subprocess
import sys

_QUICK_IMPORTS = """
import gc
from keras_parts.cli.runtime import import_keras

import_keras()  # without the libraries that only some of the tests need
gc.disable()
"""


def start_python(code, *arguments, **variables):
    """Start `python -c code arguments` with this process' import path; returns the `Popen`.

    The keywords are variables of its environment, beside those of this process.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    return subprocess.Popen(
        [sys.executable, "-c", _QUICK_IMPORTS + code, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, code=0):
    """Wait until a process ends, which must be with this exit code."""
    output, _ = process.communicate()
    assert process.returncode == code, output
