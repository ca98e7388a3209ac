"""Files at addresses such as s3://bucket/photos, through fsspec; never used for plain paths."""

import re
from typing import Any, TypeGuard

from keras_parts.errors import ConfigError, DataError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # a single letter is a Windows drive


def is_address(path: object) -> TypeGuard[str]:
    """Whether a path is an address, such as "s3://bucket/a.jpg"."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def file_system(address: str) -> tuple[Any, str]:
    """(fsspec file system, path in it) of an address.

    Raises:
        ConfigError: fsspec or the package for this kind of address is not installed, or fsspec does
            not support this kind.
    """
    kind = address.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address)
    except ImportError as error:
        raise ConfigError(
            f"{kind}:// addresses need a package that is not installed ({error}): "
            "pip install 'keras-parts[remote]'; for addresses other than s3:// and gs://, install "
            "the package that this message names"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{address}: {error}") from error


def read_address(address: str) -> bytes:
    """The content of the file at an address.

    Raises:
        DataError: it cannot be read.
    """
    system, path = file_system(address)
    try:
        return system.cat_file(path)
    except Exception as error:  # each kind of storage raises other errors
        raise DataError(f"{address}: cannot be read: {_first_line(error)}", path=address) from error


def version_of(address: str) -> str:
    """A text that changes when the file at an address does: its size with its checksum or date.

    Raises:
        DataError: there is no such file.
    """
    system, path = file_system(address)
    try:
        info = system.info(path)
    except Exception as error:
        raise DataError(f"{address}: cannot be read: {_first_line(error)}", path=address) from error
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
    date_or_checksum = next((info[name] for name in names if info.get(name)), "")
    return f"{info.get('size')} {date_or_checksum}"


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
