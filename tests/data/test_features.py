"""The cached features are the teacher features of the training crops."""

import os
import time

import numpy as np
import pytest

from keras_parts.data.batches import Batches
from keras_parts.data.crops import CropSettings
from keras_parts.data.features import FeatureCache, FeaturesTooLarge
from keras_parts.errors import ConfigError, DataError
from tests.data.test_batches import Blocks, Broken

NO_JITTER = CropSettings(jitter=0.0)
SIZE = 33


class Teacher:
    """Four channels at stride 8 with corners aligned: the colours, and a constant."""

    def __init__(self):
        self.shapes = []

    def __call__(self, images):
        self.shapes.append(images.shape)
        colours = images[:, ::8, ::8]
        return np.concatenate([colours, np.full_like(colours[..., :1], 3)], axis=-1)


def _cache(dataset=None, crops=NO_JITTER, size=SIZE, teacher=None, name="colours", **options):
    options = {"batch_size": 4, "progress": False} | options
    return FeatureCache(
        Blocks() if dataset is None else dataset,
        crops,
        image_size=size,
        teacher=teacher or Teacher(),
        fingerprint=name,
        **options,
    )


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("on_disk", [True, False])
def test_batches_contain_the_teacher_features_of_their_images(tmp_path, on_disk, symmetric):
    dataset, teacher = Blocks(), Teacher()
    folder = tmp_path if on_disk else None
    cache = _cache(dataset, teacher=teacher, folder=folder, symmetric=symmetric)
    assert len(teacher.shapes) == (2 if symmetric else 4)
    assert cache.shape == (5, 5, 4)
    assert set(teacher.shapes) == {(4, SIZE, SIZE, 3)}
    batches = Batches(dataset, NO_JITTER, batch_size=6, image_size=SIZE, seed=1, features=cache)
    for step in range(3):
        batch = batches.batch(step)
        assert batch["features"].dtype == np.float16
        np.testing.assert_array_equal(batch["features"], teacher(batch["image"]).astype(np.float16))


def test_existing_files_are_read_instead_of_running_the_teacher(tmp_path):
    first = _cache(folder=tmp_path)
    teacher = Teacher()
    again = _cache(folder=tmp_path, teacher=teacher)
    assert not teacher.shapes and again.key == first.key
    np.testing.assert_array_equal(
        again.lookup([3, 0], [True, False]), first.lookup([3, 0], [True, False])
    )


@pytest.mark.parametrize("content", [b"", b"none", bytes(200), "cut off", "other"])
def test_a_damaged_file_is_computed_again(tmp_path, content, caplog):
    _cache(folder=tmp_path)
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    if content == "other":
        np.save(path, np.zeros(3))
    else:
        path.write_bytes(whole[:-9] if content == "cut off" else content)
    teacher = Teacher()
    _cache(folder=tmp_path, teacher=teacher)
    assert teacher.shapes and path.read_bytes() == whole
    assert f"{path}: damaged (" in caplog.text


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": Blocks(6)},
        {"crops": CropSettings(jitter=0.0, padding=0.1)},
        {"crops": CropSettings(jitter=0.0, erode=1)},
        {"crops": CropSettings(jitter=0.0, mirror=0.0)},
        {"size": 41},
        {"name": "other weights"},
    ],
)
def test_the_key_depends_on_everything_that_changes_the_features(tmp_path, changes):
    teacher = Teacher()
    plain = _cache(folder=tmp_path)
    other = _cache(folder=tmp_path, teacher=teacher, **changes)
    assert teacher.shapes and other.key != plain.key
    assert len(list(tmp_path.glob("*.npy"))) == 2


