"""Data sets whose objects are found: no annotation of theirs is read."""

import numpy as np
import pytest

from keras_parts.data import Dataset, DatasetInfo, Sample, load
from keras_parts.data.check import check
from keras_parts.data.crops import mask_box
from keras_parts.data.discovered import Photographs, WithDiscoveredMasks
from keras_parts.data.readers.cub import CUB
from keras_parts.data.readers.folder import Folder
from keras_parts.data.readers.label_maps import LabelMaps
from keras_parts.data.readers.mask_table import MaskRow, append_row, write_table
from keras_parts.errors import ConfigError, DataError
from keras_parts.training.data_record import measured_on, record_data
from tests.data import drawn
from tests.data.contract import check_dataset

ORIGIN = "discover 7"


def picture(value=0, objects=((5, 9, 6, 20),), size=(20, 30)):
    image = np.full((*size, 3), value, np.uint8)
    for top, bottom, left, right in objects:
        image[top:bottom, left:right] = 250
    return image


@pytest.fixture
def photographs(tmp_path):
    """Four photographs: the third has two objects, the last one none."""
    objects = [((5, 9, 6, 20),), ((2, 12, 3, 8),), ((1, 4, 1, 4), (15, 18, 20, 28)), ()]
    for number, boxes in enumerate(objects):
        drawn.save(tmp_path / f"photographs/{number}.png", picture(number, boxes))
    return tmp_path / "photographs"


class Untouchable(Dataset):
    """A data set whose annotations must not be read."""

    info = DatasetInfo("birds", licence="CC0", how_to_obtain="draw them")

    def __len__(self):
        return 3

    def read(self, index):
        raise AssertionError("an annotation was read")

    fields = mask_file = read

    def image(self, index):
        return picture(index)

    def ids(self):
        return ["a", "b", "c"]

    def categories(self):
        raise AssertionError("an annotation was read")

    def fingerprint(self):
        return "birds"


def test_no_annotation_is_read(discovery):
    dataset = WithDiscoveredMasks(Photographs(Untouchable()), progress=False)
    check_dataset(dataset)
    sample = dataset[0]
    assert sample.foreground.sum() == 4 * 14 and sample.keypoints is sample.part_labels is None
    record = record_data(dataset, "train")
    assert record["mask_origins"] == {ORIGIN: 3}
    assert [dataset.problems(index) for index in range(3)] == [[], [], []]
    np.testing.assert_array_equal(dataset[:2].image(1), picture(1))


@pytest.mark.parametrize("kind", [CUB, Folder, LabelMaps])
def test_readers_read_the_image_alone(kind):
    assert kind.image is not Dataset.image


@pytest.mark.parametrize(
    "name, draw",
    [
        ("cub", drawn.cub),
        ("celebamask", drawn.celebamask),
        ("clothing_co_parsing", drawn.clothing_label_images),
    ],
)
def test_given_masks_are_never_read(name, draw, tmp_path, discovery):
    options = draw(tmp_path)
    expected = load(name, "train", **options)
    for file in tmp_path.rglob("*.png"):  # the masks; images are JPEG
        file.write_text("not to be read")
    dataset = load(name, "train", masks="discover", **options)
    for sample in dataset:
        assert sample.part_labels is sample.keypoints is None
        np.testing.assert_array_equal(sample.box, mask_box(sample.foreground))
    assert set(dataset.ids()) <= set(expected.ids())
    assert dataset.masks_from == ORIGIN and dataset.info == expected.info


def test_objects_of_a_folder_are_found_once(photographs, discovery):
    for split in ("train", "test", "all"):
        dataset = load("folder", split, photographs, masks="discover", progress=False)
        assert dataset.ids() == ["0.png", "1.png", "2.png"]
    assert discovery == [(4, 0)]
    check_dataset(dataset)
    assert dataset.masks_from == ORIGIN
    (note,) = dataset.notes
    assert note == "No object was found in 1 photograph, which are left out: 3.png"
    # Two objects in a photograph are one sample.
    np.testing.assert_array_equal(dataset[2].box, np.float32([0.5, 0.5, 27.5, 17.5]))
    fit = load("folder", "fit", photographs, masks="discover", progress=False)
    assert record_data(fit, "fit")["mask_origins"] == {ORIGIN: 3}


def test_another_photograph_is_another_set(photographs, discovery):
    load("folder", "all", photographs, masks="discover", progress=False)
    drawn.save(photographs / "4.png", picture(9))
    assert len(load("folder", "all", photographs, masks="discover", progress=False)) == 4
    assert discovery == [(4, 0), (5, 0)]


