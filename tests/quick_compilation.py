"""The environment in which the backends compile quickly. The networks of the tests are tiny, and
take far longer to compile than to run. Variables that are set already are kept.

Set before a backend is imported; the processes that tests start inherit it and compute alike.
"""

import atexit
import os
import shutil
import tempfile

_FLAGS = {
    "XLA_FLAGS": " ".join(
        [
            "--xla_backend_optimization_level=0",
            "--xla_llvm_disable_expensive_passes=true",
            "--xla_cpu_parallel_codegen_split_count=1",
            "--xla_cpu_use_fusion_emitters=false",  # half of the time
        ]
    ),
    # As on the command line.
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # Threads of PyTorch and of NumPy's products of matrices wait actively: beside another process
    # they took five times as long.
    "OMP_NUM_THREADS": "1",
    # To store and look up a small program takes as long as to compile it.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
}
_CACHES = {
    "JAX_COMPILATION_CACHE_DIR": "{}/jax",
    "TF_XLA_FLAGS": "--tf_xla_persistent_cache_directory={}/tensorflow",
}
"""Where all processes of a run keep what they compiled; removed at its end."""


def set_environment() -> None:
    """Set the variables in this process."""
    for name, value in _FLAGS.items():
        os.environ.setdefault(name, value)
    missing = _CACHES.keys() - os.environ.keys()
    if missing:
        folder = tempfile.mkdtemp(prefix="keras-parts-compiled-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        for name in missing:
            os.environ[name] = _CACHES[name].format(folder)
