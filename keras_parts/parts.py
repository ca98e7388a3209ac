"""Parts: what segmenting one image gives, and the pictures made of it."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from keras_parts.errors import ConfigError
from keras_parts.images import atomic_write
from keras_parts.palette import LARGEST, part_palette

_LINE = (255, 255, 255)
_JPEG = {"quality": 92, "subsampling": 0}
_OPTIONS = {".jpg": _JPEG, ".jpeg": _JPEG, ".webp": {"quality": 90}}


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one image, at the image's own resolution.

    A pixel belongs to the object where the probabilities of all parts together exceed the
    background's, and there to the most probable part. Points are x and y in pixels, (0, 0)
    being the centre of the top-left pixel.

    Args:
        logits: `(height, width, 1 + parts)` float32; channel 0 is the background.
        image: `(height, width, 3)` uint8 RGB, the image in its displayed orientation.
        names: one a part; `numbered_names(parts)` when empty.
        palette: `(parts, 3)` uint8 RGB; `part_palette(parts)` when None.

    Raises:
        ConfigError: shapes or types that do not fit together.
    """

    logits: np.ndarray
    image: np.ndarray
    names: tuple[str, ...] = ()
    palette: np.ndarray | None = None

    def __post_init__(self):
        if self.logits.ndim != 3 or not 2 <= self.logits.shape[-1] <= LARGEST + 1:
            raise ConfigError(
                f"logits has shape {self.logits.shape}, "
                f"expected (height, width, 1 + parts) with 1 to {LARGEST} parts"
            )
        height, width, channels = self.logits.shape
        if self.image.shape != (height, width, 3) or self.image.dtype != np.uint8:
            raise ConfigError(
                f"image is {self.image.dtype} of shape {self.image.shape}, "
                f"expected uint8 of shape {(height, width, 3)}, like the logits"
            )
        parts = channels - 1
        names = tuple(self.names) or numbered_names(parts)
        palette = part_palette(parts) if self.palette is None else np.asarray(self.palette)
        if len(names) != parts:
            raise ConfigError(f"{len(names)} names for {parts} parts: {', '.join(names)}")
        if palette.shape != (parts, 3) or palette.dtype != np.uint8:
            raise ConfigError(
                f"palette is {palette.dtype} of shape {palette.shape}, "
                f"expected uint8 of shape {(parts, 3)}"
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "palette", palette)

    @property
    def size(self):
        """(width, height) in pixels."""
        return self.logits.shape[1], self.logits.shape[0]

    @cached_property
    def probabilities(self):
        """`(height, width, 1 + parts)` float32, softmax over background and parts."""
        odds = self.logits.astype(np.float32)
        odds -= odds.max(axis=-1, keepdims=True)
        np.exp(odds, out=odds)
        odds /= odds.sum(axis=-1, keepdims=True)
        return odds

    @cached_property
    def foreground(self):
        """`(height, width)` bool: the parts together are more probable than the background."""
        background, parts = self.logits[..., 0], self.logits[..., 1:]
        largest = parts.max(axis=-1)
        return background - largest < np.log(np.exp(parts - largest[..., None]).sum(axis=-1))

    @cached_property
    def labels(self):
        """`(height, width)` uint8: 0 is the background, part k is k."""
        best = self.logits[..., 1:].argmax(axis=-1).astype(np.uint8) + np.uint8(1)
        return np.where(self.foreground, best, np.uint8(0))

    @cached_property
    def areas(self):
        """`(parts,)` int64: pixels labelled with each part."""
        return np.bincount(self.labels.ravel(), minlength=len(self.names) + 1)[1:]

    @cached_property
    def centroids(self):
        """`(parts, 2)` float32: mean x and y of the pixels of each part, NaN when it has none."""
        along = [self._label_counts(axis) @ np.arange(self.size[axis]) for axis in (0, 1)]
        with np.errstate(invalid="ignore"):
            return (np.stack(along, axis=-1) / self.areas[:, None]).astype(np.float32)

    @cached_property
    def boxes(self):
        """`(parts, 4)` float32: the sides x0, y0, x1, y1 of the box around the pixels of each
        part, half a pixel outside the outermost centres; NaN when it has none."""
        occupied = [self._label_counts(axis) > 0 for axis in (0, 1)]
        first = [line.argmax(axis=1) - 0.5 for line in occupied]
        last = [line.shape[1] - line[:, ::-1].argmax(axis=1) - 0.5 for line in occupied]
        boxes = np.stack(first + last, axis=-1).astype(np.float32)
        return np.where(self.areas[:, None] > 0, boxes, np.float32(np.nan))

    def _label_counts(self, axis):
        """`(parts, positions)` int64: pixels of each part at every x (axis 0) or y (axis 1)."""
        positions, kinds = self.size[axis], len(self.names) + 1
        place = np.arange(positions) if axis == 0 else np.arange(positions)[:, None]
        cells = np.bincount((place * kinds + self.labels).ravel(), minlength=positions * kinds)
        return cells.reshape(positions, kinds).T[1:]

    def overlay(self, alpha=0.5, lines=True):
        """The image under translucent colours, one a part, with thin lines between them.

        Args:
            alpha: opacity of the colours, 0 (the image alone) to 1.
            lines: draw the contours of the parts.

        Returns:
            `PIL.Image`, mode RGB, of the image's size.

        Raises:
            ConfigError: `alpha` is outside 0 to 1.
        """
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}, expected 0 to 1")
        picture = Image.fromarray(self.image)
        opacity = Image.fromarray(self.foreground.astype(np.uint8) * round(255 * alpha))
        # Softened inwards only: outside, the colour to mix in is the background's black.
        opacity = ImageChops.darker(opacity, _soft(opacity, 0.6))
        picture.paste(self.indexed().convert("RGB"), mask=opacity)
        if lines:
            # About one pixel in 512, so that a line looks the same at any resolution.
            width = max(1.0, math.sqrt(self.labels.size) / 512)
            picture.paste(_LINE, mask=_contours(self.labels, width))
        return picture

    def indexed(self):
        """The labels as a `PIL.Image`, mode P: index 0 is black, index k has part k's colour."""
        picture = Image.fromarray(self.labels)
        picture.putpalette([0, 0, 0, *self.palette.ravel().tolist()])
        return picture

    def save_indexed(self, path):
        """Write `indexed()` to `path` (PNG), whole or not at all."""
        save_picture(self.indexed(), path)

    def save_overlay(self, path, alpha=0.5, lines=True):
        """Write `overlay(alpha, lines)` to `path` (its suffix is the format), whole or not."""
        save_picture(self.overlay(alpha, lines), path)


