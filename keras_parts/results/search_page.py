"""A page for the browser with the parts that a search has found, in one file."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.results.overlay import draw_overlay
from keras_parts.results.page import PAGE_FILE, shown_setting
from keras_parts.results.parts import Parts
from keras_parts.results.regions import window_of
from keras_parts.results.thumbnails import data_address, labels_at_size, thumbnail

_MARK = '<meta name="generator" content="keras-parts search">'
"""In the template."""
_MARK_BYTES = 1000
"""At the beginning of a page, in which the mark is looked for."""
_MARGIN = 0.2
"""Of a crop around the parts, relative to their longer side."""
_MIN_CROP = 0.12
"""Side of the smallest crop, relative to the shorter side of the image."""
_ALPHA = 0.45
"""Opacity of the colours of parts that are lit."""


class Example(NamedTuple):
    """A picture on the page.

    Attributes:
        parts: of one object, with the image; None if the image cannot be shown.
        caption: its name.
        note: a line below the name.
        link: address of the image, relative to the page and quoted; "" for none.
    """

    parts: Parts | None
    caption: str
    note: str = ""
    link: str = ""


def check_page_folder(folder: str | os.PathLike) -> None:
    """Raise ConfigError if a folder has a page that `write_search_page` has not written."""
    path = os.path.join(folder, PAGE_FILE)
    if not os.path.lexists(path):
        return
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if _MARK.encode() in file.read(_MARK_BYTES):
                return
    raise ConfigError(f"{path} is there already, and is the page of no search", path=path)


def write_search_page(
    folder: str | os.PathLike,
    labels: Sequence[int],
    like: Iterable[Example],
    found: Iterable[Example],
    *,
    title: str,
    settings: Mapping[str, Any] | None = None,
) -> str:
    """Write `index.html` with pictures and what a search has found like them.

    Each picture is shown whole, where the parts are lit, and cropped around the parts.

    Args:
        folder: created if necessary.
        labels: of the parts that were searched for.
        like: the pictures that were searched with.
        found: the pictures that were found, the most similar one first.
        title: of the page.
        settings: shown at the end; JSON values.

    Returns:
        The path of the page.

    Raises:
        ConfigError: the folder has another page.
    """
    check_page_folder(folder)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, PAGE_FILE)
    with atomic_write(path) as file:
        for piece in _pieces(labels, like, found, title, settings or {}):
            file.write(piece.encode())
    return path


def _pieces(
    labels: Sequence[int],
    like: Iterable[Example],
    found: Iterable[Example],
    title: str,
    settings: Mapping[str, Any],
) -> Iterator[str]:
    template = resources.files(__package__).joinpath("search_page.html").read_text("utf-8")
    head, after_title, after_like, after_found, end = template.split("HERE")
    yield head.replace("TITLE", escape(title)) + escape(title) + after_title
    yield from (_figure(example, labels) for example in like)
    yield after_like
    yield from (_figure(example, labels) for example in found)
    yield after_found
    for name, value in settings.items():
        yield f"<tr><td>{escape(name)}<td>{escape(shown_setting(value))}\n"
    yield end


def _figure(example: Example, labels: Sequence[int]) -> str:
    name = escape(example.caption)
    if example.link:
        name = f'<a href="{escape(example.link)}">{name}</a>'
    pictures = "<p>This image cannot be shown.</p>"
    if example.parts is not None:
        pictures = "".join(
            f'<img src="{data_address(picture)}" alt="" loading="lazy">'
            for picture in (crop_around(example.parts, labels), lit(example.parts, labels))
        )
    note = f"<div>{escape(example.note)}</div>" if example.note else ""
    return f"<figure>{pictures}<figcaption>{name}{note}</figcaption></figure>\n"


def lit(parts: Parts, labels: Sequence[int]) -> Image.Image:
    """The whole picture as a thumbnail, on which some parts have their colours.

    Args:
        parts: with the image.
        labels: of the parts.
    """
    picture = thumbnail(_image(parts))
    only = labels_at_size(_only(parts, labels), picture.size)
    return _drawn(np.asarray(picture), only, parts.palette, _ALPHA)


def crop_around(parts: Parts, labels: Sequence[int]) -> Image.Image:
    """A square of the image around some parts, with a line around them.

    Args:
        parts: with the image.
        labels: of the parts.
    """
    only = _only(parts, labels)
    window = _square(window_of(only), only.shape)
    picture = thumbnail(_image(parts)[window], enlarged=True)
    return _drawn(np.asarray(picture), labels_at_size(only[window], picture.size), parts.palette, 0)


def _image(parts: Parts) -> np.ndarray:
    if parts.image is None:
        raise ConfigError("these Parts have no image to show: create them with Parts(image=...)")
    return parts.image


def _only(parts: Parts, labels: Sequence[int]) -> np.ndarray:
    """The label map without other parts."""
    keeps = np.zeros(256, np.uint8)
    keeps[list(labels)] = labels
    return keeps[parts.labels]


def _drawn(image: np.ndarray, labels: np.ndarray, palette: np.ndarray, alpha: float) -> Image.Image:
    colours = Image.fromarray(np.concatenate([np.zeros((1, 3), np.uint8), palette])[labels])
    return draw_overlay(image, labels, colours, alpha=alpha, outlined=[labels])


def _square(window: tuple[slice, slice], size: tuple[int, ...]) -> tuple[slice, slice]:
    """A square around a window, with a margin, as far as the image reaches."""
    side = max(part.stop - part.start for part in window) * (1 + 2 * _MARGIN)
    side = max(side, _MIN_CROP * min(size))
    rows, columns = (
        slice(
            max(0, int((part.start + part.stop - side) / 2)),
            min(length, round((part.start + part.stop + side) / 2)),
        )
        for part, length in zip(window, size, strict=True)
    )
    return rows, columns
