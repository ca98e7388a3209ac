"""All data sets fulfil one contract, with drawn files in the official layouts and real ones."""

import importlib.util

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn
from tests.data.contract import check_dataset

SPLITS = ("train", "test", "fit", "validation", "all")
LAYOUTS = {
    "cub": ("cub", drawn.cub),
    "deepfashion": ("deepfashion", drawn.deepfashion),
    "nabirds": ("nabirds", drawn.nabirds),
    "pascal_part": ("pascal_part", drawn.pascal_part),
    "part_imagenet, COCO": ("part_imagenet", drawn.part_imagenet),
    "part_imagenet, COCO, OOD": ("part_imagenet", drawn.part_imagenet_ood),
    "celebamask": ("celebamask", drawn.celebamask),
    "celebamask, label maps": ("celebamask", drawn.celebamask_label_maps),
    "clothing_co_parsing": ("clothing_co_parsing", drawn.clothing_co_parsing),
    "clothing_co_parsing, images": ("clothing_co_parsing", drawn.clothing_label_images),
    "folder": ("folder", drawn.folder),
    "folder, COCO": ("folder", drawn.coco),
}


@pytest.fixture
def layout(request, tmp_path):
    name, draw = LAYOUTS[request.param]
    if "COCO" in request.param and not importlib.util.find_spec("pycocotools"):
        pytest.skip("COCO masks need pycocotools")
    return name, draw(tmp_path)


each_layout = pytest.mark.parametrize("layout", LAYOUTS, indirect=True)


@each_layout
def test_contract(layout):
    name, options = layout
    for split in SPLITS:
        check_dataset(load(name, split, **options), num_samples=3)


@each_layout
def test_the_splits_divide_the_data_set(layout):
    name, options = layout
    ids = {split: load(name, split, **options).ids() for split in SPLITS}
    assert sorted(ids["fit"] + ids["validation"]) == sorted(ids["train"])
    if name != "folder":
        assert sorted(ids["train"] + ids["test"]) == sorted(ids["all"])


@each_layout
def test_wrong_arguments_of_every_reader(layout, tmp_path, monkeypatch):
    name, options = layout
    with pytest.raises(ConfigError, match=f"{name} has the splits train, test"):
        load(name, "val", **options)
    with pytest.raises(ConfigError, match="'nosuch'"):
        load(name, "train", **options, nosuch=1)
    with pytest.raises(DataError, match="no such folder|there is no folder|no images.txt"):
        load(name, "train", data_dir=tmp_path / "nowhere")
    if name != "folder":
        monkeypatch.delenv("KERAS_PARTS_DATA", raising=False)
        with pytest.raises(DataError, match=f"^{name}: .*KERAS_PARTS_DATA is not set.*http"):
            load(name, "train")


@pytest.mark.parametrize("name", ["celebamask", "clothing_co_parsing"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_contract_on_real_images(test_data, name, split):
    dataset = load(name, split, test_data / name)
    check_dataset(dataset, num_samples=10)
    found = set(np.unique(np.concatenate([one.part_labels.ravel() for one in dataset[::10]])))
    assert len(found) > 12 and 0 in found
    assert 0.15 < len(load(name, "test", test_data / name)) / 600 < 0.25
