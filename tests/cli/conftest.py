import os
import subprocess
import sys

import pytest


@pytest.fixture
def python():
    """Start `python -c code` with this process' import path; returns the `Popen`."""

    def start(code, **options):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return start
