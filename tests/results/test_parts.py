import base64
import io
import json
import os
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.results.palette import MAX_PARTS, part_palette
from keras_parts.results.part_labels import part_label
from keras_parts.results.parts import Parts, numbered_names
from keras_parts.results.pictures import contact_sheet


def logits_of(labels, parts, margin=8.0):
    """Logits whose most probable label at every pixel is the given one."""
    return (margin * (labels[..., None] == np.arange(parts + 1))).astype(np.float32)


def blank(height, width, value=128):
    return np.full((height, width, 3), value, np.uint8)


@pytest.fixture
def two_parts():
    """Three parts: part 1 is a block of 2 x 3 pixels, part 2 a single pixel, part 3 absent."""
    labels = np.zeros((6, 8), int)
    labels[1:3, 2:5] = 1
    labels[5, 7] = 2
    return Parts(logits_of(labels, 3), blank(6, 8)), labels


def test_labels_foreground_and_probabilities(two_parts):
    parts, labels = two_parts
    assert parts.labels.dtype == np.uint8
    np.testing.assert_array_equal(parts.labels, labels)
    np.testing.assert_array_equal(parts.foreground, labels > 0)
    assert parts.probabilities.shape == (6, 8, 4)
    assert parts.probabilities.dtype == np.float32
    np.testing.assert_allclose(parts.probabilities.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(parts.probabilities.argmax(-1), labels)


def test_parts_of_similar_probability_still_make_foreground():
    """Four parts at 0.15 each are 0.6 of object: more than a background of 0.4."""
    probabilities = np.array([0.4, 0.15, 0.15, 0.15, 0.15])
    parts = Parts(np.log(probabilities).astype(np.float32).reshape(1, 1, 5), blank(1, 1))
    assert parts.foreground.all()
    assert parts.labels[0, 0] == 1


def test_huge_logits_do_not_overflow():
    logits = np.array([[[1e4, -1e4, 0], [-1e4, 1e4, 1e4 + 1]]], np.float32)
    parts = Parts(logits, blank(1, 2))
    np.testing.assert_array_equal(parts.labels, [[0, 2]])
    np.testing.assert_allclose(
        parts.probabilities[0], [[1, 0, 0], [0, 1 / (1 + np.e), np.e / (1 + np.e)]], atol=1e-4
    )


def test_foreground_agrees_with_probabilities():
    logits = np.random.default_rng(0).normal(size=(40, 30, 6)).astype(np.float32)
    parts = Parts(logits, blank(40, 30))
    np.testing.assert_array_equal(parts.foreground, parts.probabilities[..., 0] < 0.5)
    inside = parts.labels[parts.foreground]
    np.testing.assert_array_equal(inside, 1 + logits[parts.foreground][:, 1:].argmax(-1))


def test_areas_centroids_and_boxes(two_parts):
    parts, _ = two_parts
    np.testing.assert_array_equal(parts.areas, [6, 1, 0])
    np.testing.assert_array_equal(parts.centroids, [[3, 1.5], [7, 5], [np.nan, np.nan]])
    np.testing.assert_array_equal(
        parts.boxes, [[1.5, 0.5, 4.5, 2.5], [6.5, 4.5, 7.5, 5.5], [np.nan] * 4]
    )


def test_areas_centroids_and_boxes_equal_those_of_a_plain_loop():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 5, (23, 37))
    parts = Parts(logits_of(labels, 6), blank(23, 37))
    for part in range(1, 5):
        y, x = np.nonzero(labels == part)
        assert parts.areas[part - 1] == len(x)
        np.testing.assert_allclose(parts.centroids[part - 1], [x.mean(), y.mean()], rtol=1e-6)
        sides = [x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5]
        np.testing.assert_array_equal(parts.boxes[part - 1], sides)
    assert np.isnan(parts.boxes[4:]).all()


def test_names_and_palette_by_default_and_given(two_parts):
    parts, _ = two_parts
    assert parts.names == numbered_names(3) == ("part 1", "part 2", "part 3")
    np.testing.assert_array_equal(parts.palette, part_palette(3))
    given = Parts(parts.logits, parts.image, ["a", "b", "c"], np.eye(3, dtype=np.uint8) * 9)
    assert given.names == ("a", "b", "c")
    assert given.indexed().getpalette()[:12] == [0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((4, 5), np.float32)}, "expected \\(height, width, 1 \\+ parts\\)"),
        ({"logits": np.zeros((4, 5, 1), np.float32)}, "1 to 255 parts"),
        ({"image": blank(5, 4)}, "like the logits"),
        ({"image": np.zeros((4, 5, 3), np.float32)}, "expected uint8"),
        ({"names": ("only one",)}, "1 names for 2 parts"),
        ({"palette": np.zeros((2, 3))}, "palette is float64"),
    ],
)
def test_mismatched_arguments_are_refused(change, message):
    good = {"logits": np.zeros((4, 5, 3), np.float32), "image": blank(4, 5)}
    with pytest.raises(ConfigError, match=message):
        Parts(**good | change)


