"""One walk and one rule for folders: what is read, what is left out, and how it is counted."""

import logging
import os
from collections import Counter

import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.catalogue import _say_once
from keras_parts.data.check import check
from keras_parts.errors import DataError
from keras_parts.images import formats
from keras_parts.images.decoding import read_image
from keras_parts.images.folders import LeftOut, natural_key, walk_images
from keras_parts.inference import find_images
from keras_parts.inference.results_folder import LABELS_FILE, RUN_FILE

SAID = (
    "left out: 4 files that are not images by their suffix (2 .txt, 1 .nef, 1 without), 2 hidden, "
    "1 pipes or devices, 1 links to folders that are read already; for .nef: export them "
    "as JPEG or TIFF; for those without: give them by name, or in a list (@list.txt)"
)


@pytest.fixture
def folder(tmp_path):
    """A folder with everything that is left out."""
    if os.name == "nt":
        pytest.skip("pipes and links")
    root = tmp_path / "photos"
    for name in ("img10.jpg", "IMG2.JPG", "sub/1.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), 200).save(root / name)
    (tmp_path / "elsewhere").mkdir()
    Image.new("L", (4, 3), 200).save(tmp_path / "elsewhere/a.webp")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "sub/up").symlink_to(root)
    for name in ("a.txt", "sub/b.TXT", "c.nef", "README", ".hidden.jpg", ".git/1.jpg"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    os.mkfifo(root / "pipe.jpg")
    _say_once.cache_clear()
    return root


NAMES = ["IMG2.JPG", "img10.jpg", "linked/a.webp", "sub/1.png"]


def test_the_walk_counts_what_it_leaves_out(folder):
    left_out = LeftOut()
    found = walk_images(str(folder), left_out=left_out)
    assert sorted(found, key=natural_key) == NAMES and str(left_out) == SAID
    assert str(LeftOut()) == ""
    many = LeftOut(suffixes=Counter({f".{number}": 1 for number in range(9)}))
    assert str(many).endswith("1 .5, ...)")


@pytest.mark.parametrize(
    "marks",
    [(RUN_FILE, LABELS_FILE), ("config.json", "metrics.jsonl")],
    ids=["segment", "train"],
)
def test_results_of_earlier_runs_are_no_images(tmp_path, marks):
    results = tmp_path / "bird-parts"
    (results / "overlay").mkdir(parents=True)
    for path in (tmp_path / "bird.jpg", results / "overlay/bird.jpg"):
        path.touch()
    assert walk_images(str(tmp_path)) == ["bird.jpg", "bird-parts/overlay/bird.jpg"]
    for name in marks:
        (results / name).touch()
    left_out = LeftOut()
    assert walk_images(str(tmp_path), left_out=left_out) == ["bird.jpg"]
    assert str(left_out) == "left out: 1 folder with results of earlier runs"
    assert walk_images(str(results)) == ["overlay/bird.jpg"]  # given by name


def test_the_way_out_of_heic_is_its_package(monkeypatch):
    monkeypatch.setattr(formats, "IMAGE_SUFFIXES", frozenset())
    assert str(LeftOut(suffixes=Counter({".heic": 6}))).endswith(
        "(6 .heic); for .heic: pip install 'keras-parts[heic]'"
    )


def test_a_named_file_of_another_kind_has_the_same_way_out(tmp_path):
    (tmp_path / "a.NEF").write_bytes(b"no image that is known")
    with pytest.raises(DataError, match="for .nef: export them as JPEG or TIFF"):
        read_image(tmp_path / "a.NEF")


def test_photographs_of_telephones_are_read_with_their_package(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "a.heic")
    assert walk_images(str(tmp_path)) == ["a.heic"]
    image = read_image(tmp_path / "a.heic")
    assert image.shape == (48, 64, 3) and abs(image.mean((0, 1)) - [200, 30, 30]).max() < 6


def test_segmenting_training_and_checking_read_the_same_files(folder, caplog):
    assert [file.relative for file in find_images([folder])] == NAMES
    assert load("folder", "train", folder).ids() == NAMES
    assert load("folder", "test", folder).ids() == NAMES
    assert caplog.messages == [SAID, f"photos: {SAID}"]
    caplog.clear()
    report = check("folder", data_dir=folder, progress=False)
    assert report.num_samples == 4 and report.notes == (f"photos: {SAID}",)
    assert not caplog.messages


def test_a_link_to_nothing_is_reported_by_whoever_reads_it(folder):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    assert "gone.jpg" in [file.relative for file in find_images([folder])]
    with pytest.warns(UserWarning, match="left out: 1 of 5 images.*\n.*gone.jpg: there is no such"):
        assert load("folder", "train", folder, skip_bad=True).ids() == NAMES


def test_other_files_only(tmp_path, caplog):
    (tmp_path / "a.nef").touch()
    with caplog.at_level(logging.WARNING):
        assert find_images([tmp_path]) == []
    assert "1 .nef" in caplog.text


def test_links_in_a_circle_are_files_that_cannot_be_opened(tmp_path):
    (tmp_path / "a.jpg").symlink_to("b.jpg")
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    (tmp_path / "c.jpg").touch()
    assert walk_images(str(tmp_path)) == ["a.jpg", "b.jpg", "c.jpg"]
