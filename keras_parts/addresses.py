"""Files at addresses such as s3://bucket/photos: http through `transfer`, others through fsspec.

Somebody else may have written an address, in a list of images. Only the protocols of `PROTOCOLS`
are opened: fsspec knows others that read files of this machine, unpack archives or evaluate
templates.
"""

import re
import zlib
from typing import Any, TypeGuard

from keras_parts.environment import (
    OFFLINE_VARIABLE,
    PROTOCOLS_VARIABLE,
    more_protocols,
    offline,
)
from keras_parts.errors import ConfigError, DataError, DownloadError, hide_secrets
from keras_parts.files import MAX_FILE_BYTES, read_file

PROTOCOLS = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "http", "https", "memory")
"""Protocols that are opened without being asked for in `$KERAS_PARTS_PROTOCOLS`."""
_ADDRESS = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*::)*[A-Za-z][A-Za-z0-9+.-]+://"  # a single letter is a Windows drive
)
_LOCAL = re.compile(r"(?:file|local)://(?:/(?=[A-Za-z]:))?", re.IGNORECASE)
_HTTP = ("http", "https")
_URL = re.compile(r"([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_NUMERIC_HOST = re.compile(r"(?<=[/@])\[[0-9A-Fa-f:.]*\](?=[:/?#]|$)")
"""The host of an address with the number of a machine (IPv6), such as [::1]."""


def is_address(path: object) -> TypeGuard[str]:
    """Whether a path is an address, such as "s3://bucket/a.jpg"."""
    return isinstance(path, str) and _ADDRESS.match(path) is not None


def without_file_protocol(path: str) -> str:
    """A path; for an address such as "file:///photos", the path in it.

    Example:
        >>> from keras_parts.addresses import without_file_protocol
        >>> without_file_protocol("file:///photos/a.jpg"), without_file_protocol("s3://bucket/a.jpg")
        ('/photos/a.jpg', 's3://bucket/a.jpg')
    """
    match = _LOCAL.match(path)
    return path[match.end() :] if match else path


def protocol_of(address: str) -> str:
    """The protocol of an address, such as "s3"."""
    return address.partition("://")[0].lower()


def is_http(address: str) -> bool:
    """Whether an address is one of the web: it names one file, because servers list no folders."""
    return is_address(address) and protocol_of(address) in _HTTP


def check_address(address: str) -> None:
    """Check that an address may be opened.

    Raises:
        ConfigError: its protocol is not among `PROTOCOLS` and `$KERAS_PARTS_PROTOCOLS`, it is a
            chain of several, or `$KERAS_PARTS_OFFLINE` forbids requests.
        DataError: a part of its path is `.` or `..`, it has a control character, or it is one of
            the web and names no host or no file.

    Example:
        >>> from keras_parts import addresses, errors
        >>> try:
        ...     addresses.check_address("reference://a.jpg")
        ... except errors.ConfigError as error:
        ...     print(str(error).partition(":")[0])
        reference
    """
    protocol = protocol_of(address)
    if "::" in _NUMERIC_HOST.sub("", address, count=1):
        raise ConfigError(f"{address}: chains of addresses (::) are not opened")
    if protocol not in PROTOCOLS and protocol not in more_protocols():
        raise ConfigError(
            f"{protocol}:// addresses are not opened: {PROTOCOLS_VARIABLE}={protocol} allows them, "
            f"for inputs that you trust; allowed are {', '.join(PROTOCOLS)}"
        )
    if offline() and protocol != "memory":
        raise ConfigError(f"{address}: not requested, because {OFFLINE_VARIABLE} is set")
    host, path, query = _split(address)
    if protocol in _HTTP and not (host.rpartition("@")[2] and (path.rpartition("/")[2] or query)):
        raise DataError(
            f"{address}: names no {'file' if host else 'host'}: servers of the web list no folders",
            path=address,
        )
    if {".", ".."} & set(path.split("/")) or re.search("[\0-\x1f\x7f]", address):
        raise DataError(
            f"{address!r}: not opened, because it has '.', '..' or a control character",
            path=address,
        )


def shown_address(address: str) -> str:
    """An address as the name of an image: without user, password, query and fragment.

    The checksum of the query, without passwords and signatures, joins the name of the file: another
    query is another image.

    Example:
        >>> from keras_parts.addresses import shown_address
        >>> shown_address("https://me:secret@example.org/a.jpg?size=big")
        'https://example.org/a-fee04955.jpg'
    """
    protocol = protocol_of(address)
    host, path, query = _split(hide_secrets(address))
    host = host.rpartition("@")[2]
    if query:
        folder, slash, name = path.rpartition("/")
        stem, dot, suffix = (name or "index").partition(".")
        path = f"{folder}{slash or '/'}{stem}-{zlib.crc32(query.encode()):08x}{dot}{suffix}"
    return f"{protocol}://{host}{path}"


def file_system(address: str) -> tuple[Any, str]:
    """(fsspec file system, path in it) of an address.

    Raises:
        ConfigError: fsspec or the package for this kind of address is not installed, or fsspec does
            not support this kind; or as `check_address`.
        DataError: as `check_address`.
    """
    check_address(address)
    kind = protocol_of(address)
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(address)
    except ImportError as error:
        raise ConfigError(
            f"{kind}:// addresses need a package that is not installed ({error}): "
            "pip install 'keras-parts[remote]'; for addresses other than s3:// and gs://, install "
            "the package that this message names"
        ) from error
    except Exception as error:  # each kind of storage raises other errors
        raise ConfigError(f"{address}: {_first_line(error)}") from error


def read_address(address: str, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The content of the file at an address.

    Raises:
        DataError: it cannot be read, or is larger than `max_bytes`.
        ConfigError: as `file_system`.
    """
    if (path := without_file_protocol(address)) != address:
        return read_file(path, max_bytes=max_bytes)
    if is_http(address):
        from keras_parts import transfer  # requests takes long to import

        check_address(address)
        try:
            content = transfer.read(address, max_bytes=max_bytes)
        except DownloadError as error:
            raise DataError(f"{address}: cannot be read: {error}", path=address) from error
        size = len(content)
    else:
        system, path = file_system(address)
        try:
            size = system.info(path).get("size") or 0
            content = system.cat_file(path) if size <= max_bytes else b""
        except Exception as error:  # each kind of storage raises other errors
            text = f"{address}: cannot be read: {_first_line(error)}"
            raise DataError(text, path=address) from error
    if size > max_bytes:
        raise DataError(f"{address}: more than the limit of {max_bytes:,} bytes", path=address)
    return content


def version_of(address: str) -> str:
    """A text that changes when the file at an address does; "" if the storage states nothing.

    It is the file's size with its checksum or date.

    Raises:
        DataError: there is no such file.
        ConfigError: as `file_system`.
    """
    try:
        if is_http(address):
            from keras_parts import transfer

            check_address(address)
            return transfer.fingerprint(address)
        system, path = file_system(address)
        info = system.info(path)
    except (ConfigError, DataError):
        raise
    except Exception as error:
        raise DataError(f"{address}: cannot be read: {_first_line(error)}", path=address) from error
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "created")
    date_or_checksum = next((info[name] for name in names if info.get(name)), "")
    return f"{info.get('size')} {date_or_checksum}" if date_or_checksum else ""


def _split(address: str) -> tuple[str, str, str]:
    """(host or bucket, path, query with fragment) of an address; only http has queries."""
    protocol, _, rest = address.partition("://")
    if protocol.lower() not in _HTTP:
        bucket, slash, path = rest.partition("/")
        return bucket, slash + path, ""
    match = _URL.fullmatch(rest)
    assert match is not None
    host, path, query = match.groups()
    return host, path, query


def _first_line(error: Exception) -> str:
    return hide_secrets((str(error) or type(error).__name__).splitlines()[0])
