"""Batches contain the crops of their samples and depend only on the seed and the step."""

import os
import threading
from collections import Counter
from contextlib import ExitStack, closing
from itertools import islice

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample
from keras_parts.data.batches import Batches
from keras_parts.data.crops import CropSettings, crop, mask_box, object_crop, pad_box, square_box
from keras_parts.data.prefetch import computed_ahead, loader_threads
from keras_parts.errors import ConfigError, DataError

NO_JITTER = CropSettings(jitter=0.0)


class Blocks(Dataset):
    """Noise with a brighter block; both differ for each sample."""

    def __init__(self, count=7, masks=True):
        self.info = DatasetInfo("blocks")
        self._count, self._masks = count, masks
        self.reads = Counter()

    def __len__(self):
        return self._count

    def read(self, index):
        self.reads[int(index)] += 1
        rng = np.random.default_rng(index)
        image = rng.integers(0, 90, (40, 50, 3)).astype(np.uint8)
        mask = np.zeros((40, 50), bool)
        mask[10 + index % 5 : 30, 8 : 25 + index % 7] = True
        image[mask] += np.uint8(100)
        return Sample(
            str(index), image, foreground=mask if self._masks else None, box=mask_box(mask)
        )


class Broken(Blocks):
    def read(self, index):
        if index == 3:
            raise DataError("sample 3 is damaged")
        return super().read(index)


def _batches(dataset=None, crops=None, batch_size=3, image_size=33, seed=5, **options):
    dataset = Blocks() if dataset is None else dataset
    return Batches(
        dataset,
        crops or CropSettings(),
        batch_size=batch_size,
        image_size=image_size,
        seed=seed,
        **options,
    )


def _assert_equal(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
        assert one[name].dtype == other[name].dtype


def _data_threads():
    return [one for one in threading.enumerate() if one.name.startswith("keras-parts-data")]


def test_schema_of_a_batch():
    batch = _batches().batch(0)
    assert set(batch) == {"image", "foreground"}
    assert batch["image"].shape == (3, 33, 33, 3) and batch["image"].dtype == np.uint8
    assert batch["foreground"].shape == (3, 33, 33, 1)
    assert batch["foreground"].dtype == np.float32
    assert batch["image"].max() > 127
    assert set(np.unique(batch["foreground"])) == {0, 1}


@pytest.mark.parametrize("crops", [CropSettings(), NO_JITTER, CropSettings(erode=1)])
def test_a_batch_depends_only_on_seed_and_step(crops):
    one = _batches(crops=crops)
    expected = [one.batch(step) for step in range(6)]
    other = _batches(crops=crops, cache_bytes=0)
    for step in (4, 0, 5, 4):
        _assert_equal(other.batch(step), expected[step])
    reseeded = _batches(crops=crops, seed=6)
    assert any((reseeded.batch(s)["image"] != expected[s]["image"]).any() for s in range(2))


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (2, 5), (1, 4), (5, 5)])
def test_epochs_are_permutations_and_may_share_a_batch(count, size):
    batches = _batches(Blocks(count), batch_size=size)
    draws = np.concatenate([batches.draw(step)[0] for step in range(12)])
    assert len(draws) == 12 * size and batches.steps_per_epoch == count / size
    epochs = [draws[at : at + count] for at in range(0, len(draws) - count + 1, count)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(count))
    if count == 7:
        assert len({tuple(epoch) for epoch in epochs}) > 1
    assert batches.batch(2)["image"].shape[0] == size


def test_the_share_of_mirrored_crops():
    for probability, least, most in ((0.0, 0, 0), (1.0, 1, 1), (0.5, 0.4, 0.6), (0.2, 0.1, 0.3)):
        batches = _batches(crops=CropSettings(mirror=probability), batch_size=100)
        share = np.mean([batches.draw(step)[1].mean() for step in range(5)])
        assert least <= share <= most


def test_crops_without_jitter_are_the_padded_square_or_its_mirror_image():
    dataset = Blocks()
    batches = _batches(dataset, NO_JITTER, batch_size=7)
    batch, (indices, mirrored) = batches.batch(1), batches.draw(1)
    assert 0 < mirrored.sum() < 7
    for row, (index, flipped) in enumerate(zip(indices, mirrored, strict=True)):
        sample = dataset[index]
        wanted = crop(sample, square_box(pad_box(sample.box, 0.05)), 33)
        step = -1 if flipped else 1
        np.testing.assert_array_equal(batch["image"][row], wanted.image[:, ::step])
        np.testing.assert_array_equal(
            batch["foreground"][row, ..., 0], wanted.foreground[:, ::step]
        )


def test_jitter_moves_every_crop_slightly_and_differently():
    batches = _batches(Blocks(1), CropSettings(jitter=0.05, mirror=0.0), batch_size=20)
    images = batches.batch(0)["image"]
    plain = _batches(Blocks(1), CropSettings(jitter=0.0, mirror=0.0), batch_size=1)
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    difference = abs(batches.batch(0)["foreground"] - plain.batch(0)["foreground"]).mean()
    assert 0 < difference < 0.2


