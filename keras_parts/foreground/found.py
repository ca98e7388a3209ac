"""`FoundMask`: the object that was found in a photograph."""

from typing import NamedTuple

import numpy as np

DISCOVERY_VERSION = 6
"""Version of `discover_masks`: increase it when other masks are found."""

LEARNED_FROM = 400
"""Maximum number of photographs from which `discover_masks` learns what objects look like."""


class FoundMask(NamedTuple):
    """The object that was found in a photograph.

    Attributes:
        mask: `(height, width)` bool, in the photograph's own size; all False if nothing was found.
        confidence: 0 to 1; low where looking at the mask is worthwhile.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground import FoundMask
        >>> FoundMask(np.eye(2, dtype=bool), 0.8).confidence
        0.8
    """

    mask: np.ndarray
    confidence: float


def found_in(probability: np.ndarray) -> FoundMask:
    """The object in a map of its probability, with the IoU that its mask can be expected to have.

    Args:
        probability: `(height, width)` float, 0 to 1.

    Returns:
        The pixels whose probability is greater than 1/2. The confidence is the expected number of
        right pixels divided by that of all pixels of mask or object.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.found import found_in
        >>> found_in(np.array([[1.0, 0.0], [0.6, 0.0]])).confidence
        0.8
    """
    mask = probability > 0.5
    return FoundMask(mask, overlap(mask, probability))


def overlap(mask: np.ndarray, shares: np.ndarray) -> float:
    """Intersection over union of a mask and a map of shares of the object; 0 if both are empty.

    Args:
        mask: `(height, width)` bool.
        shares: `(height, width)` float, 0 to 1.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.found import overlap
        >>> overlap(np.array([[True, False]]), np.array([[0.5, 1.0]]))
        0.25
    """
    union = np.maximum(mask, shares).sum()
    return float(np.minimum(mask, shares).sum() / union) if union else 0.0


def surround(mask: np.ndarray) -> float:
    """How far a mask surrounds its image, as background does: the share that it covers of each of
    three sides, at least.

    Args:
        mask: `(height, width)` bool.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.found import surround
        >>> wall = np.zeros((10, 10), bool)
        >>> wall[:, :6] = True
        >>> surround(wall), surround(~wall), surround(wall[:, :3])
        (0.6, 0.4, 1.0)
    """
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1])
    return float(sorted(side.mean() for side in sides)[1])
