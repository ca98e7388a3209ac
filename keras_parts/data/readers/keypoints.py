"""The visibility of keypoints outside their image."""

from collections.abc import Callable

import numpy as np

from keras_parts.data.crops import image_box
from keras_parts.data.problems import is_collecting, report


def visible_inside(
    points: np.ndarray,
    visible: np.ndarray,
    *,
    size: tuple[int, int],
    describe: Callable[[int], str],
) -> np.ndarray:
    """Mark keypoints outside the image as not visible; inside `collect_problems()`, report them.

    Args:
        points: (landmarks, 2), x and y in pixels from the centre of the top-left pixel.
        visible: (landmarks,) bool, as annotated.
        size: (height, width) of the image.
        describe: function from the index of a landmark to its file and name, for messages.

    Returns:
        (landmarks,) bool, whether each landmark is visible and inside the image.
    """
    height, width = size
    frame = image_box(height, width)
    outside = ((points < frame[:2]) | (points > frame[2:])).any(axis=1)
    if is_collecting():
        for index in np.flatnonzero(outside & visible).tolist():
            x, y = points[index]
            report(
                f"{describe(index)} is at x={x:g}, y={y:g}, outside the image of {width} x "
                f"{height} pixels"
            )
    return visible & ~outside
