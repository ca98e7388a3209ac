"""Objects of a COCO file become samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from keras_parts.data import load
from keras_parts.data.problems import collect_problems
from keras_parts.data.readers.coco import CocoFile
from keras_parts.data.readers.matching_files import ImageNames
from keras_parts.errors import ConfigError, DataError
from keras_parts.results.rle import decode_coco_rle
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


BOX = [4, 5, 20, 5, 20, 15, 4, 15]
STRAY = [4, 5, 9, 9]
PAIRS = [[4, 5], [20, 5], [20, 15], [4, 15]]


def _with_segmentation(tmp_path, segmentation, **change):
    """The options of a folder, in which the object of image 0 has this segmentation."""
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    content["annotations"][0] |= {"segmentation": segmentation, **change}
    options["masks"].write_text(json.dumps(content))
    return options


@pytest.mark.parametrize(
    "segmentation",
    [[BOX], BOX, [STRAY, BOX], [BOX, STRAY], [BOX, []], [PAIRS], PAIRS, [BOX, [7.5, 7.5]]],
)
def test_polygons_as_tools_write_them(tmp_path, segmentation):
    dataset = load("folder", "all", **_with_segmentation(tmp_path, segmentation))
    np.testing.assert_array_equal(dataset[0].foreground, dataset[1].foreground)
    strays = sum(piece in (STRAY, [], [7.5, 7.5]) for piece in segmentation)
    said = (
        f"objects.json: left out {strays} polygons of fewer than three points, which have no area"
    )
    assert (said in dataset.notes) == (strays > 0)


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([STRAY], "no polygon of three points"),
        ([[]], "no polygon of three points"),
        ([[4, 5]], "no polygon of three points"),
        ([BOX[:-1]], "is not a polygon"),
        ([[*BOX[:-1], "x"]], "is not a polygon"),
        ([BOX, None], "null is not a polygon"),
        ([[*BOX[:-1], None]], "is not a polygon"),
        ([[*BOX[:-1], 1e9]], "far outside its image of 32 x 24"),
        ([[*BOX[:-1], -(2**31)]], "far outside"),
        ([[*BOX[:-1], float("nan")]], "far outside"),
        ([[300, 5, -300, 7] * 4000], "the outline of a polygon is 4800000 pixels long"),
        ([[50, 50, 60, 50, 60, 60]], "annotation 10 is empty: correct it"),
        ({"counts": [4, 4], "size": [40000, 40000]}, "it has 40000 x 40000 pixels, its image 32 x"),
        ({"counts": "06"}, "it has no number of pixels"),
        ({"counts": [4, 4], "size": [24, 32]}, "do not add up to the 768 pixels"),
        ({"counts": [2**62, 2**62, 2**62, 2**62 + 768], "size": [24, 32]}, "do not add up"),
        ({"counts": [10**30], "size": [24, 32]}, "not a list of whole numbers"),
        ({"counts": [-1, 769], "size": [24, 32]}, "not a list of whole numbers"),
        ({"counts": [[768]], "size": [24, 32]}, "not a list of whole numbers"),
        ({"counts": None, "size": [24, 32]}, "not a list of whole numbers"),
        ({"counts": "o" * 99, "size": [24, 32]}, "its counts are damaged"),
        ({"counts": "0\u20ac", "size": [24, 32]}, "do not add up"),
        ({"counts": "0o", "size": [24, 32]}, "its counts are cut off"),
    ],
)
def test_damaged_segmentations_are_found_before_anything_starts(tmp_path, segmentation, message):
    options = _with_segmentation(tmp_path, segmentation)
    with pytest.raises(DataError, match=rf"1 of 7 images have a problem:\n.*{message}"):
        load("folder", "all", **options)
    with pytest.warns(UserWarning, match="left out: 1 of 7 images"):
        dataset = load("folder", "all", skip_bad=True, **options)
    assert len(dataset) == 6 and "sub/0.jpg" not in dataset.ids()


def test_a_segmentation_that_is_neither_polygons_nor_runs(tmp_path):
    options = _with_segmentation(tmp_path, "none")
    with pytest.raises(DataError, match='segmentation of annotation 10 is "none", expected poly'):
        load("folder", "all", **options)


def test_images_that_claim_to_be_huge(tmp_path):
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    content["images"][0] |= {"height": 40000, "width": 40000}
    options["masks"].write_text(json.dumps(content))
    with pytest.raises(DataError, match="the mask has 40000 x 40000 pixels, its image 32 x 24"):
        load("folder", "all", **options)
    with pytest.raises(DataError, match="its image has more than 178956970 pixels"):
        CocoFile(options["masks"], "dog").objects["sub/0.jpg"][0].mask()


def test_crowds_are_counted_and_can_be_read(tmp_path):
    options = _with_segmentation(tmp_path, [BOX], iscrowd=1)
    dataset = load("folder", "all", **options)
    assert len(dataset) == 6
    assert "left out 2 objects with iscrowd 1" in dataset.notes[0]
    assert "--data-option crowds=true" in dataset.notes[0]
    assert len(load("folder", "all", crowds=True, **options)) == 8
    content = json.loads(options["masks"].read_text())
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    options["masks"].write_text(json.dumps(content))
    with pytest.raises(DataError, match="no object with a mask.*left out 8 objects with iscrowd 1"):
        load("folder", "all", **options)
    with pytest.raises(ConfigError, match="crowds is 'yes', expected true or false"):
        load("folder", "all", crowds="yes", **options)


def _categories(tmp_path, categories, used):
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    kept = [one for one in content["annotations"] if one["category_id"] == 8]
    for one in kept:
        one["category_id"] = used
    rows = [{"id": number, "name": name} for number, name in categories]
    options["masks"].write_text(json.dumps(content | {"annotations": kept, "categories": rows}))
    return options


@pytest.mark.parametrize(
    ("categories", "used", "choices"),
    [
        ([(0, "birds-x1y2"), (1, "bird")], 1, [None, "bird", "Bird ", 1, "1"]),
        ([(0, "bird"), (1, "bird")], 1, [None, "bird", 1]),
        ([(0, "objects"), (1, "1")], 1, [None, "1", 1]),
        ([(0, "objects"), (1, "true")], 1, [None, "true", True]),
        ([(1, "bird")], "1", [None, "bird"]),
        ([("1", "bird"), ("2", "cat")], 1, [None, "bird"]),
        ([(17, "cat"), (90, "Ma\u0308rz")], 90, [None, "m\u00e4rz"]),
    ],
)
def test_categories_as_tools_write_them(tmp_path, categories, used, choices):
    options = _categories(tmp_path, categories, used)
    for choice in choices:
        assert len(load("folder", "all", **(options | {"category": choice}))) == 6, choice


def test_messages_show_the_option_to_type(tmp_path):
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    for names, message in (
        (("dog", "cat"), "the file has dog, cat; for example --data-option category=dog"),
        (("1", "2"), "the file has 1, 2; for example --data-option 'category=\"1\"'"),
        (("big dog", "cat"), "--data-option 'category=big dog'"),
    ):
        for category, name in zip(content["categories"], names, strict=True):
            category["name"] = name
        options["masks"].write_text(json.dumps(content))
        with pytest.raises(ConfigError) as raised:
            load("folder", "all", **(options | {"category": None}))
        assert message in str(raised.value)
    for category in content["categories"]:
        category["name"] = "dog"
    options["masks"].write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="2 categories are called 'dog': .*category=7 or .*=8"):
        load("folder", "all", **options)
    assert len(load("folder", "all", **(options | {"category": 8}))) == 6


@pytest.mark.parametrize(
    "rename",
    [
        "./{}".format,
        lambda name: name.replace("/", "\\"),
        "images/train/{}".format,
        "/home/me/{}".format,
        "C:\\photos\\{}".format,
        "file://x/{}".format,
        lambda name: name.rpartition("/")[2],
        lambda name: name.replace("/", "%2F"),
        str.upper,
    ],
)
def test_file_names_as_tools_write_them(tmp_path, rename):
    options = drawn.coco(tmp_path)
    ids = load("folder", "all", **options).ids()
    content = json.loads(options["masks"].read_text())
    for image in content["images"]:
        image["file_name"] = rename(image["file_name"])
    options["masks"].write_text(json.dumps(content))
    assert load("folder", "all", **options).ids() == ids


def test_file_names_that_fit_several_images_or_share_one(tmp_path):
    paths = [Path(name) for name in ("a/1.jpg", "b/1.jpg", "2.jpg", "c/3.jpg", "3.jpg")]
    found, others = ImageNames(paths).match(
        ["1.jpg", "x/b/1.jpg", "train/2.jpg", "test/2.jpg", "x/c/3.jpg", "x/3.jpg", "none", ""]
    )
    assert found == {"x/b/1.jpg": paths[1], "x/c/3.jpg": paths[3], "x/3.jpg": paths[4]}
    assert others == {
        "1.jpg": paths[:2], "train/2.jpg": [], "test/2.jpg": [], "none": [], "": [],
    }  # fmt: skip
    assert ImageNames(paths).match(["2.jpg", "test/2.jpg"])[0] == {"2.jpg": paths[2]}


def test_images_that_are_not_in_the_folder(tmp_path):
    options = drawn.coco(tmp_path)
    for name in ("1", "4"):
        (options["data_dir"] / f"sub/{name}.jpg").unlink()
    with pytest.raises(
        DataError, match="2 of the 6 images with objects are missing:(.*\n)+.*skip-bad"
    ):
        load("folder", "all", **options)


def test_keypoints_of_tools_are_measured_from_the_corner(tmp_path):
    options = drawn.coco(tmp_path)
    np.testing.assert_array_equal(load("folder", "all", **options)[0].keypoints[0], [6, 7])
    content = json.loads(options["masks"].read_text())
    content["annotations"][-2]["keypoints"][:2] = [6.25, 7]
    options["masks"].write_text(json.dumps(content))
    keypoints = load("folder", "all", **options)[0].keypoints
    np.testing.assert_array_equal(keypoints, [[5.5, 6.5], [0, 0]])


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"images": ' + "9" * 5000 + "}", "\ufeff{}", '{"images": [NaN']
)
def test_json_that_python_refuses(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="x.json: not COCO JSON"):
        CocoFile(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_with_a_byte_order_mark(tmp_path, encoding):
    options = drawn.coco(tmp_path)
    options["masks"].write_text(options["masks"].read_text(), encoding=encoding)
    assert len(load("folder", "all", **options)) == 7


def _with_annotations(tmp_path, **changes):
    """The drawn COCO file, with the same change to each annotation."""
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    content["annotations"] = [one | changes for one in content["annotations"]]
    options["masks"].write_text(json.dumps(content))
    return options


def test_shares_of_the_image_are_no_pixels(tmp_path):
    options = _with_annotations(tmp_path, segmentation=[[0.1, 0.2, 0.8, 0.2, 0.8, 0.9]])
    with pytest.raises(DataError, match="between 0 and 1.* multiply them by the width and height"):
        load("folder", "all", **options)


def test_annotations_without_ids_are_numbered(tmp_path):
    ids = load("folder", "all", **_with_annotations(tmp_path, id=None)).ids()
    assert len(ids) == 7 and [one for one in ids if "#" in one] == ["sub/2.jpg#5", "sub/2.jpg#6"]


def test_files_of_other_forms_and_boxes_are_named(tmp_path):
    options = _with_annotations(tmp_path, segmentation=[])
    with pytest.raises(DataError, match="7 objects have no segmentation, perhaps only a box"):
        load("folder", "all", **options)
    options = _with_annotations(tmp_path, category_id=44)
    with pytest.raises(DataError, match="category_id 44, which is not listed"):
        load("folder", "all", **options)
    options["masks"].write_text('{"shapes": [], "images": []}')
    with pytest.raises(DataError, match="it has no annotations and no categories"):
        load("folder", "all", **options)


def test_sizes_of_codes_may_be_text():
    code = {"size": ["2", "3"], "counts": [0, 6]}
    assert decode_coco_rle(code, (2, 3)).all()


def test_addresses_with_keys_find_their_image_and_keep_their_secret(tmp_path):
    name, path = "https://example.org/a/%C3%BC.jpg?token=123", Path("\u00fc.jpg")
    assert ImageNames([path]).match([name]) == ({name: path}, {})
    options = drawn.coco(tmp_path)
    content = json.loads(options["masks"].read_text())
    content["images"][0]["file_name"] = name
    options["masks"].write_text(json.dumps(content))
    with collect_problems() as problems:
        load("folder", "all", **options)
    assert any("token=***" in one for one in problems) and "123" not in "".join(problems)
