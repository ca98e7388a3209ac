"""Scenes lie between the object and the photograph, and map to the crop as they say."""

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample, SceneSettings
from keras_parts.data.batches import Batches
from keras_parts.data.crops import (
    CropSettings,
    crop,
    image_box,
    mask_box,
    object_square,
    square_box,
)
from keras_parts.data.scenes import draw_scene, relative_square
from keras_parts.errors import ConfigError

STILL = CropSettings(jitter=0.0, mirror=0.0)
ALWAYS = {"share": 1.0, "whole": 0.0, "cut": 0.0, "empty": 0.0}


def photograph(height=120, width=160, scale=1):
    """A photograph whose red and green tell column and row, with an object left of the middle."""
    rows, columns = np.mgrid[: height * scale, : width * scale] / scale
    image = np.stack([columns, rows, 0 * rows], axis=-1).round().astype(np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[40 * scale : 70 * scale, 30 * scale : 50 * scale] = True
    return Sample("one", image, foreground=mask, box=mask_box(mask))


class Photographs(Dataset):
    info = DatasetInfo("photographs")

    def __init__(self, count=2, **options):
        self.count, self.options = count, options

    def __len__(self):
        return self.count

    def read(self, index):
        return photograph(**self.options)


def scenes(count=200, sample=None, **settings):
    sample = sample or photograph()
    settings = SceneSettings(**(ALWAYS | settings))
    box = object_square(sample, STILL)
    return [draw_scene(sample, box, settings, np.random.default_rng(n)) for n in range(count)]


def test_without_a_share_the_scene_is_the_crop():
    box = object_square(photograph(), STILL)
    assert all((scene == box).all() for scene in scenes(share=0.0))
    shown = sum((scene == box).all() for scene in scenes(share=0.25))
    assert 120 < shown < 180


def test_the_share_of_whole_photographs():
    whole = square_box(image_box(120, 160))
    found = sum((scene == whole).all() for scene in scenes(whole=0.5))
    assert 80 < found < 120


def test_scenes_hold_the_object_at_every_size():
    sides = []
    for left, top, right, bottom in scenes():
        assert left <= 29.5 + 1e-3 and top <= 39.5 + 1e-3 and right >= 49.5 - 1e-3
        assert bottom >= 69.5 - 1e-3
        sides.append(right - left)
    assert min(sides) < 33 and max(sides) > 140


def test_scenes_that_cut_the_object():
    for left, top, right, bottom in scenes(cut=1.0):
        inside = (
            photograph()
            .foreground[
                max(round(top + 0.5), 0) : round(bottom + 0.5),
                max(round(left + 0.5), 0) : round(right + 0.5),
            ]
            .sum()
        )
        assert 0 < inside < 600


def test_scenes_without_an_object():
    for scene in scenes(empty=1.0):
        assert not crop(photograph(), scene, 33).foreground.any()
        assert scene[2] - scene[0] >= 8


def test_where_there_is_no_room_beside_the_object_it_is_shown():
    full = photograph()
    full = Sample("full", full.image, foreground=np.ones((120, 160), bool), box=full.box)
    for scene in scenes(20, full, empty=1.0):
        assert crop(full, scene, 33).foreground.any()


def test_coordinates_map_from_the_scene_to_the_crop():
    square, box = np.array([10.0, 20, 110, 120]), np.array([31.5, 40, 81.5, 90])
    scale, *offset = relative_square(square, box, 33)
    for pixel in (0, 7.25, 32):
        position = square[:2] + (pixel + 0.5) * 100 / 33
        expected = (position - box[:2]) * 33 / 50 - 0.5
        found = (scale * (2 * pixel / 32 - 1) + np.array(offset) + 1) * 32 / 2
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("mirror", [0.0, 1.0])
@pytest.mark.parametrize("jitter", [0.0, 0.05])
def test_scene_and_crop_of_a_batch_show_the_same_at_the_same_place(mirror, jitter):
    crops = CropSettings(jitter=jitter, mirror=mirror)
    batches = Batches(
        Photographs(),
        crops,
        batch_size=2,
        image_size=65,
        seed=3,
        scenes=SceneSettings(**ALWAYS),
    )
    batch = batches.batch(1)
    assert batch["scene"].shape == batch["image"].shape
    assert batch["scene_foreground"].dtype == np.float32
    for image, scene, (scale, x, y) in zip(
        batch["image"], batch["scene"], batch["scene_to_crop"], strict=True
    ):
        # The middle of the crop, in the crop and in the scene.
        column, row = ((np.array([0.0, 0.0]) - [x, y]) / scale + 1) * 32
        found = scene[round(row), round(column)].astype(int)
        # A scene's pixel has at most 160 / 65 columns of the photograph.
        assert np.abs(found - image[32, 32].astype(int)).max() <= 3


def test_batches_with_scenes_depend_only_on_seed_and_step():
    def batches():
        settings = SceneSettings(share=0.5)
        return Batches(Photographs(), STILL, batch_size=2, image_size=33, scenes=settings)

    for name, values in batches().batch(3).items():
        np.testing.assert_array_equal(values, batches().batch(3)[name])
    assert "scene" not in Batches(Photographs(), STILL, batch_size=2, image_size=33).batch(0)


def test_the_crops_are_those_of_batches_without_scenes():
    plain = Batches(Photographs(), STILL, batch_size=2, image_size=33).batch(0)
    settings = SceneSettings(**ALWAYS)
    scenic = Batches(Photographs(), STILL, batch_size=2, image_size=33, scenes=settings).batch(0)
    for name, values in plain.items():
        np.testing.assert_array_equal(values, scenic[name])


def test_large_photographs_are_kept_at_the_resolution_of_their_scenes():
    batches = Batches(
        Photographs(1, scale=8), STILL, batch_size=1, image_size=33, scenes=SceneSettings(share=1.0)
    )
    kept = batches._cache.get(0, batches._read).photograph
    assert kept.size == (99, 132)  # four crops wide
    np.testing.assert_allclose(kept.box + 0.5, (photograph().box + 0.5) * 132 / 160, atol=0.01)


def test_settings_out_of_range():
    with pytest.raises(ConfigError, match="scenes.share is 2"):
        SceneSettings(share=2)
