"""The picture on the clipboard."""

from PIL import Image, ImageGrab

from keras_parts.errors import ConfigError, DataError

_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""Modes of pictures that PNG files keep."""


def read_clipboard() -> Image.Image | list[str]:
    """The picture on the clipboard, or the paths of files that were copied (Windows).

    Raises:
        DataError: there is neither.
        ConfigError: on Linux, a program that reads the clipboard is missing; other systems have
            none that is known.
    """
    try:
        found = ImageGrab.grabclipboard()
        if isinstance(found, Image.Image):
            found.load()
    except NotImplementedError as error:
        raise ConfigError(
            "the clipboard is read by wl-paste (package wl-clipboard) under Wayland, and by xclip "
            "under X11, of which none is installed"
        ) from error
    except Exception as error:  # of the system, of a decoder, or of another program
        raise DataError(f"the clipboard cannot be read: {error}") from error
    if not found:
        raise DataError("there is no picture on the clipboard: copy one first")
    if isinstance(found, Image.Image) and found.mode not in _MODES:
        return found.convert("RGB")
    return found
