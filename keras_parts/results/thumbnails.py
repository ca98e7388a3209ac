"""Small pictures in the pages for the browser."""

import base64
import io

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 320
"""Longer side of a thumbnail in pixels."""
_QUALITY = 80
"""Of the JPEG."""


def thumbnail(image: np.ndarray, *, enlarged: bool = False) -> Image.Image:
    """An image `(height, width, 3)` uint8 whose longer side is at most `THUMBNAIL_SIDE`.

    Args:
        image: uint8 RGB.
        enlarged: whether a smaller image is enlarged to this side.
    """
    picture = Image.fromarray(image)
    scale = THUMBNAIL_SIDE / max(picture.size)
    scale = scale if enlarged else min(1, scale)
    size = [max(1, round(length * scale)) for length in picture.size]
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)


def labels_at_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map at another size (width, height): the labels at the centres of its pixels."""
    columns, rows = (
        ((np.arange(length) + 0.5) * whole / length).astype(int)
        for length, whole in zip(size, labels.shape[::-1], strict=True)
    )
    return labels[rows[:, None], columns]


def data_address(picture: Image.Image) -> str:
    """A picture as a data: address, with which a page needs no file for it."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def content_of(address: str) -> bytes:
    """The file in an address of `data_address`; ValueError if it is damaged."""
    return base64.b64decode(address.partition(",")[2])
