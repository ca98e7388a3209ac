"""Crops and mirror images transform all fields of a sample alike, to a fraction of a pixel."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_parts.data import DatasetInfo, Sample
from keras_parts.data.crops import (
    crop,
    image_box,
    jitter_box,
    mask_box,
    mirror,
    pad_box,
    square_box,
)
from keras_parts.errors import ConfigError, DataError
from tests.data.contract import assert_same, check_sample

INFO = DatasetInfo(
    "dots",
    landmarks=("left", "right", "nose"),
    mirror_order=(1, 0, 2),
    part_names=tuple("abc"),
    licence="none",
    how_to_obtain="drawn here",
)

coordinates = st.floats(-40, 100, width=32)
extents = st.floats(1, 90, width=32)
boxes = st.builds(
    lambda x, y, width, height: np.array([x, y, x + width, y + height], np.float32),
    coordinates, coordinates, extents, extents,
)  # fmt: skip


def _centroid(weight):
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


def _dots(height, width, points, radius=3.0):
    """A sample with smooth white dots on black; dot i is part i + 1."""
    y, x = np.mgrid[:height, :width]
    squared = np.stack([(x - px) ** 2 + (y - py) ** 2 for px, py in points])
    bright = 255 * np.exp(-squared / (2 * radius**2)).max(axis=0)
    labels = np.where(squared.min(axis=0) < (2 * radius) ** 2, squared.argmin(axis=0) + 1, 0)
    return Sample(
        "dots",
        np.rint(bright).astype(np.uint8)[..., None].repeat(3, -1),
        foreground=labels > 0,
        keypoints=np.array(points, np.float32),
        visible=np.ones(len(points), bool),
        box=mask_box(labels > 0),
        part_labels=labels.astype(np.uint8),
    )


@pytest.fixture
def dots():
    return _dots(60, 80, [(20.0, 30.0), (41.5, 22.25), (60.0, 40.0)])


def test_boxes_of_images_and_masks():
    np.testing.assert_array_equal(image_box(4, 6), [-0.5, -0.5, 5.5, 3.5])
    mask = np.zeros((4, 6), bool)
    assert mask_box(mask) is None
    mask[1, 2] = mask[2, 4] = True
    np.testing.assert_array_equal(mask_box(mask), [1.5, 0.5, 4.5, 2.5])
    np.testing.assert_array_equal(mask_box(np.ones((4, 6), np.uint8)), image_box(4, 6))


def test_padding_squaring_and_jittering_a_box():
    box = np.array([10, 20, 30, 60], np.float32)
    np.testing.assert_allclose(pad_box(box, 0.05), [9, 18, 31, 62])
    np.testing.assert_allclose(square_box(box), [0, 20, 40, 60])
    rng = np.random.default_rng(0)
    moved = np.stack([jitter_box(box, 0.05, rng) for _ in range(500)]) - box
    assert (abs(moved) <= [1, 2, 1, 2]).all()
    assert (abs(moved).max(axis=0) > 0.95 * np.array([1, 2, 1, 2])).all()
    assert abs(np.corrcoef(moved.T) - np.eye(4)).max() < 0.2
    np.testing.assert_array_equal(jitter_box(box, 0, rng), box)


@pytest.mark.parametrize("box", [[0, 0, 0, 1], [0, 2, 1, 1], [0, 0, np.nan, 1], [0, 0, 1]])
@pytest.mark.parametrize("change", [square_box, lambda box: pad_box(box, 0.1)])
def test_invalid_boxes(box, change):
    with pytest.raises(DataError, match="a box must be finite with x0 < x1 and y0 < y1"):
        change(np.array(box, np.float32))


def test_fractions_and_sizes_that_leave_no_box():
    box = np.array([0, 0, 1, 1], np.float32)
    with pytest.raises(DataError):
        pad_box(box, -0.5)
    with pytest.raises(ConfigError, match="jitter"):
        jitter_box(box, 0.5, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="at least 1 x 1 pixels"):
        crop(_dots(4, 4, [(1, 1)]), box, 0)


def test_a_crop_of_the_whole_image_at_its_size_is_the_image(dots):
    whole = image_box(*dots.size)
    assert_same(crop(dots, whole), dots)
    assert_same(crop(dots, whole, dots.size), dots)


def test_a_crop_without_a_size_consists_of_whole_pixels(dots):
    part = crop(dots, np.array([9.7, 4.2, 50.4, 35.9], np.float32))
    assert part.size == (31, 41)
    np.testing.assert_array_equal(part.image, dots.image[5:36, 10:51])
    np.testing.assert_array_equal(part.foreground, dots.foreground[5:36, 10:51])
    np.testing.assert_array_equal(part.part_labels, dots.part_labels[5:36, 10:51])
    np.testing.assert_allclose(part.keypoints, dots.keypoints - [10, 5])
    np.testing.assert_array_equal(part.visible, [True, True, False])
    np.testing.assert_allclose(part.box, dots.box - [10, 5, 10, 5])


def test_outside_the_image_a_crop_is_white_and_background(dots):
    dark = replace(dots, image=np.zeros_like(dots.image), foreground=np.ones(dots.size, bool))
    part = crop(dark, np.array([-10.5, -20.5, 99.5, 89.5], np.float32))
    inside = np.zeros((110, 110), bool)
    inside[20:80, 10:90] = True
    np.testing.assert_array_equal(part.image, np.where(inside, 0, 255)[..., None].repeat(3, -1))
    np.testing.assert_array_equal(part.foreground, inside)
    beyond = crop(dark, np.array([500, 500, 520, 530], np.float32), 8)
    assert (beyond.image == 255).all() and not beyond.foreground.any()
    assert not beyond.part_labels.any() and not beyond.visible.any()


@pytest.mark.parametrize("size", [129, (90, 150), 47])
def test_dots_stay_centred_on_their_keypoints(dots, size):
    """After any resizing, the centre of every dot is its keypoint."""
    result = crop(dots, np.array([3.3, 5.1, 76.6, 55.4], np.float32), size)
    for index, keypoint in enumerate(result.keypoints):
        near = np.where(result.part_labels == index + 1, result.image[..., 0], 0)
        np.testing.assert_allclose(_centroid(near.astype(float)), keypoint, atol=0.2)
        np.testing.assert_allclose(_centroid(result.part_labels == index + 1), keypoint, atol=0.35)
    y, x = np.mgrid[: result.size[0], : result.size[1]]
    single = _dots(60, 80, [dots.keypoints[1]])
    alone = crop(single, np.array([3.3, 5.1, 76.6, 55.4], np.float32), size)
    np.testing.assert_allclose(
        _centroid(alone.image[..., 0].astype(float)), alone.keypoints[0], atol=0.05
    )


def test_masks_keep_their_area_and_labels_stay_in_the_mask(dots):
    for size in (31, 64, 200):
        result = crop(dots, image_box(*dots.size), size)
        assert result.foreground.mean() == pytest.approx(dots.foreground.mean(), rel=0.06)
        np.testing.assert_array_equal(result.foreground, result.part_labels > 0)
        assert set(np.unique(result.part_labels)) == {0, 1, 2, 3}


@given(boxes, st.integers(1, 70), st.integers(1, 70))
@settings(deadline=None, max_examples=100)
def test_points_keep_their_coordinates_in_the_box(box, height, width):
    """The coordinates of points relative to the box stay the same, also those of its corners."""
    corners = box.reshape(2, 2)
    sample = replace(
        _dots(60, 80, [(20, 30)]),
        keypoints=np.concatenate([corners, corners.mean(0, keepdims=True)]).astype(np.float32),
        visible=np.ones(3, bool),
        box=box,
    )
    result = crop(sample, box, (height, width))
    frame = image_box(height, width)
    assert result.size == result.foreground.shape == (height, width)
    np.testing.assert_allclose(result.box, frame, atol=1e-3)
    np.testing.assert_allclose(result.keypoints[2], (frame[:2] + frame[2:]) / 2, atol=1e-3)
    assert result.visible[2] and not result.visible[1]


@given(boxes, st.integers(1, 70))
@settings(deadline=None, max_examples=60)
def test_cropping_and_mirroring_commute(box, size):
    sample = _dots(60, 80, [(20.0, 30.0), (41.5, 22.25), (60.0, 40.0)])
    one = mirror(crop(sample, box, size), INFO)
    flipped_box = replace(sample, box=box, image=sample.image)
    other = crop(mirror(sample, INFO), mirror(flipped_box, INFO).box, size)
    assert abs(one.image.astype(int) - other.image).max() <= 1
    # In float32 coordinates far outside of the crop have fewer digits.
    np.testing.assert_allclose(one.keypoints, other.keypoints, rtol=1e-5, atol=2e-2)
    np.testing.assert_allclose(one.box, other.box, rtol=1e-5, atol=2e-2)
    assert (one.foreground != other.foreground).mean() < 0.1


@given(boxes, st.one_of(st.none(), st.integers(1, 70)))
@settings(deadline=None, max_examples=60)
def test_visible_keypoints_of_a_crop_lie_inside(box, size):
    result = crop(_dots(60, 80, [(20.0, 30.0), (41.5, 22.25), (60.0, 40.0)]), box, size)
    check_sample(replace(result, box=None), INFO)


def test_mirror_exchanges_left_and_right_landmarks(dots):
    dots = replace(dots, visible=np.array([False, True, True]))
    mirrored = mirror(dots, INFO)
    np.testing.assert_array_equal(mirrored.image, dots.image[:, ::-1])
    np.testing.assert_allclose(mirrored.keypoints, [(79 - 41.5, 22.25), (59, 30), (19, 40)])
    np.testing.assert_array_equal(mirrored.visible, [True, False, True])
    np.testing.assert_array_equal(mirrored.box, mask_box(mirrored.foreground))
    assert_same(mirror(mirrored, INFO), dots)
    without_order = mirror(dots, DatasetInfo("dots", landmarks=INFO.landmarks))
    np.testing.assert_allclose(without_order.keypoints[0], (59, 30))


def test_mirror_exchanges_left_and_right_labels(dots):
    mirrored = mirror(dots, replace(INFO, part_names=("left eye", "right eye", "nose")))
    swapped = np.array([0, 2, 1, 3], np.uint8)[dots.part_labels]
    np.testing.assert_array_equal(mirrored.part_labels, swapped[:, ::-1])
    np.testing.assert_array_equal(mirror(dots, INFO).part_labels, dots.part_labels[:, ::-1])


def test_mirror_rejects_another_number_of_landmarks(dots):
    two = replace(dots, keypoints=dots.keypoints[:2], visible=dots.visible[:2])
    with pytest.raises(DataError, match="2 keypoints, but its data set dots has 3 landmarks"):
        mirror(two, INFO)


def test_absent_fields_stay_absent(dots):
    bare = Sample("bare", dots.image)
    for result in (crop(bare, image_box(60, 80), 9), mirror(bare, INFO)):
        assert [getattr(result, field) for field in ("foreground", "keypoints", "box")] == [
            None
        ] * 3


def test_results_are_writable(dots):
    for result in (crop(dots, image_box(60, 80), 30), mirror(dots, INFO)):
        assert result.image.flags.writeable and result.foreground.flags.writeable