def test_the_least_recently_used_files_are_removed(tmp_path):
    one, two = (_cache(folder=tmp_path, name=name).key for name in "ab")
    for age, key in ((200, two), (100, one)):
        moment = time.time() - age
        os.utime(tmp_path / f"{key[:32]}.npy", (moment, moment))
    _cache(folder=tmp_path, name="b")  # now the last one used
    size = (tmp_path / f"{one[:32]}.npy").stat().st_size
    three = _cache(folder=tmp_path, name="c", folder_bytes=2 * size).key
    assert {path.stem for path in tmp_path.glob("*.npy")} == {two[:32], three[:32]}


def test_features_larger_than_folder_bytes(tmp_path):
    kept = _cache(folder=tmp_path).key
    with pytest.raises(FeaturesTooLarge, match="GiB"):
        _cache(folder=tmp_path, name="other", folder_bytes=100)
    assert {path.stem for path in tmp_path.glob("*.npy")} == {kept[:32]}


def test_the_key_does_not_depend_on_the_probability_of_mirroring(tmp_path):
    dataset = Blocks()
    plain = _cache(dataset, folder=tmp_path)
    rarely = CropSettings(jitter=0.0, mirror=0.1)
    assert _cache(dataset, crops=rarely, folder=tmp_path).key == plain.key
    plain.check_matches(dataset, rarely)
    plain.check_matches(Blocks(), NO_JITTER)


def test_without_mirroring_there_is_one_variant():
    teacher = Teacher()
    cache = _cache(crops=CropSettings(jitter=0.0, mirror=0.0), teacher=teacher)
    assert len(teacher.shapes) == 2
    assert cache.lookup([6], [False]).shape == (1, 5, 5, 4)


@pytest.mark.parametrize(
    ("dataset", "crops"),
    [
        (Blocks(6), NO_JITTER),
        (Blocks(), CropSettings()),
        (Blocks(), CropSettings(jitter=0.0, padding=0.2)),
    ],
)
def test_batches_reject_features_of_other_crops(dataset, crops):
    with pytest.raises(ConfigError, match="features belong to another"):
        Batches(dataset, crops, batch_size=2, image_size=SIZE, features=_cache())


def test_the_crops_of_the_teacher_may_have_another_size():
    cache = _cache(size=65)
    batch = Batches(Blocks(), NO_JITTER, batch_size=2, image_size=SIZE, features=cache).batch(0)
    assert batch["image"].shape == (2, SIZE, SIZE, 3) and batch["features"].shape == (2, 9, 9, 4)


def test_an_interrupted_computation_leaves_no_file_and_is_repeated(tmp_path):
    class Interrupted(Teacher):
        def __call__(self, images):
            if len(self.shapes) == 3:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        _cache(folder=tmp_path, teacher=Interrupted())
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []
    with pytest.raises(DataError, match="sample 3 is damaged"):
        _cache(Broken(7), folder=tmp_path)
    np.testing.assert_array_equal(
        _cache(folder=tmp_path).lookup([2], [True]), _cache().lookup([2], [True])
    )


def test_features_of_crops_with_jitter_cannot_be_cached():
    with pytest.raises(ConfigError, match="jitter must be 0, not 0.05"):
        _cache(crops=CropSettings())


def test_features_in_memory_have_a_maximum_size(tmp_path):
    needed = 7 * 2 * 5 * 5 * 4 * 2
    with pytest.raises(ConfigError, match=r"more than memory_bytes \(0.0 GiB\): give a folder"):
        _cache(memory_bytes=needed - 1)
    _cache(memory_bytes=needed)
    _cache(memory_bytes=0, folder=tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_features_beyond_float16_are_rejected(value):
    with pytest.raises(DataError, match="beyond float16"):
        _cache(teacher=lambda images: images[:, ::8, ::8] + value)


@pytest.mark.parametrize(
    "teacher", [lambda images: images[0], lambda images: images[:1], lambda images: images.mean()]
)
def test_features_of_a_wrong_shape(teacher):
    with pytest.raises(ConfigError, match=r"expected \(batch, height, width, channels\)"):
        _cache(teacher=teacher)
