import os
import subprocess
import sys

import pytest

# A process started in the background inherits that it ignores Ctrl-C; what is tested must not.
_HEEDING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.fixture
def python():
    """Start `python -c code` with this process' import path; returns the `Popen`."""

    def start(code, **options):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(
            [sys.executable, "-c", _HEEDING + code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start