def test_without_a_box_the_crop_is_the_whole_image():
    sample = Sample("a", Blocks()[0].image)
    whole = object_crop(sample, CropSettings(padding=0.0), 25)
    np.testing.assert_array_equal(
        whole.image, crop(sample, np.array([-0.5, -5.5, 49.5, 44.5]), 25).image
    )


def test_erosion_removes_the_border_but_never_the_whole_mask():
    sample = Blocks()[0]
    plain = object_crop(sample, NO_JITTER, 65).foreground
    eroded = object_crop(sample, CropSettings(jitter=0.0, erode=2), 65).foreground
    padded = np.pad(plain, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    np.testing.assert_array_equal(eroded, windows.all(axis=(2, 3)))
    huge = object_crop(sample, CropSettings(jitter=0.0, erode=40), 65).foreground
    np.testing.assert_array_equal(huge, plain)


@pytest.mark.parametrize("first_step", [0, 4])
def test_iterate_gives_the_same_batches_and_stops_its_threads(first_step):
    batches = _batches()
    with closing(batches.iterate(first_step)) as running:
        for step, batch in enumerate(islice(running, 5), first_step):
            _assert_equal(batch, batches.batch(step))
        assert _data_threads()
    assert not _data_threads()


def test_batches_do_not_depend_on_the_number_of_threads():
    streams = [_batches(workers=number).iterate(2) for number in (1, 2, 7)]
    with ExitStack() as stack:
        running = [stack.enter_context(closing(stream)) for stream in streams]
        for one, two, seven in islice(zip(*running, strict=True), 6):
            _assert_equal(two, one)
            _assert_equal(seven, one)


@pytest.mark.parametrize(("processors", "threads"), [(1, 2), (2, 2), (5, 5), (64, 8)])
def test_the_number_of_threads_depends_on_the_processors(processors, threads, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(processors), raising=False)
    assert loader_threads() == threads
    assert _batches()._workers == threads
    assert _batches(workers=3)._workers == 3


@pytest.mark.parametrize("crops", [NO_JITTER, CropSettings()])
def test_hosts_read_different_rows_of_the_same_batch(crops):
    batches = Batches(Blocks(), crops, batch_size=4, image_size=8, seed=1)
    whole = batches.batch(5)
    with closing(batches.iterate(5, slice(2, 4))) as rows:
        own = next(rows)
    assert own.keys() == whole.keys()
    for name, array in own.items():
        np.testing.assert_array_equal(array, whole[name][2:])


def test_an_error_in_a_thread_is_raised_at_its_batch():
    batches = _batches(Broken(7), batch_size=1, workers=3)
    bad = next(step for step in range(7) if batches.draw(step)[0] == 3)
    running = batches.iterate()
    assert len(list(islice(running, bad))) == bad
    with pytest.raises(DataError, match="sample 3 is damaged\n.*--skip-bad"):
        next(running)
    assert not _data_threads()


@pytest.mark.parametrize("crops", [CropSettings(), NO_JITTER])
def test_samples_are_cached_up_to_cache_bytes(crops):
    dataset = Blocks(4)
    batches = _batches(dataset, crops, batch_size=4)
    for step in range(3):
        batches.batch(step)
    assert set(dataset.reads.values()) == {1}

    one = 33 * 33 * 4 if crops is NO_JITTER else 40 * 50 * 4
    dataset = Blocks(4)
    batches = _batches(dataset, crops, batch_size=4, cache_bytes=2 * one)
    for step in range(3):
        batches.batch(step)
    assert sorted(dataset.reads.values()) == [1, 1, 3, 3]

    dataset = Blocks(4)
    batches = _batches(dataset, crops, batch_size=4, cache_bytes=0)
    batches.batch(0), batches.batch(1)
    assert set(dataset.reads.values()) == {2}


def test_batches_do_not_share_memory_with_the_cache():
    batches = _batches(crops=NO_JITTER)
    first = batches.batch(0)
    kept = {name: array.copy() for name, array in first.items()}
    first["image"][:] = 7
    _assert_equal(batches.batch(0), kept)


def test_results_are_in_order_and_at_most_ahead_are_in_advance():
    started = []

    def arguments():
        for number in range(100):
            started.append(number)
            yield number

    results = computed_ahead(lambda number: number**2, arguments(), workers=3, ahead=4)
    assert list(islice(results, 10)) == [number**2 for number in range(10)]
    assert len(started) == 10 + 4
    assert list(results) == [number**2 for number in range(10, 100)]


def test_training_needs_masks():
    with pytest.raises(DataError, match="sample '[0-9]' has no foreground.*masks"):
        _batches(Blocks(masks=False)).batch(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"image_size": 0}, "image_size"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"workers": 0}, "workers"),
        ({"dataset": Blocks(0)}, "the number of samples must be at least 1, not 0"),
    ],
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ConfigError, match=message):
        _batches(**options)


@pytest.mark.parametrize(
    "field", [{"padding": -0.5}, {"jitter": 0.5}, {"jitter": -0.1}, {"mirror": 1.1},
              {"erode": -1}, {"erode": 1.5}, {"padding": float("nan")}]
)  # fmt: skip
def test_crop_settings_out_of_range(field):
    with pytest.raises(ConfigError, match=f"crops.{next(iter(field))} is"):
        CropSettings(**field)
