"""Objects of a COCO file become samples."""

import json

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.data.readers.coco import CocoFile
from keras_parts.errors import ConfigError, DataError
from tests.data import drawn

pytest.importorskip("pycocotools")


def test_each_object_is_a_sample(tmp_path):
    dataset = load("folder", "all", **drawn.coco(tmp_path))
    assert dataset.ids() == [
        "sub/0.jpg", "sub/1.jpg", "sub/2.jpg#12", "sub/2.jpg#50", "sub/3.jpg", "sub/4.jpg",
        "sub/5.jpg",
    ]  # fmt: skip
    polygon, strip = dataset[2].foreground, dataset[3].foreground
    expected = np.zeros(drawn.SIZE, bool)
    expected[5:15, 4:20] = True
    np.testing.assert_array_equal(polygon, expected)
    np.testing.assert_array_equal(np.flatnonzero(strip.any(0)), [5, 6, 7])
    assert strip[:, 5:8].all()


def test_keypoints_of_the_objects(tmp_path):
    dataset = load("folder", "all", **drawn.coco(tmp_path))
    assert dataset.info.landmarks == ("left_ear", "right_ear") and dataset.info.mirror_order == (
        1,
        0,
    )
    sample = dataset[0]
    np.testing.assert_array_equal(sample.keypoints[0], [6, 7])
    assert sample.visible.tolist() == [True, False]
    assert not dataset[3].visible.any()  # an object without keypoints


def test_compressed_run_length_codes(tmp_path):
    from pycocotools import mask as run_lengths

    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    mask = np.zeros(drawn.SIZE, np.uint8, order="F")
    mask[3:9, 10:30] = 1
    encoded = run_lengths.encode(mask)
    content["annotations"][0]["segmentation"] = {
        "size": list(drawn.SIZE), "counts": encoded["counts"].decode()
    }  # fmt: skip
    options["masks"].write_text(json.dumps(content))
    np.testing.assert_array_equal(load("folder", "all", **options)[0].foreground, mask > 0)


def test_one_of_several_categories_must_be_chosen(tmp_path):
    options = drawn.coco(tmp_path)
    with pytest.raises(ConfigError, match="choose a category: the file has dog, cat"):
        load("folder", "all", **(options | {"category": None}))
    with pytest.raises(ConfigError, match="no category 'cow'"):
        load("folder", "all", **(options | {"category": "cow"}))
    assert len(load("folder", "all", **(options | {"category": "cat"}))) == 6


def test_the_fingerprint_depends_on_the_category_of_masks(tmp_path):
    options = drawn.coco(tmp_path)
    path = options["masks"]
    content = json.loads(path.read_text())
    # One object of each category in an image, so that the ids of samples are paths.
    kept = [one for one in content["annotations"] if one["id"] not in (50, 51)]
    path.write_text(json.dumps(content | {"annotations": kept}))
    dogs, cats = (load("folder", "all", **(options | {"category": one})) for one in ("dog", "cat"))
    assert dogs.ids() == cats.ids() and dogs.fingerprint() != cats.fingerprint()
    for one in kept:  # numbered within their category, as in some files
        one["id"] %= 10
        one["id"] %= 6
    path.write_text(json.dumps(content | {"annotations": kept}))
    dogs, cats = (load("folder", "all", **(options | {"category": one})) for one in ("dog", "cat"))
    assert dogs.fingerprint() != cats.fingerprint()


def test_the_fingerprint_depends_on_the_category_of_keypoints(tmp_path):
    options = drawn.folder(tmp_path)
    path = options["keypoints"]
    content = json.loads(path.read_text())
    content["categories"].append({**content["categories"][0], "id": 2, "name": "monster"})
    path.write_text(json.dumps(content))
    beast, monster = (
        load("folder", "all", **options, category=one).fingerprint() for one in ("beast", "monster")
    )
    assert beast != monster


def test_keypoints_with_a_folder_of_masks(tmp_path):
    options = drawn.folder(tmp_path)
    sample = load("folder", "all", **options)[0]
    np.testing.assert_array_equal(sample.keypoints, [[9, 8], [20, 9]])
    path = options["keypoints"]
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 77})
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="0.jpg has 2 objects with keypoints, expected one"):
        load("folder", "all", **options)[0]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": []}'])
def test_files_that_are_not_coco_json(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not COCO JSON"):
        CocoFile(path)
    with pytest.raises(DataError, match="no such file"):
        CocoFile(tmp_path / "y.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": None}, "annotations is null, expected a list"),
        ({"images": 5}, "images is 5, expected a list"),
        ({"categories": ["dog"]}, 'a category has no id: "dog"'),
        ({"categories": [{"name": "dog"}]}, "a category has no id: {"),
        ({"categories": [{"id": 7, "name": "dog", "keypoints": 3}]}, "keypoints of a category"),
        ({"annotations": [{"id": [1], "image_id": 1}]}, r"has the id \[1\], expected a number"),
        ({"images": [{"id": 1, "file_name": "a", "height": float("inf"), "width": 1}]}, "lacks id"),
        (
            {"images": [{"id": n, "file_name": "a", "height": 3, "width": 3} for n in (1, 2)]},
            "the images 1 and 2 have the same file_name a",
        ),
    ],
)
def test_damaged_tables(tmp_path, change, message):
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    options["masks"].write_text(json.dumps(content | change))
    with pytest.raises(DataError, match=f"^{options['masks']}: .*{message}"):
        CocoFile(options["masks"], "dog")
