"""Names of parts, written on them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from keras_parts.results.annotations import numbered_parts
from keras_parts.results.legend import MIN_FONT_SIZE, default_font, font_size, short_name

if TYPE_CHECKING:
    from keras_parts.results.part import Part
    from keras_parts.results.parts import Parts

_GRID = 64
"""Maximum side of the reduced mask in which the position of a name is searched."""
_STROKES_PER_SIZE = 10
"""Font size in multiples of the width of the dark line around letters."""
_MIN_SHARE = 0.7
"""Minimum share of a name's rectangle that lies on its part."""

_Box = tuple[float, float, float, float]


def write_names(picture: Image.Image, parts: "Parts") -> None:
    """Write the name of each part of each object where the part is widest, in one line or two.

    A name is left out where it would mostly lie on something else, or on another name. Larger
    parts come first.

    Args:
        picture: of the size of the image, mode RGB; it is changed.
        parts: of the image.
    """
    draw, taken = ImageDraw.Draw(picture), list[_Box]()
    found = sorted((part for _, part in numbered_parts(parts)), key=lambda part: -part.area)
    for part in found:
        for caption in _captions(part, [font_size(picture.size), MIN_FONT_SIZE]):
            box = caption.box(draw)
            if _lies_on(box, part) and not any(_overlap(box, other) for other in taken):
                caption.write(draw)
                taken.append(box)
                break


@dataclass(frozen=True)
class _Caption:
    """A text of one line or more, whose middle is at (x, y)."""

    text: str
    middle: tuple[float, float]
    size: int

    @property
    def _stroke(self) -> int:
        return max(1, self.size // _STROKES_PER_SIZE)

    def box(self, draw: ImageDraw.ImageDraw) -> _Box:
        font = default_font(self.size)
        return draw.textbbox(
            self.middle, self.text, font, anchor="mm", align="center", stroke_width=self._stroke
        )

    def write(self, draw: ImageDraw.ImageDraw) -> None:
        draw.text(
            self.middle,
            self.text,
            "white",
            default_font(self.size),
            anchor="mm",
            align="center",
            stroke_width=self._stroke,
            stroke_fill="black",
        )


def _captions(part: "Part", sizes: Sequence[int]) -> Iterator[_Caption]:
    """The part's name in each font size, in one line and in two, the preferred one first."""
    middle = _widest_place(part)
    if middle is None:
        return
    for size in dict.fromkeys(sizes):
        name = short_name(part.name, default_font(size), size)
        for text in dict.fromkeys([name, _in_two_lines(name)]):
            yield _Caption(text, middle, size)


def _in_two_lines(name: str) -> str:
    """A name, broken at the space that is nearest to its middle."""
    spaces = [index for index, letter in enumerate(name) if letter == " "]
    if not spaces:
        return name
    middle = min(spaces, key=lambda index: abs(2 * index + 1 - len(name)))
    return f"{name[:middle]}\n{name[middle + 1 :]}"


def _widest_place(part: "Part") -> tuple[float, float] | None:
    """x and y of the pixel that is farthest from the part's border; None for a part so thin that
    the reduced mask misses it."""
    rows, columns = part.window
    mask = part.parts.labels[part.window] == part.label
    step = -(-max(mask.shape) // _GRID)
    inside = np.pad(mask[::step, ::step], 1)
    depth = np.zeros(inside.shape, np.uint8)  # at most _GRID / 2
    while inside.any():
        depth += inside
        beside = inside[:-2, 1:-1] & inside[2:, 1:-1]
        beside &= inside[1:-1, :-2] & inside[1:-1, 2:]
        inside[1:-1, 1:-1] &= beside
    if not depth.any():
        return None
    deepest = np.argwhere(depth == depth.max())
    nearest = np.square(deepest - deepest.mean(axis=0)).sum(axis=1).argmin()
    y, x = (deepest[nearest] - 1) * step + step // 2
    return float(columns.start + x), float(rows.start + y)


def _lies_on(box: _Box, part: "Part") -> bool:
    """Whether a text lies inside the image, and mostly on the part."""
    left, top, right, bottom = map(round, box)
    width, height = part.parts.size
    if min(left, top) < 0 or right > width or bottom > height or left == right:
        return False
    own = part.parts.labels[top:bottom, left:right] == part.label
    return bool(own.mean() >= _MIN_SHARE)


def _overlap(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
