"""Select what runs a model: ONNX Runtime, or Keras with a backend and a device.

Backend and device are selected by environment variables, before Keras is imported.
"""

import contextlib
import gc
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import click

from keras_parts.cli.messages import write_message
from keras_parts.environment import (
    keras_backend,
    keras_folder,
    set_library_folders,
    tensorflow_log_level,
    visible_gpus,
)
from keras_parts.errors import ConfigError
from keras_parts.extras import BACKENDS, check_keras

Runtime = Literal["keras", "onnx", "export"]
"""What runs a model: Keras, ONNX Runtime with the model's graph, or the runtime of an export."""
_USER = "this command"
"""What needs Keras, in a message, where it is nothing else."""


def select_backend(requested: str | None = None, *, user: str = _USER) -> tuple[str, str]:
    """Set KERAS_BACKEND to the requested backend, or else to one that is installed.

    The order is: `requested`, the variable itself, Keras' configuration file, the first of
    `BACKENDS` that is installed.

    For TensorFlow, oneDNN is enabled too unless TF_ENABLE_ONEDNN_OPTS is set: TensorFlow does not
    enable it on processors without AVX-512, although training steps take two thirds of the time
    with it.

    Returns:
        (name, a remark for the user or "").

    Raises:
        ConfigError: the requested backend is not installed, or none is; or Keras already runs on
            another one.
    """
    set_library_folders()
    chosen, remark = requested or keras_backend(), ""
    if not chosen:
        configured = _configured_backend()
        chosen = configured if _installed(configured) else _first_installed(user)
        if configured and chosen != configured:
            remark = f"Keras is set to {configured}, which is not installed: using {chosen}."
    assert chosen is not None
    if not _installed(chosen):
        raise ConfigError(
            f"the backend {chosen} is not installed; {how_to_install(chosen)}, or choose another "
            "one with --backend",
            setting="backend",
            value=chosen,
        )
    if "keras" in sys.modules and (running := sys.modules["keras"].config.backend()) != chosen:
        raise ConfigError(
            f"Keras already runs on {running}: start a new process for {chosen}",
            setting="backend",
            value=chosen,
        )
    os.environ["KERAS_BACKEND"] = chosen
    if chosen == "tensorflow":
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    return chosen, remark


def choose_runtime(
    model: str, options: Mapping[str, Any], *, recorded: str | None = None
) -> Runtime:
    """What runs a model, by the option --runtime; selects backend and device if that is Keras.

    "auto" takes ONNX Runtime if it is installed, the model has a graph and no option needs Keras,
    but on a machine with an NVIDIA GPU, Keras.

    Args:
        model: the value of --model.
        options: those of the command: runtime, backend, device, precision, flip, formats, quiet.
        recorded: the runtime of the results that a run adds to.

    Raises:
        click.UsageError: an option contradicts the runtime.
        ConfigError: the runtime or the backend is not installed, or the model has no graph.
    """
    from keras_parts.exports import format_at
    from keras_parts.zoo.models import has_network

    wanted = options["runtime"]
    chosen = [name for name in ("backend", "device") if options[name]]
    if format_at(model) is not None:
        for name in ["runtime"] * (wanted != "auto") + chosen:
            raise click.UsageError(f"--{name} {options[name]}: an export has a runtime of its own")
        return "export"
    needs_keras = [f"--{name} {options[name]}" for name in chosen]
    needs_keras += ["--precision"] * bool(options["precision"]) + ["--flip"] * bool(options["flip"])
    needs_keras += [f"--format {name}" for name in options["formats"] if "descriptors" in name]
    is_installed = importlib.util.find_spec("onnxruntime") is not None
    has_graph = has_network(model)
    if wanted == "auto" and recorded and (recorded == "keras" or has_graph):
        wanted = recorded
    elif wanted == "auto":
        suits = is_installed and not needs_keras and has_graph
        wanted = "onnx" if suits and not shutil.which("nvidia-smi") else "keras"
    if wanted == "onnx" and needs_keras:
        instead = "leave out --runtime onnx"
        if options["runtime"] == "auto":
            instead = "the results there are ONNX Runtime's: choose another --output"
        raise click.UsageError(f"{needs_keras[0]} needs Keras: {instead}")
    if wanted == "keras":
        user = needs_keras[0] if needs_keras else f"the model {model}"
        start_keras(options["backend"], options["device"], quiet=options["quiet"], user=user)
        return "keras"
    if not has_graph:
        raise ConfigError(
            f"ONNX Runtime cannot run {model} as it is, only models of the package: export it with "
            f"`keras-parts export --model {model} --format onnx`, and give that file to --model",
            setting="runtime",
            value=wanted,
        )
    if not is_installed:
        raise ConfigError(
            "ONNX Runtime is not installed: pip install 'keras-parts[runtime]', or choose "
            "--runtime keras",
            setting="runtime",
            value=wanted,
        )
    return "onnx"


