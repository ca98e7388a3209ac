"""Masks of photographs are written into a folder, and those of the user are kept."""

import re

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.data.mask_folder import write_masks
from keras_parts.data.readers.mask_table import MaskTable
from keras_parts.errors import ConfigError, DataError
from keras_parts.files import try_lock, unlock
from keras_parts.foreground import FoundMask
from keras_parts.foreground.methods import MaskMethod
from keras_parts.foreground.methods import discovery as discovery_method
from keras_parts.results.page import read_page
from tests.data import drawn
from tests.data.test_discovered import picture

NAMES = ("a.jpg", "b.png", "b.jpg", "far away/Ü 1.png", "far away/c#?.png")


@pytest.fixture
def photographs(tmp_path):
    for number, name in enumerate(NAMES):
        drawn.save(tmp_path / "photos" / name, picture(number))
    return tmp_path / "photos"


def method(origin="bright 1", *, fails=(), is_joint=False):
    """Finds what is bright; the confidence falls with the grey of the photograph."""
    seen = []

    def find(read, count, photographs):
        seen.append(count)
        for index in range(count):
            image = read(index)
            grey = int(image.min(axis=-1).min())
            if grey in fails:
                raise DataError("the network failed")
            yield FoundMask(image.min(axis=-1) > 125, 0.9 - grey / 100)

    found = MaskMethod(origin, find, is_joint)
    return found, seen


def write(photographs, made_by, **options):
    return write_masks(
        photographs, photographs.parent / "masks", made_by, progress=False, **options
    )


@pytest.mark.parametrize("is_joint", [True, False])
def test_training_finds_the_masks_again(photographs, is_joint):
    made_by, seen = method(is_joint=is_joint)
    summary = write(photographs, made_by)
    masks = photographs.parent / "masks"
    assert (summary.found, summary.written, summary.kept, summary.empty) == (5, 5, 0, 0)
    assert summary.origins == {"bright 1": 5} and not summary.failures
    assert seen == ([5] if is_joint else [1] * 5)
    dataset = load("folder", "all", photographs, masks=masks)
    assert len(dataset) == 5 and not dataset.notes
    for index, sample in enumerate(dataset):
        np.testing.assert_array_equal(sample.foreground, picture()[..., 0] == 250)
        assert dataset.mask_origin(index) == "bright 1"
    assert not check("folder", "all", photographs, masks=masks, progress=False).problems
    table = MaskTable(masks)
    row = table["far away/c#?.png"]
    assert row.mask == "far away/c#?.png" and float(row.share) == pytest.approx(56 / 600, abs=1e-4)
    # Two photographs of the same name have the whole name in that of their masks.
    assert table["b.jpg"].mask == "b.jpg.png" and table["b.png"].mask == "b.png.png"


def test_the_page_shows_the_photographs(photographs):
    made_by, _ = method()
    summary = write(photographs, made_by)
    content = read_page(photographs.parent / "masks")
    shown = [(name, score) for name, _, _, score, *_ in content["pictures"]]
    assert sorted(name for name, _ in shown) == sorted(NAMES)
    assert [score for _, score in shown] == sorted(score for _, score in shown)
    assert shown[0][1] == pytest.approx(0.86)
    assert content["pictures"][0][2] == "../photos/far%20away/c%23%3F.png"
    assert "masks of yours" in content["certainty"]
    script = (photographs.parent / "masks" / content["pictures"][0][1]).read_text()
    assert re.search(r'"1": "M\d+ \d+h', script)
    assert summary.page == str(photographs.parent / "masks/index.html")


def test_masks_of_the_user_are_kept_and_missing_ones_made(photographs):
    masks = photographs.parent / "masks"
    drawn.save(masks / "a.png", np.eye(20, 30, dtype=np.uint8) * 255)
    made_by, seen = method()
    summary = write(photographs, made_by)
    assert summary.origins == {"yours": 1, "bright 1": 4} and summary.kept == 1
    drawn.save(masks / "b.jpg.png", np.eye(20, 30, dtype=np.uint8) * 255)
    (masks / "b.png.png").unlink()
    summary = write(photographs, method("bright 2")[0])
    assert summary.origins == {"yours": 2, "bright 2": 1, "bright 1": 2}
    assert (summary.written, summary.kept) == (1, 4)
    corrected = (masks / "b.jpg.png").read_bytes()
    summary = write(photographs, method("bright 3")[0], overwrite=True)
    assert summary.origins == {"yours": 2, "bright 3": 3}
    assert (masks / "b.jpg.png").read_bytes() == corrected
    # A second look changes nothing, and makes nothing.
    made_by, seen = method()
    again = write(photographs, made_by)
    assert (again.written, again.origins, seen) == (0, summary.origins, [])
    dataset = load("folder", "all", photographs, masks=masks)
    assert [dataset.mask_origin(index) for index in range(5)].count("yours") == 2


