"""Second looks at rectangles of an image, pasted into the logits of the whole image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_parts.images.labelling import agreed, foreground_logits
from keras_parts.images.upsampling import PIXELS_AT_A_TIME, Patch, UpsampledLogits, Window


@dataclass(frozen=True, eq=False)
class Look:
    """A rectangle of an image that the network has seen again.

    Attributes:
        patch: the logits of the rectangle, without fade.
        fade: weights `(height,)` of the rectangle's rows and `(width,)` of its columns, 0 to 1:
            where their product is 1, the logits of the whole image do not count.
        owner: number of the object that this look is about; 0 if it is about several.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import resize_geometry
        >>> from keras_parts.images.pasting import Look
        >>> from keras_parts.images.upsampling import Patch
        >>> geometry = resize_geometry(20, 30, image_size=33)
        >>> patch = Patch.from_output(np.ones((3, 3, 5), np.float32), geometry, top=5, left=9)
        >>> Look(patch, (np.ones(20), np.ones(30)), 1).weights((slice(0, 2), slice(0, 3))).shape
        (2, 3)
    """

    patch: Patch
    fade: tuple[np.ndarray, np.ndarray]
    owner: int

    def weights(self, window: Window) -> np.ndarray:
        """`(rows, columns)`, the weights in a window of the rectangle."""
        return np.outer(self.fade[0][window[0]], self.fade[1][window[1]])

    def weights_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """`(n,)`, the weights at pixels of the image inside the rectangle."""
        return self.fade[0][rows - self.patch.top] * self.fade[1][columns - self.patch.left]


class PastedLogits(UpsampledLogits):
    """The logits of a whole image, in which second looks replace some rectangles.

    Where rectangles overlap, a pixel takes the look whose foreground is most certain.

    Args:
        whole: the map of the whole image.
        looks: the second looks.
        owners: `(h, w)` uint8, the object that each position of `whole` belongs to, for pixels that
            no look at a single object decides; None if there are no such objects.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import resize_geometry
        >>> from keras_parts.images.pasting import Look, PastedLogits
        >>> from keras_parts.images.upsampling import Patch
        >>> whole = Patch.from_output(np.zeros((3, 3, 2), np.float32), resize_geometry(40, 60, 33))
        >>> patch = Patch.from_output(
        ...     np.ones((3, 3, 2), np.float32), resize_geometry(20, 30, 33), top=10, left=20
        ... )
        >>> pasted = PastedLogits(whole, [Look(patch, (np.ones(20), np.ones(30)), 1)])
        >>> np.asarray(pasted)[..., 1].sum()
        np.float32(600.0)
    """

    def __init__(self, whole: Patch, looks: Sequence[Look], owners: np.ndarray | None = None):
        super().__init__(whole.shape, [whole])
        self._looks = looks
        self._owners = owners

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """See `UpsampledLogits.rows`."""
        window = self._window(start, stop, left, right)
        seen = [
            (target, look.patch.values(*own), look.weights(own))
            for look, own, target in self._looks_in(window)
        ]
        if len(seen) == 1:
            ((_, values, weights),) = seen
            if values.shape[1:] == (stop - start, window[1].stop - left) and (weights == 1).all():
                return values
        return _pasted(super().rows(start, stop, left, right), seen)

    def at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """See `UpsampledLogits.at`."""
        seen, counts = [], np.ones(len(rows), bool)  # whether the whole image's logits count
        for look, inside in self._looks_at(rows, columns):
            weights = look.weights_at(rows[inside], columns[inside])
            seen.append(((inside,), look.patch.at(rows[inside], columns[inside]), weights))
            counts[inside] &= weights < 1
        for (inside,), _, weights in seen:
            counts[inside] |= weights < 1
        needed = np.flatnonzero(counts)
        whole = np.zeros((self.shape[2], len(rows)), np.float32)
        whole[:, needed] = super().at(rows[needed], columns[needed])
        return _pasted(whole, seen)

    def _certain_labels(self, window: Window) -> np.ndarray:
        labels = super()._certain_labels(window)
        seen, count = [], np.zeros(labels.shape, np.uint8)
        for look, own, target in self._looks_in(window):
            found = look.patch.certain_labels(*own)
            labels[target] = agreed(labels[target], found)
            count[target] += 1
            seen.append((target, found, look.weights(own)))
        for target, found, weights in seen:  # where a look counts alone, it decides alone
            alone = (weights == 1) & (count[target] == 1)
            labels[target] = np.where(alone, found, labels[target])
        return labels

    @property
    def owners(self) -> "PixelOwners":
        """The object that pixels belong to if they are foreground."""
        return PixelOwners(self)

    def owners_of_rows(self, start: int, stop: int, left: int, right: int) -> np.ndarray:
        """`(rows, columns)` uint8, the owners of a window."""
        window = self._window(start, stop, left, right)
        nearest = self._nearest_owners(window)
        owners, count = nearest.copy(), np.zeros(nearest.shape, np.uint8)
        for look, _, target in self._looks_in(window):
            owners[target] = look.owner or nearest[target]
            count[target] += 1
        shared = np.flatnonzero(count > 1)
        for first in range(0, len(shared), PIXELS_AT_A_TIME):
            chosen = shared[first : first + PIXELS_AT_A_TIME]
            rows, columns = np.divmod(chosen, right - left)
            best, found = np.full(len(chosen), -np.inf), nearest.ravel()[chosen]
            for look, inside in self._looks_at(rows + start, columns + left):
                seen = look.patch.at(rows[inside] + start, columns[inside] + left)
                ahead = foreground_logits(seen, axis=0)
                own = look.owner or nearest.ravel()[chosen[inside]]
                found[inside] = np.where(ahead > best[inside], own, found[inside])
                best[inside] = np.maximum(best[inside], ahead)
            owners.ravel()[chosen] = found
        return owners

    def _nearest_owners(self, window: Window) -> np.ndarray:
        if self._owners is None:
            height, width = (side.stop - side.start for side in window)
            return np.zeros((height, width), np.uint8)
        (whole,) = self._patches
        rows, columns = whole.rows.nearest[window[0]], whole.columns.nearest[window[1]]
        return self._owners[np.ix_(rows, columns)]

    def _looks_in(self, window: Window) -> Iterator[tuple[Look, Window, Window]]:
        """The looks that overlap a window: (look, window of its own, the same in `window`)."""
        for look in self._looks:
            if shared := look.patch.overlap(window):
                yield look, *shared

    def _looks_at(
        self, rows: np.ndarray, columns: np.ndarray
    ) -> Iterator[tuple[Look, np.ndarray | slice]]:
        """The looks that have some of these pixels: (look, indices of the pixels)."""
        for look in self._looks:
            inside = look.patch.inside(rows, columns)
            if inside.all():
                yield look, slice(None)  # faster than indices
            elif inside.any():
                yield look, np.flatnonzero(inside)


@dataclass(frozen=True, eq=False)
class PixelOwners:
    """The object that each pixel of `PastedLogits` belongs to if it is foreground.

    Args:
        logits: the logits.

    Example:
        >>> import numpy as np
        >>> from keras_parts.images import Patch, resize_geometry
        >>> from keras_parts.images.pasting import PastedLogits
        >>> whole = Patch.from_output(np.zeros((3, 3, 2), np.float32), resize_geometry(4, 6, 33))
        >>> PastedLogits(whole, [], np.ones((3, 3), np.uint8)).owners.rows(0, 1).tolist()
        [[1, 1, 1, 1, 1, 1]]
    """

    logits: PastedLogits

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the image."""
        return self.logits.shape[:2]

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """`(rows, columns)` uint8 of rows `start` to `stop - 1` and columns `left` to `right - 1`,
        up to the last one if `right` is None."""
        right = self.shape[1] if right is None else right
        return self.logits.owners_of_rows(start, stop, left, right)


def _pasted(whole: np.ndarray, seen: Sequence[tuple[Any, np.ndarray, np.ndarray]]) -> np.ndarray:
    """The logits `(1 + parts, ...)` of pixels.

    Args:
        whole: those of the whole image; any number where they do not count. It is overwritten.
        seen: of each look: the pixels that it has, as indices of the axes after the first, their
            logits in the look and their weights.
    """
    result, certainty = whole.copy() if len(seen) > 1 else whole, None
    if len(seen) > 1:
        certainty = np.full(whole.shape[1:], -np.inf, np.float32)
    for target, values, weights in seen:
        mixed = (1 - weights) * whole[:, *target] + weights * values
        if certainty is not None:
            ahead = foreground_logits(values, axis=0)
            mixed = np.where(ahead > certainty[target], mixed, result[:, *target])
            certainty[target] = np.maximum(certainty[target], ahead)
        result[:, *target] = mixed
    return result
