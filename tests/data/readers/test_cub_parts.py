"""The TFDS builder, with TFDS' own test case and with drawn archives."""

import hashlib
import io
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.errors import ConfigError, DataError, IntegrityError
from tests.data import drawn
from tests.data.contract import check_dataset

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("tensorflow")
builder_module = pytest.importorskip("keras_parts.data.readers.cub_parts.builder")


@pytest.fixture(scope="module", autouse=True)
def no_server():
    """Keep TFDS from requesting prepared copies from its server."""
    with mock.patch.object(tfds.core.utils.gcs_utils, "is_dataset_on_gcs", return_value=False):
        yield


@pytest.fixture(autouse=True)
def nothing_patched():
    """TFDS replaces `numpy.load` in its tests; one that fails would leave it so for all others."""
    yield
    mock.patch.stopall()


class CubPartsTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS' contract of a builder, with drawn data."""

    DATASET_CLASS = builder_module.CubParts
    SPLITS = {"train": 16, "test": 8}
    DL_EXTRACT_RESULT = {"images": "images", "masks": "masks"}

    @classmethod
    def setUpClass(cls):
        cls._drawn = tempfile.mkdtemp()
        root = Path(cls._drawn)
        drawn.cub(root / "images")
        shutil.move(root / "images" / "CUB_200_2011" / "segmentations", root / "masks")
        (root / "masks" / "segmentations").mkdir()
        for folder in [one for one in (root / "masks").iterdir() if one.name[0].isdigit()]:
            shutil.move(folder, root / "masks" / "segmentations")
        cls.EXAMPLE_DIR = root
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls._drawn)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return drawn.cub_archives(tmp_path_factory.mktemp("drawn"))


@pytest.fixture(scope="module")
def prepared(archives, tmp_path_factory):
    """TFDS' folder, prepared from the drawn archives, whose checksums are registered for this."""
    from keras_parts.data.preparation import prepare_cub_parts

    output = tmp_path_factory.mktemp("tfds")
    with _registered(archives):
        samples, folder = prepare_cub_parts(archives, output, progress=False)
    assert samples == drawn.BIRDS and folder == output
    return output


def _registered(archives):
    infos = {}
    for url, info in builder_module.CubParts.url_infos.items():
        content = (archives / info.filename).read_bytes()
        infos[url] = tfds.core.download.checksums.UrlInfo(
            size=len(content),
            checksum=hashlib.sha256(content).hexdigest(),
            filename=info.filename,
        )
    return mock.patch.object(builder_module.CubParts, "url_infos", infos)


@pytest.mark.parametrize("split", ["train", "test", "fit", "validation", "all"])
def test_contract(prepared, split):
    check_dataset(load("cub_parts", split, prepared))


def test_the_same_as_the_folder_reader(prepared, archives):
    for split in ("train", "test", "all"):
        packed, plain = load("cub_parts", split, prepared), load("cub", split, archives)
        assert replace(packed.info, how_to_obtain=plain.info.how_to_obtain) == plain.info
        assert sorted(packed.ids()) == sorted(plain.ids())
        indices = {name: index for index, name in enumerate(packed.ids())}
        for sample in plain:
            other = packed[indices[sample.id]]
            for field, value in vars(sample).items():
                if field == "box":
                    np.testing.assert_allclose(other.box, value, atol=1e-3)
                else:
                    np.testing.assert_array_equal(getattr(other, field), value)


def test_classes_and_subsets(prepared):
    dataset = load("cub_parts", "all", prepared, classes=[1, 3])
    assert set(dataset.categories()) == {0, 2} and len(dataset) == 16
    with pytest.raises(ConfigError, match="classes 1 to 3, not 7"):
        load("cub_parts", "all", prepared, classes=[7])
    with pytest.raises(ConfigError, match="subsets cmr, 001, 002, 003, not '9'"):
        load("cub_parts", "all", prepared, subset="9")
    with pytest.raises(DataError, match="no class 001.Black_footed_Albatross .CUB-001"):
        load("cub_parts", "all", prepared, subset="001")


def test_the_images_that_cmr_cleaned(prepared, archives):
    from scipy.io import savemat

    with pytest.raises(DataError, match="the subset cmr needs train_cub_cleaned.mat"):
        load("cub_parts", "train", prepared, subset="cmr")
    for number_of_list, split in enumerate(("train", "val", "test")):
        images = np.empty(2, [("rel_path", object)])
        for number in range(2):
            index = 8 * number + (1 if split == "train" else 3 * (number_of_list - 1))
            label = list(drawn.BIRD_CLASSES.values())[number]
            images[number]["rel_path"] = f"{label}/bird {index}.jpg"
        for folder in (prepared, archives / "CUB_200_2011"):
            savemat(folder / f"{split}_cub_cleaned.mat", {"images": images})
    # One image of CMR's train list is in the official test split; two of its others are in train.
    for split, count in (("train", 1), ("test", 2), ("all", 6)):
        packed = load("cub_parts", split, prepared, subset="cmr")
        plain = load("cub", split, archives, subset="cmr")
        assert sorted(packed.ids()) == sorted(plain.ids()) and len(packed) == count


