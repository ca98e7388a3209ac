"""Second looks at rectangles of an image, pasted into the logits of the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_parts.images.upsampling import Patch, UpsampledLogits, foreground_logits


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
        >>> Look(patch, (np.ones(20), np.ones(30)), 1).owner
        1
    """

    patch: Patch
    fade: tuple[np.ndarray, np.ndarray]
    owner: int

    def overlap(self, axis: int, start: int, stop: int) -> slice:
        """The part of the image's rows (axis 0) or columns `start` to `stop - 1` that the rectangle
        has, as a slice of the rectangle's own."""
        offset = (self.patch.top, self.patch.left)[axis]
        return slice(max(start - offset, 0), max(0, min(stop - offset, len(self.fade[axis]))))


class PastedLogits(UpsampledLogits):
    """The logits of a whole image, in which second looks replace some rectangles.

    Where rectangles overlap, a pixel takes the look whose foreground is most certain.

    Args:
        whole: the map of the whole image.
        looks: the second looks.
        owners: `(h, w)` uint8, the object that each position of `whole` belongs to, for pixels that
            are in no rectangle of a single object; None if there are no such objects.

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
        super().__init__((len(whole.rows), len(whole.columns)), [whole])
        self._looks = looks
        self._owners = owners
        self._last: tuple[tuple[int, int, int, int], np.ndarray] | None = None

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """See `UpsampledLogits.rows`."""
        right = self.shape[1] if right is None else right
        inside = []
        for look in self._looks:
            window = look.overlap(0, start, stop), look.overlap(1, left, right)
            if all(each.start < each.stop for each in window):
                inside.append((look, window))
        shape = stop - start, right - left
        owners = self._nearest_owners(start, stop, left, right)
        if len(inside) == 1 and _covers(*inside[0], shape):
            ((look, window),) = inside
            values = look.patch.values(*window)
            owners = np.full(shape, look.owner, np.uint8) if look.owner else owners
        else:
            whole = super().rows(start, stop, left, right)
            values, certainty = whole.copy(), np.full(shape, -np.inf, np.float32)
            for look, window in inside:
                target = tuple(
                    slice(each.start + offset, each.stop + offset)
                    for each, offset in zip(
                        window, (look.patch.top - start, look.patch.left - left), strict=True
                    )
                )
                seen, weights = look.patch.values(*window), _fade(look, window)
                ahead = foreground_logits(seen, axis=0) if len(inside) > 1 else 0.0
                better = ahead > certainty[target]
                mixed = whole[:, *target] + weights * (seen - whole[:, *target])
                values[:, *target] = np.where(better, mixed, values[:, *target])
                certainty[target] = np.maximum(certainty[target], ahead)
                if look.owner:
                    owners[target] = np.where(better, look.owner, owners[target])
        self._last = (start, stop, left, right), owners
        return values

    @property
    def owners(self) -> "PixelOwners":
        """The object that pixels belong to if they are foreground."""
        return PixelOwners(self)

    def owners_of_rows(self, start: int, stop: int, left: int, right: int) -> np.ndarray:
        """`(rows, columns)` uint8, the owners of a window; free after `rows` of the same window."""
        window = start, stop, left, right
        if self._last is None or self._last[0] != window:
            self.rows(*window)
        assert self._last is not None
        return self._last[1]

    def _nearest_owners(self, start, stop, left, right):
        if self._owners is None:
            return np.zeros((stop - start, right - left), np.uint8)
        (whole,) = self._patches
        rows, columns = whole.rows[start:stop], whole.columns[left:right]
        return self._owners[np.ix_(rows.argmax(axis=1), columns.argmax(axis=1))]

    def object_columns(self, start: int, stop: int) -> tuple[int, int]:
        """See `UpsampledLogits.object_columns`."""
        patches = [*self._patches, *(look.patch for look in self._looks)]
        return UpsampledLogits(self.shape[:2], patches).object_columns(start, stop)


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


def _fade(look: Look, window: tuple[slice, slice]) -> np.ndarray:
    return np.outer(look.fade[0][window[0]], look.fade[1][window[1]])


def _covers(look: Look, window: tuple[slice, slice], shape: tuple[int, int]) -> bool:
    """Whether a look has all pixels of a window of the image, and counts alone there."""
    return all(
        each.stop - each.start == side and (fade[each] == 1).all()
        for each, side, fade in zip(window, shape, look.fade, strict=True)
    )
