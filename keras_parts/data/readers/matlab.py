"""Read MATLAB's .mat files, in which older data sets store their labels."""

from pathlib import Path
from typing import Any

import numpy as np

from keras_parts.errors import DataError


def read_mat(path: Path, variable: str) -> Any:
    """One variable of a .mat file (versions 4 to 7).

    Args:
        path: the file.
        variable: name of the variable.

    Returns:
        The value as `scipy.io.loadmat` converts it: dimensions of length 1 are removed, structs
        are objects with one attribute per field.

    Raises:
        DataError: the file is missing, damaged or of version 7.3, or has no such variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError:
        raise DataError(f"{path}: MATLAB 7.3 files cannot be read: save it with -v7") from None
    except Exception as error:  # scipy raises errors of any type for damaged files
        raise DataError(f"{path}: not a readable .mat file: {error}") from error
    if variable not in content:
        names = [name for name in content if not name.startswith("__")]
        raise DataError(
            f"{path} has the variables {', '.join(names) or 'none'}, expected {variable}"
        )
    return content[variable]


def as_list(value: Any) -> list:
    """The elements of a struct array, which `read_mat` reduces to a single struct or to none."""
    return list(np.atleast_1d(value).ravel())
