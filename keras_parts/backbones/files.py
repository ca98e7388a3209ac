"""Where pretrained weights lie, and how they are opened."""

from pathlib import Path

import numpy as np

from keras_parts.environment import WEIGHTS_VARIABLE, weights_folder
from keras_parts.errors import ConfigError, DataError, KerasPartsError

_SAFE_TORCH = (2, 6)


def find_weights(filename, path=None):
    """The file of pretrained weights to read.

    Args:
        filename: its usual name, such as `"efficientnet_lite0_imagenet.npz"`.
        path: the file itself, or the folder it lies in; by default `weights_folder()`.

    Raises:
        DataError: there is no such file; the message says how to get one to be found.
    """
    place = weights_folder() if path is None else Path(path).expanduser()
    found = place / filename if path is None or place.is_dir() else place
    if found.is_file():
        return found
    raise DataError(
        f"{found}: no such weights. Put {filename} there, name the file itself "
        f"(weights=PATH), set {WEIGHTS_VARIABLE} to the folder it lies in, or choose a network "
        'that needs no file: "small", which ships with the package, or a keras.applications '
        "model through keras_parts.backbones.atrous, which Keras downloads"
    )


def read_arrays(path):
    """Named arrays of a `.npz`, `.safetensors` or PyTorch (`.pth`, `.pt`) file.

    Nothing of the file is executed: no pickled objects are read out of an npz file, and PyTorch's
    files are read with `weights_only=True`.

    Returns:
        `{name: array}`.

    Raises:
        DataError: the file is damaged, of another kind, or holds no named arrays.
        ConfigError: the library that reads this kind is not installed.
    """
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    readers |= {".pth": _read_torch, ".pt": _read_torch}
    path = Path(path)
    if path.suffix not in readers:
        raise DataError(f"{path}: weights are read from {', '.join(readers)} files only")
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading it takes {error.name}: pip install {error.name}"
        ) from error
    except KerasPartsError:
        raise
    except Exception as error:  # each library has its own errors for damaged files
        raise DataError(f"{path}: not a readable {path.suffix} file of weights: {error}") from error


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: it holds one array, not several with names")
        return dict(arrays)


def _read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def _read_torch(path):
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise ConfigError(
            f"{path}: PyTorch {torch.__version__} can be made to execute what it reads, even with "
            "weights_only=True (CVE-2025-32434): pip install 'torch>=2.6'"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    # checkpoints of a training run keep the weights beside other things
    state = state.get("model_state_dict", state)
    return {name: tensor.numpy() for name, tensor in state.items()}


def keras_hub_backbone(preset, **options):
    """A pretrained backbone from KerasHub, which is imported only here: it takes seconds.

    Args:
        preset: name of a preset, or a folder that KerasHub or Hugging Face wrote.
        options: for `keras_hub.models.Backbone.from_preset`.

    Raises:
        ConfigError: KerasHub is not installed.
        DataError: the preset cannot be loaded.
    """
    try:
        import keras_hub
    except ImportError as error:
        raise ConfigError(
            f"preset {str(preset)!r} needs KerasHub: pip install keras-parts[hub]"
        ) from error
    try:
        return keras_hub.models.Backbone.from_preset(str(preset), **options)
    except Exception as error:  # network, login, file and format errors of several libraries
        raise DataError(f"KerasHub cannot load {str(preset)!r}: {error}") from error
