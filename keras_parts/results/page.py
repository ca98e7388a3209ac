"""A page for the browser: pictures whose parts light up under the pointer or in the legend.

index.html        the page; it opens from the disk, and needs nothing but the files beside it
page/NAME.js      for each picture: its thumbnail and the parts in it

The page lists all pictures, shows 60 at a time, and loads the files of these alone: it is fast with
10,000 pictures. A page on the disk may load scripts, but may read neither data files nor the pixels
of pictures. So the files are scripts, which give the parts as outlines.
"""

import base64
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.results.palette import part_legend
from keras_parts.results.parts import Parts

FOLDER = "page"
"""Folder of the pictures' files, beside the page."""
_SIDE = 320
"""Longer side of a thumbnail in pixels."""
_QUALITY = 80
"""Of the thumbnails' JPEG."""
_PLACE_OF_CONTENT = "CONTENT"
"""In the template, where the page's content goes."""


class PagePicture(NamedTuple):
    """A picture of a page.

    Attributes:
        name: shown below the picture.
        script: address of its file, relative to the page, quoted as in a URL.
        summary: from `picture_summary`.
        link: address of a larger picture, relative to the page and quoted; "" for none.
    """

    name: str
    script: str
    summary: Mapping[str, Any]
    link: str = ""


def picture_script(parts: Parts) -> bytes:
    """The content of a picture's file: thumbnail and parts, as a script.

    Args:
        parts: with their image.

    Raises:
        ConfigError: there is no image.
    """
    if parts.image is None:
        raise ConfigError("these Parts have no image to show: create them with Parts(image=...)")
    thumbnail = _thumbnail(parts.image)
    labels = _at_size(parts.labels, thumbnail.size)
    file = io.BytesIO()
    thumbnail.save(file, "JPEG", quality=_QUALITY)
    content = {
        "width": thumbnail.width,
        "height": thumbnail.height,
        "image": f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}",
        "parts": {int(label): _area_path(labels == label) for label in np.unique(labels) if label},
    }
    return f"picture({json.dumps(content)})\n".encode()


def picture_summary(parts: Parts) -> dict[str, Any]:
    """What the page says about a picture.

    Returns:
        `{"score": mean probability of the parts over their pixels, 0 to 1, or None without
        foreground, "objects": number of objects, "shares": {label: per cent of the foreground}}`,
        JSON values. Labels are texts, as JSON requires.
    """
    score, area = parts.score, max(parts.area, 1)
    return {
        "score": None if math.isnan(score) else round(score, 3),
        "objects": len(parts.objects),
        "shares": {
            str(label): round(100 * int(parts.areas[label - 1]) / area, 1)
            for label in parts.present
        },
    }


def page_html(
    title: str,
    names: Sequence[str],
    pictures: Iterable[PagePicture],
    *,
    settings: Mapping[str, Any] | None = None,
    failures: Iterable[tuple[str, str]] = (),
    figures: Iterable[tuple[str, str]] = (),
) -> Iterator[bytes]:
    """The page, in pieces.

    Args:
        title: of the page.
        names: of the parts.
        pictures: in the order of their names.
        settings: shown at the end; JSON values.
        failures: (path, reason) of images without results.
        figures: (caption, quoted address relative to the page) of further pictures, shown first.
    """
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.split(_PLACE_OF_CONTENT)
    content = {
        "title": title,
        "parts": part_legend(names),
        "pictures": [
            [each.name, each.script, each.link, *each.summary.values()] for each in pictures
        ],
        "settings": {key: _shown(value) for key, value in (settings or {}).items()},
        "failures": [list(failure) for failure in failures],
        "figures": [list(figure) for figure in figures],
    }
    yield before.encode()
    yield json.dumps(content).replace("<", "\\u003c").encode()
    yield after.encode()


def _thumbnail(image):
    picture = Image.fromarray(image)
    scale = min(1, _SIDE / max(picture.size))
    size = [max(1, round(side * scale)) for side in picture.size]
    return picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)


def _at_size(labels, size):
    """A label map at another size (width, height): the labels at the centres of its pixels."""
    columns, rows = (
        ((np.arange(length) + 0.5) * whole / length).astype(int)
        for length, whole in zip(size, labels.shape[::-1], strict=True)
    )
    return labels[rows[:, None], columns]


def _area_path(mask):
    """The pixels of a mask as a path of SVG: a rectangle for each run in each row."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8))
    rows, starts = np.nonzero(edges == 1)
    stops = np.nonzero(edges == -1)[1]
    runs = zip(starts.tolist(), rows.tolist(), (stops - starts).tolist(), strict=True)
    return "".join(f"M{x} {y}h{length}v1h-{length}z" for x, y, length in runs)


def _shown(value):
    return value if isinstance(value, str) else json.dumps(value)
