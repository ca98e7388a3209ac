"""The second look, with a network that sees what is dark, one position every eight pixels."""

import numpy as np
import pytest

from keras_parts.errors import ConfigError
from keras_parts.images import resize_geometry
from keras_parts.images.regions import connected_regions, nearest_region
from keras_parts.models import Predictor
from keras_parts.models.looks import find_objects
from keras_parts.results import Parts

SIZE = 65


def darkness(images):
    """The foreground is dark; part 1 is in the upper half of the input."""
    padded = np.pad(images, ((0, 0), (4, 3), (4, 3), (0, 0)), mode="edge")
    dark = 8 - padded.reshape(-1, 9, 8, 9, 24).mean((2, 4)) / 16
    upper = np.broadcast_to(np.arange(dark.shape[1])[:, None] < 4, dark.shape)
    parts = np.where(upper, 4, -4)
    logits = np.stack([0 * dark + 4, dark + parts, dark - parts], axis=-1)
    return {"logits": logits.astype(np.float32)}


def predictor(forward=darkness, **options):
    return Predictor(forward, ("upper", "lower"), SIZE, **options)


def picture(*boxes, size=(260, 390)):
    """A white picture with black rectangles (top, left, bottom, right)."""
    image = np.full((*size, 3), 255, np.uint8)
    for top, left, bottom, right in boxes:
        image[top:bottom, left:right] = 0
    return image


def overlap(found, image):
    wanted = image[..., 0] == 0
    return (found & wanted).sum() / (found | wanted).sum()


BIRD = (100, 150, 160, 230)


def test_a_small_object_is_seen_again_at_its_full_size():
    seen = []

    def forward(images):
        seen.append(images)
        return darkness(images)

    image = picture(BIRD)
    once = predictor(looks=1).segment(image)
    for looks in ("auto", 2):
        again = predictor(forward, looks=looks).segment(image)
        assert overlap(once.foreground, image) < 0.8 < 0.9 < overlap(again.foreground, image)
    # The object fills most of the second input: the rest is its margin.
    first, second = seen[:2]
    assert (first == 0).mean() < 0.05 and (second == 0).mean() > 0.35
    # Its parts are those of the second input.
    rows = [np.flatnonzero((again.labels == part).any(axis=1)) for part in (1, 2)]
    assert abs(rows[0].max() - 130) < 12 and rows[0].max() < rows[1].min()


def test_one_look_is_the_whole_image_alone():
    image = picture(BIRD)
    parts = predictor(looks=1).segment(image)
    tiled = predictor(tile=400).segment(image)
    np.testing.assert_array_equal(np.asarray(parts.logits), np.asarray(tiled.logits))


@pytest.mark.parametrize(
    ("boxes", "looks"), [([], 2), ([(0, 0, 260, 390)], 2), ([(20, 20, 250, 380)], "auto")]
)
def test_no_second_look_where_it_would_show_nothing_new(boxes, looks):
    calls = []

    def forward(images):
        calls.append(len(images))
        return darkness(images)

    image = picture(*boxes)
    parts = predictor(forward, looks=looks).segment(image)
    assert calls == [1]
    once = predictor(looks=1).segment(image)
    np.testing.assert_array_equal(np.asarray(parts.logits), np.asarray(once.logits))


def test_looks_that_are_not_possible():
    for looks in (0, 3, "2", True, None):
        with pytest.raises(ConfigError, match="expected one of 'auto', 1, 2"):
            predictor(looks=looks)
    with pytest.raises(ConfigError, match="tile is 64, but tiles are seen once"):
        predictor(looks=2, tile=64)
    assert predictor(tile=64).looks == 1
    with pytest.raises(ConfigError, match="max_objects is 0"):
        predictor(max_objects=0)


def test_results_depend_on_the_looks():
    settings = [predictor(looks=looks).settings for looks in ("auto", 1, 2)]
    assert [each["looks"] for each in settings] == ["auto", 1, 2]


