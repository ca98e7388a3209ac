"""A page for the browser: pictures whose parts light up under the pointer or in the legend.

index.html        the page; it opens from the disk, and needs nothing but the files beside it
page/NAME.js      for each picture: its thumbnail and the parts in it

The page lists all pictures, shows 60 at a time, and loads the files of these alone: it is fast with
10,000 pictures. A page on the disk may load scripts, but may read neither data files nor the pixels
of pictures. So the files are scripts, which give the parts as outlines.
"""

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError, DataError
from keras_parts.files import atomic_write, path_inside, read_file
from keras_parts.images.decoding import decode_image
from keras_parts.results.palette import part_legend
from keras_parts.results.parts import Parts
from keras_parts.results.thumbnails import content_of, data_address, labels_at_size, thumbnail

PAGE_FILE, FOLDER = "index.html", "page"
"""The page, and the folder of the pictures' files beside it."""
_SUMMARY = ("score", "objects", "shares")
_PLACE_OF_CONTENT = "CONTENT"
"""In the template, where the page's content goes."""
_CONTENT = re.compile(r'<script type="application/json" id="content">(.*?)</script>', re.DOTALL)
_MAX_PAGE_BYTES = 2**28


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
    picture = thumbnail(parts.image)
    return picture_file(picture, labels_at_size(parts.labels, picture.size))


def picture_file(picture: Image.Image, labels: np.ndarray) -> bytes:
    """The content of a picture's file.

    Args:
        picture: the thumbnail.
        labels: `(height, width)` uint8, of the thumbnail's size; 0 is the background.
    """
    content = {
        "width": picture.width,
        "height": picture.height,
        "image": data_address(picture),
        "parts": _area_paths(labels),
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
    model: str = "",
    total: int = 0,
    certainty: str = "",
) -> Iterator[bytes]:
    """The page, in pieces.

    Args:
        title: of the page.
        names: of the parts.
        pictures: in the order of their names.
        settings: shown at the end; JSON values.
        failures: (path, reason) of images without results.
        figures: (caption, quoted address relative to the page) of further pictures, shown below.
        model: as `keras-parts name` takes it; the page then has fields for names, and shows the
            command that stores them.
        total: number of pictures of which these are a part; 0 if they are all.
        certainty: what the certainty of a picture means; "" for the probability of its parts.
    """
    content = {
        "title": title,
        "model": model,
        "total": total,
        "certainty": certainty,
        "parts": part_legend(names),
        "pictures": [
            [each.name, each.script, each.link, *(each.summary[key] for key in _SUMMARY)]
            for each in pictures
        ],
        "settings": {key: shown_setting(value) for key, value in (settings or {}).items()},
        "failures": [list(failure) for failure in failures],
        "figures": [list(figure) for figure in figures],
    }
    yield from _html(content)


def _html(content: Mapping[str, Any]) -> Iterator[bytes]:
    template = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    before, after = template.split(_PLACE_OF_CONTENT)
    yield before.encode()
    yield json.dumps(content).replace("<", "\\u003c").encode()
    yield after.encode()


