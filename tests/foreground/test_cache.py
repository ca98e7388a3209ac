"""Masks that were found are kept, and read again."""

import numpy as np
import pytest

from keras_parts.errors import DataError
from keras_parts.files import cached_files, remove_cached
from keras_parts.foreground import FoundMask
from keras_parts.foreground.cache import FoundMasks, find_masks, kept_masks, masks_file
from keras_parts.foreground.found import found_in


def masks():
    """Masks of several sizes: some pixels, none, and all."""
    rng = np.random.default_rng(0)
    drawn = [rng.random((7, 5)) > 0.4, np.zeros((3, 9), bool), np.ones((1, 4), bool)]
    return [FoundMask(mask, 0.25 * index) for index, mask in enumerate(drawn)]


class Finder:
    calls = 0

    def __call__(self, read, count):
        self.calls += 1
        return iter(masks()[:count])


def check(found):
    assert len(found) == 3
    for one, (mask, confidence) in zip(found, masks(), strict=True):
        np.testing.assert_array_equal(one.mask, mask)
        assert one.mask.dtype == bool and one.confidence == confidence
    assert found.areas.tolist() == [mask.sum() for mask, _ in masks()]
    assert [one.confidence for one in found[1:]] == [0.25, 0.5]


def test_masks_are_found_once_and_then_read(tmp_path):
    finder, path = Finder(), masks_file(tmp_path / "masks", "photographs", "discover 1")
    for _ in range(2):
        check(find_masks(finder, None, 3, path))
    check(kept_masks(path))
    assert finder.calls == 1
    assert path != masks_file(tmp_path / "masks", "photographs", "discover 2")
    assert path != masks_file(tmp_path / "masks", "others", "discover 1")


@pytest.mark.parametrize("damage", [lambda old: b"nothing", lambda old: old[:-40], lambda old: b""])
def test_a_damaged_file_is_found_again(damage, tmp_path, caplog):
    finder, path = Finder(), masks_file(tmp_path, "photographs", "discover 1")
    find_masks(finder, None, 3, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="damaged"):
        FoundMasks.load(path)
    check(find_masks(finder, None, 3, path))
    assert finder.calls == 2 and "found again" in caplog.text


def test_lengths_that_do_not_fit_the_size_are_damage(tmp_path):
    found = FoundMasks(masks())
    found._sizes[0] = 7, 6
    found.save(tmp_path / "masks.npz")
    with pytest.raises(DataError, match="do not match"):
        FoundMasks.load(tmp_path / "masks.npz")


def test_an_interrupted_search_leaves_no_file(tmp_path):
    def interrupted(read, count):
        yield masks()[0]
        raise KeyboardInterrupt

    path = masks_file(tmp_path, "photographs", "discover 1")
    with pytest.raises(KeyboardInterrupt):
        find_masks(interrupted, None, 3, path)
    assert not cached_files(tmp_path, ".npz")


def test_files_are_listed_and_removed(tmp_path):
    path = masks_file(tmp_path, "photographs", "discover 1")
    find_masks(Finder(), None, 3, path)
    files = cached_files(tmp_path, ".npz")
    assert [file.path for file in files] == [path] and not files[0].is_unfinished
    assert remove_cached([path]) == files[0].bytes and kept_masks(path) is None


def test_confidence_is_the_expected_overlap():
    probability = np.array([[0.9, 0.8, 0.4, 0.0]])
    found = found_in(probability)
    assert found.mask.tolist() == [[True, True, False, False]]
    assert found.confidence == pytest.approx(1.7 / 2.4)
    assert found_in(np.zeros((2, 2))).confidence == 0.0
