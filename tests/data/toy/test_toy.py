"""The drawn animals are reproducible, have exact annotations, and colour does not reveal parts."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

from keras_parts.data import load
from keras_parts.data.toy.animals import (
    LANDMARKS,
    MIRROR_ORDER,
    PALETTE,
    PARTS,
    PATTERNS,
    species,
)
from keras_parts.data.toy.dataset import SPECIES, load_toy
from keras_parts.data.toy.painting import draw, tube
from keras_parts.data.toy.poses import pose
from keras_parts.errors import ConfigError
from tests.data.contract import check_dataset

FIELDS = ("image", "foreground", "keypoints", "visible", "box", "part_labels")
PART_OF_LANDMARK = {
    "nose": "head", "left eye": "head", "right eye": "head",
    "back": "body", "belly": "body",
    "left front foot": "forelegs", "right front foot": "forelegs",
    "left hind foot": "hind legs", "right hind foot": "hind legs",
    "tail middle": "tail", "tail tip": "tail",
}  # fmt: skip


@pytest.fixture(scope="module")
def train():
    return load("toy", "train", count=96)


def at_keypoints(maps, sample):
    """The values of a map at the visible keypoints."""
    columns, rows = np.floor(sample.keypoints[sample.visible] + 0.5).astype(int).T
    return maps[rows, columns]


def assert_equal_samples(first, second):
    assert (first.id, first.category) == (second.id, second.category)
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field), field)


def test_schema(train):
    assert len(train) == 96
    assert train.info.landmarks == LANDMARKS and len(train.info.categories) == len(SPECIES)
    assert len(set(train.info.categories)) == len(SPECIES)
    for index, sample in enumerate(train[:24]):
        assert sample.id == train.ids()[index]
        assert sample.category == train.categories()[index] == index % len(SPECIES)
        assert sample.image.shape == (161, 161, 3)
        assert sample.keypoints.shape == (len(LANDMARKS), 2)
        assert set(np.unique(sample.part_labels)) <= set(range(len(PARTS) + 1))
        np.testing.assert_array_equal(sample.foreground, sample.part_labels > 0)


@pytest.mark.parametrize("split", ["train", "test", "fit", "validation"])
def test_contract(split):
    check_dataset(load("toy", split, count=72, size=97), num_samples=6, box_slack=0.0)


def test_box_is_tight(train):
    for sample in train[:24]:
        rows, columns = np.nonzero(sample.foreground)
        x0, y0, x1, y1 = sample.box
        assert (x0, y0) == (columns.min() - 0.5, rows.min() - 0.5)
        assert (x1, y1) == (columns.max() + 0.5, rows.max() + 0.5)


def test_sizes_and_splits():
    assert [len(load_toy(split)) for split in ("train", "test")] == [600, 300]
    fit, validation = (load_toy(split, count=120) for split in ("fit", "validation"))
    assert (len(fit), len(validation)) == (96, 24)
    assert not set(fit.ids()) & set(validation.ids())
    assert load_toy("test", size=65, count=1)[0].image.shape == (65, 65, 3)


@pytest.mark.parametrize(
    "options",
    [{"split": "dev"}, {"size": 16}, {"count": 0}, {"seed": -1}, {"species": (-1,)},
     {"species": ()}, {"size": 64.5}],
)  # fmt: skip
def test_wrong_options_are_rejected(options):
    with pytest.raises(ConfigError, match=f"toy.*{next(iter(options))}"):
        load_toy(**{"split": "train"} | options)


def test_a_sample_does_not_depend_on_other_samples():
    long, short = load_toy("test", count=40, size=97), load_toy("test", count=20, size=97)
    later = long[13]
    for _ in long[30:]:
        pass
    assert_equal_samples(later, short[13])


def test_samples_differ_by_index_split_and_seed():
    images = [
        load_toy("train", size=65)[0], load_toy("train", size=65)[12],
        load_toy("test", size=65)[0], load_toy("train", size=65, seed=1)[0],
    ]  # fmt: skip
    for index, first in enumerate(images):
        for second in images[:index]:
            assert (first.image != second.image).mean() > 0.5


def test_samples_are_the_same_in_another_process():
    code = (
        "import hashlib; from keras_parts.data.toy.dataset import load_toy\n"
        "s = load_toy('test')[7];"
        "print(hashlib.sha256(s.image.tobytes() + s.part_labels.tobytes()"
        " + s.keypoints.tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1 and len(digests.pop()) == 65


def test_samples_are_read_only(train):
    with pytest.raises(ValueError):
        train[0].image[0, 0] = 0


def test_the_fingerprint_depends_on_the_settings():
    prints = [
        load_toy("train").fingerprint(), load_toy("test").fingerprint(),
        load_toy("train", seed=1).fingerprint(), load_toy("train", size=97).fingerprint(),
    ]  # fmt: skip
    assert len(set(prints)) == 4
    assert load_toy("train").fingerprint() == prints[0]


@pytest.mark.slow
def test_every_part_is_visible(train):
    areas = np.array(
        [
            np.bincount(s.part_labels.ravel(), minlength=1 + len(PARTS))[1:] / s.foreground.sum()
            for s in train
        ]
    )
    assert (areas > 0.01).mean() > 0.95
    low, high = np.median(areas, axis=0).min(), np.median(areas, axis=0).max()
    assert low > 0.1 and high < 0.3


def test_visible_keypoints_lie_on_their_parts(train):
    parts = np.array([1 + PARTS.index(PART_OF_LANDMARK[name]) for name in LANDMARKS])
    for sample in train:
        np.testing.assert_array_equal(
            at_keypoints(sample.part_labels, sample), parts[sample.visible], sample.id
        )


def test_some_keypoints_are_hidden(train):
    """Every landmark is often visible; inside the image it is sometimes hidden by the animal itself
    or by an occluder."""
    visible = np.mean([sample.visible for sample in train], axis=0)
    assert visible.min() > 0.4 and visible.max() > 0.9
    inside = np.array([((s.keypoints >= 0) & (s.keypoints <= 160)).all(axis=1) for s in train])
    hidden = inside & ~np.array([sample.visible for sample in train])
    assert hidden.sum() > len(train)


def test_mirror_swaps_left_and_right():
    for index, name in enumerate(LANDMARKS):
        swapped = name.replace("left", "L").replace("right", "left").replace("L", "right")
        assert LANDMARKS[MIRROR_ORDER[index]] == swapped


def test_the_near_side_is_the_visible_side():
    """The viewer sees the left side of an animal that faces left."""
    rng = np.random.default_rng(0)
    for index in range(20):
        figure = pose(species(index), rng)
        names = [name for name, _, _ in figure.limbs]
        near = "left" if figure.faces_left else "right"
        foot = figure.landmarks[LANDMARKS.index(f"{near} front foot")]
        leg = figure.limbs[names.index("near front leg")][1]
        np.testing.assert_allclose(foot, leg[-2:].mean(0))
        eye = figure.limbs[names.index("near eye")][1][0]
        np.testing.assert_allclose(figure.landmarks[LANDMARKS.index(f"{near} eye")], eye)


def test_both_directions_and_sizes_occur(train):
    noses = np.array([sample.keypoints[LANDMARKS.index("nose")] for sample in train])
    tails = np.array([sample.keypoints[LANDMARKS.index("tail middle")] for sample in train])
    left = (noses[:, 0] < tails[:, 0]).mean()
    assert 0.3 < left < 0.7
    areas = np.array([sample.foreground.mean() for sample in train])
    assert np.quantile(areas, 0.95) > 1.7 * np.quantile(areas, 0.05)


def test_colours_are_distributed_evenly_over_parts():
    """In every dozen species each part has each colour once; no animal has a colour twice."""
    count = len(PALETTE)
    for dozen in range(4):
        members = [species(count * dozen + index) for index in range(count)]
        for part in PARTS:
            assert {member.coats[part].colour for member in members} == set(PALETTE)
        for member in members:
            assert len({coat.colour for coat in member.coats.values()}) == len(PARTS)


def test_patterns_belong_to_parts():
    assert sum(map(len, PATTERNS.values())) == len(set().union(*PATTERNS.values()))
    for part in PARTS:
        patterns = [species(index).coats[part].pattern for index in range(120)]
        assert set(patterns) == set(PATTERNS[part])
        assert min(map(patterns.count, PATTERNS[part])) > 20


def test_a_species_is_always_the_same():
    assert species(5).name == "rose-headed amber spotback"
    assert species(5) is species(5)
    assert species(5).lengths != species(17).lengths


@pytest.mark.slow
def test_clusters_of_colours_are_not_parts(train):
    """The NMI of landmarks is low with clusters of Lab colours, and high with the true parts."""
    from keras import ops

    from keras_parts.ops import rgb_to_lab

    colours, labels, parts, pixels = [], [], [], []
    for sample in train:
        lab = ops.convert_to_numpy(rgb_to_lab(sample.image / 255.0))
        pixels.append(lab[sample.foreground][::40])
        colours.append(at_keypoints(lab, sample))
        parts.append(at_keypoints(sample.part_labels, sample))
        labels.append(np.flatnonzero(sample.visible))
    labels = np.concatenate(labels)
    clusters = KMeans(len(PARTS), n_init=3, random_state=0).fit(np.concatenate(pixels))
    by_colour = normalized_mutual_info_score(labels, clusters.predict(np.concatenate(colours)))
    by_part = normalized_mutual_info_score(labels, np.concatenate(parts))
    assert by_colour < 0.2
    assert by_part > 0.78


def test_colour_does_not_separate_the_foreground(train):
    """Foreground and scenery share their colours: histograms of colours hardly separate them."""
    inside = np.concatenate([sample.image[sample.foreground][::20] for sample in train])
    outside = np.concatenate([sample.image[~sample.foreground][::60] for sample in train])
    bins = [np.linspace(0, 256, 7)] * 3
    p, q = (np.histogramdd(values, bins)[0] / len(values) for values in (inside, outside))
    best_accuracy = 0.5 * np.maximum(p, q).sum()  # of any rule that uses both histograms
    assert best_accuracy < 0.75


def test_tube_is_the_distance_to_round_cones():
    """For equal radii the distance is exactly that of a capsule, and the window contains it."""
    shape = tube([[10.0, 12.0], [30.0, 12.0]], [4.0, 4.0], (33, 41))
    rows, columns = np.mgrid[:33, :41]
    nearest = np.clip(columns, 10, 30)
    distance = np.hypot(columns - nearest, rows - 12.0) - 4.0
    np.testing.assert_allclose(shape.distance, distance[shape.window], atol=1e-5)
    np.testing.assert_allclose(shape.along, nearest[shape.window] - 10.0, atol=1e-5)
    assert (distance < 0).sum() == (shape.distance < 0).sum()
    assert tube([[-30.0, 12.0]], [4.0], (33, 41)) is None


def test_the_same_scene_at_every_size():
    """Parts cover the same shares at twice the size: they are drawn anew, not resized."""
    for index in range(6):
        small, large = (
            draw(species(index), size, np.random.default_rng(index)) for size in (97, 193)
        )
        labels = (small.labels.ravel(), large.labels.ravel())
        shares = [np.bincount(one, minlength=1 + len(PARTS)) / one.size for one in labels]
        np.testing.assert_allclose(*shares, atol=0.004)


def test_drawing_order_hides_far_limbs_behind_near_ones():
    for index in range(10):
        names = [name for name, _, _ in pose(species(index), np.random.default_rng(index)).limbs]
        order = [names.index(n) for n in ("far front leg", "body", "near front leg", "head")]
        assert all(a < b for a, b in pairwise(order))
