"""The contract of every data set: `check_dataset` asserts it.

Call it in a test of a reader: `check_dataset(load("cub", "train", data_dir))`.
"""

import re

import numpy as np

from keras_parts.data import Dataset, DatasetInfo, Sample, Subset
from keras_parts.data.crops import image_box, mask_box, mirror


def check_dataset(dataset: Dataset, num_samples: int | None = None, box_slack: float = 1.0) -> None:
    """Assert the contract.

    Args:
        dataset: the data set to test.
        num_samples: number of samples to read, evenly spread; None for all.
        box_slack: distance in pixels by which a mask may exceed the sample's box.
    """
    assert isinstance(dataset, Dataset)
    assert len(dataset) > 0, f"{dataset!r} is empty: draw more samples"
    _check_info(dataset.info)
    _check_sequence(dataset)
    count = len(dataset) if num_samples is None else min(num_samples, len(dataset))
    ids, categories = dataset.ids(), dataset.categories()
    for index in np.linspace(0, len(dataset) - 1, count).astype(int):
        sample = dataset[index]
        assert sample.id == ids[index]
        assert categories[index] == (-1 if sample.category is None else sample.category)
        check_sample(sample, dataset.info, box_slack)
        assert_same(dataset[index], sample)
        _check_mirror(sample, dataset.info)
        assert dataset.problems(int(index)) == []


def check_sample(sample: Sample, info: DatasetInfo, box_slack: float = 1.0) -> None:
    """Assert that the fields of a sample agree with each other and with its data set's `info`."""
    height, width = sample.size
    frame = image_box(height, width)
    if sample.keypoints is not None:
        assert len(sample.keypoints) == len(info.landmarks)
        assert (sample.keypoints[sample.visible] >= frame[:2]).all()
        assert (sample.keypoints[sample.visible] <= frame[2:]).all()
    if sample.box is not None:
        assert (sample.box[:2] >= frame[:2]).all() and (sample.box[2:] <= frame[2:]).all()
    if sample.part_labels is not None and info.part_names:
        assert sample.part_labels.max() <= len(info.part_names)
    if sample.foreground is not None and sample.part_labels is not None:
        np.testing.assert_array_equal(sample.foreground, sample.part_labels > 0)
    if sample.foreground is not None and sample.box is not None and sample.foreground.any():
        around = mask_box(sample.foreground)
        assert (around[:2] >= sample.box[:2] - box_slack).all(), sample.id
        assert (around[2:] <= sample.box[2:] + box_slack).all(), sample.id
    if sample.category is not None:
        assert sample.category < len(info.categories)


def _check_mirror(sample, info):
    """In a mirror image x is width - 1 - x and left is right; mirroring twice changes nothing."""
    mirrored, last = mirror(sample, info), sample.size[1] - 1
    np.testing.assert_array_equal(mirrored.image, sample.image[:, ::-1])
    if sample.foreground is not None:
        np.testing.assert_array_equal(mirrored.foreground, sample.foreground[:, ::-1])
    if sample.part_labels is not None:
        names = ("background", *info.part_names)
        for label in np.unique(sample.part_labels):
            in_mirror = mirrored.part_labels == _other_side(names, label)
            np.testing.assert_array_equal(in_mirror, (sample.part_labels == label)[:, ::-1])
    if sample.keypoints is not None:
        order = [_other_side(info.landmarks, index) for index in range(len(info.landmarks))]
        x, y = sample.keypoints.T
        np.testing.assert_allclose(mirrored.keypoints[order], np.stack([last - x, y], 1), atol=1e-3)
        np.testing.assert_array_equal(mirrored.visible[order], sample.visible)
    if sample.box is not None:
        np.testing.assert_allclose(mirrored.box[[2, 0]], last - sample.box[[0, 2]], atol=1e-3)
        np.testing.assert_array_equal(mirrored.box[[1, 3]], sample.box[[1, 3]])
    assert_same(mirror(mirrored, info), sample)


def _other_side(names, index):
    """The index of the name with left and right exchanged; the same index if there is none."""
    if index >= len(names):  # a label without a name
        return index
    sides = {"left": "right", "right": "left"}
    name = re.sub("left|right", lambda side: sides[side[0]], names[index])
    return names.index(name) if name in names else index


def assert_same(one: Sample, other: Sample) -> None:
    """Assert that two samples are equal: arrays exactly, coordinates to a thousandth of a pixel."""
    for field, value in vars(one).items():
        found = getattr(other, field)
        if field in ("keypoints", "box") and value is not None:
            np.testing.assert_allclose(found, value, atol=1e-3)
            assert found.dtype == value.dtype
        else:
            np.testing.assert_array_equal(found, value)


def _check_info(info):
    assert isinstance(info, DatasetInfo) and info.name
    for names in (info.landmarks, info.part_names, info.categories):
        assert isinstance(names, tuple) and len(set(names)) == len(names)
    assert info.licence and info.how_to_obtain
    hash(info)
    named = {*info.landmarks, *info.part_names}
    for region, members in info.regions.items():
        assert region and set(members) <= named, region


def _check_sequence(dataset):
    ids = dataset.ids()
    assert len(ids) == len(dataset) == len(set(ids))
    assert dataset.categories().shape == (len(dataset),)
    assert dataset.categories().dtype == np.int64
    assert_same(dataset[-1], dataset[len(dataset) - 1])
    for outside in (len(dataset), -len(dataset) - 1):
        try:
            dataset[outside]
        except IndexError:
            continue
        raise AssertionError(f"index {outside} is outside the data set")
    part = dataset[: max(len(dataset) // 2, 1)]
    assert isinstance(part, Subset) and part.ids() == ids[: len(part)]
    assert_same(part[0], dataset[0])
    assert dataset.fingerprint() == dataset.fingerprint()
    reversed_fingerprint = dataset[::-1].fingerprint()
    assert (reversed_fingerprint == dataset[:].fingerprint()) == (len(dataset) == 1)
