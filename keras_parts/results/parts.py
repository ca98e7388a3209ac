"""`Parts`: the result of segmenting one image, with its pictures and annotations."""

import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.images.upsampling import UpsampledLogits
from keras_parts.results.annotations import (
    coco_annotations,
    cvat_masks,
    label_studio_regions,
    supervision_detections,
    table_rows,
)
from keras_parts.results.legend import with_legend
from keras_parts.results.notebook import html_summary, plot, shown_picture
from keras_parts.results.overlay import draw_overlay
from keras_parts.results.palette import MAX_PARTS, part_palette
from keras_parts.results.part import Part
from keras_parts.results.pictures import save_picture

_BAND = 2**15
"""Number of pixels that are labelled at a time: so few that their logits stay in the processor's
cache."""
_MAX_SHOWN = 4
"""Maximum number of parts that `repr` names."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one image, at the image's own resolution.

    `parts["head"]` and `parts[1]` give a part by its name or label; a loop gives all of them, with
    those that the image does not show. `len(parts)` is their number, and `numpy.asarray(parts)`
    their `labels`.

    A pixel belongs to the foreground if the sum of the parts' probabilities is greater than the
    background's, and then to the most probable part. Points are x and y in pixels; (0, 0) is the
    centre of the top-left pixel.

    Args:
        logits: `(height, width, 1 + parts)` float32; channel 0 is the background. An array, or an
            `UpsampledLogits`, which computes them from coarse logits when they are needed.
        image: `(height, width, 3)` uint8 RGB, upright; only needed for pictures that show it.
        names: a name for each part; by default `numbered_names(parts)`.
        palette: `(parts, 3)` uint8 RGB, a colour for each part; by default `part_palette(parts)`.
        descriptors: `(parts, channels)` float32, the mean of the network's features over each
            part; None if they were not requested.
        path: path or address of the image's file; None if there is none.

    Raises:
        ConfigError: the arguments' shapes, dtypes or numbers of parts do not match.

    Example:
        >>> import numpy as np
        >>> from keras_parts import Parts
        >>> logits = np.zeros((20, 30, 3), "float32")
        >>> logits[5:15, 5:15, 1] = logits[5:15, 15:25, 2] = 9
        >>> logits[..., 0] += 2
        >>> parts = Parts(logits, names=("head", "body"))
        >>> parts
        <Parts 30x20, K=2: head (100 pixels), body (100 pixels)>
        >>> parts.centroids.tolist()
        [[9.5, 9.5], [19.5, 9.5]]
        >>> parts["body"].area, len(parts), [part.name for part in parts]
        (100, 2, ['head', 'body'])
        >>> parts.table()[0]["name"]
        'head'
    """

    logits: np.ndarray | UpsampledLogits
    image: np.ndarray | None = None
    names: tuple[str, ...] = ()
    palette: np.ndarray = None  # type: ignore[assignment]  # filled in below
    descriptors: np.ndarray | None = None
    path: str | None = None

    def __post_init__(self):
        if self.logits.ndim != 3 or not 2 <= self.logits.shape[-1] <= MAX_PARTS + 1:
            raise ConfigError(
                f"logits has shape {self.logits.shape}, "
                f"expected (height, width, 1 + parts) with 1 to {MAX_PARTS} parts"
            )
        height, width, channels = self.logits.shape
        image = self.image
        if image is not None and (image.shape != (height, width, 3) or image.dtype != np.uint8):
            raise ConfigError(
                f"image is {image.dtype} of shape {image.shape}, "
                f"expected uint8 of shape {(height, width, 3)}, like the logits"
            )
        parts = channels - 1
        names = tuple(self.names) or numbered_names(parts)
        palette = part_palette(parts) if self.palette is None else np.asarray(self.palette)
        if len(names) != parts:
            raise ConfigError(
                f"{len(names)} names for {parts} parts, expected one for each: {', '.join(names)}"
            )
        if palette.shape != (parts, 3) or palette.dtype != np.uint8:
            raise ConfigError(
                f"palette is {palette.dtype} of shape {palette.shape}, "
                f"expected uint8 of shape {(parts, 3)}"
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "palette", palette)

    def __repr__(self) -> str:
        width, height = self.size
        present = self.present
        listed = [f"{self[label].name} ({self[label].area} pixels)" for label in present]
        shown = ", ".join(listed[:_MAX_SHOWN]) or "no foreground"
        more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
        return f"<{type(self).__name__} {width}x{height}, K={len(self)}: {shown}{more}>"

    def _repr_html_(self) -> str:
        return html_summary(self)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Part]:
        return (Part(self, label) for label in range(1, 1 + len(self)))

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __getitem__(self, part: int | str) -> Part:
        """A part by its label, from 1, or by its name.

        Raises:
            KeyError: no part has this name.
            IndexError: no part has this label.
        """
        if isinstance(part, str):
            if part not in self.names:
                raise KeyError(f"no part is called {part!r}; there are {', '.join(self.names)}")
            return Part(self, 1 + self.names.index(part))
        label = operator.index(part)
        if not 1 <= label <= len(self):
            raise IndexError(
                f"no part has the label {label}: labels are 1 to {len(self)}, and 0 is the "
                "background"
            )
        return Part(self, label)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.labels, dtype, copy=copy)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.logits.shape[1], self.logits.shape[0]

    @property
    def present(self) -> list[int]:
        """Labels of the parts that have pixels in the image, ascending: 1 is the first part."""
        return (np.flatnonzero(self.areas) + 1).tolist()

    @cached_property
    def probabilities(self) -> np.ndarray:
        """`(height, width, 1 + parts)` float32: softmax over background and parts."""
        return self._probabilities(np.float32)

    @cached_property
    def labels(self) -> np.ndarray:
        """`(height, width)` uint8: 0 is the background, k is part k."""
        labels = np.zeros(self.logits.shape[:2], np.uint8)
        for window, logits in self._bands():
            labels[window] = _labels(logits)
        return labels

    @property
    def foreground(self) -> np.ndarray:
        """`(height, width)` bool: whether the pixel belongs to a part."""
        return self.labels > 0

    @cached_property
    def scores(self) -> np.ndarray:
        """`(parts,)` float32: mean probability of each part over its pixels; NaN if it has none."""
        totals = np.zeros(len(self.names))
        for window, logits in self._bands():
            labels = self.labels[window]
            inside = labels > 0
            if inside.any():
                own, logits = labels[inside], logits[:, inside]
                odds = np.exp(logits - logits[own, np.arange(own.size)])
                totals += np.bincount(own, 1 / odds.sum(axis=0), len(totals) + 1)[1:]
        with np.errstate(invalid="ignore"):
            return (totals / self.areas).astype(np.float32)

    def _bands(self, *, all_columns: bool = False) -> Iterator[tuple[tuple[slice, slice], Any]]:
        """`((rows, columns), logits (1 + parts, rows, columns))` of bands from top to bottom.

        Columns that are known to be background are left out unless `all_columns`.
        """
        height, width, _ = self.logits.shape
        step = max(1, _BAND // width)
        for start in range(0, height, step):
            stop, left, right = min(start + step, height), 0, width
            if isinstance(self.logits, np.ndarray):
                logits = np.moveaxis(self.logits[start:stop], -1, 0).astype(np.float32, order="C")
            else:
                if not all_columns:
                    left, right = self.logits.object_columns(start, stop)
                if left == right:
                    continue
                logits = self.logits.rows(start, stop, left, right)
            yield (slice(start, stop), slice(left, right)), logits

    def _probabilities(self, dtype):
        probabilities = np.empty(self.logits.shape, dtype)
        for window, logits in self._bands(all_columns=True):
            odds = np.exp(logits - logits.max(axis=0))
            probabilities[window] = np.moveaxis(odds / odds.sum(axis=0), 0, -1)
        return probabilities

    @cached_property
    def areas(self) -> np.ndarray:
        """`(parts,)` int64: number of pixels of each part."""
        return np.bincount(self.labels.ravel(), minlength=len(self.names) + 1)[1:]

    @cached_property
    def centroids(self) -> np.ndarray:
        """`(parts, 2)` float32: mean x and y of each part's pixels; NaN if it has none."""
        sums = [self._label_counts(axis) @ np.arange(self.size[axis]) for axis in (0, 1)]
        with np.errstate(invalid="ignore"):
            return (np.stack(sums, axis=-1) / self.areas[:, None]).astype(np.float32)

    @cached_property
    def boxes(self) -> np.ndarray:
        """`(parts, 4)` float32: x0, y0, x1, y1 of the box around each part's pixels; NaN if it has
        none. The sides run along the edges of pixels, half a pixel from their centres."""
        occupied = [self._label_counts(axis) > 0 for axis in (0, 1)]
        first = [line.argmax(axis=1) - 0.5 for line in occupied]
        last = [line.shape[1] - line[:, ::-1].argmax(axis=1) - 0.5 for line in occupied]
        boxes = np.stack(first + last, axis=-1).astype(np.float32)
        return np.where(self.areas[:, None] > 0, boxes, np.float32(np.nan))

    def _label_counts(self, axis):
        """`(parts, side)` int64: pixels of each part at every x (axis 0) or y (axis 1)."""
        side, num_labels = self.size[axis], len(self.names) + 1
        coordinate = np.arange(side) if axis == 0 else np.arange(side)[:, None]
        index = (coordinate * num_labels + self.labels).ravel()
        counts = np.bincount(index, minlength=side * num_labels)
        return counts.reshape(side, num_labels).T[1:]

    def overlay(
        self, *, alpha: float = 0.5, lines: bool = True, legend: bool = True
    ) -> Image.Image:
        """The image under translucent colours, one per part, with contours and a legend.

        The legend is left out while the parts are only numbered ("part 1", "part 2", ...).

        Args:
            alpha: opacity of the colours, 0 (the image alone) to 1.
            lines: draw the contours of the parts.
            legend: draw the names of the parts in their colours.

        Returns:
            `PIL.Image`, mode RGB, of the image's size. A legend is added below the image, and a
            narrow image is extended on the right, so that the image's pixels keep their
            coordinates.

        Raises:
            ConfigError: `alpha` is outside 0 to 1, or there is no image.
        """
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}, expected 0 to 1")
        colours = self.indexed().convert("RGB")
        picture = draw_overlay(self._shown_image(), self.labels, colours, alpha=alpha, lines=lines)
        if legend and self.names != numbered_names(len(self.names)):
            picture = with_legend(picture, self.names, self.palette)
        return picture

    def plot(self, axes: Any = None, **options: Any) -> Any:
        """Draw the overlay with matplotlib; where there is no image, the labels in their colours.

        Args:
            axes: `matplotlib.axes.Axes`; the current ones if None.
            options: see `overlay`.

        Returns:
            The axes, on which pixels have the coordinates of `centroids`.
        """
        return plot(self, axes, **options)

    def show(self, **options: Any) -> None:
        """Show the overlay in a window, or below the cell of a notebook; options as of
        `overlay`."""
        shown_picture(self, **options).show()

    def indexed(self) -> Image.Image:
        """The labels as a `PIL.Image`, mode P: index 0 is black, index k has part k's colour."""
        picture = Image.fromarray(self.labels)
        picture.putpalette([0, 0, 0, *self.palette.ravel().tolist()])
        return picture

    def cutouts(self) -> dict[int, Image.Image]:
        """Each part cut out of the image.

        Returns:
            `{label: PIL.Image}` for the parts in the image, mode RGBA, of the size of the part's
            box; transparent outside the part.

        Raises:
            ConfigError: there is no image.
        """
        pictures = {}
        for label in self.present:
            left, top, right, bottom = (self.boxes[label - 1] + 0.5).astype(int)
            mask = (self.labels[top:bottom, left:right] == label).astype(np.uint8) * 255
            pixels = self._shown_image()[top:bottom, left:right]
            pictures[label] = Image.fromarray(np.dstack([pixels, mask]))
        return pictures

    def table(self) -> list[dict[str, Any]]:
        """One row for each part in the image.

        Returns:
            List of `{"part": label, "name": str, "x", "y": centroid in pixels, "area": pixels,
            "x0", "y0", "x1", "y1": box in pixels, "score": 0 to 1}`.
        """
        return table_rows(self)

    def to_dict(self) -> dict[str, Any]:
        """The parts as JSON values, without pixels.

        Returns:
            `{"path", "width", "height", "names", "parts": table()}`.
        """
        width, height = self.size
        return {
            "path": self.path,
            "width": width,
            "height": height,
            "names": list(self.names),
            "parts": self.table(),
        }

    def to_supervision(self) -> Any:
        """The parts in the image as `supervision.Detections`: masks, boxes, labels and scores.

        Boxes are in pixels from the image's top-left corner, half a pixel more than those of
        `Parts`. "class_name" in `data` has the names.

        Raises:
            ConfigError: supervision is not installed.
        """
        return supervision_detections(self)

    def coco(self) -> list[dict[str, Any]]:
        """Annotations in COCO's format, without ids.

        One annotation for each part in the image, with its label as category; then one for the
        whole object, of category `1 + parts`, with the parts' centroids as keypoints. Boxes are
        left, top, width and height. All coordinates are in pixels from the image's top-left corner,
        half a pixel more than those of `Parts`.

        Returns:
            List of dictionaries; empty if there is no object in the image.

        Raises:
            ConfigError: pycocotools is not installed.
        """
        return coco_annotations(self)

    def label_studio(self) -> list[dict[str, Any]]:
        """Brush labels as Label Studio imports them, one region for each part in the image.

        Returns:
            List of dictionaries, the "result" of a prediction.
        """
        return label_studio_regions(self)

    def cvat(self) -> list[dict[str, Any]]:
        """Masks in CVAT's XML format for images 1.1, one for each part in the image.

        Returns:
            List of `{attribute: value}` of `<mask>`, without the constant attributes.
        """
        return cvat_masks(self)

    def save_indexed(self, path: str | os.PathLike) -> None:
        """Write `indexed()` to `path` atomically, usually as PNG."""
        save_picture(self.indexed(), path)

    def save_overlay(self, path: str | os.PathLike, **options: Any) -> None:
        """Write `overlay(**options)` to `path` atomically, in the format that its suffix names."""
        save_picture(self.overlay(**options), path)

    def save_cutouts(self, folder: str | os.PathLike) -> None:
        """Write `cutouts()` as `folder/LABEL.png`, each file atomically."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for label, picture in self.cutouts().items():
            save_picture(picture, Path(folder, f"{label}.png"))

    def save_soft(self, path: str | os.PathLike) -> None:
        """Write `probabilities` as float16, and `names`, to `path` (npz) atomically."""
        with atomic_write(path) as file:
            self.write_soft(file)

    def write_soft(self, file: IO[bytes]) -> None:
        """Like `save_soft`, to a file that is open for writing bytes."""
        probabilities = self._probabilities(np.float16)
        np.savez_compressed(file, probabilities=probabilities, names=np.array(self.names))

    def _shown_image(self):
        if self.image is None:
            raise ConfigError(
                "these Parts have no image to draw on: create them with Parts(image=...)"
            )
        return self.image


def _labels(logits):
    """`(rows, width)` uint8 labels of logits `(1 + parts, rows, width)`."""
    background, best = logits[0], logits[1].copy()
    labels = np.ones(best.shape, np.uint8)
    for part, own in enumerate(logits[2:], start=2):
        # Labels ascend, so the maximum is the last part that exceeded all previous ones. This is
        # faster than an assignment with a mask.
        np.maximum(labels, (own > best) * np.uint8(part), out=labels)
        np.maximum(best, own, out=best)
    # The sum of the parts' odds is between 1 and `parts` times the odds of the best part. It is
    # computed only where the background's odds lie between these bounds.
    ahead = background - best
    unsure = np.flatnonzero((ahead >= 0) & (ahead < np.log(len(logits) - 1) + 1e-6))
    decided = labels.ravel() * (ahead.ravel() < 0)
    if unsure.size:
        odds = logits[1:].reshape(len(logits) - 1, -1)[:, unsure]
        together = np.log(np.exp(odds - odds.max(axis=0)).sum(axis=0))
        decided[unsure] = np.where(ahead.ravel()[unsure] < together, 1 + odds.argmax(axis=0), 0)
    return decided.reshape(labels.shape)


def numbered_names(num_parts: int) -> tuple[str, ...]:
    """("part 1", "part 2", ...): the default names of parts."""
    return tuple(f"part {part}" for part in range(1, num_parts + 1))
