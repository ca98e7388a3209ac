"""How `Parts` looks in a notebook, and on the axes of matplotlib."""

import base64
import html
import logging
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from PIL import Image

from keras_parts.environment import has_display
from keras_parts.extras import import_from_extra
from keras_parts.results.annotations import numbered_parts
from keras_parts.results.part import Part
from keras_parts.results.pictures import picture_bytes

if TYPE_CHECKING:
    from keras_parts.results.parts import Parts

_LOG = logging.getLogger(__name__)
_MAX_SIDE = 480
"""Maximum side in pixels of the picture in a notebook, which stores every picture that it shows."""
_MAX_ROWS = 16
"""Maximum number of parts in the table beside the picture."""


def html_summary(parts: "Parts") -> str:
    """A small picture of the parts, and a table of them, as HTML without scripts or links."""
    picture = shown_picture(parts, legend=False).convert("RGB")
    picture.thumbnail((_MAX_SIDE, _MAX_SIDE))
    content = base64.b64encode(picture_bytes(picture, ".jpg")).decode("ascii")
    found = list(numbered_parts(parts))
    count = len(parts.objects)
    rows = [_row(part, number if count > 1 else None) for number, part in found[:_MAX_ROWS]]
    left_out = len(found) - len(rows)
    note = f"<p>and {left_out} more</p>" if left_out else ""
    width, height = parts.size
    caption = f"{width} x {height} pixels, {len(parts.present)} of {len(parts)} parts"
    caption += f", {count} objects" if count > 1 else ""
    head = "<th>object</th>" if count > 1 else ""
    return (
        f'<div style="display:flex;gap:1em"><img alt="parts of the image" '
        f'src="data:image/jpeg;base64,{content}"/><div><table><caption>{caption}</caption>'
        f"<tr>{head}<th></th><th>part</th><th>pixels</th><th>score</th></tr>"
        f"{''.join(rows)}</table>{note}</div></div>"
    )


def _row(part: Part, number: int | None) -> str:
    colour = "rgb({},{},{})".format(*part.parts.palette[part.label - 1].tolist())
    return (
        f"<tr>{'' if number is None else f'<td>{number}</td>'}"
        f'<td style="background:{colour}">&emsp;</td><td>{html.escape(part.name)}</td>'
        f"<td>{part.area}</td><td>{part.score:.2f}</td></tr>"
    )


def shown_picture(parts: "Parts", **options: Any) -> Image.Image:
    """The overlay, or the labels in their colours where there is no image to draw on."""
    return parts.indexed().convert("RGB") if parts.image is None else parts.overlay(**options)


def show_picture(picture: Image.Image) -> None:
    """Show a picture in a notebook or a window, or else write it to a file that a warning names."""
    in_notebook = "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None
    if in_notebook or has_display():
        picture.show()
        return
    with tempfile.NamedTemporaryFile(suffix=".png", delete=False) as file:
        picture.save(file, "PNG")
    _LOG.warning("There is no display: the picture was written to %s", file.name)


def plot(parts: "Parts", axes: Any, **options: Any) -> Any:
    """See `Parts.plot`."""
    if axes is None:
        axes = import_from_extra("matplotlib.pyplot", "train").gca()
    axes.imshow(shown_picture(parts, **options))
    axes.set_axis_off()
    return axes
