"""Samples are drawn with all their annotations."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from keras_parts.cli import main
from keras_parts.data import DatasetInfo, Sample
from keras_parts.data.sample_sheet import draw_sample
from keras_parts.results.palette import part_palette
from tests.data import drawn

GREY = 120
INFO = DatasetInfo("dots", landmarks=("nose", "ear", "tail"), part_names=("head", "body"))


@pytest.fixture
def sample():
    """A grey image with two parts, a box and three keypoints, one of them hidden."""
    labels = np.zeros((40, 80), np.uint8)
    labels[10:30, 10:40], labels[10:30, 40:70] = 1, 2
    return Sample(
        id="dots",
        image=np.full((40, 80, 3), GREY, np.uint8),
        foreground=labels > 0,
        keypoints=np.float32([[20, 15], [50, 25], [60, 15]]),
        visible=np.array([True, True, False]),
        box=np.float32([5.5, 5.5, 74.5, 34.5]),
        part_labels=labels,
    )


def draw(sample):
    """(80, 160, 3) int: the drawing, of twice the size of the image."""
    return np.asarray(draw_sample(sample, INFO, side=160)).astype(int)


def mixed(colour):
    return 0.55 * GREY + 0.45 * colour


def test_part_labels_are_translucent_colours(sample):
    head, body = part_palette(2)
    picture = draw(sample)
    np.testing.assert_allclose(picture[55, 30], mixed(head), atol=1)
    np.testing.assert_allclose(picture[30, 100], mixed(body), atol=1)
    assert (picture[75, 150] == GREY).all()


def test_a_mask_alone_has_the_first_colour(sample):
    picture = draw(replace(sample, part_labels=None))
    for x in (30, 90):
        np.testing.assert_allclose(picture[55, x], mixed(part_palette(1)[0]), atol=1)
    assert (picture[75, 150] == GREY).all()
    bare = draw(replace(sample, part_labels=None, foreground=None))
    assert (bare[55, 30] == GREY).all()


def test_visible_keypoints_are_coloured_dots(sample):
    nose, ear, tail = part_palette(3)
    picture = draw(sample)
    assert (picture[31, 41] == nose).all() and (picture[51, 101] == ear).all()
    assert not (picture == tail).all(-1).any()


def test_the_box_is_a_yellow_frame(sample):
    yellow = (draw(sample) == (255, 220, 0)).all(-1)
    rows, columns = np.nonzero(yellow)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (12, 69, 12, 149)
    assert yellow[12, 12:150].all() and not yellow[20, 20]


def test_data_show_draws_masks_and_keypoints(tmp_path):
    path = tmp_path / "sheet.png"
    root = drawn.cub(tmp_path)["data_dir"]
    options = ("--dataset", "cub", "--data-dir", str(root), "--count", "1", "--output", str(path))
    result = CliRunner().invoke(main, ["data", "show", *options])
    assert result.exit_code == 0, result.output
    colours = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)

    def pixels(colour, tolerance):
        return (np.abs(colours - colour) <= tolerance).all(-1).sum()

    bird, palette = np.array([200, 90, 40]), part_palette(15)
    assert pixels(0.55 * bird + 0.45 * palette[0], 12) > 1000
    for part in (0, 1, 2, 4):  # every fourth landmark is hidden
        assert pixels(palette[part], 12) > 4, part
