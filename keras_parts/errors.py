"""Every error that the package raises on purpose.

Each message names what is wrong, where, and what to do about it. What a program may want of an
error beside its message, such as the file, is an attribute.

    KerasPartsError
        DataError
        ConfigError                 also a ValueError
        IntegrityError
        ZooError
            UnknownModelError
            UntrustedAddressError
            DownloadError
"""

from collections.abc import Sequence
from os import PathLike, fspath


class KerasPartsError(Exception):
    """Base of every error that the package raises on purpose.

    Args:
        message: what is wrong, where, and what to do about it.
        path: the file or folder at fault.

    Attributes:
        path: as given, a string; None where no single file is at fault.

    Example:
        >>> import keras_parts
        >>> try:
        ...     keras_parts.zoo.load("no such model")
        ... except keras_parts.errors.KerasPartsError as error:
        ...     print(type(error).__name__)
        UnknownModelError
    """

    def __init__(self, message: str = "", *, path: str | PathLike[str] | None = None) -> None:
        super().__init__(message)
        self.path = None if path is None else fspath(path)


class DataError(KerasPartsError):
    """Input data that cannot be used: names the file, the line or value, and the way out."""


class ConfigError(KerasPartsError, ValueError):
    """A setting outside its range, or settings that contradict each other.

    Attributes:
        setting: name of the setting, or None.
        value: what it was set to.
    """

    def __init__(
        self,
        message: str = "",
        *,
        setting: str | None = None,
        value: object = None,
        path: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.setting, self.value = setting, value


class IntegrityError(KerasPartsError):
    """A file whose size, checksum or structure is not what it should be.

    Attributes:
        expected, found: the size in bytes or the checksum, where one of them differs.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | PathLike[str] | None = None,
        expected: int | str | None = None,
        found: int | str | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.expected, self.found = expected, found


class ZooError(KerasPartsError):
    """A model of the zoo cannot be found, downloaded or published."""


class UnknownModelError(ZooError):
    """Neither a model of the zoo nor a folder with a segmenter has this name.

    Attributes:
        model: the name that was given.
        similar: names of existing models that resemble it.
    """

    def __init__(
        self, message: str = "", *, model: str | None = None, similar: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.model, self.similar = model, tuple(similar)


class UntrustedAddressError(ZooError):
    """The address of a model is not below one that KERAS_PARTS_ZOO names, and was not trusted.

    Attributes:
        address: that was given.
    """

    def __init__(self, message: str = "", *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = address


class DownloadError(ZooError):
    """A file cannot be downloaded from any of its locations.

    Attributes:
        url: the address that failed; None where several did.
    """

    def __init__(
        self,
        message: str = "",
        *,
        url: str | None = None,
        path: str | PathLike[str] | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.url = url
