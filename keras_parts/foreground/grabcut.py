"""The object in a picture by its colours and edges, from a map that says roughly where it is.

Rother, Kolmogorov and Blake, "GrabCut", SIGGRAPH 2004, in OpenCV.
"""

from typing import NamedTuple

import numpy as np

from keras_parts.extras import import_from_extra

_MIN_CONTRAST = 1.0  # of the 256 levels: OpenCV does not return from an image of one colour


class Certainty(NamedTuple):
    """Which probabilities GrabCut believes.

    Attributes:
        object: above it a pixel is of the object for certain.
        likely: above it a pixel is probably of the object, below probably of the background.
        background: below it a pixel is of the background for certain.
        rounds: how often the colours of both are fitted anew.
    """

    object: float
    likely: float
    background: float
    rounds: int


def grab_object(image: np.ndarray, probability: np.ndarray, certainty: Certainty) -> np.ndarray:
    """The pixels of the object.

    Args:
        image: `(height, width, 3)` uint8 RGB.
        probability: `(h, w)` float32, 0 to 1, of any size; spread over the image.
        certainty: what is taken from it for certain.

    Returns:
        `(height, width)` bool; where no pixel or every pixel is likely, these; no pixel if the
        image has one colour.

    Example:
        >>> import numpy as np
        >>> from keras_parts.foreground.grabcut import Certainty, grab_object
        >>> image = np.full((32, 32, 3), (0, 160, 0), np.uint8)
        >>> image[8:24, 10:22] = 200, 0, 0
        >>> probability = np.full((32, 32), 0.02, np.float32)
        >>> probability[12:20, 12:20], probability[6:26, 8:24] = 0.9, 0.5
        >>> probability[12:20, 12:20] = 0.9
        >>> found = grab_object(image, probability, Certainty(0.8, 0.4, 0.1, 3))
        >>> int(found.sum()), 16 * 12
        (192, 192)
    """
    cv2 = import_from_extra("cv2", "train")
    height, width = image.shape[:2]
    spread = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    labels = np.where(spread > certainty.likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[spread > certainty.object] = cv2.GC_FGD
    labels[spread < certainty.background] = cv2.GC_BGD
    likely = _is_object(labels)
    if not likely.any() or likely.all():
        return likely
    if image.std(axis=(0, 1)).max() < _MIN_CONTRAST:
        return np.zeros_like(likely)
    colours = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # of this thread: the first colours are those of k-means
    try:
        cv2.grabCut(image, labels, None, *colours, certainty.rounds, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # too few pixels of either for their colours to be fitted
        return likely
    return _is_object(labels)


def _is_object(labels):
    return (labels & 1).astype(bool)  # GC_FGD is 1, GC_PR_FGD is 3