def test_scores_are_the_mean_probability_of_each_parts_pixels():
    logits = np.random.default_rng(0).normal(size=(60, 50, 5)).astype(np.float32) - [2, 0, 0, 0, 99]
    parts = Parts(logits, None)
    for part in range(1, 4):
        own = parts.probabilities[..., part][parts.labels == part]
        np.testing.assert_allclose(parts.scores[part - 1], own.mean(), rtol=1e-5)
    assert np.isnan(parts.scores[3])


def test_labels_do_not_depend_on_the_bands(monkeypatch):
    logits = np.random.default_rng(0).normal(size=(70, 40, 4)).astype(np.float32)
    whole = Parts(logits)
    labels, scores = whole.labels, whole.scores
    monkeypatch.setattr("keras_parts.results.parts._BAND", 100)
    bands = Parts(logits)
    np.testing.assert_array_equal(bands.labels, labels)
    np.testing.assert_allclose(bands.scores, scores, rtol=1e-5)


def test_without_an_image_only_its_pictures_are_missing(two_parts):
    parts = Parts(two_parts[0].logits)
    assert len(parts.table()) == 2 and parts.indexed().size == (8, 6)
    for show in (parts.overlay, parts.cutouts):
        with pytest.raises(ConfigError, match="no image"):
            show()


def test_rows_of_the_table(two_parts):
    first, second = two_parts[0].table()
    assert (first["part"], first["name"], first["area"]) == (1, "part 1", 6)
    assert (first["x"], first["y"]) == (3, 1.5)
    assert [first[name] for name in ("x0", "y0", "x1", "y1")] == [1.5, 0.5, 4.5, 2.5]
    assert 0.9 < first["score"] <= 1 and second["area"] == 1


def test_saved_cutouts_and_soft_maps(two_parts, tmp_path):
    parts, labels = two_parts
    parts.save_cutouts(tmp_path / "cut")
    with Image.open(tmp_path / "cut/1.png") as picture:
        assert picture.mode == "RGBA" and picture.size == (3, 2)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["1.png", "2.png"]
    parts.save_soft(tmp_path / "soft.npz")
    with np.load(tmp_path / "soft.npz") as arrays:
        np.testing.assert_array_equal(arrays["probabilities"].argmax(-1), labels)


def test_overlay_colours_parts_and_leaves_the_background():
    labels = np.zeros((60, 60), int)
    labels[10:30, 10:50] = 1
    labels[30:50, 10:50] = 2
    image = blank(60, 60, 100)
    parts = Parts(logits_of(labels, 2), image)
    overlay = np.asarray(parts.overlay(alpha=0.5))
    assert overlay.shape == image.shape
    for part, (y, x) in ((1, (20, 30)), (2, (40, 30))):
        mixed = (image[y, x].astype(float) + parts.palette[part - 1]) / 2
        np.testing.assert_allclose(overlay[y, x], mixed, atol=2)
    np.testing.assert_array_equal(overlay[:7], image[:7])
    np.testing.assert_array_equal(overlay[:, 54:], image[:, 54:])
    # The line between both parts is brighter than either side.
    assert overlay[29:31, 30].max(axis=0).min() > 200
    unlined = np.asarray(parts.overlay(alpha=0.5, lines=False))
    np.testing.assert_allclose(unlined[29, 30], overlay[20, 30], atol=2)


def test_overlay_never_darkens_around_parts():
    """The black of the background does not show at the edges of parts."""
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 1
    white = np.full((1, 3), 255, np.uint8)
    picture = Parts(logits_of(labels, 1), blank(40, 40, 255), palette=white).overlay(alpha=1)
    assert np.asarray(picture).min() == 255


def test_overlay_without_opacity_is_the_image(two_parts):
    parts, _ = two_parts
    np.testing.assert_array_equal(np.asarray(parts.overlay(alpha=0, lines=False)), parts.image)
    with pytest.raises(ConfigError, match="alpha is 1.5"):
        parts.overlay(alpha=1.5)


