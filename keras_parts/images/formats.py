"""The image formats that are opened, and their file suffixes."""

from functools import cache
from threading import Lock

IMAGE_FORMATS = {
    "AVIF": (".avif",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
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

IMAGE_SUFFIXES = frozenset(suffix for suffixes in IMAGE_FORMATS.values() for suffix in suffixes)


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

    Image.init()
    # TGA files have no signature: every other format is tried first.
    return tuple(
        sorted(set(IMAGE_FORMATS) & set(Image.OPEN), key=lambda name: (name == "TGA", name))
    )
