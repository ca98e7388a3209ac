"""The whole suite on TensorFlow, and on JAX and PyTorch what computes with Keras.

Two backends run at a time; arguments go to each pytest: `python tests/__main__.py -x -k losses`.
"""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SELECTIONS = {"tensorflow": [], "jax": ["-m", "backend"], "torch": ["-m", "backend"]}
AT_A_TIME = 2
QUICK_COMPILATION = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
"""XLA's: networks of tests are tiny, and take far longer to compile than to run."""


def run(backend, arguments, cache):
    """Exit code and output of the tests on one backend; what JAX compiles is kept in a folder."""
    command = [sys.executable, "-m", "pytest", *SELECTIONS[backend], *arguments]
    # As the command line has it: what runs in these processes and below them computes alike.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "1"} | QUICK_COMPILATION | os.environ
    environment |= {"JAX_COMPILATION_CACHE_DIR": cache}
    environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        ).returncode
        output.seek(0)
        return code, output.read()


def main():
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = {backend: pool.submit(run, backend, sys.argv[1:], cache) for backend in SELECTIONS}
        failed = []
        for backend, result in runs.items():
            code, output = result.result()
            print(f"== {backend} ==\n{output}", flush=True)
            if code:
                failed.append(backend)
    if failed:
        sys.exit(f"failed on {', '.join(failed)}")


if __name__ == "__main__":
    main()