def named_halves(height, width, names):
    """Parts side by side in the upper half of an image, one for each name."""
    labels = np.zeros((height, width), int)
    labels[: height // 2] = 1 + np.arange(width) * len(names) // width
    return Parts(logits_of(labels, len(names)), blank(height, width), names)


@pytest.mark.parametrize("size", [(150, 200), (480, 640), (20, 30)])
@pytest.mark.parametrize("names", [("head", "wing"), tuple(f"a long name {k}" for k in range(16))])
def test_names_are_below_the_overlay_beside_their_colours(size, names):
    parts = named_halves(*size, names)
    plain, named = (
        np.asarray(parts.overlay(names=False, legend=legend)) for legend in (False, True)
    )
    assert plain.shape == (*size, 3)
    np.testing.assert_array_equal(named[: size[0], : size[1]], plain)
    legend = named[size[0] :]
    for colour in parts.palette:
        y, x = np.nonzero((legend == colour).all(-1))
        assert 8 <= np.ptp(y) + 1 == np.ptp(x) + 1 and y.size == (np.ptp(y) + 1) ** 2
        # On the same line, dark letters follow on a white background.
        beside = legend[y.min() : y.max() + 1, x.max() + 1 : x.max() + 4 * np.ptp(x)]
        assert beside.min() < 100 and (beside > 250).mean() > 0.4
    assert (legend[-3:] == 255).all() and (legend[:, -3:] == 255).all()


def test_the_size_of_a_legend_depends_on_the_image_size_only():
    names = ("head", "wing")
    seen = named_halves(90, 120, names)
    unseen = Parts(np.zeros((90, 120, 3), np.float32) + [9, 0, 0], blank(90, 120), names)
    assert seen.overlay().size == unseen.overlay().size
    small, large = (named_halves(3 * side, 4 * side, names) for side in (120, 360))
    heights = [one.overlay().height - one.size[1] for one in (small, large)]
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.1)


def test_the_legend_lists_the_parts_in_the_image_from_top_to_bottom():
    labels = np.zeros((60, 80), int)
    labels[40:, :] = 1
    labels[:20, :] = 3
    parts = Parts(logits_of(labels, 3), blank(60, 80), ("feet", "wings", "head"))
    legend = np.asarray(parts.overlay())[60:]
    feet, wings, head = ((legend == colour).all(-1) for colour in parts.palette)
    assert not wings.any()
    assert np.argwhere(head).min(0).tolist() < np.argwhere(feet).min(0).tolist()


def test_names_stand_on_their_parts_where_they_fit():
    """The pixels that change are white letters and their dark lines."""
    labels = np.zeros((200, 300), int)
    labels[20:80, 20:200] = 1
    labels[100:180, 20:62] = 2  # narrow: two lines
    labels[100:106, 200:206] = 3  # too small
    labels[195:, :] = 4  # wide, but lower than a letter
    names = ("head", "wings wings", "x", "tail")
    parts = Parts(logits_of(labels, 4), blank(200, 300), names)
    plain, named = (np.asarray(parts.overlay(names=on, legend=False)) for on in (False, True))
    changed = (plain != named).any(-1)
    inside = [changed[labels == label].any() for label in range(5)]
    assert inside == [False, True, True, False, False]
    rows, columns = np.nonzero(changed & (labels == 1))
    assert abs(rows.mean() - 49.5) < 6 and abs(columns.mean() - 109.5) < 6
    assert np.ptp(np.nonzero(changed & (labels == 2))[0]) > np.ptp(rows) * 1.5
    assert named[changed].max() == 255 and named[changed].min() == 0


def test_names_do_not_lie_on_each_other():
    labels = np.zeros((60, 200), int)
    labels[:, 20:80], labels[:, 80:130] = 1, 2  # both a little narrower than their names
    image, names = blank(60, 200), ("m" * 7, "m" * 6)
    changed = []
    for shown in (1, 2, 0):
        kept = labels * (labels == shown) if shown else labels
        parts = Parts(logits_of(kept, 2), image, names)
        plain, named = (np.asarray(parts.overlay(names=on, legend=False)) for on in (False, True))
        changed.append((plain != named).any(-1))
    assert (changed[0] & changed[1]).any()
    np.testing.assert_array_equal(changed[2], changed[0])
    numbered = Parts(parts.logits, parts.image)
    np.testing.assert_array_equal(numbered.overlay(), numbered.overlay(names=False))


