"""A page for the browser that shows photographs with the outlines of their masks.

It is the page of `keras_parts.results.page`, with a single part: the object.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from keras_parts.files import atomic_write
from keras_parts.results.overlay import draw_overlay
from keras_parts.results.page import FOLDER, PAGE_FILE, PagePicture, page_html, picture_file
from keras_parts.results.thumbnails import labels_at_size, thumbnail

_CERTAINTY = (
    '"Certain to 80 %" is the confidence of the method in its own mask; masks of yours have 100 %. '
    "If a mask is wrong, paint the object white on black in the mask's file, which has the name of "
    "the photograph. The next `data masks` keeps your mask."
)


class PageMask(NamedTuple):
    """A photograph on the page.

    Attributes:
        name: shown below the picture.
        image: `(height, width, 3)` uint8 RGB.
        mask: `(height, width)` bool.
        confidence: 0 to 1; None for a mask of the user.
        link: address of the photograph, relative to the page and quoted; "" for none.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    confidence: float | None
    link: str = ""


def write_mask_page(
    folder: Path,
    pictures: Iterable[PageMask],
    *,
    title: str,
    total: int = 0,
    failures: Iterable[tuple[str, str]] = (),
) -> Path:
    """Write the page.

    Args:
        folder: gets `index.html` and the folder `page/`, each file atomically.
        pictures: the photographs; the page shows the least certain ones first.
        title: of the page.
        total: number of masks of which these are a part; 0 if they are all.
        failures: (photograph, reason) of those without a mask.

    Returns:
        The path of `index.html`.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from keras_parts.results.mask_page import PageMask, write_mask_page
        >>> grey, mask = np.full((30, 40, 3), 99, np.uint8), np.zeros((30, 40), bool)
        >>> mask[5:20, 9:30] = True
        >>> write_mask_page(Path("."), [PageMask("a.jpg", grey, mask, 0.8)], title="Masks").name
        'index.html'
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    listed = []
    for number, each in enumerate(pictures, start=1):
        script = f"{FOLDER}/{number}.js"
        with atomic_write(folder / script) as file:
            file.write(_script(each))
        listed.append(PagePicture(each.name, script, _summary(each), each.link))
    page = folder / PAGE_FILE
    with atomic_write(page) as file:
        file.writelines(
            page_html(
                title, ["object"], listed, failures=failures, total=total, certainty=_CERTAINTY
            )
        )
    return page


def _script(picture: PageMask) -> bytes:
    small = thumbnail(picture.image)
    labels = labels_at_size(picture.mask.astype(np.uint8), small.size)
    no_colours = Image.new("RGB", small.size)
    outlined = draw_overlay(np.asarray(small), labels, no_colours, alpha=0, outlined=[labels])
    return picture_file(outlined, labels)


def _summary(picture: PageMask) -> dict[str, object]:
    share = float(picture.mask.mean())
    confidence = 1.0 if picture.confidence is None else picture.confidence
    return {
        "score": round(confidence, 3) if share else None,
        "objects": int(share > 0),
        "shares": {"1": round(100 * share, 1)} if share else {},
    }