def start_keras(backend: str | None, device: str | None, *, quiet: bool, user: str = _USER) -> None:
    """Select the backend and the device; a remark about them is written unless `quiet`.

    Args:
        user: what needs Keras, for the message if there is no backend.
    """
    if device:
        select_device(device)
    backend, remark = select_backend(backend, user=user)
    if remark and not quiet:
        write_message(remark)
    if device and device.startswith("gpu"):
        require_gpu(backend)


_NOT_NEEDED_BY_KERAS = ("sklearn", "matplotlib", "IPython")
"""Packages that Keras imports if they are there, for wrappers, pictures and notebooks, which no
command uses."""


def import_keras() -> None:
    """Import Keras and its backend, without the notices that TensorFlow prints on import.

    If TF_CPP_MIN_LOG_LEVEL is set, notices of that level are printed.
    """
    if "keras" in sys.modules:
        return
    check_keras()
    if keras_backend() != "tensorflow" or tensorflow_log_level() is not None:
        with hidden(*_NOT_NEEDED_BY_KERAS), _garbage_kept():
            import keras
    else:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        # Some notices are written before TensorFlow reads the variable.
        with _stderr_held_back(), hidden(*_NOT_NEEDED_BY_KERAS), _garbage_kept():
            import keras  # noqa: F401


@contextlib.contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let packages that are not imported yet seem not to be installed during the block."""
    names = [name for name in packages if name not in sys.modules]
    for name in names:
        sys.modules[name] = None  # type: ignore[assignment]  # None stops an import
    try:
        yield
    finally:
        for name in names:
            sys.modules.pop(name, None)


@contextlib.contextmanager
def _garbage_kept() -> Iterator[None]:
    """Do not look for garbage during the imports, nor among the libraries afterwards.

    Python would look through all the modules again and again: a fifth of the time of the import.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Suppress stderr, also of native code; if the block fails, everything is written after all."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            with contextlib.suppress(OSError):  # a full disk must not replace the error
                os.write(stderr, held.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def select_device(device: str) -> None:
    """Hide all other devices from the backends.

    Args:
        device: "cpu", "gpu", or "gpu:1" for the second GPU.

    Raises:
        ConfigError: `device` is neither, or fewer GPUs are visible.
    """
    kind, _, index = device.partition(":")
    if kind == "cpu" and not index:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["KERAS_TORCH_DEVICE"] = "cpu"
        return
    if kind != "gpu" or not (index.isdecimal() or device == "gpu"):
        raise ConfigError(
            f"device is {device!r}, expected cpu, gpu or gpu:N", setting="device", value=device
        )
    if index:
        visible = visible_gpus()
        if visible and int(index) >= len(visible):
            raise ConfigError(
                f"device {device}: CUDA_VISIBLE_DEVICES names only {','.join(visible)}",
                setting="device",
                value=device,
            )
        os.environ["CUDA_VISIBLE_DEVICES"] = visible[int(index)] if visible else index


def require_gpu(backend: str) -> None:
    """Import the backend; raise ConfigError unless it has a GPU."""
    import_keras()
    if not _has_gpu(backend):
        raise ConfigError(
            f"{backend} does not find the requested GPU: check its driver and that {backend} is "
            "installed with GPU support, or omit --device",
            setting="device",
        )


def _has_gpu(backend: str) -> bool:
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


def _installed(backend: str | None) -> bool:
    """Whether a backend is installed; Keras itself checks backends that are not in `BACKENDS`."""
    if backend in BACKENDS:
        return importlib.util.find_spec(backend) is not None
    return backend is not None


def has_backend() -> bool:
    """Whether a backend of Keras is installed."""
    return any(map(_installed, BACKENDS))


def _first_installed(user: str) -> str:
    found = next(filter(_installed, BACKENDS), None)
    if found is None:
        raise ConfigError(
            f"{user} needs Keras with a backend, and none is installed; {how_to_install()}"
        )
    return found


def how_to_install(backend: str = BACKENDS[0]) -> str:
    """The end of a message: how a backend is installed."""
    return f"install it with: pip install 'keras-parts[{backend}]'"


def _configured_backend() -> str | None:
    """The backend in keras.json, or None. Keras itself reports an unreadable file."""
    path = keras_folder() / "keras.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
