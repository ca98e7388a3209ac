"""The suite on TensorFlow, and on JAX and PyTorch all that computes with Keras.

Two backends run at a time. `--only BACKEND` runs one; other arguments go to each pytest:
`python tests/__main__.py -x -k losses`. Tests of packages that need an environment of their own
(`tests/integrations.txt`) are left out unless `-m` selects them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SELECTIONS = {
    "tensorflow": "not integration",
    "jax": "backend and not integration",
    "torch": "backend and not integration",
}
AT_A_TIME = 2


def run(backend, arguments):
    """Exit code and output of the tests on one backend."""
    if "-m" not in arguments:
        arguments = ["-m", SELECTIONS[backend], *arguments]
    command = [sys.executable, "-m", "pytest", *arguments]
    environment = os.environ | {"KERAS_BACKEND": backend}
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        ).returncode
        output.seek(0)
        return code, output.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=SELECTIONS, metavar="BACKEND")
    options, arguments = parser.parse_known_args()
    backends = [options.only] if options.only else list(SELECTIONS)
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = {backend: pool.submit(run, backend, arguments) for backend in backends}
        failed = []
        for backend, result in runs.items():
            code, output = result.result()
            print(f"== {backend} ==\n{output}", flush=True)
            if code:
                failed.append(backend)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes, peak = (used.ru_utime + used.ru_stime) / 60, used.ru_maxrss / 2**20
    print(f"{minutes:.1f} minutes of processor time; the largest process took {peak:.1f} GiB")
    if failed:
        sys.exit(f"failed on {', '.join(failed)}")


if __name__ == "__main__":
    main()
