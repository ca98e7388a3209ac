from dataclasses import replace

import numpy as np
import pytest

from keras_parts.errors import DataError
from keras_parts.metrics import LandmarkData, landmark_error
from keras_parts.metrics.protocols import cub_landmarks

CATEGORIES = ("Laysan Albatross", "Black footed Albatross", "Sooty Albatross", "Bobolink")
SUBSETS = {"001": 1, "002": 0, "003": 2}  # subset: index in CATEGORIES


@pytest.fixture
def train(draw_animals):
    return draw_animals(24, seed=1, categories=CATEGORIES)


@pytest.fixture
def test(draw_animals):
    return draw_animals(16, seed=2, categories=CATEGORIES)


def centres_by_hand(sample):
    """Mean position of each true part's pixels, in coordinates of the box."""
    labels, (left, top, right, bottom) = sample.part_labels, sample.box
    means = [np.argwhere(labels == part).mean(0)[::-1] for part in (1, 2, 3)]
    return (np.array(means) - (left, top)) / (right - left, bottom - top)


def arrays(samples, centres):
    landmarks = [(s.keypoints - s.box[:2]) / (s.box[2:] - s.box[:2]) for s in samples]
    visible = [s.visible for s in samples]
    return LandmarkData(
        np.array([centres(s) for s in samples]), np.array(landmarks), np.array(visible)
    )


def expected(train, test, categories, tested, centres):
    train_part = [s for s in train if s.category in categories]
    test_part = [s for s in test if s.category in tested]
    return landmark_error(arrays(train_part, centres), arrays(test_part, centres))


def vary_boxes(samples):
    """Change the boxes to different sizes, so that coordinates in the box matter."""
    for index, sample in enumerate(samples.samples):
        growth = np.array([-1, -0.5, 0.25, 1], np.float32) * (index % 4)
        samples.samples[index] = replace(sample, box=sample.box + growth)


@pytest.mark.parametrize("masks", ["given", "model"])
def test_subsets_are_fitted_on_three_classes(train, test, perfect_maps, masks):
    def sharp(images):
        return [20 * logits for logits in perfect_maps(images)]

    for split in (train, test):
        vary_boxes(split)
    values = cub_landmarks(sharp, train, test, 3, masks=masks).values
    everything = range(len(CATEGORIES))
    for subset, category in SUBSETS.items():
        by_hand = expected(train, test, SUBSETS.values(), [category], centres_by_hand)
        assert values[subset] == pytest.approx(by_hand, abs=1e-4)
    by_hand = expected(train, test, everything, everything, centres_by_hand)
    assert values["all"] == pytest.approx(by_hand, abs=1e-4)


def test_midpoint_baseline(train, test, perfect_maps):
    for split in (train, test):
        vary_boxes(split)

    def midpoint(sample):
        centre = np.array([(56 - 1) / 2, (40 - 1) / 2])
        return [(centre - sample.box[:2]) / (sample.box[2:] - sample.box[:2])]

    values = cub_landmarks(perfect_maps, train, test, 3).values
    everything = range(len(CATEGORIES))
    by_hand = expected(train, test, everything, everything, midpoint)
    assert values["all of the midpoint"] == pytest.approx(by_hand, abs=1e-9)
    assert values["all"] < values["all of the midpoint"]


@pytest.mark.parametrize("masks", ["given", "model"])
def test_centres_are_weighted_by_part_and_foreground_probability(train, test, noisy_maps, masks):
    """p F is the softmax of the parts inside a given mask, or of all channels without one."""
    for split in (train, test):
        vary_boxes(split)

    def centres(sample):
        (logits,) = noisy_maps([sample.image])
        mass = np.exp(logits.astype(float))
        whole = mass[..., 1:].sum(-1) if masks == "given" else mass.sum(-1)
        mass = mass[..., 1:] / whole[..., None]
        if masks == "given":
            mass = mass * sample.foreground[..., None]
        rows, columns = np.mgrid[:40, :56]
        x, y = ((mass * grid[..., None]).sum((0, 1)) / mass.sum((0, 1)) for grid in (columns, rows))
        left, top, right, bottom = sample.box
        return np.stack([(x - left) / (right - left), (y - top) / (bottom - top)], -1)

    everything = range(len(CATEGORIES))
    values = cub_landmarks(noisy_maps, train, test, 3, masks=masks).values
    by_hand = expected(train, test, everything, everything, centres)
    assert values["all"] == pytest.approx(by_hand, abs=1e-4)


def test_subsets_of_missing_classes_are_left_out(draw_animals, perfect_maps):
    categories = ("Sooty Albatross", "Bobolink")
    train, partial = (draw_animals(12, seed, categories=categories) for seed in (1, 2))
    values = cub_landmarks(perfect_maps, train, partial, 3).values
    assert set(values) == {"003", "all", "003 of the midpoint", "all of the midpoint"}


def test_errors(train, test, perfect_maps):
    with pytest.raises(DataError, match="cub-landmarks-given needs the train split"):
        cub_landmarks(perfect_maps, None, test, 3)
    train.samples[3] = replace(train.samples[3], foreground=None)
    with pytest.raises(DataError, match="animal 1.3: there is no mask"):
        cub_landmarks(perfect_maps, train, test, 3)
    cub_landmarks(perfect_maps, train, test, 3, masks="model")
    test.samples[:] = [replace(one, visible=np.zeros(4, bool)) for one in test.samples]
    with pytest.raises(DataError, match="no landmark is visible in both"):
        cub_landmarks(perfect_maps, train, test, 3, masks="model")


def test_given_masks_of_both_splits_must_come_from_one_source(draw_animals, perfect_maps):
    train, test = draw_animals(12, 1), draw_animals(9, 2)
    test.masks_from = "predicted"
    with pytest.raises(DataError, match="test split: predicted; train split: the data set's own"):
        cub_landmarks(perfect_maps, train, test, 3)
    assert cub_landmarks(perfect_maps, train, test, 3, masks="model").values
    train.masks_from = "predicted"
    assert cub_landmarks(perfect_maps, train, test, 3).values
