"""Which backend and device Keras will use: decided by environment variables, before its import."""

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
from pathlib import Path

from keras_parts.errors import ConfigError

BACKENDS = ("tensorflow", "jax", "torch")
"""In the order they are taken: on a CPU, TensorFlow's convolutions are the fastest."""


def select_backend(requested=None):
    """Set KERAS_BACKEND to the requested backend, or else to one that is installed.

    TensorFlow is told to use oneDNN too, unless TF_ENABLE_ONEDNN_OPTS says otherwise: on processors
    without AVX-512 it does not by itself, though steps take two thirds of the time with it.

    In this order: `requested`, the variable itself, Keras' configuration file, the first of
    `BACKENDS` that is installed.

    Returns:
        (name, a remark for the user or "").

    Raises:
        ConfigError: the backend that was asked for is not installed, or none is; or Keras is
            running on another one already.
    """
    chosen, remark = requested or os.environ.get("KERAS_BACKEND"), ""
    if not chosen:
        configured = _configured_backend()
        chosen = configured if _installed(configured) else _first_installed()
        if configured and chosen != configured:
            remark = f"Keras is set to {configured}, which is not installed: using {chosen}."
    if not _installed(chosen):
        raise ConfigError(
            f"the backend {chosen} is not installed; {_how_to_install(chosen)}, or choose another "
            "one with --backend"
        )
    if "keras" in sys.modules and (running := sys.modules["keras"].config.backend()) != chosen:
        raise ConfigError(f"Keras runs on {running} already: {chosen} takes a new process")
    os.environ["KERAS_BACKEND"] = chosen
    if chosen == "tensorflow":
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    return chosen, remark


def import_keras():
    """Import Keras and its backend, without the notices that TensorFlow starts with.

    TF_CPP_MIN_LOG_LEVEL, where it is set, brings them back.
    """
    if os.environ.get("KERAS_BACKEND") != "tensorflow" or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras
    else:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # The variable does not reach the notices that are written before it is read.
        with _stderr_held_back():
            import keras  # noqa: F401


@contextlib.contextmanager
def _stderr_held_back():
    """Nothing reaches stderr, from no language, unless the block fails: then all of it does."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def select_device(device):
    """Hide every device but one from the libraries: "cpu", "gpu", or "gpu:1" for the second GPU.

    Raises:
        ConfigError: another word, or fewer GPUs than that are visible.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"
        return
    if kind != "gpu" or not (index.isdecimal() or device == "gpu"):
        raise ConfigError(f"device is {device!r}, expected cpu, gpu or gpu:N")
    if index:
        listed = os.environ.get("CUDA_VISIBLE_DEVICES")
        visible = listed.split(",") if listed else None
        if visible and int(index) >= len(visible):
            raise ConfigError(f"device {device}: CUDA_VISIBLE_DEVICES names only {listed}")
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(index)] if visible else index


def require_gpu(backend):
    """Raise ConfigError unless the backend, which is imported here, has a GPU."""
    import_keras()
    if not _has_gpu(backend):
        raise ConfigError(
            f"{backend} sees no such GPU: check its driver and that {backend} is installed with "
            "GPU support, or leave out --device"
        )


def _has_gpu(backend):
    if backend == "tensorflow":
        import tensorflow

        return bool(tensorflow.config.list_physical_devices("GPU"))
    if backend == "jax":
        import jax

        return any(device.platform != "cpu" for device in jax.devices())
    if backend == "torch":
        import torch

        return torch.cuda.is_available()
    return False


def _installed(backend):
    """Keras' other backends are left for Keras to look for."""
    if backend in BACKENDS:
        return importlib.util.find_spec(backend) is not None
    return backend is not None


def _first_installed():
    found = next(filter(_installed, BACKENDS), None)
    if found is None:
        raise ConfigError(f"Keras needs a backend and none is installed; {_how_to_install()}")
    return found


def _how_to_install(backend=BACKENDS[0]):
    return f"install it with: pip install 'keras-parts[{backend}]'"


def _configured_backend():
    """The backend in keras.json, or None. An unreadable file is for Keras to complain about."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    try:
        return json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