def test_parts_that_are_only_numbered_have_no_legend():
    parts = named_halves(30, 40, numbered_names(2))
    assert parts.overlay().size == (40, 30)


def test_long_names_are_shortened():
    parts = named_halves(30, 40, ("x" * 5000, "\n \n", "鳥"))
    assert parts.overlay().width < 400


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1)])
def test_tiny_images(size):
    parts = Parts(np.ones((*size, 3), np.float32), blank(*size))
    assert parts.overlay().size == size[::-1]
    assert parts.labels.shape == size


def test_saved_labels_and_overlays(two_parts, tmp_path):
    parts, labels = two_parts
    parts.save_indexed(tmp_path / "labels.png")
    with Image.open(tmp_path / "labels.png") as picture:
        assert picture.mode == "P"
        np.testing.assert_array_equal(np.asarray(picture), labels)
        assert picture.getpalette()[3:12] == part_palette(3).ravel().tolist()
    for suffix in ("png", "jpg", "JPEG", "webp"):
        parts.save_overlay(tmp_path / f"overlay.{suffix}")
        with Image.open(tmp_path / f"overlay.{suffix}") as picture:
            assert picture.size == (8, 6)
    with pytest.raises(ConfigError, match="cannot write pictures of type .xyz"):
        parts.save_overlay(tmp_path / "overlay.xyz")
    assert len(list(tmp_path.iterdir())) == 5


def test_palette_is_distinct_and_stable():
    colours = part_palette(MAX_PARTS).astype(int)
    assert len(np.unique(colours, axis=0)) == MAX_PARTS
    np.testing.assert_array_equal(part_palette(7), colours[:7])
    assert colours[:2].tolist() == [[0, 114, 178], [230, 159, 0]]
    first = colours[:32]
    apart = np.abs(first[:, None] - first).sum(-1) + 999 * np.eye(32, dtype=int)
    assert apart.min() >= 40
    assert part_palette(0).shape == (0, 3)
    with pytest.raises(ConfigError, match="parts is 256"):
        part_palette(256)


def test_each_call_returns_a_new_palette():
    part_palette(3)[:] = 0
    assert part_palette(3).any()


def test_repr_is_short_and_names_the_parts_in_the_image():
    labels = np.zeros((30, 40), int)
    labels[:10, :10] = 2
    parts = Parts(logits_of(labels, 3), names=("head", "wing", "tail"))
    assert parts.present == [2]
    assert repr(parts) == "<Parts 40x30, K=3: wing (100 pixels)>"
    assert repr(Parts(logits_of(0 * labels, 3))) == "<Parts 40x30, K=3: no foreground>"


def test_repr_names_few_parts():
    parts = Parts(logits_of(np.arange(1, 8)[None], 7))
    assert repr(parts).endswith("K=7: part 1 (1 pixels), part 2 (1 pixels), part 3 (1 pixels), "
                                "part 4 (1 pixels) and 3 more>")  # fmt: skip


def test_parts_are_a_collection_by_label_and_name():
    labels = np.zeros((6, 8), int)
    labels[1:3, 2:5] = 1
    parts = Parts(logits_of(labels, 2), names=("head", "wing"), descriptors=np.eye(2))
    assert len(parts) == 2 and "wing" in parts and "tail" not in parts
    head, wing = parts
    assert (head.name, head.label, head.area, wing.area) == ("head", 1, 6, 0)
    assert parts["head"].label == parts[1].label == parts[np.int64(1)].label == 1
    np.testing.assert_array_equal(head.mask, labels == 1)
    np.testing.assert_array_equal(head.centroid, [3, 1.5])
    np.testing.assert_array_equal(head.box, [1.5, 0.5, 4.5, 2.5])
    np.testing.assert_array_equal(head.descriptor, [1, 0])
    assert head.score == pytest.approx(head.probability[head.mask].mean(), rel=1e-5)
    assert np.isnan(wing.score) and Parts(parts.logits)[1].descriptor is None
    np.testing.assert_array_equal(np.asarray(parts), labels)
    with pytest.raises(KeyError, match="there is no part 'tail'; there are 1 head, 2 wing"):
        parts["tail"]
    for label in (0, 3, -1):
        with pytest.raises(IndexError, match=f"no part has the label {label}: labels are 1 to 2"):
            parts[label]


def test_parts_as_json_values(two_parts):
    values = json.loads(json.dumps(two_parts[0].to_dict()))
    assert (values["width"], values["height"]) == (8, 6)
    assert values["path"] is None and [row["part"] for row in values["parts"]] == [1, 2]


