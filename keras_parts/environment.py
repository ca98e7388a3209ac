"""Every environment variable that the package reads, and the folders that they name.

`keras_parts.cli.runtime` sets the variables of other libraries, such as `KERAS_BACKEND`. Only a
program can do so, because libraries read their variables when they are imported.
"""

import contextlib
import functools
import logging
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

from keras_parts.errors import ConfigError

_LOG = logging.getLogger(__name__)

HOME_VARIABLE = "KERAS_PARTS_HOME"
"""Folder of the cache: downloaded models, teacher features, pretrained weights."""
FEATURES_VARIABLE = "KERAS_PARTS_FEATURES_GIB"
"""Maximum size of the cached teacher features, in GiB."""
WEIGHTS_VARIABLE = "KERAS_PARTS_WEIGHTS"
"""Folder of pretrained backbone weights."""
DATA_VARIABLE = "KERAS_PARTS_DATA"
"""Folder of the data sets."""
ZOO_VARIABLE = "KERAS_PARTS_ZOO"
"""Folders or http(s) addresses of more models, separated by commas and searched in order."""
OFFLINE_VARIABLE = "KERAS_PARTS_OFFLINE"
"""1 forbids every network request; 0, false and no allow them."""
MODEL_VARIABLE = "KERAS_PARTS_MODEL_GIB"
"""Maximum memory that a loaded segmenter may need for an image, in GiB."""
DOWNLOAD_VARIABLE = "KERAS_PARTS_DOWNLOAD_SECONDS"
"""Maximum time for the download of a file, in seconds."""
IMAGE_SECONDS_VARIABLE = "KERAS_PARTS_IMAGE_SECONDS"
"""Maximum time to decode an image file, in seconds."""
IMAGE_MIB_VARIABLE = "KERAS_PARTS_IMAGE_MIB"
"""Maximum size of an image file, in MiB."""
PROTOCOLS_VARIABLE = "KERAS_PARTS_PROTOCOLS"
"""Protocols of addresses that are opened besides those of `addresses.PROTOCOLS`, separated by
commas."""

_DEFAULT_FEATURES_GIB = 100.0
_DEFAULT_MODEL_GIB = 4.0
_DEFAULT_DOWNLOAD_SECONDS = 3600.0
_DEFAULT_IMAGE_SECONDS = 60.0
_DEFAULT_IMAGE_MIB = 1024.0
# Terraform's begin with TF_ too, and some are passwords, such as TF_TOKEN_....
_TENSORFLOW = (
    "TF_(AUTOTUNE|CONFIG$|CPP|CUBLAS|CUDNN|DETERMINISTIC|DISABLE|DUMP|ENABLE|FORCE|FORWARD_COMPAT|GPU|"
    "MKL|NUM|ONEDNN|USE|XLA)"
)
_WORKER_VARIABLES = re.compile(f"KERAS_|JAX_|XLA_|{_TENSORFLOW}")
_SHOWN = re.compile(f"{_WORKER_VARIABLES.pattern}|CUDA_VISIBLE_DEVICES$|HF_(ENDPOINT|HOME)$")


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder.

    A temporary folder where neither exists nor can be made, as for a user of a container who has no
    home folder; a warning says so, once. Paths in the cache are given by `cache_path`.

    Example:
        >>> import os
        >>> from keras_parts import environment
        >>> os.environ["KERAS_PARTS_HOME"] = "cache"
        >>> str(environment.cache_folder())
        'cache'
        >>> del os.environ["KERAS_PARTS_HOME"]
    """
    try:
        folder = _wanted_cache_folder()
    except RuntimeError:  # nobody knows the home folder
        return _temporary_cache("the home folder is unknown")
    if os.path.exists(folder) or _is_writable(folder):
        return folder
    return _temporary_cache(f"{folder} cannot be made")


def _wanted_cache_folder() -> Path:
    """The cache folder, also if it cannot be made; `RuntimeError` if there is no home folder."""
    given = os.environ.get(HOME_VARIABLE)
    if given:
        return Path(given).expanduser()
    from platformdirs import user_cache_path

    folder = user_cache_path("keras_parts", appauthor=False)
    if str(folder).startswith("~"):  # earlier versions of platformdirs do not notice
        raise RuntimeError("no home folder")
    return folder


def cache_path(name: str, *, writable: bool = False) -> Path:
    """A file or folder in the cache.

    Args:
        name: relative to the cache folder.
        writable: it will be written to. Otherwise a cache that can only be read will do, if the
            file or folder is there.

    Returns:
        The path in `cache_folder()`, or in a temporary folder if it cannot be written there.

    Example:
        >>> import os
        >>> from keras_parts import environment
        >>> os.environ["KERAS_PARTS_HOME"] = "cache"
        >>> environment.cache_path("features").as_posix()
        'cache/features'
        >>> del os.environ["KERAS_PARTS_HOME"]
    """
    folder = cache_folder()
    path = folder / name
    if _is_writable(path) or (not writable and os.path.exists(path)):
        return path
    return _temporary_cache(f"{folder} cannot be written to") / name


def home_folder() -> Path | None:
    """The home folder of the user; None if it is unknown, as without HOME and a passwd entry."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def set_library_folders() -> None:
    """Let other libraries keep their files in a temporary folder, where there is no home folder.

    It sets the variables of Keras, matplotlib, PyTorch and Hugging Face that are not set, if their
    default folder neither exists nor can be made. They are read when the library is imported.
    """
    home = home_folder()
    for variable, default in _LIBRARY_FOLDERS.items():
        folder = home and home / default
        if os.environ.get(variable) or (
            folder and (os.path.exists(folder) or _is_writable(folder))
        ):
            continue
        reason = f"{home} cannot be written to" if home else "the home folder is unknown"
        os.environ[variable] = str(_temporary_cache(reason) / "libraries" / Path(default).name)


