"""Every environment variable that the package reads, and the folders that they name.

`keras_parts.cli.runtime` sets the variables of other libraries, such as `KERAS_BACKEND`. Only a
program can do so, because libraries read their variables when they are imported.
"""

import os
import re
from pathlib import Path

from keras_parts.errors import ConfigError

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
_WORKER_VARIABLES = re.compile("KERAS_|JAX_|TF_|XLA_")


def cache_folder() -> Path:
    """`$KERAS_PARTS_HOME`, or `keras_parts` in the platform's cache folder.

    Example:
        >>> import os
        >>> from keras_parts import environment
        >>> os.environ["KERAS_PARTS_HOME"] = "cache"
        >>> str(environment.cache_folder())
        'cache'
        >>> del os.environ["KERAS_PARTS_HOME"]
    """
    folder = os.environ.get(HOME_VARIABLE)
    if folder:
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("keras_parts", appauthor=False)


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
    return Path(folder).expanduser() if folder else cache_folder() / "weights"


def data_folder() -> Path | None:
    """Folder of the data sets, `$KERAS_PARTS_DATA`; None if it is not set."""
    folder = os.environ.get(DATA_VARIABLE)
    return Path(folder).expanduser() if folder else None


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
    return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")


def visible_gpus() -> list[str] | None:
    """The GPUs in `$CUDA_VISIBLE_DEVICES`; None if it is empty or not set."""
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return devices.split(",") if devices else None


def tensorflow_log_level() -> str | None:
    """The lowest level of TensorFlow's messages, `$TF_CPP_MIN_LOG_LEVEL`; None if it is not set."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL")


def worker_variables() -> dict[str, str]:
    """The variables of the package and its backends, for a worker on another machine."""
    return {name: value for name, value in os.environ.items() if _WORKER_VARIABLES.match(name)}