def test_rows_of_pasted_logits_are_those_of_the_whole():
    image = picture(BIRD, (10, 10, 40, 60), (200, 300, 260, 390))
    logits = predictor(looks=2).segment(image).logits
    whole = np.moveaxis(np.asarray(logits), -1, 0)
    for start, stop, left, right in [(0, 260, 0, 390), (99, 131, 140, 222), (120, 121, 180, 390)]:
        rows = logits.rows(start, stop, left, right)
        np.testing.assert_array_equal(rows, whole[:, start:stop, left:right])
    rows, columns = np.divmod(np.arange(260 * 390), 390)
    np.testing.assert_array_equal(logits.at(rows, columns).reshape(whole.shape), whole)


def test_labels_of_pasted_logits_are_those_of_all_logits():
    """One object, several, some that are seen once, and rectangles that overlap."""
    rng = np.random.default_rng(0)

    def forward(images):
        outputs = darkness(images)
        outputs["logits"] += rng.normal(size=outputs["logits"].shape).astype(np.float32)
        return outputs

    together = [(100, 100, 160, 180), (120, 200, 190, 300), (200, 90, 250, 200)]
    for boxes, most in [([BIRD], 8), (THREE, 8), (THREE, 1), (together, 8), (together, 2)]:
        parts = predictor(forward, looks=2, max_objects=most).segment(picture(*boxes))
        wanted = Parts(np.asarray(parts.logits))
        np.testing.assert_array_equal(parts.labels, wanted.labels)
        np.testing.assert_allclose(parts.scores, wanted.scores, rtol=1e-5)


def test_an_object_seen_once_in_the_rectangle_of_another_keeps_its_own_number():
    """The square around the long object contains the short one, which is not seen again."""
    boxes = [(40, 20, 130, 350), (230, 150, 320, 240)]
    image = picture(*boxes, size=(390, 390))
    long, short = predictor(looks=2, max_objects=1).segment(image).objects
    for one, box in zip((long, short), boxes, strict=True):
        assert overlap(one.foreground, picture(box, size=(390, 390))) > 0.6


def test_a_second_look_fades_into_the_first():
    """Where the first look differs by a constant, no border of the rectangle is a step."""
    image = picture(BIRD)

    def forward(images):
        outputs = darkness(images)
        if (images == 0).mean() < 0.1:  # the first look
            outputs["logits"][..., 0] -= 3
        return outputs

    background = np.asarray(predictor(forward, looks=2).segment(image).logits)[..., 0]
    assert background.min() < 1.1 and background.max() > 3.9
    assert np.abs(np.diff(background, axis=0)).max() < 1.5


def objects_in(*boxes, size=(260, 390)):
    geometry = resize_geometry(*size, SIZE)
    logits = darkness(geometry.apply(picture(*boxes, size=size))[None])["logits"][0]
    return find_objects(logits, geometry, SIZE, "pad")


def test_objects_are_the_regions_from_the_largest():
    objects = objects_in((90, 5, 190, 105), (60, 150, 200, 330))
    assert len(objects) == 2
    areas = [(objects.positions == number).sum() for number in (1, 2)]
    assert areas[0] > areas[1] > 0
    for (top, left, bottom, right), inner in zip(
        objects.boxes, [(60, 150, 200, 330), (90, 5, 190, 105)], strict=True
    ):
        assert top <= inner[0] and left <= inner[1] and bottom >= inner[2] and right >= inner[3]
        assert 0 <= top < bottom <= 260 and 0 <= left < right <= 390
    assert objects.gains[1] > objects.gains[0] > 1


def test_the_padding_of_a_wide_picture_has_no_objects():
    geometry = resize_geometry(100, 390, SIZE)
    logits = np.zeros((9, 9, 3), np.float32) + [2, 0, 0]
    logits[[0, -1], :, 1] = 9
    assert len(find_objects(logits, geometry, SIZE, "pad")) == 0


def test_specks_are_no_objects_and_become_background():
    def forward(images):
        outputs = darkness(images)
        if (images == 0).mean() < 0.2:  # the first look
            outputs["logits"][:, 2, 0, 1] = 5
        return outputs

    image = picture((60, 120, 220, 300))
    assert predictor(forward, looks=1).segment(image).foreground[:, :30].any()
    assert not predictor(forward, looks=2).segment(image).foreground[:, :30].any()