def test_a_folder_without_the_prepared_data_set(tmp_path):
    with pytest.raises(DataError, match="is not prepared.*data prepare cub_parts"):
        load("cub_parts", "train", tmp_path)


@pytest.fixture
def copy(prepared, tmp_path):
    """(TFDS' folder, folder of the records): a copy that a test may damage."""
    root = shutil.copytree(prepared, tmp_path / "tfds")
    return root, root / "cub_parts" / "1.0.0"


def test_a_damaged_record_is_reported_with_its_id(copy):
    root, folder = copy
    assert check("cub_parts", data_dir=root, progress=False).problems == ()
    path = folder / "cub_parts-train.array_record-00000-of-00001"
    content = bytearray(path.read_bytes())
    content[content.index(b"bird 2.jpg")] ^= 255
    path.write_bytes(content)
    report = check("cub_parts", data_dir=root, progress=False)
    name = "001.Red_Robin/bird 2"
    assert len(report.problems) == 1 and report.num_samples == drawn.BIRDS
    assert f"the record of {name} in {folder} is damaged" in report.problems[0]
    dataset = load("cub_parts", "train", root)
    with pytest.raises(DataError, match=name):
        dataset[dataset.ids().index(name)]


def test_all_damages_in_a_record_are_reported(prepared):
    dataset = load("cub_parts", "train", prepared)
    record = dict(dataset._records[0])
    photograph = io.BytesIO()
    Image.fromarray(drawn.photograph(0)).save(photograph, "jpeg")
    record["image"] = photograph.getvalue()[:-200]  # after the header
    mask = io.BytesIO()
    Image.new("L", (5, 4)).save(mask, "png")
    record["segmentation_mask"] = mask.getvalue()
    record["keypoints"] = record["keypoints"] + np.float32([90, 0])
    record["visible"] = np.arange(15) == 1
    with mock.patch.object(dataset, "_records", [record]):
        image, mask, beak = dataset.problems(0)
        with pytest.raises(DataError, match="^cub_parts: the image of 001.Red_Robin/bird 1: trunc"):
            dataset[0]
    name = dataset.ids()[0]
    assert image.startswith(f"cub_parts: the image of {name}: truncated or damaged")
    assert mask == f"cub_parts: the mask of {name} has 5 x 4 pixels, its image 32 x 24"
    assert beak.startswith(f"cub_parts: beak of {name} is at x=97, y=10.5, outside the image of 32")


def test_an_empty_mask_is_reported_with_its_folder(prepared):
    dataset = load("cub_parts", "all", prepared)
    train, test = dataset._splits
    record = dict(test._records[0])
    mask = io.BytesIO()
    Image.new("L", drawn.SIZE[::-1]).save(mask, "png")
    record["segmentation_mask"] = mask.getvalue()
    with mock.patch.object(test, "_records", [record]):
        (problem,) = dataset.problems(len(train))
    assert f"the mask of {test.ids()[0]} in {prepared}" in problem and "is empty" in problem


def test_missing_metadata_is_reported(copy):
    root, folder = copy
    (folder / "metadata.json").write_text("{}")
    with pytest.raises(DataError, match=f"metadata.json in {folder} is missing or has no categ"):
        load("cub_parts", "train", root)


def test_archives_are_downloaded_like_those_of_the_folder_reader(archives, tmp_path, monkeypatch):
    from keras_parts.data import preparation

    fetched = mock.Mock(return_value=archives)
    monkeypatch.setattr(preparation, "download_of", lambda name: mock.Mock(fetch=fetched))
    with _registered(archives):
        samples, _ = preparation.prepare_cub_parts(None, tmp_path, progress=False)
        preparation.prepare_cub_parts(None, tmp_path, progress=False)
    assert samples == drawn.BIRDS and fetched.call_count == 1


def test_archives_are_verified_before_they_are_extracted(archives, tmp_path):
    from keras_parts.data.preparation import prepare_cub_parts

    with pytest.raises(DataError, match="CUB_200_2011.tgz is missing"):
        prepare_cub_parts(tmp_path, tmp_path / "out", progress=False)
    with pytest.raises(IntegrityError, match="expected 1,150,585,339: it is not CUB_200_2011.tgz"):
        prepare_cub_parts(archives, tmp_path / "out", progress=False)
