"""The image formats that are opened, and their file suffixes."""

import importlib.util
import os
import re
from collections.abc import Iterable
from functools import cache
from threading import Lock

IMAGE_FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "JPEG2000": (".jp2",),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TGA": (".tga",),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
"""Pillow's name of each format -> its suffixes. A file of any other format is refused whatever its
suffix is: to decode EPS, for example, Pillow would start Ghostscript."""

_PACKAGES = {"HEIF": "pillow_heif"}
"""Formats that Pillow reads with another package only."""


def _has_package(name: str) -> bool:
    return name not in _PACKAGES or importlib.util.find_spec(_PACKAGES[name]) is not None


IMAGE_SUFFIXES = frozenset(
    suffix for name, suffixes in IMAGE_FORMATS.items() if _has_package(name) for suffix in suffixes
)
"""The suffixes of files in folders that are taken for images; of HEIF if its package is there."""

_HEIC = "pip install 'keras-parts[heic]'"
_RAW = "export them as JPEG or TIFF"
VIDEO_SUFFIXES = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))
"""Suffixes of files that are taken for videos."""

_VIDEO = (
    "name each one to `keras-parts segment`, or extract pictures, for example with ffmpeg -i FILE "
    "frames/%06d.png"
)
_DRAWING = "export them as PNG"
_ARCHIVE = "unpack them"
_WAYS_OUT = {
    **dict.fromkeys(IMAGE_FORMATS["HEIF"], _HEIC),
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf"), _RAW),
    **dict.fromkeys(sorted(VIDEO_SUFFIXES), _VIDEO),
    **dict.fromkeys((".svg", ".pdf", ".eps", ".psd", ".xcf", ".jxl"), _DRAWING),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"), _ARCHIVE),
    "": "give them by name, or in a list (@list.txt)",
}
"""Suffix of files that may have images, and are not read in folders -> what the user can do."""


def ways_out(suffixes: Iterable[str]) -> str:
    """What the user can do about files that are not read, by suffix; "" if nothing is known.

    Args:
        suffixes: in small letters; "" for files without one.

    Example:
        >>> from keras_parts.images.formats import ways_out
        >>> ways_out([".txt", ".nef", ".cr2"])
        'for .nef and .cr2: export them as JPEG or TIFF'
    """
    chosen: dict[str, list[str]] = {}
    for suffix in suffixes:
        if suffix in _WAYS_OUT and suffix not in IMAGE_SUFFIXES:
            chosen.setdefault(_WAYS_OUT[suffix], []).append(suffix or "those without")
    return "; ".join(f"for {' and '.join(those)}: {way}" for way, those in chosen.items())


def way_out(path: str | os.PathLike[str]) -> str:
    """`ways_out` for one file."""
    suffix = os.path.splitext(path)[1].lower()
    return ways_out([suffix]) if suffix else ""


_initialising = Lock()  # Pillow fails if several threads load its formats at the same time


def readable_formats() -> tuple[str, ...]:
    """The formats that the installed Pillow can read; it may lack AVIF or JPEG 2000.

    Example:
        >>> from keras_parts.images.formats import readable_formats
        >>> "PNG" in readable_formats(), "EPS" in readable_formats()
        (True, False)
    """
    with _initialising:
        return _readable_formats()


@cache
def _readable_formats():
    from PIL import Image

    if _has_package("HEIF"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    Image.init()
    # TGA files have no signature: every other format is tried first.
    return tuple(
        sorted(set(IMAGE_FORMATS) & set(Image.OPEN), key=lambda name: (name == "TGA", name))
    )


_SIGNATURE, _BEGINNING = 16, 1024
"""Bytes that Pillow needs to recognise a format, and that tell a picture from a text."""
_CONTROLS = frozenset(range(32)) - frozenset(b"\0\t\n\r")
"""Bytes that no list of paths has."""
_PPM = re.compile(rb"P[1-6]\s(\s|#[^\n]*\n)*\d+\s+\d+\s")
"""The beginning of PPM files, which may be text all through."""


def begins_like_image(content: bytes) -> bool:
    """Whether bytes are an image file rather than a list of paths, by their beginning.

    Args:
        content: all bytes, of at least one image or list; the image may be damaged further on.

    Example:
        >>> from keras_parts.images.formats import begins_like_image
        >>> begins_like_image(b"BMW/1.jpg"), begins_like_image(b"\\xff\\xd8\\xff\\xe0 and so on")
        (False, True)
    """
    from PIL import Image

    known = (Image.OPEN[name][1] for name in readable_formats())
    signature = content[:_SIGNATURE]
    if not any(accepts is not None and accepts(signature) is True for accepts in known):
        return False
    beginning = content[:_BEGINNING]
    if _PPM.match(beginning) or not _CONTROLS.isdisjoint(beginning):
        return True
    try:
        beginning.decode()
    except UnicodeDecodeError as error:  # a letter that is cut off is none of a picture
        return error.end < len(beginning)
    return False
