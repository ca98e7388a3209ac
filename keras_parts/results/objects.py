"""`ObjectMap`: which object each pixel of an image belongs to, where there are several."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from keras_parts.errors import ConfigError

MAX_OBJECTS = 255
"""Maximum number of objects in an image: their numbers are uint8, of which 0 is no object."""


class Owners(Protocol):
    """Owners of pixels that are computed a few rows at a time, like `UpsampledLogits`.

    Attributes:
        shape: (height, width) of the image.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def rows(self, start: int, stop: int, left: int = 0, right: int | None = None) -> np.ndarray:
        """`(rows, columns)` uint8: the owners in rows `start` to `stop - 1` and columns `left` to
        `right - 1`."""
        ...


@dataclass(frozen=True, eq=False)
class ObjectMap:
    """The object that owns each pixel.

    A pixel need not lie on its owner: owners may be boxes, or regions around the objects. `Parts`
    decides from the logits which pixels are foreground, and these then belong to their owners.

    Args:
        owners: `(height, width)` uint8, 1 to `count`, or 0 where there is no object: such a pixel
            is background, whatever its logits say. An array, or `Owners`, which computes it when it
            is needed, for the same windows as the logits and after them.
        count: number of objects, 1 to 255.
        descriptors: `(count, parts, channels)` float32, the mean of the network's features over
            each part of each object; None if they were not requested.

    Raises:
        ConfigError: `count` is out of range, or an array has another dtype or a larger number.

    Example:
        >>> import numpy as np
        >>> from keras_parts import Parts
        >>> from keras_parts.results import ObjectMap
        >>> logits = np.zeros((4, 9, 2), "float32")
        >>> logits[1:3, 1:3, 1] = logits[1:3, 5:8, 1] = 9
        >>> owners = np.ones((4, 9), "uint8")
        >>> owners[:, 4:] = 2
        >>> parts = Parts(logits - [0, 2], object_map=ObjectMap(owners, 2))
        >>> [(one.area, one.box.tolist()) for one in parts.objects]
        [(6, [4.5, 0.5, 7.5, 2.5]), (4, [0.5, 0.5, 2.5, 2.5])]
    """

    owners: "np.ndarray | Owners"
    count: int
    descriptors: np.ndarray | None = None

    def __post_init__(self):
        if not 1 <= self.count <= MAX_OBJECTS:
            raise ConfigError(f"count is {self.count}, expected 1 to {MAX_OBJECTS} objects")
        owners, descriptors = self.owners, self.descriptors
        if isinstance(owners, np.ndarray) and owners.dtype != np.uint8:
            raise ConfigError(f"owners is {owners.dtype}, expected uint8")
        if isinstance(owners, np.ndarray) and owners.max(initial=0) > self.count:
            raise ConfigError(
                f"owners has {owners.max()}, expected at most {self.count}, the count"
            )
        if descriptors is not None and (descriptors.ndim != 3 or len(descriptors) != self.count):
            raise ConfigError(
                f"descriptors has shape {descriptors.shape}, "
                f"expected ({self.count}, parts, channels), like the count"
            )

    def within(self, window: tuple[slice, slice]) -> np.ndarray:
        """`(rows, columns)` uint8: the owners in a window of the image."""
        rows, columns = window
        if isinstance(self.owners, np.ndarray):
            return self.owners[window]
        return self.owners.rows(rows.start, rows.stop, columns.start, columns.stop)
