"""`Parts`: the result of segmenting one image, with its pictures and annotations."""

import math
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.images.labelling import pixel_labels
from keras_parts.images.upsampling import UpsampledLogits
from keras_parts.results.annotations import (
    coco_annotations,
    cvat_masks,
    label_studio_regions,
    object_rows,
    supervision_detections,
    table_rows,
)
from keras_parts.results.captions import write_names
from keras_parts.results.cutouts import cutouts, named_cutouts
from keras_parts.results.legend import with_legend
from keras_parts.results.notebook import html_summary, plot, show_picture, shown_picture
from keras_parts.results.objects import ObjectMap
from keras_parts.results.overlay import draw_overlay
from keras_parts.results.palette import MAX_PARTS, part_palette
from keras_parts.results.part import Part
from keras_parts.results.part_labels import part_label
from keras_parts.results.pictures import save_picture
from keras_parts.results.regions import Regions, box_window, measure, window_of

_BAND = 2**15
"""Number of pixels whose logits are computed at a time: so few that they stay in the processor's
cache."""
_LABEL_BAND = 2**17
"""Number of pixels that are labelled at a time, most of them without their logits."""
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

    All of this holds for the objects in the image together. `objects` gives each of them as
    `Parts` of its own.

    Args:
        logits: `(height, width, 1 + parts)` float32; channel 0 is the background. An array, or an
            `UpsampledLogits`, which computes them from coarse logits when they are needed.
        image: `(height, width, 3)` uint8 RGB, upright; only needed for pictures that show it.
        names: a name for each part; by default `numbered_names(parts)`.
        palette: `(parts, 3)` uint8 RGB, a colour for each part; by default `part_palette(parts)`.
        descriptors: `(parts, channels)` float32, the mean of the network's features over each
            part; None if they were not requested.
        path: path or address of the image's file; None if there is none.
        object_map: the object that owns each pixel; None if all the foreground is one object.

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
    object_map: ObjectMap | None = None

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
        if self.object_map is not None and self.object_map.owners.shape != (height, width):
            raise ConfigError(
                f"owners of object_map has shape {self.object_map.owners.shape}, "
                f"expected {(height, width)}, like the logits"
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "palette", palette)

    def __repr__(self) -> str:
        width, height = self.size
        present = self.present
        listed = [f"{self[label].name} ({self[label].area} pixels)" for label in present]
        shown = ", ".join(listed[:_MAX_SHOWN]) or "no foreground"
        more = f" and {len(listed) - _MAX_SHOWN} more" if len(listed) > _MAX_SHOWN else ""
        count = len(self.objects)
        objects = f", {count} objects" if count > 1 else ""
        return f"<{type(self).__name__} {width}x{height}, K={len(self)}{objects}: {shown}{more}>"

    def _repr_html_(self) -> str:
        return html_summary(self)

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Part]:
        return (Part(self, label) for label in range(1, 1 + len(self)))

    def __contains__(self, name: object) -> bool:
        """Whether one part is called so, see `__getitem__`."""
        try:
            return isinstance(name, str | int) and part_label(name, self.names) > 0
        except ConfigError:
            return False

    def __getitem__(self, part: int | str) -> Part:
        """A part by its label, from 1, or by its name, or by a word that only one name contains.

        Raises:
            KeyError: no part is called so, or several are.
            IndexError: no part has this label.
        """
        if isinstance(part, str):
            try:
                return Part(self, part_label(part, self.names))
            except ConfigError as error:
                raise KeyError(str(error)) from None
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
    def _maps(self) -> tuple[np.ndarray, np.ndarray | None]:
        """`labels`, and the owner of each foreground pixel if there is an object map."""
        height, width = self.logits.shape[:2]
        labels = np.zeros((height, width), np.uint8)
        owners = None if self.object_map is None else np.zeros_like(labels)
        band = _BAND if isinstance(self.logits, np.ndarray) else _LABEL_BAND
        step = max(1, band // width)
        for start in range(0, height, step):
            window = slice(start, min(start + step, height)), slice(0, width)
            labels[window] = self._band_labels(*window)
            if self.object_map is not None and owners is not None and labels[window].any():
                found = self.object_map.within(window)
                labels[window] *= found > 0
                owners[window] = found * (labels[window] > 0)
        return labels, owners

    def _band_labels(self, rows: slice, columns: slice) -> np.ndarray:
        if isinstance(self.logits, UpsampledLogits):
            return self.logits.labels(rows.start, rows.stop)
        return pixel_labels(np.moveaxis(self.logits[rows, columns], -1, 0).astype(np.float32))

    @property
    def labels(self) -> np.ndarray:
        """`(height, width)` uint8: 0 is the background, k is part k."""
        return self._maps[0]

    @property
    def object_labels(self) -> np.ndarray:
        """`(height, width)` uint8: 0 is the background, n is object n, as in `objects`."""
        if self.object_map is None:
            return self.foreground.astype(np.uint8)
        return self._numbered_objects[0]

    @property
    def objects(self) -> tuple["Parts", ...]:
        """The objects in the image, the largest first; empty if there is no foreground.

        Each is a `Parts` at the whole image's size, in whose labels there is no other object.
        `parts.objects[0].box` is the box of the largest one, and
        `parts.objects[0]["head"].centroid` the centre of its head. Logits and probabilities are
        those of the whole image.
        """
        if self.object_map is None:
            return (self,) if self.area else ()
        return self._separate_objects

    @cached_property
    def _numbered_objects(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`object_labels`, the boxes of the objects and their indices in `object_map`."""
        assert self.object_map is not None
        owners = self._maps[1]
        assert owners is not None
        found = measure(owners, self.object_map.count, self.window)
        order = np.argsort(-found.areas, kind="stable")
        order = order[found.areas[order] > 0]
        numbers = np.zeros(1 + self.object_map.count, np.uint8)
        numbers[1 + order] = np.arange(1, 1 + order.size)
        return numbers[owners], found.boxes[order], order

    @cached_property
    def _separate_objects(self) -> tuple["Parts", ...]:
        assert self.object_map is not None
        numbers, boxes, indices = self._numbered_objects
        all_descriptors = self.object_map.descriptors
        objects = []
        for number, (box, index) in enumerate(zip(boxes, indices, strict=True), start=1):
            window = box_window(box)
            # Memory is taken for the window alone, unlike by `zeros_like`.
            labels = np.zeros(self.labels.shape, np.uint8)
            labels[window] = self.labels[window] * (numbers[window] == number)
            descriptors = None if all_descriptors is None else all_descriptors[index]
            one = replace(self, descriptors=descriptors, object_map=None)
            vars(one).update(_maps=(labels, None), window=window)  # known: not computed again
            objects.append(one)
        return tuple(objects)

    @property
    def foreground(self) -> np.ndarray:
        """`(height, width)` bool: whether the pixel belongs to a part."""
        return self.labels > 0

    @cached_property
    def scores(self) -> np.ndarray:
        """`(parts,)` float32: mean probability of each part over its pixels; NaN if it has none."""
        totals = np.zeros(len(self.names))
        for window, logits in self._bands(self.window):
            labels = self.labels[window].ravel()
            inside = np.flatnonzero(labels)
            if inside.size:
                own, logits = labels[inside], logits.reshape(len(logits), -1).take(inside, 1)
                odds = np.exp(logits - logits[own, np.arange(own.size)])
                totals += np.bincount(own, 1 / odds.sum(axis=0), len(totals) + 1)[1:]
        with np.errstate(invalid="ignore"):
            return (totals / self.areas).astype(np.float32)

    def _bands(
        self, within: tuple[slice, slice] | None = None
    ) -> Iterator[tuple[tuple[slice, slice], Any]]:
        """`((rows, columns), logits (1 + parts, rows, columns))` of bands from top to bottom.

        Args:
            within: rows and columns of a window, None for the whole image.
        """
        height, width, _ = self.logits.shape
        rows, columns = within or (slice(0, height), slice(0, width))
        step = max(1, _BAND // width)
        for start in range(rows.start, rows.stop, step):
            stop, left, right = min(start + step, rows.stop), columns.start, columns.stop
            if isinstance(self.logits, np.ndarray):
                band = self.logits[start:stop, left:right]
                logits = np.moveaxis(band, -1, 0).astype(np.float32, order="C")
            else:
                logits = self.logits.rows(start, stop, left, right)
            yield (slice(start, stop), slice(left, right)), logits

    def _probabilities(self, dtype):
        probabilities = np.empty(self.logits.shape, dtype)
        for window, logits in self._bands():
            odds = np.exp(logits - logits.max(axis=0))
            probabilities[window] = np.moveaxis(odds / odds.sum(axis=0), 0, -1)
        return probabilities

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the box around the foreground, such as for
        `parts.image[parts.window]`; empty slices if there is none."""
        return window_of(self.labels)

    @cached_property
    def _regions(self) -> Regions:
        return measure(self.labels, len(self), self.window)

    @property
    def areas(self) -> np.ndarray:
        """`(parts,)` int64: number of pixels of each part."""
        return self._regions.areas

    @property
    def centroids(self) -> np.ndarray:
        """`(parts, 2)` float32: mean x and y of each part's pixels; NaN if it has none."""
        return self._regions.centroids

    @property
    def boxes(self) -> np.ndarray:
        """`(parts, 4)` float32: x0, y0, x1, y1 of the box around each part's pixels; NaN if it has
        none. The sides run along the edges of pixels, half a pixel from their centres."""
        return self._regions.boxes

    @property
    def area(self) -> int:
        """Number of foreground pixels."""
        return int(self.areas.sum())

    @property
    def box(self) -> np.ndarray:
        """`(4,)` float32: x0, y0, x1, y1 of the box around the foreground; NaN if there is none."""
        if not self.area:
            return np.full(4, np.nan, np.float32)
        rows, columns = self.window
        sides = [columns.start, rows.start, columns.stop, rows.stop]
        return np.array(sides, np.float32) - np.float32(0.5)

    @property
    def score(self) -> float:
        """Mean probability of the parts over their pixels; NaN if there is no foreground."""
        present = self.areas > 0
        if not present.any():
            return math.nan
        share = self.areas / self.areas.sum()
        return float((share[present] * self.scores[present]).sum())

    def overlay(
        self, *, alpha: float = 0.5, lines: bool = True, names: bool = True, legend: bool = True
    ) -> Image.Image:
        """The image under translucent colours, one per part, with contours, names and a legend.

        Names and legend are left out while the parts are only numbered ("part 1", "part 2", ...).

        Args:
            alpha: opacity of the colours, 0 (the image alone) to 1.
            lines: draw the contours of the parts and objects.
            names: write the names of the parts on those that are large enough.
            legend: draw the names of the parts in the image beside their colours, from top to
                bottom.

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
        outlined = [self.labels] if lines else []
        if lines and len(self.objects) > 1:
            outlined.append(self.object_labels)
        picture = draw_overlay(
            self._shown_image(), self.labels, colours, alpha=alpha, outlined=outlined
        )
        if self.names == numbered_names(len(self.names)):
            return picture
        if names:
            write_names(picture, self)
        if legend:
            from_top = sorted(self.present, key=lambda label: float(self.centroids[label - 1, 1]))
            shown = [label - 1 for label in from_top]
            picture = with_legend(picture, self.names, self.palette, shown=shown)
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
        `overlay`. Without a display it is written to a temporary file, which a warning names."""
        show_picture(shown_picture(self, **options))

    def indexed(self) -> Image.Image:
        """The labels as a `PIL.Image`, mode P: index 0 is black, index k has part k's colour."""
        picture = Image.fromarray(self.labels)
        picture.putpalette([0, 0, 0, *self.palette.ravel().tolist()])
        return picture

    def cutouts(self) -> dict[int, Image.Image]:
        """Each part cut out of the image, of all objects together.

        Returns:
            `{label: PIL.Image}` for the parts in the image, mode RGBA, of the size of the part's
            box; transparent outside the part.

        Raises:
            ConfigError: there is no image.
        """
        return cutouts(self, self._shown_image())

    def table(self) -> list[dict[str, Any]]:
        """One row for each part of each object in the image.

        Returns:
            List of `{"part": label, "name": str, "x", "y": centroid in pixels, "area": pixels,
            "x0", "y0", "x1", "y1": box in pixels, "score": 0 to 1, "object": number from 1}`.
        """
        return table_rows(self)

    def to_dict(self) -> dict[str, Any]:
        """The parts as JSON values, without pixels.

        Returns:
            `{"path", "width", "height", "names", "objects": list of {"object": number from 1,
            "area", "x0", "y0", "x1", "y1", "score"}, "parts": table()}`.
        """
        width, height = self.size
        return {
            "path": self.path,
            "width": width,
            "height": height,
            "names": list(self.names),
            "objects": object_rows(self),
            "parts": self.table(),
        }

    def to_supervision(self) -> Any:
        """The parts of each object as `supervision.Detections`: masks, boxes, labels and scores.

        Boxes are in pixels from the image's top-left corner, half a pixel more than those of
        `Parts`. "class_name" in `data` has the names, and "object" the numbers of the objects,
        from 1.

        Raises:
            ConfigError: supervision is not installed.
        """
        return supervision_detections(self)

    def coco(self) -> list[dict[str, Any]]:
        """Annotations in COCO's format, without ids.

        For each object: one annotation for each of its parts, with the part's label as category;
        then one for the whole object, of category `1 + parts`, with the parts' centroids as
        keypoints. "object" is the number of the object in the image, from 1. Boxes are left, top,
        width and height. All coordinates are in pixels from the image's top-left corner, half a
        pixel more than those of `Parts`.

        Returns:
            List of dictionaries; empty if there is no object in the image.

        Raises:
            ConfigError: pycocotools is not installed.
        """
        return coco_annotations(self)

    def label_studio(self) -> list[dict[str, Any]]:
        """Brush labels as Label Studio imports them, one region for each part of each object.

        Where there are several objects, the note of a region (`meta`) names its object.

        Returns:
            List of dictionaries, the "result" of a prediction.
        """
        return label_studio_regions(self)

    def cvat(self) -> list[dict[str, Any]]:
        """Masks in CVAT's XML format for images 1.1, one for each part of each object.

        Where there are several objects, the masks of one object have one `group_id`.

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
        """Write the parts of each object as `folder/LABEL.png`, each file atomically; where there
        are several objects, as `folder/OBJECT-LABEL.png`."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for name, picture in named_cutouts(self):
            save_picture(picture, Path(folder, f"{name}.png"))

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


def numbered_names(num_parts: int) -> tuple[str, ...]:
    """("part 1", "part 2", ...): the default names of parts."""
    return tuple(f"part {part}" for part in range(1, num_parts + 1))