def test_regions_are_those_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    snake = np.ones((13, 9), bool)
    snake[1::4, :-1] = snake[3::4, 1:] = False
    for mask in [snake, ~snake[:0], *(rng.random((17, 23)) < share for share in (0, 0.3, 0.5, 1))]:
        regions, sizes = connected_regions(mask)
        wanted, count = ndimage.label(mask, np.ones((3, 3)))
        np.testing.assert_array_equal(regions, wanted)
        assert sizes.tolist() == np.bincount(regions.ravel(), minlength=count + 1)[1:].tolist()
        grown = nearest_region(regions)
        assert (grown[mask] == regions[mask]).all() and grown.all() == bool(count or not mask.size)


THREE = [(40, 40, 110, 140), (150, 60, 200, 130), (60, 250, 120, 310)]


def test_several_objects_are_seen_again_each_by_itself():
    image = picture(*THREE)
    batches = []

    def forward(images):
        batches.append(len(images))
        return darkness(images)

    parts = predictor(forward, looks=2).segment(image)
    assert batches == [1, 4]  # three, padded to a power of two
    assert overlap(parts.foreground, image) > 0.85
    assert len(parts.objects) == 3
    for one, box in zip(parts.objects, [THREE[0], THREE[2], THREE[1]], strict=True):
        assert overlap(one.foreground, picture(box)) > 0.85
        # Each one has both parts: its own square is divided, not the picture.
        assert (one.areas > 0.15 * one.area).all()
    assert (parts.object_labels > 0).tolist() == parts.foreground.tolist()


def test_objects_whose_squares_overlap_keep_to_themselves():
    """The square of the long object contains the short one."""
    boxes = [(40, 20, 130, 350), (230, 150, 320, 240)]
    image = picture(*boxes, size=(390, 390))
    parts = predictor(looks=2).segment(image)
    long, short = parts.objects
    assert overlap(long.foreground, picture(boxes[0], size=(390, 390))) > 0.7
    assert overlap(short.foreground, picture(boxes[1], size=(390, 390))) > 0.85
    assert (short.areas > 0.15 * short.area).all()


def test_an_object_that_fills_the_picture_keeps_its_first_look():
    boxes = [(0, 0, 80, 390), (150, 270, 240, 370)]
    image = picture(*boxes)
    prepared = predictor().prepare(image)
    outputs = predictor().predict(prepared.inputs)
    prepared = predictor().look_again(prepared, outputs, lambda enough: (image, None))
    assert prepared.seen_again == (2,) and len(prepared.objects) == 2
    parts = predictor().segment(image)
    for one, box in zip(parts.objects, boxes, strict=True):
        assert overlap(one.foreground, picture(box)) > 0.75
    once = predictor(looks=1).segment(image)
    np.testing.assert_allclose(
        np.asarray(parts.logits)[:100], np.asarray(once.logits)[:100], atol=1e-4
    )


def test_objects_beyond_the_maximum_keep_their_first_look(caplog):
    image = picture(*THREE)
    few = predictor(looks=2, max_objects=1)
    prepared = few.prepare(image)
    outputs = few.predict(prepared.inputs)
    prepared = few.look_again(prepared, outputs, lambda enough: (image, None))
    assert prepared.remarks == (
        "shows 3 objects: only the largest one is seen again (max_objects)",
    )
    assert len(prepared.inputs) == 2
    parts, *_ = few.segment_all([image, image])
    assert len(caplog.records) == 1 and "2 images show more than 1 objects" in caplog.text
    once = predictor(looks=1).segment(image)
    assert len(parts.objects) == 3
    assert (parts.labels[:, 220:] == once.labels[:, 220:]).all()
    assert few.settings["max_objects"] == 1


def test_descriptors_are_those_of_the_second_looks():
    def forward(images):
        described = np.broadcast_to(images.mean((1, 2))[:, None], (len(images), 2, 3))
        masses = np.ones((len(images), 2), np.float32)
        return darkness(images) | {"descriptors": described, "masses": masses}

    again = predictor(forward, looks=2)
    one = again.segment(picture(BIRD))
    prepared = again.prepare(picture(BIRD))
    assert one.descriptors.mean() < 200 < prepared.inputs[0].mean()
    parts = again.segment(picture(*THREE))
    each = np.stack([one.descriptors for one in parts.objects])
    np.testing.assert_allclose(parts.descriptors, each.mean(0), rtol=1e-5)