def forbid_reports() -> None:
    """Stop ONNX Runtime from reporting its use to its makers, unless the user has set its variable.

    It does so by default, and is slow to start without a network. The variable is read when
    onnxruntime is imported.

    Example:
        >>> import os
        >>> from keras_parts import environment
        >>> environment.forbid_reports()
        >>> os.environ["ORT_DISABLE_TELEMETRY"]
        '1'
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


_LIBRARY_FOLDERS = {
    "KERAS_HOME": ".keras",
    "MPLCONFIGDIR": ".config/matplotlib",
    "TORCH_HOME": ".cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": ".cache/inductor",
    "HF_HOME": ".cache/huggingface",
}
"""Variable -> default folder in the home folder. Inductor's default is named by the user instead,
and fails for one without a name."""


def _is_writable(path: Path) -> bool:
    """Whether a file or folder can be written to, or made if it does not exist."""
    for each in (path, *path.absolute().parents):
        if os.path.exists(each):
            return os.access(each, os.W_OK | os.X_OK if os.path.isdir(each) else os.W_OK)
    return False


def _temporary_cache(reason: str) -> Path:
    """The temporary folder that replaces the cache folder; says so once."""
    folder = _temporary_folder()
    if not _said:
        _said.append(reason)
        _LOG.warning(
            "%s: cached files are kept in %s. To keep them elsewhere, set %s (and for other "
            "libraries HOME, or %s)",
            reason, folder, HOME_VARIABLE, ", ".join(_LIBRARY_FOLDERS),
        )  # fmt: skip
    return folder


_said: list[str] = []
"""Why the cache is in a temporary folder, once that was said."""


@functools.cache
def _temporary_folder() -> Path:
    """A folder that only this user can write to, the same one for later processes if possible."""
    folder = Path(tempfile.gettempdir(), f"keras_parts-{getattr(os, 'getuid', int)()}")
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        # Another user may have made it, or a link of this name, to give us files of theirs.
        is_own = not hasattr(os, "getuid") or status.st_uid == os.getuid()
        if stat.S_ISDIR(status.st_mode) and is_own and not status.st_mode & 0o022:
            return folder
    return Path(tempfile.mkdtemp(prefix="keras_parts-"))


def max_feature_bytes() -> int:
    """Maximum size of the cached teacher features in bytes.

    It is `$KERAS_PARTS_FEATURES_GIB`, or 100 GiB.

    Raises:
        ConfigError: the variable is not a number, or is negative.
    """
    return int(_number(FEATURES_VARIABLE, _DEFAULT_FEATURES_GIB, "a number of GiB") * 2**30)


def max_model_bytes() -> int:
    """Maximum memory that a loaded segmenter may need for an image, in bytes.

    It is `$KERAS_PARTS_MODEL_GIB`, or 4 GiB.

    Raises:
        ConfigError: the variable is not a number, or is negative.
    """
    return int(_number(MODEL_VARIABLE, _DEFAULT_MODEL_GIB, "a number of GiB") * 2**30)


def max_download_seconds() -> float:
    """Maximum time for the download of a file, with all of its attempts.

    It is `$KERAS_PARTS_DOWNLOAD_SECONDS`, or an hour.

    Raises:
        ConfigError: the variable is not a number, or is negative.
    """
    return _number(DOWNLOAD_VARIABLE, _DEFAULT_DOWNLOAD_SECONDS, "a number of seconds")


def max_image_seconds() -> float:
    """Maximum time to decode an image file: `$KERAS_PARTS_IMAGE_SECONDS`, or a minute.

    Raises:
        ConfigError: the variable is not a number, or is negative.
    """
    return _number(IMAGE_SECONDS_VARIABLE, _DEFAULT_IMAGE_SECONDS, "a number of seconds")


def max_image_bytes() -> int:
    """Maximum size of an image file: `$KERAS_PARTS_IMAGE_MIB`, or 1 GiB.

    Raises:
        ConfigError: the variable is not a number, or is negative.
    """
    return int(_number(IMAGE_MIB_VARIABLE, _DEFAULT_IMAGE_MIB, "a number of MiB") * 2**20)


def _number(variable: str, default: float, what: str) -> float:
    """The number from 0 in a variable, or the default if it is empty or not set."""
    value = os.environ.get(variable)
    if not value:
        return default
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e12:
        raise ConfigError(
            f"{variable} is {value!r}, expected {what} from 0", setting=variable, value=value
        )
    return number


def weights_folder() -> Path:
    """Folder of pretrained weights: `$KERAS_PARTS_WEIGHTS`, or `weights` in the cache folder."""
    folder = os.environ.get(WEIGHTS_VARIABLE)
    return Path(folder).expanduser() if folder else cache_path("weights")


def data_folder() -> Path | None:
    """Folder of the data sets, `$KERAS_PARTS_DATA`; None if it is not set."""
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder).expanduser() if folder else None


def data_folders() -> list[Path]:
    """The folders in which data sets are looked for, in order.

    They are `$KERAS_PARTS_DATA` if it is set, the working folder, `data` and `datasets` in it, and
    `datasets` in the cache folder.

    Example:
        >>> from keras_parts import environment
        >>> [folder.name for folder in environment.data_folders()][-3:]
        ['data', 'datasets', 'datasets']
    """
    named = data_folder()
    here = [Path(), Path("data"), Path("datasets"), cache_path("datasets")]
    return [*([named] if named else []), *here]


def zoo_locations() -> list[str]:
    """The folders and addresses in `$KERAS_PARTS_ZOO`, in order."""
    locations = os.environ.get(ZOO_VARIABLE, "").split(",")
    return [location.strip() for location in locations if location.strip()]


def offline() -> bool:
    """Whether `$KERAS_PARTS_OFFLINE` forbids network requests: any value but 0, false or no."""
    return os.environ.get(OFFLINE_VARIABLE, "").lower() not in ("", "0", "false", "no")


def more_protocols() -> set[str]:
    """The protocols in `$KERAS_PARTS_PROTOCOLS`, such as "sftp"."""
    names = os.environ.get(PROTOCOLS_VARIABLE, "").lower().split(",")
    return {name.strip() for name in names if name.strip()}


def hugging_face_address() -> str:
    """The address of Hugging Face: `$HF_ENDPOINT`, as in its own library, or the public one."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def keras_backend() -> str | None:
    """The backend in `$KERAS_BACKEND`; None if it is not set."""
    return os.environ.get("KERAS_BACKEND") or None


