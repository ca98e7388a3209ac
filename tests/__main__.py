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
QUICK_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"
)
QUICK_JAX = {
    "XLA_FLAGS": f"{QUICK_COMPILATION} --xla_cpu_use_fusion_emitters=false",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
"""For XLA: the tests' networks are tiny, and take far longer to compile than to run."""


def run(backend, arguments, cache):
    """Exit code and output of the tests on one backend; `cache` keeps what JAX compiles."""
    if "-m" not in arguments:
        arguments = ["-m", SELECTIONS[backend], *arguments]
    command = [sys.executable, "-m", "pytest", *arguments]
    # As on the command line: these processes and their children compute alike.
    environment = {"TF_ENABLE_ONEDNN_OPTS": "1", "XLA_FLAGS": QUICK_COMPILATION}
    # PyTorch's threads wait actively: beside another process they took five times as long.
    environment["OMP_NUM_THREADS"] = "1"
    if backend == "jax":
        environment |= QUICK_JAX | {"JAX_COMPILATION_CACHE_DIR": cache}
    environment |= os.environ
    environment |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
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
    with tempfile.TemporaryDirectory() as cache, ThreadPoolExecutor(AT_A_TIME) as pool:
        runs = {backend: pool.submit(run, backend, arguments, cache) for backend in backends}
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
