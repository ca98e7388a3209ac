"""Several objects in one image."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.results import ObjectMap, Parts
from keras_parts.results.objects import MAX_OBJECTS

NAMES = ("head", "tail")


def logits_of(labels, parts=2):
    return 8 * np.eye(1 + parts, dtype=np.float32)[labels]


def flock(descriptors=None, *, image=False):
    """Owner 1 has four pixels, owner 3 nine, owner 2 none; a part that nobody owns on the right."""
    labels, owners = np.zeros((8, 12), int), np.zeros((8, 12), np.uint8)
    labels[1, 1:3], labels[2, 1:3] = 1, 2
    labels[3:6, 5:8] = 1
    labels[0:2, 10:12] = 1
    owners[:, :4], owners[0, 4], owners[:, 5:9] = 1, 2, 3
    pixels = np.full((8, 12, 3), 100, np.uint8) if image else None
    return Parts(
        logits_of(labels), pixels, NAMES, path="flock.png",
        descriptors=None if descriptors is None else descriptors.mean(0),
        object_map=ObjectMap(owners, 3, descriptors),
    )  # fmt: skip


def test_objects_are_parts_of_their_own_the_largest_first():
    parts = flock(np.arange(12, dtype=np.float32).reshape(3, 2, 2))
    large, small = parts.objects
    assert (large.area, small.area, parts.area) == (9, 4, 13)
    assert large.box.tolist() == [4.5, 2.5, 7.5, 5.5] and small.box.tolist() == [0.5, 0.5, 2.5, 2.5]
    assert parts.box.tolist() == [0.5, 0.5, 7.5, 5.5]
    assert large.present == [1] and small.present == [1, 2]
    assert small["tail"].centroid.tolist() == [1.5, 2] and small["tail"].area == 2
    np.testing.assert_array_equal(small["head"].mask, small.labels == 1)
    np.testing.assert_array_equal(large["tail"].descriptor, [10, 11])
    np.testing.assert_array_equal(small["head"].descriptor, [0, 1])
    np.testing.assert_array_equal(parts.labels, large.labels + small.labels)
    assert large.objects == (large,) and large.path == "flock.png" and large.names == NAMES


def test_pixels_without_an_owner_are_background():
    parts = flock()
    assert not parts.labels[:, 9:].any() and parts.probabilities[0, 11, 1] > 0.9
    np.testing.assert_array_equal(parts.object_labels > 0, parts.foreground)
    np.testing.assert_array_equal(parts.object_labels[3:6, 5:8], 1)
    np.testing.assert_array_equal(parts.object_labels[1:3, 1:3], 2)
    assert parts.object_labels.dtype == np.uint8


def test_without_an_object_map_the_foreground_is_one_object():
    parts = Parts(logits_of(np.array([[0, 1, 2]])))
    assert parts.objects == (parts,) and parts.object_labels.tolist() == [[0, 1, 1]]
    assert parts.score == pytest.approx(parts.scores.mean())
    empty = Parts(logits_of(np.zeros((2, 3), int)))
    assert empty.objects == () and not empty.object_labels.any() and empty.area == 0
    assert np.isnan(empty.box).all() and np.isnan(empty.score)
    assert empty.labels[empty.window].size == empty.labels[empty[1].window].size == 0


def test_statistics_of_objects_equal_those_of_their_pixels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 30, 4)).astype(np.float32)
    owners = rng.integers(1, 4, (40, 30)).astype(np.uint8)
    owners[:3], owners[:, 20:] = 0, 0
    parts = Parts(logits, object_map=ObjectMap(owners, 3))
    assert len(parts.objects) == 3
    for number, one in enumerate(parts.objects, start=1):
        mask = parts.object_labels == number
        alone = Parts(np.where(mask[..., None], logits, logits_of(np.zeros((1, 1), int), 3)))
        np.testing.assert_array_equal(one.labels, np.where(mask, parts.labels, 0))
        for name in ("areas", "centroids", "boxes"):
            np.testing.assert_array_equal(getattr(one, name), getattr(alone, name))
        np.testing.assert_allclose(one.scores, alone.scores, rtol=1e-6)
        assert one.score == pytest.approx(
            one.probabilities[mask & one.foreground][:, 1:].max(-1).mean()
        )


def test_owners_may_be_computed_in_bands(monkeypatch):
    whole = flock()
    owners, asked = whole.object_map.owners, []

    class Bands:
        shape = owners.shape

        def rows(self, start, stop, left=0, right=None):
            asked.append((start, stop))
            return owners[start:stop, left:right]

    monkeypatch.setattr("keras_parts.results.parts._BAND", 24)
    parts = Parts(whole.logits, object_map=ObjectMap(Bands(), 3))
    np.testing.assert_array_equal(parts.object_labels, whole.object_labels)
    np.testing.assert_array_equal(parts.labels, whole.labels)
    assert asked == [(0, 2), (2, 4), (4, 6)]  # the last rows have no foreground


def test_annotations_are_those_of_each_object():
    parts = flock()
    table = parts.table()
    assert [(row["object"], row["part"], row["area"]) for row in table] == [
        (1, 1, 9), (2, 1, 2), (2, 2, 2)
    ]  # fmt: skip
    values = json.loads(json.dumps(parts.to_dict()))
    assert [(one["object"], one["area"], one["x0"]) for one in values["objects"]] == [
        (1, 9, 4.5), (2, 4, 0.5)
    ]  # fmt: skip
    assert [each["group_id"] for each in parts.cvat()] == [1, 2, 2]
    regions = parts.label_studio()
    assert [each["id"] for each in regions] == [
        "object-1-part-1", "object-2-part-1", "object-2-part-2"
    ]  # fmt: skip
    assert regions[2]["meta"] == {"text": ["object 2"]}
    large, small = parts.objects
    assert not {"group_id", "meta"} & {*large.cvat()[0], *small.label_studio()[0]}


def test_coco_has_a_group_of_annotations_for_each_object():
    coco = pytest.importorskip("pycocotools.mask")
    parts = flock()
    annotations = parts.coco()
    assert [(each["object"], each["category_id"]) for each in annotations] == [
        (1, 1), (1, 3), (2, 1), (2, 2), (2, 3)
    ]  # fmt: skip
    whole = annotations[4]
    np.testing.assert_array_equal(coco.decode(whole["segmentation"]), parts.object_labels == 2)
    assert whole["keypoints"] == [2, 1.5, 2, 2, 2.5, 2] and whole["bbox"] == [1, 1, 2, 2]
    assert annotations[1]["num_keypoints"] == 1


def test_detections_of_supervision_name_their_object(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    found = flock().to_supervision()
    assert found.data["object"].tolist() == [1, 2, 2] and found.class_id.tolist() == [1, 1, 2]
    np.testing.assert_array_equal(found.mask.sum((1, 2)), [9, 2, 2])


def test_cutouts_of_several_objects_are_named_after_both(tmp_path):
    parts = flock(image=True)
    parts.save_cutouts(tmp_path / "all")
    assert sorted(path.name for path in (tmp_path / "all").iterdir()) == [
        "1-1.png", "2-1.png", "2-2.png"
    ]  # fmt: skip
    with Image.open(tmp_path / "all/2-2.png") as picture:
        assert picture.size == (2, 1)
    parts.objects[1].save_cutouts(tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["1.png", "2.png"]


def test_several_objects_are_told_and_outlined():
    parts = flock(image=True)
    assert repr(parts).startswith("<Parts 12x8, K=2, 2 objects: head (11 pixels)")
    assert repr(parts.objects[0]) == "<Parts 12x8, K=2: head (9 pixels)>"
    page = parts._repr_html_()
    assert "2 objects" in page and "<th>object</th>" in page and page.count("<td>2</td>") >= 2
    assert "object" not in parts.objects[0]._repr_html_().replace("objects", "")
    # Two objects of one part that touch have a line between them.
    labels, owners = np.ones((60, 60), int), np.ones((60, 60), np.uint8)
    owners[:, 30:] = 2
    image = np.full((60, 60, 3), 100, np.uint8)
    touching = Parts(logits_of(labels, 1), image, object_map=ObjectMap(owners, 2))
    one = Parts(logits_of(labels, 1), image)
    between = [np.asarray(each.overlay())[20, 29].min() for each in (touching, one)]
    assert between[0] > between[1] + 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": 0}, "count is 0, expected 1 to 255"),
        ({"count": MAX_OBJECTS + 1}, "count is 256"),
        ({"count": 1}, "owners has 2, expected at most 1"),
        ({"owners": np.ones((3, 4), int)}, "owners is int64, expected uint8"),
        ({"descriptors": np.zeros((3, 1, 5), np.float32)}, "descriptors has shape"),
        ({"owners": np.ones((4, 3), np.uint8)}, r"owners of object_map has shape \(4, 3\)"),
    ],
)
def test_object_maps_that_do_not_fit_are_refused(change, message):
    good = {"owners": np.full((3, 4), 2, np.uint8), "count": 2}
    Parts(np.zeros((3, 4, 2), np.float32), object_map=ObjectMap(**good))
    with pytest.raises(ConfigError, match=message):
        Parts(np.zeros((3, 4, 2), np.float32), object_map=ObjectMap(**good | change))
