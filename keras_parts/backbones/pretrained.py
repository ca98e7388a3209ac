"""Pretrained weights: find and read their files, load presets of KerasHub."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.environment import WEIGHTS_VARIABLE, weights_folder
from keras_parts.errors import ConfigError, DataError, KerasPartsError

_SAFE_TORCH = (2, 6)  # first version in which weights_only=True cannot execute code


def find_weights(filename: str, path: str | os.PathLike | None = None) -> Path:
    """The path of an existing file of pretrained weights.

    Args:
        filename: name of the file in a folder, such as "efficientnet_lite0_imagenet.npz".
        path: the folder, or a file of any name; by default
            `keras_parts.environment.weights_folder()`.

    Raises:
        DataError: there is no such file.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.backbones.pretrained import find_weights
        >>> Path("vgg19_imagenet.npz").touch()
        >>> find_weights("vgg19_imagenet.npz", ".").name
        'vgg19_imagenet.npz'
    """
    given = weights_folder() if path is None else Path(path).expanduser()
    file = given / filename if path is None or given.is_dir() else given
    if file.is_file():
        return file
    raise DataError(
        f"{file}: no such weights file. Put {filename} there, pass the path of the file "
        f"(weights=PATH), set {WEIGHTS_VARIABLE} to its folder, or choose a network that needs no "
        'file: "small", which ships with the package, or a network of keras.applications through '
        "keras_parts.backbones.atrous, which Keras downloads"
    )


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The named arrays in a `.npz`, `.safetensors` or PyTorch (`.pth`, `.pt`) file.

    No code in the file is executed: pickled objects in a npz file are refused, and PyTorch's files
    are read with `weights_only=True`.

    Returns:
        `{name: array}`.

    Raises:
        DataError: the file is damaged, of another type, or contains no named arrays.
        ConfigError: the library that reads this type is not installed.

    Example:
        >>> import numpy as np
        >>> from keras_parts.backbones.pretrained import read_arrays
        >>> np.savez("weights.npz", kernel=np.ones((3, 3)))
        >>> read_arrays("weights.npz")["kernel"].shape
        (3, 3)
    """
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    readers |= {".pth": _read_torch, ".pt": _read_torch}
    path = Path(path)
    if path.suffix not in readers:
        raise DataError(
            f"{path}: files of weights are of type {', '.join(readers)}, "
            f"not {path.suffix or '(none)'}"
        )
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading this file needs {error.name}: pip install {error.name}"
        ) from error
    except KerasPartsError:
        raise
    except Exception as error:  # each library has its own errors for damaged files
        raise DataError(f"{path}: not a readable {path.suffix} file of weights: {error}") from error


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: the file contains one array, expected named arrays")
        return dict(arrays)


def _read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def _read_torch(path):
    import torch

    if tuple(map(int, torch.__version__.split(".")[:2])) < _SAFE_TORCH:
        raise ConfigError(
            f"{path}: a file can make PyTorch {torch.__version__} execute code, even with "
            "weights_only=True (CVE-2025-32434): pip install 'torch>=2.6'"
        )
    state = torch.load(path, map_location="cpu", weights_only=True)
    # a checkpoint of a training run has the weights in this entry
    state = state.get("model_state_dict", state)
    return {name: tensor.numpy() for name, tensor in state.items()}


def keras_hub_backbone(preset: str | os.PathLike, **options: Any) -> Any:
    """A pretrained backbone of KerasHub. Imports KerasHub, which takes seconds.

    Args:
        preset: name of a preset, or a folder in KerasHub's or Hugging Face's format.
        options: further arguments of `keras_hub.models.Backbone.from_preset`.

    Returns:
        `keras_hub.models.Backbone`.

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
