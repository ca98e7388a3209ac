"""IoU and boundary F: by hand, and compared with a slow implementation."""

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from keras_parts.errors import DataError
from keras_parts.metrics import mask_scores


def square(top, left, side, height=60, width=80):
    mask = np.zeros((height, width), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def slow_scores(predicted, given):
    """The definition, with the distance of every pair of outline pixels."""
    iou = sum((predicted & given).ravel()) / sum((predicted | given).ravel())
    tolerance = max(np.ceil(0.0075 * np.sqrt(sum(side**2 for side in given.shape))), 2)
    outlines = [
        np.argwhere(mask & ~binary_erosion(mask, np.ones((3, 3)), border_value=1))
        for mask in (predicted, given)
    ]
    distances = np.sqrt(((outlines[0][:, None] - outlines[1][None]) ** 2).sum(-1))
    precision, recall = ((distances.min(axis) <= tolerance).mean() for axis in (1, 0))
    return iou, 2 * precision * recall / (precision + recall)


def test_a_shifted_square_by_hand():
    given, shifted = square(20, 20, 20), square(20, 25, 20)
    # Of the 76 outline pixels of each, the two sides across the shift lie 5 pixels apart. Those of
    # their pixels that are at most 2 pixels from the horizontal sides of the other square agree.
    horizontal = 2 * (20 - 5) + 2 * 2  # in the other's columns, and 2 columns beyond them
    vertical = 2 * 2  # rows 1 and 2 from the top and the bottom, of the side inside the other
    assert mask_scores(shifted, given).iou == 0.6
    assert mask_scores(shifted, given).boundary_f == pytest.approx((horizontal + vertical) / 76)
    assert mask_scores(square(20, 22, 20), given).boundary_f == 1  # 2 pixels are within
    assert mask_scores(given, given) == (1, 1)
    # 0.75 % of a diagonal of 1,000 pixels is 7.5, rounded up to 8.
    large = [square(20, 20 + shift, 20, 600, 800) for shift in (0, 8, 9)]
    assert mask_scores(large[1], large[0]).boundary_f == 1
    assert mask_scores(large[2], large[0]).boundary_f < 1


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_the_definition(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(20, 60, 2) if seed else (400, 300)
    rows, columns = np.mgrid[:height, :width]
    masks = []
    for _ in range(2):
        x, y = rng.uniform(0.3, 0.7, 2) * (width, height)
        radii = rng.uniform(0.2, 0.8, 2) * (width, height)  # may be cut by the frame
        blob = ((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[1]) ** 2 < 1
        masks.append(blob & (rng.random(blob.shape) < 0.999))  # with holes
    assert mask_scores(*masks) == pytest.approx(slow_scores(*masks))


def test_the_frame_is_no_outline():
    left = np.zeros((40, 40), bool)
    left[:, :10] = True
    further = np.zeros((40, 40), bool)
    further[:, :14] = True
    assert mask_scores(left, further) == (10 / 14, 0)
    whole = np.ones((40, 40), bool)
    assert mask_scores(whole, whole) == (1, 1) and mask_scores(whole, left) == (0.25, 0)


def test_empty_masks():
    empty, full = np.zeros((9, 9), bool), square(2, 2, 4, 9, 9)
    assert mask_scores(empty, full) == (0, 0) and mask_scores(empty, empty) == (1, 1)


def test_masks_that_are_not_of_one_image_are_refused():
    mask = square(2, 2, 4, 9, 9)
    with pytest.raises(DataError, match=r"predicted mask is \(8, 9\), the given one \(9, 9\)"):
        mask_scores(mask[1:], mask)
    with pytest.raises(DataError, match=r"given mask must be .* bool, not \(9, 9\) uint8"):
        mask_scores(mask, mask.astype(np.uint8))
