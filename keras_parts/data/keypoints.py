"""Which keypoints can be seen in their image."""

from collections.abc import Callable

import numpy as np

from keras_parts.data.crops import image_box
from keras_parts.data.problems import are_collected, report


def visible_inside(
    points: np.ndarray,
    visible: np.ndarray,
    size: tuple[int, int],
    describe: Callable[[int], str],
) -> np.ndarray:
    """Keypoints outside the image are not visible, which only a check takes for a problem.

    Args:
        points: (landmarks, 2), x and y in pixels from the centre of the top-left one.
        visible: (landmarks,) bool, as the data set says.
        size: (height, width) of the image.
        describe: the file and the name of a keypoint by its place, for problems.

    Returns:
        (landmarks,) bool.
    """
    height, width = size
    frame = image_box(height, width)
    outside = ((points < frame[:2]) | (points > frame[2:])).any(axis=1)
    if are_collected():
        for place in np.flatnonzero(outside & visible):
            x, y = points[place]
            report(
                f"{describe(place)} is at x={x:g}, y={y:g}, outside the image of {width} x "
                f"{height} pixels"
            )
    return visible & ~outside
