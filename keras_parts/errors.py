"""The errors that the package raises.

Each message names what is wrong, where, and what to do about it. Details that a program may need,
such as the file, are attributes. No message and no attribute contains the password of an address.

    KerasPartsError
        DataError
        ConfigError                 also a ValueError
        IntegrityError
        DivergenceError
        CallbackError
        OutOfMemoryError
        ZooError
            UnknownModelError
            UntrustedAddressError
            DownloadError
"""

import re
from collections.abc import Iterable, Sequence
from os import PathLike, fspath

_MAX_MESSAGE = 4000
"""Maximum length of an error's message, in characters."""
_USER = re.compile(
    r"(?<=://)(?:[^/\s?#]+(?=@)"
    # A password with characters that it should not have: what follows the colon is no port.
    r"|[^/\s:?#@\[]*:(?!\d*(?:[/?#\s'\",;:)]|$))\S*(?=@))"
)
_SECRET_NAMES = "token|key|sig|secret|pass|pwd|credential|auth|session|jwt|bearer|hmac|code"
_SECRET = re.compile(
    rf"([?&][^\s=&#]*(?:{_SECRET_NAMES})[^\s=&#]*=)[^\s&#'\"]*[^\s&#'\":;,.)]",
    re.IGNORECASE,
)
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def hide_secrets(text: str) -> str:
    """A text in which the user, password, keys and signatures of addresses are replaced by ***.

    Everything that is printed, logged or written to a file and may contain an address passes
    through it; the errors below pass their messages through it themselves.

    Example:
        >>> from keras_parts.errors import hide_secrets
        >>> hide_secrets("https://me:secret@example.org/a.png?token=123: HTTP 404")
        'https://***@example.org/a.png?token=***: HTTP 404'
    """
    return _SECRET.sub(r"\1***", _USER.sub("***", text)) if "://" in text else text


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of a message about a name that does not exist: the most similar one, or "".

    Example:
        >>> from keras_parts.errors import suggestion
        >>> suggestion("tyo", ["toy", "cub"]), suggestion("x", ["toy", "cub"])
        ("; did you mean 'toy'?", '')
    """
    import difflib

    similar = difflib.get_close_matches(name, [*names], 1)
    return f"; did you mean {similar[0]!r}?" if similar else ""


def escape_controls(text: str) -> str:
    """A text for a terminal: characters that would command it are shown as escapes such as \\x1b.

    These are control characters apart from tab and line feed, those that change the direction of
    writing, other separators of lines, and halves of a character, which cannot be encoded.

    Example:
        >>> from keras_parts.errors import escape_controls
        >>> print(escape_controls("a\\x1b[2Jb\\u202ec"))
        a\\x1b[2Jb\\u202ec
    """
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def is_plain_line(text: str) -> bool:
    """Whether a text is one line without tabs and characters that `escape_controls` replaces.

    Example:
        >>> from keras_parts.errors import is_plain_line
        >>> is_plain_line("left wing"), is_plain_line("left\\nwing")
        (True, False)
    """
    return text == escape_controls(text) and not {"\t", "\n"} & set(text)


def _shortened(text: str) -> str:
    """A message without its middle if it is long: a value in somebody else's file may have MB."""
    half = _MAX_MESSAGE // 2
    return text if len(text) <= _MAX_MESSAGE else f"{text[:half]} ... {text[-half:]}"


class KerasPartsError(Exception):
    """Base of the errors that the package raises.

    Args:
        message: what is wrong, where, and what to do about it.
        path: the file or folder at fault.

    Attributes:
        path: the path as a string; None if no single file or folder is at fault.

    Example:
        >>> import keras_parts
        >>> try:
        ...     keras_parts.zoo.load("no such model")
        ... except keras_parts.errors.KerasPartsError as error:
        ...     print(type(error).__name__)
        UnknownModelError
    """

    def __init__(self, message: str = "", *, path: str | PathLike[str] | None = None) -> None:
        super().__init__(_shortened(hide_secrets(message)))
        self.path = None if path is None else hide_secrets(fspath(path))


class DataError(KerasPartsError):
    """Input data cannot be used; the message names the file, the line or value, and the way out."""


class ConfigError(KerasPartsError, ValueError):
    """A setting is outside its range, or settings contradict each other.

    Attributes:
        setting: name of the setting, or None.
        value: the value that was given.
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
        self.setting = setting
        self.value = hide_secrets(value) if isinstance(value, str) else value


class IntegrityError(KerasPartsError):
    """The size, checksum or structure of a file differs from the expected one.

    Attributes:
        expected: the correct size in bytes or checksum; None if the structure is wrong.
        found: the size or checksum of the file; None if the structure is wrong.
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


class DivergenceError(KerasPartsError):
    """A training was ended, because its losses or gradients were not finite any more.

    Attributes:
        step: number of steps after which the training ended, the skipped ones included.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: str | PathLike[str] | None = None,
        step: int | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.step = step


class CallbackError(KerasPartsError):
    """A callback of the user raised an error.

    Attributes:
        callback: the callback.
        error: its error.
    """

    def __init__(
        self, message: str = "", *, callback: object = None, error: Exception | None = None
    ) -> None:
        super().__init__(message)
        self.callback, self.error = callback, error


class OutOfMemoryError(KerasPartsError):
    """The memory of a device or of the machine is full; the message names a size to try."""


_MEMORY_IS_FULL = re.compile(
    "out of memory|OOM when allocating|RESOURCE_EXHAUSTED|can't allocate memory|ALLOC_FAILED|"
    "bad_alloc|MemoryError|Unable to allocate|Failed to allocate",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or of a backend says that memory is full.

    TensorFlow, JAX and PyTorch each have errors of their own, which import nothing in common.

    Example:
        >>> from keras_parts.errors import is_out_of_memory
        >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("no"))
        (True, False)
        >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
        True
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, KerasPartsError) or not isinstance(error, Exception):
        return False
    names = {kind.__name__ for kind in type(error).__mro__}
    from_backend = names & {"RuntimeError", "OpError", "XlaRuntimeError", "JaxRuntimeError"}
    return bool(from_backend and _MEMORY_IS_FULL.search(str(error)))


class ZooError(KerasPartsError):
    """A model of the zoo cannot be found, downloaded or published."""


class UnknownModelError(ZooError):
    """No model of the zoo and no folder with a segmenter has this name.

    Attributes:
        model: the name that was given.
        similar: names of existing models that resemble it.
    """

    def __init__(
        self, message: str = "", *, model: str | None = None, similar: Sequence[str] = ()
    ) -> None:
        super().__init__(message)
        self.model = None if model is None else hide_secrets(model)
        self.similar = tuple(similar)


class UntrustedAddressError(ZooError):
    """A model's address is below none of those in KERAS_PARTS_ZOO, and the caller did not trust it.

    Attributes:
        address: the model's address.
    """

    def __init__(self, message: str = "", *, address: str | None = None) -> None:
        super().__init__(message)
        self.address = None if address is None else hide_secrets(address)


class DownloadError(ZooError):
    """A file cannot be downloaded from any of its locations.

    Attributes:
        url: the address that failed; None if several failed.
        status: code of the server's HTTP response; None without a response.
    """

    def __init__(
        self,
        message: str = "",
        *,
        url: str | None = None,
        path: str | PathLike[str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message, path=path)
        self.url = None if url is None else hide_secrets(url)
        self.status = status
