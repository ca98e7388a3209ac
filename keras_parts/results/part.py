"""`Part`: one of the parts of an image, as `Parts` gives it by label or name."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from keras_parts.results.regions import box_window

if TYPE_CHECKING:
    from keras_parts.results.parts import Parts


@dataclass(frozen=True, eq=False)
class Part:
    """One part of an image: a row of its `Parts`.

    Points are x and y in pixels; (0, 0) is the centre of the top-left pixel.

    Args:
        parts: the parts of the image.
        label: label of this part, from 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts import Parts
        >>> logits = np.zeros((20, 30, 2), "float32")
        >>> logits[5:15, 5:15, 1] = 9
        >>> head = Parts(logits - [0, 2], names=["head"])["head"]
        >>> head
        <Part 1, head: 100 pixels>
        >>> head.centroid.tolist(), int(head.mask.sum())
        ([9.5, 9.5], 100)
    """

    parts: "Parts"
    label: int

    def __repr__(self) -> str:
        return f"<Part {self.label}, {self.name}: {self.area} pixels>"

    @property
    def name(self) -> str:
        """Name of the part."""
        return self.parts.names[self.label - 1]

    @property
    def mask(self) -> np.ndarray:
        """`(height, width)` bool: whether the pixel belongs to the part."""
        return self.parts.labels == self.label

    @property
    def probability(self) -> np.ndarray:
        """`(height, width)` float32: the probability of the part at each pixel."""
        return self.parts.probabilities[..., self.label]

    @property
    def area(self) -> int:
        """Number of its pixels; 0 if the image does not show it."""
        return int(self.parts.areas[self.label - 1])

    @property
    def centroid(self) -> np.ndarray:
        """`(2,)` float32: mean x and y of its pixels; NaN if it has none."""
        return self.parts.centroids[self.label - 1]

    @property
    def box(self) -> np.ndarray:
        """`(4,)` float32: x0, y0, x1, y1 along the edges of its pixels; NaN if it has none."""
        return self.parts.boxes[self.label - 1]

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of its box, such as for `parts.image[part.window]`; empty slices if it
        has no pixels."""
        return box_window(self.box)

    @property
    def score(self) -> float:
        """Mean probability of the part over its pixels; NaN if it has none."""
        return float(self.parts.scores[self.label - 1])

    @property
    def descriptor(self) -> np.ndarray | None:
        """`(channels,)` float32: mean of the network's features over the part; None if descriptors
        were not requested."""
        descriptors = self.parts.descriptors
        return None if descriptors is None else descriptors[self.label - 1]