def read_page(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The content of the page in a folder, as JSON values; None if there is no such page.

    Its "pictures" are lists of name, address of the file, link, score, number of objects, shares.

    Raises:
        DataError: the file is too large.
    """
    path = Path(folder, PAGE_FILE)
    if not path.is_file():
        return None
    found = _CONTENT.search(read_file(path, max_bytes=_MAX_PAGE_BYTES).decode(errors="replace"))
    try:
        content = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    return content if {list} == {type(content.get(key)) for key in ("parts", "pictures")} else None


def rename_page(folder: str | os.PathLike, names: Sequence[str], *, model: str = "") -> bool:
    """Write other names of the parts, and the model, into the page in a folder.

    Args:
        folder: of the page.
        names: of the parts.
        model: see `page_html`.

    Returns:
        Whether there is such a page, with as many parts.
    """
    content = read_page(folder)
    if content is None or len(content["parts"]) != len(names):
        return False
    with atomic_write(Path(folder, PAGE_FILE)) as file:
        file.writelines(_html({**content, "parts": part_legend(names), "model": model}))
    return True


def page_images(folder: str | os.PathLike) -> dict[str, np.ndarray]:
    """The thumbnails on the page in a folder: name -> `(height, width, 3)` uint8 RGB.

    Pictures without a file, or with a damaged one, are left out.
    """
    root = Path(os.path.realpath(folder))
    images = {}
    for name, script, *_ in (read_page(folder) or {"pictures": []})["pictures"]:
        with suppress(DataError, OSError, ValueError, KeyError, TypeError, RecursionError):
            file = read_file(path_inside(root, unquote(script)), max_bytes=_MAX_PAGE_BYTES)
            found = json.loads(file.strip().removeprefix(b"picture(").removesuffix(b")"))
            images[name] = decode_image(content_of(found["image"]), script).image
    return images


def write_page(
    folder: str | os.PathLike,
    pictures: Mapping[str, Parts],
    *,
    title: str = "Parts",
    settings: Mapping[str, Any] | None = None,
    figures: Iterable[tuple[str, str]] = (),
    model: str = "",
    total: int = 0,
) -> Path:
    """Write a page for the browser, on which the parts of all pictures light up.

    Args:
        folder: gets `index.html` and the folder `page/`, each file atomically.
        pictures: name to `Parts`, with their images, of one segmenter; at least one.
        title: of the page.
        settings: shown at the end of the page; JSON values.
        figures: (caption, path relative to `folder`) of further pictures, shown below.
        model: folder of a run or a segmenter, or a name of the zoo: the page then has a field for
            the name of each part, and shows the command that stores the names.
        total: number of pictures of which these are a part; 0 if they are all.

    Returns:
        The path of `index.html`.

    Raises:
        ConfigError: there are no pictures, or `Parts` without an image.

    Example:
        >>> from keras_parts import data, zoo
        >>> from keras_parts.results import write_page
        >>> samples = data.load("toy", "test", count=2)
        >>> segmenter = zoo.load("toy")
        >>> parts = {sample.id: segmenter.segment(sample.image) for sample in samples}
        >>> write_page("animals", parts).name
        'index.html'
    """
    if not pictures:
        raise ConfigError("there are no pictures for a page, expected at least one")
    listed = []
    for number, (name, parts) in enumerate(pictures.items(), start=1):
        script = f"{FOLDER}/{number}.js"
        path = Path(folder, script)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(picture_script(parts))
        listed.append(PagePicture(name, script, picture_summary(parts)))
    names = next(iter(pictures.values())).names
    quoted = [(caption, quote(path)) for caption, path in figures]
    page = Path(folder, PAGE_FILE)
    with atomic_write(page) as file:
        file.writelines(
            page_html(
                title, names, listed, settings=settings, figures=quoted, model=model, total=total
            )
        )
    return page


def _area_paths(labels: np.ndarray) -> dict[int, str]:
    """The pixels of each label as a path of SVG: a rectangle for each run in each row."""
    bounds = np.diff(labels, axis=1, prepend=0) != 0
    bounds[:, 0] = True
    starts = np.flatnonzero(bounds)
    lengths = np.diff(starts, append=labels.size)
    labels_of_runs = labels.ravel()[starts]
    kept = labels_of_runs > 0
    rows, columns = np.divmod(starts[kept], labels.shape[1])
    paths: dict[int, list[str]] = {label: [] for label in np.unique(labels_of_runs[kept]).tolist()}
    runs = zip(
        *(each.tolist() for each in (labels_of_runs[kept], columns, rows, lengths[kept])),
        strict=True,
    )
    for label, x, y, length in runs:
        paths[label].append(f"M{x} {y}h{length}v1h-{length}z")
    return {label: "".join(path) for label, path in paths.items()}


def shown_setting(value: Any) -> str:
    """A value as the table of settings has it."""
    return value if isinstance(value, str) else json.dumps(value)
