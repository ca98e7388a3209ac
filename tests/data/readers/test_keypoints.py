"""Keypoints outside the image are not visible; only a check reports them."""

import numpy as np

from keras_parts.data.problems import collect_problems
from keras_parts.data.readers.keypoints import visible_inside

POINTS = np.float32([[-0.5, -0.5], [31.5, 23.5], [31.6, 4], [5, -1], [99, 99]])
VISIBLE = np.array([True, True, True, True, False])
INSIDE = [True, True, False, False, False]


def test_keypoints_outside_the_image_are_not_visible():
    assert visible_inside(POINTS, VISIBLE, size=(24, 32), describe=str).tolist() == INSIDE


def test_a_check_reports_visible_keypoints_outside_the_image():
    with collect_problems() as problems:
        assert (
            visible_inside(POINTS, VISIBLE, size=(24, 32), describe="bird.jpg: {}".format).tolist()
            == INSIDE
        )
    assert problems == [
        "bird.jpg: 2 is at x=31.6, y=4, outside the image of 32 x 24 pixels",
        "bird.jpg: 3 is at x=5, y=-1, outside the image of 32 x 24 pixels",
    ]