def keras_folder() -> Path:
    """The folder of Keras' own configuration file: `$KERAS_HOME`, or `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or (home_folder() or Path("/tmp")) / ".keras")


def visible_gpus() -> list[str] | None:
    """The GPUs in `$CUDA_VISIBLE_DEVICES`; None if it is empty or not set."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return devices.split(",") if devices else None


def tensorflow_log_level() -> str | None:
    """The lowest level of TensorFlow's messages, `$TF_CPP_MIN_LOG_LEVEL`; None if it is not set."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL")


def has_display() -> bool:
    """Whether a browser has a screen: on Linux, whether `$DISPLAY` or `$WAYLAND_DISPLAY` is set."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def no_colour() -> bool:
    """Whether `$NO_COLOR` forbids colours on terminals."""
    return bool(os.environ.get("NO_COLOR"))


def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed.

    TensorFlow's may have the name tensorflow-cpu.

    Example:
        >>> from keras_parts import environment
        >>> environment.package_version("no-such-package") is None
        True
    """
    from importlib import metadata

    for each in (name, "tensorflow-cpu") if name == "tensorflow" else (name,):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(each)
    return None


def variables() -> dict[str, str]:
    """The variables of the package, and those that choose a backend or a device, that are set."""
    return {name: value for name, value in sorted(os.environ.items()) if _SHOWN.match(name)}


def worker_variables() -> dict[str, str]:
    """The variables of the package and its backends, for a worker on another machine."""
    return {name: value for name, value in os.environ.items() if _WORKER_VARIABLES.match(name)}
