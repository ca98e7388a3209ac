"""Files at addresses such as s3://bucket/photos, through fsspec; plain paths never come here."""

import re

from keras_parts.errors import ConfigError, DataError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter would be a Windows drive


def is_address(path) -> bool:
    """Whether a path is an address, such as "s3://bucket/a.jpg"."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def file_system(address):
    """(fsspec file system, path in it) of an address.

    Raises:
        ConfigError: fsspec or what it needs for this kind of address is not installed, or there is
            no such kind.
    """
    kind = address.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address)
    except ImportError as error:
        raise ConfigError(
            f"{kind}:// addresses need a package that is not installed ({error}): "
            "pip install 'keras-parts[remote]', and for kinds other than s3 and gs what the "
            "message names"
        ) from error
    except ValueError as error:
        raise ConfigError(f"{address}: {error}") from error


def read_address(address) -> bytes:
    """All bytes of the file at an address.

    Raises:
        DataError: it cannot be read.
    """
    system, path = file_system(address)
    try:
        return system.cat_file(path)
    except Exception as error:  # each kind of store has errors of its own
        raise DataError(f"{address}: cannot be read: {_first_line(error)}") from error


def version_of(address) -> str:
    """What changes when the file at an address does: its size with its checksum or date.

    Raises:
        DataError: there is no such file.
    """
    system, path = file_system(address)
    try:
        about = system.info(path)
    except Exception as error:
        raise DataError(f"{address}: cannot be read: {_first_line(error)}") from error
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
    mark = next((about[name] for name in names if about.get(name)), "")
    return f"{about.get('size')} {mark}"


def _first_line(error):
    return (str(error) or type(error).__name__).splitlines()[0]
