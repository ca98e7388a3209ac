"""Objects pasted at several sizes, for the table of one look beside two."""

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.results import Parts
from tests.benchmarks.test_scripts import FOLDER, rows_of
from tests.benchmarks.test_scripts import load as load_script


@pytest.fixture
def looks(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return load_script("looks.py")


def test_objects_have_their_share_of_the_picture(looks):
    toy = looks.with_masks(load("toy", "test", count=6, size=81), 3)
    assert len(toy) == 3
    backgrounds = looks.backgrounds_of(toy)
    for share in (1.0, 0.25):
        pasted = looks.Pasted(toy, backgrounds, share, 160)
        for index, sample in enumerate(pasted):
            assert sample.size == (160, 160)
            box = looks.mask_box(sample.foreground)
            assert (box[2:] - box[:2]).max() == pytest.approx(160 * share, rel=0.15)
            inside = sample.part_labels > 0
            np.testing.assert_array_equal(inside, sample.foreground & inside)
            visible = sample.keypoints[sample.visible & toy[index].visible]
            assert ((visible > box[:2] - 4) & (visible < box[2:] + 4)).all()
            np.testing.assert_array_equal(sample.image, pasted[index].image)  # the same again


def test_the_background_is_beside_the_object(looks):
    square = looks.largest_square_beside(np.array([9.5, 4.5, 29.5, 14.5]), (40, 60))
    np.testing.assert_array_equal(square, [29.5, -0.5, 59.5, 29.5])
    square = looks.largest_square_beside(np.array([-0.5, 4.5, 59.5, 14.5]), (40, 60))
    np.testing.assert_array_equal(square, [-0.5, 14.5, 24.5, 39.5])


class Halves:
    """Part 1 is the left half of a picture; with two looks, part 2 is the right half."""

    num_parts = 2

    def maps(self, images, flip, looks):
        return [self.logits(*image.shape[:2], looks) for image in images]

    def logits(self, height, width, looks):
        logits = np.zeros((height, width, 3), np.float32)
        logits[:, : width // 2, 1] = 9
        logits[:, width // 2 :, 2 if looks == 2 else 0] = 9
        return logits

    def segment(self, image, looks):
        return Parts(self.logits(*image.shape[:2], looks), image)


def test_table(looks, monkeypatch, capsys, tmp_path):
    picture = tmp_path / "looks.png"
    monkeypatch.setattr(looks.zoo, "load", lambda model: Halves())
    monkeypatch.setattr(looks, "load", lambda *_: load("toy", "test", count=2, size=81))
    arguments = ["--side", 65, "--shares", 100, 50, "--picture", picture]
    monkeypatch.setattr("sys.argv", ["looks.py", *map(str, arguments)])
    looks.main()
    header, *rows = rows_of(capsys.readouterr().out)
    assert header == ["object, of the picture's side", "looks", "IoU", "boundary F", "FG-NMI"]
    assert [row[:2] for row in rows] == [[f"{share} %", n] for share in (100, 50) for n in "12"]
    assert float(rows[0][4]) != float(rows[1][4]) and picture.exists()