def test_a_notebook_shows_a_picture_and_a_table():
    parts = named_halves(600, 800, ("<script>", "wing"))
    text = parts._repr_html_()
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", text)[1])
    with Image.open(io.BytesIO(picture)) as shown:
        assert shown.size == (480, 360)
    assert "<td>&lt;script&gt;</td><td>120000</td>" in text and "2 of 2 parts" in text
    many = Parts(logits_of(np.arange(1, 21)[None], 20))  # without an image
    assert "and 4 more" in many._repr_html_()


def test_plot_draws_on_the_axes_at_the_coordinates_of_pixels(two_parts):
    figure = Figure()
    axes = two_parts[0].plot(figure.add_subplot(), legend=False)
    assert axes.images[0].get_extent() == [-0.5, 7.5, 5.5, -0.5]


def test_show_opens_the_overlay(two_parts, monkeypatch):
    shown = []
    monkeypatch.setattr("keras_parts.results.notebook.has_display", lambda: True)
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    two_parts[0].show(alpha=0.3)
    assert shown == [(8, 6)]


def test_detections_of_supervision(two_parts, monkeypatch):
    parts, labels = two_parts
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="pip install supervision"):
        parts.to_supervision()
    supervision = SimpleNamespace(Detections=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    found = parts.to_supervision()
    assert found.xyxy.tolist() == [[2, 1, 5, 3], [7, 5, 8, 6]]
    assert found.class_id.tolist() == [1, 2]
    assert found.data["class_name"].tolist() == ["part 1", "part 2"]
    np.testing.assert_array_equal(found.mask, [labels == 1, labels == 2])


def test_contact_sheet_places_images_in_rows():
    wide = np.zeros((10, 20, 3), np.uint8)
    wide[:] = (255, 0, 0)
    tall = Image.new("RGB", (10, 20), (0, 0, 255))
    sheet = np.asarray(contact_sheet([wide, tall, wide], columns=2, cell=64))
    assert sheet.shape == (3 * 2 + 64 + 32, 3 * 2 + 2 * 64, 3)
    assert sheet[2 + 32, 2 + 32].tolist() == [255, 0, 0]
    assert sheet[2 + 32, 4 + 64 + 32].tolist() == [0, 0, 255]
    assert sheet[-10, 2 + 32].tolist() == [255, 0, 0]
    assert sheet[-10, -10].tolist() == [255, 255, 255]


def test_contact_sheet_captions_are_drawn_and_cut():
    images = [blank(20, 20, 255)] * 3
    plain = contact_sheet(images, columns=3, cell=64)
    sheet = contact_sheet(images, columns=3, cell=64, captions=["x", "a name\n" * 30, "鳥 é"])
    assert sheet.height > plain.height and sheet.width == plain.width
    text = np.asarray(sheet.convert("L"))[2 + 64 :] < 128
    assert text.any()
    # The second caption stays in its own column.
    assert not text[:, 66:68].any() and not text[:, 132:134].any()


def test_contact_sheet_without_images_is_refused():
    with pytest.raises(ConfigError, match="0 images"):
        contact_sheet([])
    with pytest.raises(ConfigError, match="0 columns"):
        contact_sheet([blank(2, 2)], columns=0)


def test_a_part_is_named_by_a_word_that_only_one_name_contains():
    names = ("wing and belly", "forehead and beak", "left leg", "right leg", "head")
    given = ("beak", "HEAD", "fore", "leg ", 2, "2", "left leg")
    found = []
    for part in given:
        try:
            found.append(part_label(part, names))
        except ConfigError as error:
            found.append(str(error).partition(";")[0])
    several = "several parts have in their names 'leg'"
    assert found == [2, 5, 2, several, 2, 2, 3]
    parts = Parts(logits_of(np.ones((2, 2), int), 5), names=names)
    assert parts["beak"].label == 2 and "beak" in parts and "leg" not in parts
    with pytest.raises(KeyError, match="did you mean 'beak'.*; there are 1 wing and belly, "):
        parts["baek"]


def test_without_a_display_the_picture_is_written_to_a_file(two_parts, monkeypatch, caplog):
    monkeypatch.setattr("keras_parts.results.notebook.has_display", lambda: False)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    two_parts[0].show()
    path = caplog.text.split("was written to ")[1].strip()
    assert Image.open(path).size == (8, 6)
    os.unlink(path)
