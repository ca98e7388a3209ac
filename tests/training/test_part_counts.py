"""Numbers of parts: what is measured of planted parts, and which number is recommended."""

import re
from types import SimpleNamespace

import numpy as np
import pytest

from keras_parts import data
from keras_parts.errors import ConfigError, DataError
from keras_parts.results.page import read_page
from keras_parts.training import part_counts, recipes
from keras_parts.training.part_count_page import write_part_counts
from keras_parts.training.part_counts import (
    PartCount,
    _matched,
    _measured,
    _Object,
    _Shown,
    compare_part_counts,
    recommend,
)

PLANTED, POSITIONS, CHANNELS = 3, 12, 6


def objects(count=18, noise=0.1):
    """Objects with three parts of as many positions, each along an axis of its own."""
    rng = np.random.default_rng(0)
    labels = np.arange(POSITIONS) % PLANTED
    for _ in range(count):
        vectors = np.eye(CHANNELS)[labels] + rng.normal(scale=noise, size=(POSITIONS, CHANNELS))
        yield _Object(vectors.astype(np.float32), np.ones(POSITIONS, np.float32), vectors[0])


def test_planted_parts_are_stable_and_further_ones_are_not():
    planted, more = (_measured(list(objects()), count, seed=0) for count in (PLANTED, 6))
    assert planted.stability > 0.99 and planted.error < 0.01
    assert planted.explained > 0.8 and planted.presence == 1
    assert planted.smallest == pytest.approx(1 / PLANTED)
    assert more.stability < 0.8 and more.explained > planted.explained
    assert more.smallest < planted.smallest and more.presence <= 1


def test_parts_of_noise_are_chance():
    found = _measured(list(objects(noise=30.0)), 4, seed=0)
    assert abs(found.stability) < 0.2


def test_masks_with_too_few_positions():
    with pytest.raises(DataError, match="only 12 positions lie inside the objects, too few for 13"):
        _measured(list(objects(3)), 13, seed=0)


def test_parts_that_are_alike_keep_their_label():
    three = np.eye(3, dtype=np.float32)
    four = np.concatenate([three[[2, 0, 1]], -np.ones((1, 3), np.float32)])
    np.testing.assert_array_equal(_matched({4: four, 3: three})[4][:3], three)


@pytest.fixture
def found(monkeypatch):
    """A comparison of 2 to 4 parts, without a teacher."""
    image = np.zeros((20, 30, 3), np.uint8)
    foreground = np.zeros((20, 30), bool)
    foreground[5:15] = True
    maps = np.eye(CHANNELS, dtype=np.float32)[np.arange(12).reshape(3, 4) % PLANTED]
    shown = [_Shown(f"{index}", image, foreground, maps) for index in range(4)]
    monkeypatch.setattr(part_counts, "_objects", lambda *_: (list(objects()), shown))
    monkeypatch.setattr(part_counts, "check_recipe", lambda _: None)
    animals = data.load("toy", "train", count=4, size=33)
    return compare_part_counts(recipes.TOY, animals, (4, 3, 2), progress=False)


def test_a_comparison_recommends_the_planted_number(found):
    assert [one.num_parts for one in found.measured] == [2, 3, 4]
    assert found.recommended == PLANTED
    assert (found.num_images, found.total) == (len(list(objects())), 4)
    parts = found.parts(PLANTED)["0"]
    assert len(parts) == PLANTED and parts.present == [1, 2, 3]
    foreground = np.broadcast_to(parts.labels[:, :1] > 0, parts.labels.shape)
    np.testing.assert_array_equal(parts.labels > 0, foreground)


def test_the_page_has_the_sheets_and_the_curve(found, tmp_path):
    assert write_part_counts(found, tmp_path / "counts", title="Animals").is_file()
    page = read_page(tmp_path / "counts")
    names = [name for _, name in page["figures"]]
    assert names == ["curve.png", "parts-2.png", "parts-3.png", "parts-4.png"]
    assert all((tmp_path / "counts" / name).is_file() for name in (*names, "parts.png"))
    assert "K=3, recommended: stability 1.00" in page["figures"][2][0]
    assert len(page["pictures"]) == 4 and len(page["parts"]) == PLANTED


@pytest.mark.parametrize("counts", [(), (1, 4), (65,)])
def test_numbers_outside_the_range(counts):
    with pytest.raises(ConfigError, match="no numbers of parts|num_parts is"):
        compare_part_counts(recipes.TOY, SimpleNamespace(), counts)


def test_too_few_images():
    pair = data.load("toy", "train", count=2, size=33)
    with pytest.raises(DataError, match="2 images are too few to compare numbers of parts"):
        compare_part_counts(recipes.TOY, pair)


def measured(*stability, smallest=0.1):
    return [PartCount(3 + i, value, 0.01, 0.3, smallest, 1.0) for i, value in enumerate(stability)]


@pytest.mark.parametrize(
    "counts, number, reason",
    [
        (measured(0.9, 0.5, 0.85, 0.7), 5, "5 parts are the most .* is 0.85, and 0.70 for 6$"),
        (measured(0.9, 0.9), 4, "4 parts are the most .* is 0.90; larger numbers were not tried$"),
        (measured(0.6, 0.7), 4, "do not decide: .* at most 0.70, for 4.* 4 is the default$"),
        (measured(0.9) + measured(0, 0.9, smallest=0.01)[1:], 3, "of which one has only 1.0% of"),
    ],
)
def test_the_largest_stable_number_is_recommended(counts, number, reason):
    found = recommend(counts, default=6)
    assert found[0] == number and re.search(reason, found[1])
