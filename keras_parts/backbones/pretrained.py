"""Pretrained weights: find and read their files, load presets of KerasHub."""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.backbones.weights_file import MAX_BYTES, are_finite, check_weights_file
from keras_parts.environment import WEIGHTS_VARIABLE, weights_folder
from keras_parts.errors import ConfigError, DataError, KerasPartsError
from keras_parts.files import check_regular, read_limited

_PACKAGED = Path(__file__).parent / "weights"
"""Folder of the weights that come with the package."""
_MAX_JSON_BYTES = 2**24
_MODULES = {"keras", "keras_hub", "keras_nlp", "builtins"}
"""Packages whose classes the configuration of a preset may name."""
_SAFE_TORCH = (2, 6)  # first version in which weights_only=True cannot execute code


def find_weights(
    filename: str,
    path: str | os.PathLike | None = None,
    *,
    others: Sequence[str] = (),
    source: str = "",
) -> Path:
    """The path of an existing file of pretrained weights.

    Args:
        filename: name of the file in a folder, such as "efficientnet_lite0_imagenet.npz".
        path: the folder, or a file of any name; by default
            `keras_parts.environment.weights_folder()`, and then the weights of the package.
        others: other names that the file may have in the folder, such as the official one.
        source: where the file comes from, for the message if there is none.

    Raises:
        DataError: there is no such file, or it is not a regular file.

    Example:
        >>> from pathlib import Path
        >>> from keras_parts.backbones.pretrained import find_weights
        >>> Path("vgg19_imagenet.npz").touch()
        >>> find_weights("vgg19_imagenet.npz", ".").name
        'vgg19_imagenet.npz'
    """
    given = weights_folder() if path is None else Path(path).expanduser()
    in_folder = path is None or given.is_dir()
    files = [given / name for name in (filename, *others)] if in_folder else [given]
    file = next((each for each in files if each.exists()), files[0])
    if path is None and not file.exists() and (_PACKAGED / filename).is_file():
        return _PACKAGED / filename
    if file.exists():
        check_regular(file)
        return file
    where = f" {source[0].upper()}{source[1:]}." if source else ""
    names = " or ".join((filename, *others))
    raise DataError(
        f"{file}: no such weights file.{where} Put {names} there, pass the path of the file "
        f"(weights=PATH), set {WEIGHTS_VARIABLE} to its folder, or choose a network that needs no "
        'file: "efficientnet_lite0" and "small", whose weights come with the package, or a network '
        "of keras.applications through keras_parts.backbones.atrous, which Keras downloads"
    )


def read_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The named arrays in a `.npz`, `.safetensors` or PyTorch (`.pth`, `.pt`) file.

    No code in the file is executed: pickled objects in a npz file are refused, and PyTorch's files
    are read with `weights_only=True`. Archives that would unpack to more than 2 GiB are refused,
    and so are arrays of more bytes, and values that are not numbers or not finite as float32.

    Returns:
        `{name: array}`.

    Raises:
        DataError: the file is damaged, too large, of another type, or contains no named arrays.
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
    _check_size(path)
    try:
        arrays = readers[path.suffix](path)
        _check_arrays(arrays, path)
    except ImportError as error:
        raise ConfigError(
            f"{path}: reading this file needs {error.name}: pip install {error.name}"
        ) from error
    except KerasPartsError:
        raise
    except Exception as error:  # each library has its own errors for damaged files
        raise DataError(f"{path}: not a readable {path.suffix} file of weights: {error}") from error
    return arrays


def _check_arrays(arrays, path):
    """Raise unless all values are finite numbers; a PyTorch tensor may show a number many times."""
    size = sum(array.nbytes for array in arrays.values() if isinstance(array, np.ndarray))
    if size > MAX_BYTES:
        raise DataError(f"{path}: has {size:,} bytes of arrays, expected {MAX_BYTES:,} at most")
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or not _is_number(array.dtype):
            kind = getattr(array, "dtype", type(array).__name__)
            raise DataError(f"{path}: {name!a:.200} has type {kind!s:.100}, expected numbers")
        if not are_finite(array):
            raise DataError(f"{path}: {name!a:.200} has values that are not finite as float32")


def _is_number(kind: np.dtype) -> bool:
    """Whether an array of this type holds real numbers; bfloat16 has no kind of its own."""
    return kind.kind in "fiub" or kind.name == "bfloat16"


def _check_size(path):
    """Raise unless this is a regular file that does not unpack to too many bytes."""
    size = check_regular(path)
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise DataError(f"{path}: a damaged archive: {error}", path=path) from error
    if size > MAX_BYTES:
        raise DataError(f"{path}: holds {size:,} bytes, expected {MAX_BYTES:,} at most", path=path)


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
        IntegrityError: the folder has a weights file that contains more than weights.
    """
    if os.path.isdir(preset):
        check_preset_folder(preset)
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


def check_preset_folder(folder: str | os.PathLike) -> None:
    """Check the files of a KerasHub preset before KerasHub reads them.

    Raises:
        DataError: a file is not a regular file, or a configuration is not JSON or names a class
            outside of Keras and KerasHub.
        IntegrityError: a weights file contains more than weights.
    """
    for path in sorted(Path(folder).rglob("*")):
        if path.is_dir():
            continue
        size = check_regular(path)
        if path.suffix == ".h5":
            check_weights_file(path, max_bytes=2 * size)
        elif path.suffix == ".json":
            _check_modules(path)


def _check_modules(path):
    """Raise unless all modules that a JSON file names are those of Keras and KerasHub."""
    content = read_limited(path, _MAX_JSON_BYTES)
    try:
        pending = [json.loads(content)] if len(content) <= _MAX_JSON_BYTES else []
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}", path=path) from None
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            module = value.get("module")
            if isinstance(module, str) and module.partition(".")[0] not in _MODULES:
                raise DataError(
                    f"{path}: names the module {module!r:.200}, expected one of "
                    f"{', '.join(sorted(_MODULES))}",
                    path=path,
                )
            pending += value.values()
        elif isinstance(value, list):
            pending += value
