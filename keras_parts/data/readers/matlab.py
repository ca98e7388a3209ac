"""MATLAB's .mat files, in which older data sets keep their labels."""

from pathlib import Path

import numpy as np

from keras_parts.errors import DataError


def read_mat(path: Path, variable: str):
    """One variable of a .mat file (versions 4 to 7).

    Args:
        path: the file.
        variable: name of the variable.

    Returns:
        What `scipy.io.loadmat` makes of it: dimensions of length 1 are gone, structs are objects
        with an attribute a field.

    Raises:
        DataError: the file is missing, damaged or of version 7.3, or has no such variable.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError:
        raise DataError(f"{path}: a file of MATLAB 7.3: save it with -v7") from None
    except Exception as error:  # scipy raises whatever damaged input leads it to
        raise DataError(f"{path}: not a readable .mat file: {error}") from error
    if variable not in content:
        names = [name for name in content if not name.startswith("__")]
        raise DataError(f"{path}: it holds {', '.join(names) or 'nothing'}, expected {variable}")
    return content[variable]


def as_list(value) -> list:
    """The elements of a struct array; MATLAB makes one element, or none, look different."""
    return list(np.atleast_1d(value).ravel())