@pytest.mark.parametrize("is_joint", [True, False])
def test_a_bad_photograph_stops_nothing(photographs, is_joint):
    content = (photographs / "b.jpg").read_bytes()
    (photographs / "b.jpg").write_bytes(content[: len(content) // 2])
    reported = []
    made_by, _ = method(is_joint=is_joint)
    summary = write(photographs, made_by, on_failure=reported.append)
    assert summary.written == 4 and [failure.photograph for failure in reported] == ["b.jpg"]
    assert summary.failures == tuple(reported) and "b.jpg" in str(reported[0])
    (photographs / "b.jpg").write_bytes(content)
    assert write(photographs, method(is_joint=is_joint)[0]).written == 1


def test_an_error_of_the_method_is_of_one_photograph(photographs):
    summary = write(photographs, method(fails=[3])[0])
    assert summary.written == 4
    assert [str(failure) for failure in summary.failures] == [
        "far away/Ü 1.png: the network failed"
    ]


@pytest.mark.parametrize("after", [0, 2])
def test_an_interrupted_run_goes_on(photographs, after):
    made_by, _ = method(is_joint=True)

    def interrupted(read, count, photographs):
        found = made_by.find(read, count, photographs)
        yield from (next(found) for _ in range(after))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(photographs, MaskMethod("bright 1", interrupted, is_joint=True))
    summary = write(photographs, made_by)
    assert summary.origins == {"bright 1": 5} and summary.kept == after
    assert not list((photographs.parent / "masks").glob(".*"))


def test_a_mask_whose_row_alone_was_written_is_made(photographs):
    write(photographs, method()[0])
    masks = photographs.parent / "masks"
    (masks / "a.png").unlink()
    with open(masks / "masks.csv", "a") as table:
        table.write("far away/x.png,far aw")  # a killed process
    assert write(photographs, method()[0]).origins == {"bright 1": 5}


def test_photographs_without_an_object(photographs):
    drawn.save(photographs / "z.png", picture(objects=()))
    summary = write(photographs, method()[0])
    assert summary.empty == 1 and summary.written == 6
    with pytest.raises(DataError, match="the mask of z.png in .*z.png is empty"):
        load("folder", "all", photographs, masks=photographs.parent / "masks")


def test_masks_beside_the_photographs_are_no_photographs(photographs):
    inside = photographs / "masks"
    write_masks(photographs, inside, method()[0], progress=False)
    assert write_masks(photographs, inside, method()[0], progress=False).found == 5
    assert len(load("folder", "all", photographs, masks=inside)) == 5
    alone = load("folder", "all", photographs)
    assert len(alone) == 5 and "1 folder with results of earlier runs" in alone.notes[0]


def test_wrong_folders(photographs, tmp_path):
    with pytest.raises(ConfigError, match="masks need a folder of their own"):
        write_masks(photographs, photographs, method()[0])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no images"):
        write_masks(tmp_path / "empty", tmp_path / "masks", method()[0])
    with pytest.raises(DataError, match="no such folder for the photographs"):
        write_masks(tmp_path / "nothing", tmp_path / "masks", method()[0])
    (tmp_path / "masks").mkdir()
    lock = try_lock(tmp_path / "masks/.lock")
    with pytest.raises(ConfigError, match="another process is writing these masks"):
        write_masks(photographs, tmp_path / "masks", method()[0])
    unlock(lock)


def test_a_damaged_table_keeps_all_masks(photographs, caplog):
    write(photographs, method()[0])
    table = photographs.parent / "masks/masks.csv"
    table.write_text(table.read_text().replace(",", ";"))
    summary = write(photographs, method("bright 2")[0], overwrite=True)
    assert summary.origins == {"yours": 5} and "cannot be read as a table" in caplog.text


def test_training_and_the_command_find_the_same_objects_once(photographs, discovery):
    dataset = load("folder", "train", photographs, masks="discover", progress=False)
    summary = write(photographs, discovery_method(progress=False))
    assert summary.origins == {"discover 7": 5} and discovery == [(5, 0)]
    given = load("folder", "train", photographs, masks=photographs.parent / "masks")
    for one, other in zip(dataset, given, strict=True):
        np.testing.assert_array_equal(one.foreground, other.foreground)


def test_masks_are_black_and_white_files(photographs):
    write(photographs, method()[0])
    with Image.open(photographs.parent / "masks/a.png") as mask:
        assert mask.mode == "L" and set(np.unique(np.asarray(mask)).tolist()) == {0, 255}