def test_without_any_object_the_error_says_what_to_do(tmp_path, discovery):
    drawn.save(tmp_path / "photographs/a.png", picture(objects=()))
    with pytest.raises(DataError, match="no object was found in any of the 1 .*--masks DIR"):
        load("folder", "all", tmp_path / "photographs", masks="discover", progress=False)


def test_a_damaged_photograph(photographs, discovery):
    content = (photographs / "1.png").read_bytes()
    (photographs / "1.png").write_bytes(content[:60])
    options = {"data_dir": photographs, "masks": "discover", "progress": False}
    with pytest.raises(DataError, match="1.png.*\n.*skip_bad"):
        load("folder", "all", **options)
    with pytest.warns(UserWarning, match="left out: 1 of 3 images"):
        assert load("folder", "all", skip_bad=True, **options).ids() == ["0.png", "2.png"]
    report = check("folder", "all", **options)
    assert report.num_samples == 3 and len(report.problems) == 1


def test_missing_masks_are_found_and_given_ones_are_kept(photographs, tmp_path, discovery):
    given = np.zeros((20, 30), np.uint8)
    given[2:4, 3:9] = 255
    drawn.save(tmp_path / "masks/1.png", given)
    options = {"data_dir": photographs, "masks": tmp_path / "masks", "progress": False}
    with pytest.raises(DataError, match="3 of 4 images have a problem"):
        load("folder", "all", **options)
    dataset = load("folder", "all", missing_masks="discover", **options)
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset[1].foreground, given > 0)
    assert [dataset.mask_origin(index) for index in range(3)] == [ORIGIN, "given", ORIGIN]
    for name in ("0.png", "2.png", "3.png"):
        drawn.save(tmp_path / f"masks/{name}", given)
    assert len(load("folder", "all", missing_masks="discover", **options)) == 4
    assert discovery == [(4, 0)]  # nothing was missing
    for masks in (None, "alpha", "objects.json"):
        with pytest.raises(ConfigError, match="missing_masks=discover is for a folder"):
            load("folder", "all", photographs, masks=masks, missing_masks="discover")
    with pytest.raises(ConfigError, match="missing_masks must be error or discover"):
        load("folder", "all", photographs, masks=tmp_path / "masks", missing_masks="x")


def test_the_table_says_which_masks_are_the_users(photographs, tmp_path):
    folder = tmp_path / "masks"
    mask = np.zeros((20, 30), np.uint8)
    mask[2:4, 3:9] = 255
    rows = []
    for number in range(4):
        drawn.save(folder / f"{number}.png", mask)
        content = (folder / f"{number}.png").read_bytes()
        rows.append(MaskRow.of(f"{number}.png", f"{number}.png", content, origin=ORIGIN))
    write_table(folder, rows[:2])
    append_row(folder, rows[2])
    drawn.save(folder / "1.png", mask.T[:20].repeat(2, 1)[:, :30])
    dataset = load("folder", "all", photographs, masks=folder)
    origins = [dataset.mask_origin(index) for index in range(4)]
    assert origins == [ORIGIN, "yours", ORIGIN, "yours"]
    assert not dataset.notes  # the table is no stray file


def test_a_damaged_table_makes_all_masks_the_users(photographs, tmp_path, caplog):
    for number in range(4):
        drawn.save(tmp_path / f"masks/{number}.png", picture()[..., 0])
    (tmp_path / "masks/masks.csv").write_text("photograph;mask\n")
    dataset = load("folder", "all", photographs, masks=tmp_path / "masks")
    assert dataset.mask_origin(0) == "given" and "All masks in the folder" in caplog.text


def test_a_model_knows_the_photographs_that_it_was_trained_on(photographs, discovery):
    trained = load("folder", "train", photographs, masks="discover", progress=False)
    record = record_data(trained, "train")
    assert measured_on("mine", record, trained, "test").split == "train"


def test_a_sample_with_another_type_of_data_set_is_checked(discovery):
    class Broken(Untouchable):
        def image(self, index):
            raise DataError("a.jpg: damaged")

    with pytest.raises(DataError, match="a.jpg: damaged\n.*skip_bad"):
        WithDiscoveredMasks(Photographs(Broken()), progress=False)
    assert Photographs(Broken()).problems(0) == ["a.jpg: damaged"]
    assert isinstance(Photographs(Untouchable())[0], Sample)