def numbered_names(parts):
    """("part 1", "part 2", ...): what parts are called until somebody names them."""
    return tuple(f"part {part}" for part in range(1, parts + 1))


def save_picture(picture, path):
    """Write a `PIL.Image` whole or not at all; the suffix of `path` is the format."""
    path = Path(path)
    suffix = path.suffix.lower()
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise ConfigError(f"{path}: cannot write pictures of type {suffix or '(none)'}; use .png")
    with atomic_write(path) as file:
        picture.save(file, format=kind, **_OPTIONS.get(suffix, {}))


def _soft(mask, radius):
    return mask.filter(ImageFilter.GaussianBlur(radius))


def _contours(labels, width):
    """Mode L mask of soft lines, about `width` pixels wide, wherever the label changes."""
    line = np.zeros(labels.shape, bool)
    line[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    line[:-1] |= labels[:-1] != labels[1:]
    sigma = width / 2
    # A blurred line of one pixel is 1 / (sigma sqrt(2 pi)) high: raised back to full strength.
    gain = max(1.0, 2.0 * sigma)
    return _soft(Image.fromarray(line.astype(np.uint8) * 255), sigma).point(
        lambda value: min(255, round(value * gain))
    )


def contact_sheet(images, columns=4, captions=(), cell=256):
    """One picture of many, row by row, on white, each fitted into a square and captioned below.

    Args:
        images: `PIL.Image`s or `(height, width, 3)` uint8 arrays.
        columns: pictures a row.
        captions: a line of text for each image, or fewer.
        cell: side of the square that an image is fitted into, in pixels.

    Returns:
        `PIL.Image`, mode RGB.

    Raises:
        ConfigError: no images, or fewer than one column.
    """
    if not images or columns < 1:
        raise ConfigError(f"{len(images)} images in {columns} columns make no picture")
    tiles = [_fitted(image, cell) for image in images]
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(tile.height for tile in row) for row in rows]
    font = ImageFont.load_default(max(10, cell // 16))
    gap = max(2, cell // 32)
    line = font.size + gap if captions else 0
    sheet = Image.new(
        "RGB",
        (len(rows[0]) * (cell + gap) + gap, sum(heights) + len(rows) * (gap + line) + gap),
        "white",
    )
    draw = ImageDraw.Draw(sheet)
    texts = iter(captions)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            middle = gap + column * (cell + gap) + cell // 2
            place = (middle - tile.width // 2, top + (height - tile.height) // 2)
            sheet.paste(tile, place)
            text = _shortened(next(texts, ""), font, cell)
            draw.text((middle, top + height + gap // 2), text, "black", font, anchor="ma")
        top += height + line + gap
    return sheet


def _fitted(image, cell):
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image = image.convert("RGB")
    scale = cell / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    return image.resize(size, Image.Resampling.LANCZOS)


def _shortened(text, font, width):
    """One line that is not wider than `width` pixels, cut with an ellipsis if need be."""
    text = " ".join(str(text).split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
