"""Parts: what segmenting one image gives, and the pictures made of it."""

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from keras_parts.errors import ConfigError
from keras_parts.files import atomic_write
from keras_parts.images.upsampling import UpsampledLogits
from keras_parts.results.legend import with_legend
from keras_parts.results.palette import LARGEST, part_palette
from keras_parts.results.pictures import save_picture
from keras_parts.results.rle import coco_rle, cvat_rle, label_studio_rle

_LINE = (255, 255, 255)
_BAND = 2**15
"""Pixels that are decided at a time: their logits stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one image, at the image's own resolution.

    A pixel belongs to the object where the probabilities of all parts together exceed the
    background's, and there to the most probable part. Points are x and y in pixels, (0, 0)
    being the centre of the top-left pixel.

    Args:
        logits: `(height, width, 1 + parts)` float32; channel 0 is the background. An array, or an
            `UpsampledLogits`, which needs no memory of that size.
        image: `(height, width, 3)` uint8 RGB, the image in its displayed orientation; None where
            nothing is made that shows it.
        names: one a part; `numbered_names(parts)` when empty.
        palette: `(parts, 3)` uint8 RGB; `part_palette(parts)` when None.
        descriptors: `(parts, channels)` float32, the mean of the network's features over each
            part; None where they were not asked for.

    Raises:
        ConfigError: shapes or types that do not fit together.
    """

    logits: np.ndarray | UpsampledLogits
    image: np.ndarray | None = None
    names: tuple[str, ...] = ()
    palette: np.ndarray | None = None
    descriptors: np.ndarray | None = None

    def __post_init__(self):
        if self.logits.ndim != 3 or not 2 <= self.logits.shape[-1] <= LARGEST + 1:
            raise ConfigError(
                f"logits has shape {self.logits.shape}, "
                f"expected (height, width, 1 + parts) with 1 to {LARGEST} parts"
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
        return self._probabilities(np.float32)

    @cached_property
    def labels(self):
        """`(height, width)` uint8: 0 is the background, part k is k."""
        labels = np.zeros(self.logits.shape[:2], np.uint8)
        for window, logits in self._bands():
            labels[window] = _labels(logits)
        return labels

    @property
    def foreground(self):
        """`(height, width)` bool: the parts together are more probable than the background."""
        return self.labels > 0

    @cached_property
    def scores(self):
        """`(parts,)` float32: mean probability of each part over its pixels, NaN without any."""
        totals = np.zeros(len(self.names))
        for window, logits in self._bands():
            labels = self.labels[window]
            inside = labels > 0
            if inside.any():
                own, odds = labels[inside], logits[:, inside]
                odds = np.exp(odds - odds[own, np.arange(own.size)])
                totals += np.bincount(own, 1 / odds.sum(axis=0), len(totals) + 1)[1:]
        with np.errstate(invalid="ignore"):
            return (totals / self.areas).astype(np.float32)

    def _bands(self, whole=False):
        """((rows, columns), logits `(1 + parts, rows, columns)`), from the top to the bottom; but
        for `whole`, without columns that are known to be background."""
        height, width, _ = self.logits.shape
        step = max(1, _BAND // width)
        for start in range(0, height, step):
            stop, left, right = min(start + step, height), 0, width
            if isinstance(self.logits, np.ndarray):
                logits = np.moveaxis(self.logits[start:stop], -1, 0).astype(np.float32, order="C")
            else:
                if not whole:
                    left, right = self.logits.object_columns(start, stop)
                if left == right:
                    continue
                logits = self.logits.rows(start, stop, left, right)
            yield (slice(start, stop), slice(left, right)), logits

    def _probabilities(self, dtype):
        probabilities = np.empty(self.logits.shape, dtype)
        for window, odds in self._bands(whole=True):
            odds = np.exp(odds - odds.max(axis=0))
            probabilities[window] = np.moveaxis(odds / odds.sum(axis=0), 0, -1)
        return probabilities

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

    def overlay(self, alpha=0.5, lines=True, legend=True):
        """The image under translucent colours, one a part, with thin lines between them, and below
        it, where the parts have names of their own, which colour is which part.

        Args:
            alpha: opacity of the colours, 0 (the image alone) to 1.
            lines: draw the contours of the parts.
            legend: draw the names of the parts.

        Returns:
            `PIL.Image`, mode RGB, of the image's size; with names, larger below (and to the right
            of a narrow image), so that pixels of the image stay where they are.

        Raises:
            ConfigError: `alpha` is outside 0 to 1.
        """
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}, expected 0 to 1")
        picture = Image.fromarray(self._shown())
        opacity = Image.fromarray(self.foreground.astype(np.uint8) * round(255 * alpha))
        # Softened inwards only: outside, the colour to mix in is the background's black.
        opacity = ImageChops.darker(opacity, _soft(opacity, 0.6))
        picture.paste(self.indexed().convert("RGB"), mask=opacity)
        if lines:
            # About one pixel in 512, so that a line looks the same at any resolution.
            width = max(1.0, math.sqrt(self.labels.size) / 512)
            picture.paste(_LINE, mask=_contours(self.labels, width))
        if legend and self.names != numbered_names(len(self.names)):
            picture = with_legend(picture, self.names, self.palette)
        return picture

    def indexed(self):
        """The labels as a `PIL.Image`, mode P: index 0 is black, index k has part k's colour."""
        picture = Image.fromarray(self.labels)
        picture.putpalette([0, 0, 0, *self.palette.ravel().tolist()])
        return picture

    def cutouts(self):
        """Each part cut out of the image.

        Returns:
            `{label: PIL.Image}` for the parts that the image has, mode RGBA, of the size of the
            part's box; transparent outside the part.

        Raises:
            ConfigError: there is no image.
        """
        pictures = {}
        for label, box in self._present():
            left, top, right, bottom = (box + 0.5).astype(int)
            mask = (self.labels[top:bottom, left:right] == label).astype(np.uint8) * 255
            pixels = self._shown()[top:bottom, left:right]
            pictures[label] = Image.fromarray(np.dstack([pixels, mask]))
        return pictures

    def table(self):
        """One row a part that the image has.

        Returns:
            list of `{"part": label, "name": str, "x", "y": centroid in pixels, "area": pixels,
            "x0", "y0", "x1", "y1": box in pixels, "score": 0 to 1}`.
        """
        return [
            {
                "part": label,
                "name": self.names[label - 1],
                "x": round(float(self.centroids[label - 1, 0]), 3),
                "y": round(float(self.centroids[label - 1, 1]), 3),
                "area": int(self.areas[label - 1]),
                **dict(zip(("x0", "y0", "x1", "y1"), box.tolist(), strict=True)),
                "score": round(float(self.scores[label - 1]), 6),
            }
            for label, box in self._present()
        ]

    def coco(self):
        """Annotations as in COCO's files, without ids: one a part that the image has, with its
        label as category, then the whole object, of category `1 + parts`, with the parts' centres
        as keypoints. Boxes are left, top, width, height, from pixel sides.

        Returns:
            list of dictionaries; empty for an image without an object.

        Raises:
            ConfigError: pycocotools is not installed.
        """
        annotations = [
            _coco_annotation(self.labels == label, box, label, self.scores[label - 1])
            for label, box in self._present()
        ]
        if annotations:
            seen = self.areas > 0
            share = self.areas / self.areas.sum()
            box = np.concatenate([self.boxes[seen, :2].min(0), self.boxes[seen, 2:].max(0)])
            score = (share[seen] * self.scores[seen]).sum()
            whole = _coco_annotation(self.foreground, box, 1 + len(self.names), score)
            points = np.where(seen[:, None], self.centroids.astype(float) + 0.5, 0).round(2)
            keypoints = [
                value
                for point, is_there in zip(points.tolist(), seen.tolist(), strict=True)
                for value in (*point, 2 * is_there)
            ]
            annotations.append(whole | {"keypoints": keypoints, "num_keypoints": int(seen.sum())})
        return annotations

    def label_studio(self):
        """Regions as Label Studio imports them: brush labels, one a part that the image has.

        Returns:
            list of dictionaries, the "result" of a prediction.
        """
        width, height = self.size
        return [
            {
                "id": f"part-{label}",
                "type": "brushlabels",
                "from_name": "parts",
                "to_name": "image",
                "original_width": width,
                "original_height": height,
                "image_rotation": 0,
                "score": round(float(self.scores[label - 1]), 6),
                "value": {
                    "format": "rle",
                    "rle": label_studio_rle(self.labels == label),
                    "brushlabels": [self.names[label - 1]],
                },
            }
            for label, _ in self._present()
        ]

    def cvat(self):
        """Masks as in CVAT's XML for images 1.1, one a part that the image has.

        Returns:
            list of attributes of `<mask>`, all but its constant ones.
        """
        return [
            {"label": self.names[label - 1], **cvat_rle(self.labels == label)}
            for label, _ in self._present()
        ]

    def save_indexed(self, path):
        """Write `indexed()` to `path` (PNG), whole or not at all."""
        save_picture(self.indexed(), path)

    def save_overlay(self, path, **options):
        """Write `overlay(**options)` to `path` (its suffix is the format), whole or not at all."""
        save_picture(self.overlay(**options), path)

    def save_cutouts(self, folder):
        """Write `cutouts()` as `folder/LABEL.png`, each whole or not at all."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        for label, picture in self.cutouts().items():
            save_picture(picture, Path(folder, f"{label}.png"))

    def save_soft(self, path):
        """Write `probabilities` as float16, and the names, to `path` (npz), whole or not at all."""
        with atomic_write(path) as file:
            self.write_soft(file)

    def write_soft(self, file):
        """`save_soft` to a file opened for writing bytes."""
        probabilities = self._probabilities(np.float16)
        np.savez_compressed(file, probabilities=probabilities, names=np.array(self.names))

    def _present(self):
        """(label, box) of the parts that the image has."""
        return [(i + 1, self.boxes[i]) for i in np.flatnonzero(self.areas).tolist()]

    def _shown(self):
        if self.image is None:
            raise ConfigError("these parts have no image: give Parts the image to show them on it")
        return self.image


def _labels(logits):
    """`(rows, width)` uint8 labels of logits `(1 + parts, rows, width)`."""
    background, best = logits[0], logits[1].copy()
    labels = np.ones(best.shape, np.uint8)
    for part, own in enumerate(logits[2:], start=2):
        # The numbers rise, so the largest one is the last to be better; quicker than a mask.
        np.maximum(labels, (own > best) * np.uint8(part), out=labels)
        np.maximum(best, own, out=best)
    # The parts together have between 1 and `parts` times the odds of the best one: only between
    # these does their sum decide.
    ahead = background - best
    unsure = np.flatnonzero((ahead >= 0) & (ahead < np.log(len(logits) - 1) + 1e-6))
    decided = labels.ravel() * (ahead.ravel() < 0)
    if unsure.size:
        odds = logits[1:].reshape(len(logits) - 1, -1)[:, unsure]
        together = np.log(np.exp(odds - odds.max(axis=0)).sum(axis=0))
        decided[unsure] = np.where(ahead.ravel()[unsure] < together, 1 + odds.argmax(axis=0), 0)
    return decided.reshape(labels.shape)


def _coco_annotation(mask, box, category, score):
    left, top, right, bottom = (box + 0.5).tolist()
    return {
        "category_id": category,
        "segmentation": coco_rle(mask),
        "area": int(mask.sum()),
        "bbox": [left, top, right - left, bottom - top],
        "iscrowd": 0,
        "score": round(float(score), 6),
    }


def numbered_names(parts):
    """("part 1", "part 2", ...): what parts are called until somebody names them."""
    return tuple(f"part {part}" for part in range(1, parts + 1))


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
