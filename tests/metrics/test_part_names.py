import numpy as np
import pytest
from matplotlib.axes import Axes

from keras_parts.data import DatasetInfo
from keras_parts.errors import ConfigError
from keras_parts.metrics import (
    Runs,
    confusion_picture,
    evaluate,
    part_meanings,
    report_meanings,
)
from keras_parts.metrics.protocols import Result

BIRD = DatasetInfo(
    "bird",
    landmarks=("beak", "crown", "left wing", "right wing", "belly", "tail"),
    regions={"head": ("beak", "crown")},
)


def result(counts, labels=BIRD.landmarks, prefix="FG-"):
    counts = np.array(counts)
    return Result({f"{prefix}NMI": 1.0}, 1, int(counts.sum()), counts=counts, labels=labels)


def test_names_from_regions_pairs_and_single_labels():
    counts = [[95, 5, 0], [97, 3, 0], [0, 80, 20], [10, 90, 0], [0, 10, 90], [0, 0, 10]]
    head, wings, belly = part_meanings(result(counts), BIRD)
    assert str(head) == "part 1: head (crown 97 %, beak 95 %)"
    assert wings.name == "wings" and wings.covers == (("right wing", 0.9), ("left wing", 0.8))
    assert belly.name == "belly and tail"  # the tail is a tenth of this part
    assert head.share == pytest.approx(202 / 510)


def test_a_part_is_named_after_a_region_only_if_it_covers_it():
    counts = [[90, 10], [30, 70], [0, 1], [0, 1], [0, 100], [0, 1]]
    head, rest = part_meanings(result(counts), BIRD)
    assert head.name == "beak" and rest.name == "belly and crown"


def test_names_of_empty_parts_and_of_parts_that_no_label_belongs_to():
    counts = [[60, 40, 0, 0], [9, 1, 0, 0], [9, 1, 0, 0], [9, 1, 0, 0], [9, 1, 0, 0], [0, 0, 0, 0]]
    names = [one.name for one in part_meanings(result(counts), BIRD)]
    assert names == ["head and wings", "some of beak", "unused", "unused 2"]


def test_names_are_unique():
    info = DatasetInfo("x", landmarks=("a", "b"), regions={"all": ("a", "b")})
    counts = [[5, 5, 0], [4, 0, 6]]
    names = [one.name for one in part_meanings(result(counts, info.landmarks), info)]
    assert len(set(names)) == 3


def test_only_foreground_protocols_give_meanings():
    with pytest.raises(ConfigError, match="foreground protocol"):
        part_meanings(result([[1, 2]], ("a",), prefix=""), BIRD)
    with pytest.raises(ConfigError, match="no contingency table"):
        part_meanings(Result({"001": 1.0}, 1, 1), BIRD)


def test_meanings_of_a_measured_model(drawn, perfect_maps):
    report = evaluate(perfect_maps, drawn, 3, ["pixels-foreground"], progress=False)
    meanings = part_meanings(report.results["pixels-foreground"], drawn.info)
    assert [one.name for one in meanings] == ["front", "middle", "back"]
    assert meanings[0].covers == (("front", 1.0),)


def test_parts_are_named_by_pixels_rather_than_keypoints(drawn, perfect_maps):
    report = evaluate(perfect_maps, drawn, 3, progress=False)
    by_pixels = part_meanings(report.results["pixels-foreground"], drawn.info)
    assert report_meanings(report, drawn.info) == by_pixels
    by_keypoints = evaluate(perfect_maps, drawn, 3, ["keypoints-foreground"], progress=False)
    assert report_meanings(by_keypoints, drawn.info)[0].name != by_pixels[0].name
    full = evaluate(perfect_maps, drawn, 3, ["pixels-full-given"], progress=False)
    assert report_meanings(full, drawn.info) == ()
    assert report_meanings(Runs((report, report)), drawn.info) == ()


def test_confusion_picture_shows_shares():
    counts = [[100, 0], [0, 100], [0, 0], [50, 50], [0, 100], [0, 100]]
    picture = confusion_picture(result(counts), ("1 head", "2 rest"), title="bird")
    assert picture.mode == "RGB" and picture.height > 200
    colours = np.asarray(picture).reshape(-1, 3)
    dark = (np.abs(colours - (8, 48, 107)) < 3).all(-1).mean()  # the end of matplotlib's Blues
    assert 0.1 < dark < 0.9
    with pytest.raises(ConfigError, match="1 names for 2 columns"):
        confusion_picture(result(counts), ("one",))


@pytest.mark.parametrize(
    "prefix, columns",
    [("FG-", ["part 1", "part 2", "part 3"]), ("", ["background", "part 1", "part 2"])],
)
def test_columns_of_the_confusion_picture_are_named(monkeypatch, prefix, columns):
    named = []
    set_xticks = Axes.set_xticks

    def record(axes, ticks, labels, **options):
        named.extend(labels)
        return set_xticks(axes, ticks, labels, **options)

    monkeypatch.setattr(Axes, "set_xticks", record)
    confusion_picture(result([[3, 1, 1], [1, 3, 1]], ("beak", "tail"), prefix))
    assert named == columns
