"""A folder of the user's own images."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.data.crops import image_box, mask_box
from keras_parts.errors import ConfigError, DataError
from tests.data.contract import check_dataset
from tests.images.turned import stored_as

NAMES = ("bird 10.png", "bird 2.jpg", "Bird 1.PNG", "far/away/duck.webp", "far/duck.png")
NATURAL = ["Bird 1.PNG", "bird 2.jpg", "bird 10.png", "far/away/duck.webp", "far/duck.png"]


def _draw(path, size=(20, 30), value=0, alpha=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, np.uint8)
    image[5:9, 6:20] = 250
    if alpha is not None:
        image = np.dstack([image, alpha.astype(np.uint8) * 255])
    Image.fromarray(image).save(path)


def _mask(size=(20, 30)):
    mask = np.zeros(size, bool)
    mask[5:9, 6:20] = True
    return mask


def _draw_mask(path, mask=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_mask() if mask is None else mask).save(path)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    for value, name in enumerate(NAMES):
        _draw(folder / name, value=40 * value)
    return folder


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    for name in NAMES:
        _draw_mask((folder / name).with_suffix(".png"))
    return folder


@pytest.mark.parametrize("split", ["train", "test", "all", "fit", "validation"])
def test_contract(images, masks, split):
    check_dataset(load("folder", split, images))
    check_dataset(load("folder", split, images, masks=masks))


def test_natural_order_and_skipped_files(images):
    for name in (".hidden.png", ".cache/a.png", "notes.txt", "far/.DS_Store"):
        (images / name).parent.mkdir(exist_ok=True)
        (images / name).write_text("not an image")
    assert load("folder", "train", images).ids() == NATURAL


def test_without_masks_the_box_is_the_image(images):
    sample = load("folder", "train", images)[0]
    assert sample.foreground is None and sample.category is None
    np.testing.assert_array_equal(sample.box, image_box(20, 30))


def test_masks_of_a_folder(images, masks):
    for sample in load("folder", "train", images, masks=masks):
        np.testing.assert_array_equal(sample.foreground, _mask())
        np.testing.assert_array_equal(sample.box, mask_box(_mask()))


def test_with_an_empty_mask_the_box_is_the_image(images, masks):
    dataset = load("folder", "train", images, masks=masks)
    _draw_mask(masks / "Bird 1.png", np.zeros((20, 30), bool))
    assert not dataset[0].foreground.any()
    np.testing.assert_array_equal(dataset[0].box, image_box(20, 30))


def test_masks_from_alpha(tmp_path):
    for name in ("a.png", "b.webp"):
        _draw(tmp_path / name, alpha=_mask())
    dataset = load("folder", "train", tmp_path, masks="alpha")
    check_dataset(dataset)
    np.testing.assert_array_equal(dataset[1].foreground, _mask())
    assert (dataset[0].image[~_mask()] == 255).all()
    _draw(tmp_path / "c.jpg")
    with pytest.raises(DataError, match="1 of 3 images.*\n.*c.jpg has no transparency"):
        load("folder", "train", tmp_path, masks="alpha")


def test_masks_inside_the_folder_of_images_are_not_images(images):
    for name in NAMES:
        _draw_mask((images / "masks" / name).with_suffix(".png"))
    dataset = load("folder", "train", images, masks=images / "masks")
    assert dataset.ids() == NATURAL and dataset[0].foreground is not None


def test_validation_is_every_fifth_image(images):
    assert load("folder", "validation", images).ids() == NATURAL[4:]
    assert load("folder", "fit", images).ids() == NATURAL[:4]


def test_the_fingerprint_depends_on_the_files(images, masks):
    def fingerprint(**options):
        return load("folder", "train", images, **options).fingerprint()

    bare, masked = fingerprint(), fingerprint(masks=masks)
    assert bare != masked and masked == fingerprint(masks=masks)
    _draw_mask(masks / "Bird 1.png", ~_mask())
    assert fingerprint() == bare and fingerprint(masks=masks) != masked
    _draw(images / "Bird 1.PNG", value=7)
    assert fingerprint() != bare


def test_the_fingerprint_depends_on_the_kind_of_annotation(images, masks):
    one = load("folder", "train", images, masks=masks)
    other = load("folder", "train", images, part_labels=masks)
    assert one.fingerprint() != other.fingerprint()


def test_images_may_share_a_mask(images, masks):
    _draw(images / "bird 2.png")
    dataset = load("folder", "train", images, masks=masks)
    assert len(dataset) == 6 and all(sample.foreground.any() for sample in dataset)


@pytest.mark.parametrize("inside", ["images/masks", "masks/labels", "masks/images"])
def test_nested_folders_of_images_masks_and_labels(tmp_path, inside):
    folders = {name: tmp_path / name for name in ("images", "masks", "labels")}
    folders[inside.rpartition("/")[2]] = tmp_path / inside
    for name in ("1.png", "far/2.png"):
        _draw(folders["images"] / name)
        for other in ("masks", "labels"):
            _draw_mask(folders[other] / name)
    options = {"masks": folders["masks"], "part_labels": folders["labels"]}
    report = check("folder", data_dir=folders["images"], progress=False, **options)
    assert report.problems == () and report.num_samples == 2


@pytest.mark.parametrize("option", ["masks", "part_labels"])
def test_empty_masks_are_problems_with_their_files(images, masks, option):
    dataset = load("folder", "fit", images, **{option: masks})
    _draw_mask(masks / "Bird 1.png", np.zeros((20, 30), bool))
    assert dataset.problems(1) == []
    (problem,) = dataset.problems(0)
    assert f"the mask of Bird 1.PNG in {masks / 'Bird 1.png'} is empty" in problem
    with pytest.raises(DataError, match=r"1 of 5 images(.|\n)*Bird 1.png is empty(.|\n)*skip_bad"):
        load("folder", "train", images, **{option: masks})
    for mask in masks.rglob("*.png"):
        _draw_mask(mask, np.zeros((20, 30), bool))
    with pytest.raises(DataError, match="5 of 5 images"):
        load("folder", "train", images, skip_bad=True, **{option: masks})


def _notes(images, masks, **options):
    """The notes of a folder when it is loaded, and when it is checked."""
    loaded = load("folder", "train", images, masks=masks, **options).notes
    report = check("folder", data_dir=images, masks=masks, progress=False, **options)
    assert report.problems == () and report.notes == loaded
    return loaded


def test_what_is_unusual_about_masks_is_said_once(images, masks):
    assert _notes(images, masks) == ()
    first = masks / "Bird 1.png"
    _draw_mask(first, np.where(_mask(), 3, 0).astype(np.uint8))
    assert _notes(images, masks) == ()
    ring = np.zeros((20, 30), np.uint8)
    ring[4:10, 5:21], ring[5:9, 6:20] = 255, 3
    _draw_mask(first, ring)
    _draw_mask(masks / "bird 2.png", ring)
    label = f"{first} holds several labels: all but 0 (black) are the object (2 of 5 masks)"
    assert _notes(images, masks) == (label,)
    _draw_mask(masks / "bird 10.png", np.ones((20, 30), bool))
    full = f"{masks / 'bird 10.png'} covers the whole image (1 of 5 masks)"
    assert _notes(images, masks) == (full, label)
    cut_out = np.dstack([np.full((20, 30, 3), 99, np.uint8), 255 * _mask().astype(np.uint8)])
    _draw_mask(first, cut_out)
    assert f"{first} has transparency: the opaque pixels are the object (1 of 5 masks)" in _notes(
        images, masks
    )
    np.testing.assert_array_equal(
        load("folder", "train", images, masks=masks)[0].foreground, _mask()
    )


def test_inverted_masks_are_said_if_they_are_many(images, masks):
    for count, mask in enumerate(sorted(masks.rglob("*.png")), 1):
        _draw_mask(mask, ~_mask())
        notes = " ".join(_notes(images, masks))
        assert ("is it inverted? (" in notes) == (count >= 3)
    assert "(5 of 5 masks)" in notes


def test_a_threshold_for_masks(images, masks):
    soft = np.where(_mask(), 200, 90).astype(np.uint8)
    soft[0, :20] = 140
    for mask in masks.rglob("*.png"):
        _draw_mask(mask, soft)
    with pytest.raises(DataError, match="mask_threshold"):
        load("folder", "train", images, masks=masks)
    fingerprints = set()
    for threshold in (100, 150):
        dataset = load("folder", "train", images, masks=masks, mask_threshold=threshold)
        np.testing.assert_array_equal(dataset[0].foreground, soft > threshold)
        fingerprints.add(dataset.fingerprint())
    assert len(fingerprints) == 2
    for bad in (-1, 255, 1.5, "dark"):
        with pytest.raises(ConfigError, match="mask_threshold is .*, expected a whole number"):
            load("folder", "train", images, masks=masks, mask_threshold=bad)


def test_a_threshold_for_alpha(tmp_path):
    alpha = np.where(_mask(), 200, 150).astype(np.uint8)
    Image.fromarray(np.dstack([np.full((20, 30, 3), 99, np.uint8), alpha])).save(tmp_path / "a.png")
    assert load("folder", "train", tmp_path, masks="alpha")[0].foreground.all()
    dataset = load("folder", "train", tmp_path, masks="alpha", mask_threshold=160)
    np.testing.assert_array_equal(dataset[0].foreground, _mask())


def _turned(folder, number, size=(20, 30), name="a.jpg"):
    """A photograph that EXIF turns upright; the corner of the upright one is white."""
    upright = np.zeros((*size, 3), np.uint8)
    upright[:10, :10] = 255
    exif = Image.Exif()
    exif[0x0112] = number
    folder.mkdir(exist_ok=True)
    path = folder / name
    Image.fromarray(stored_as(upright, number)).save(path, exif=exif.tobytes(), quality=98)
    return upright[..., 0] > 0


@pytest.mark.parametrize("number", range(2, 9))
def test_annotations_of_stored_pixels(tmp_path, number):
    mask = _turned(tmp_path / "photos", number)
    stored = stored_as(mask, number)
    _draw_mask(tmp_path / "masks" / "a.png", stored)
    _draw_mask(tmp_path / "labels" / "a.png", stored * np.uint8(2))
    y, x = np.argwhere(stored)[0].tolist()
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [x, y, 2]}
    size = {"height": stored.shape[0], "width": stored.shape[1]}
    (tmp_path / "points.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a.jpg", **size}],
                "annotations": [annotation],
                "categories": [{"id": 1, "name": "bird", "keypoints": ["beak"]}],
            }
        )
    )
    options = {"masks": tmp_path / "masks", "part_labels": tmp_path / "labels"}
    options |= {"keypoints": tmp_path / "points.json", "annotation_orientation": "stored"}
    dataset = load("folder", "train", tmp_path / "photos", **options)
    sample = dataset[0]
    np.testing.assert_array_equal(sample.foreground, mask)
    np.testing.assert_array_equal(sample.part_labels, mask * 2)
    assert sample.image[mask].mean() > 240 and sample.image[~mask].mean() < 15
    x, y = sample.keypoints[0].astype(int)
    assert mask[y, x] and sample.visible.all() and dataset.notes == ()
    if number < 5:
        return
    del options["annotation_orientation"]
    with pytest.raises(DataError) as raised:
        load("folder", "train", tmp_path / "photos", **options)
    for words in (
        f"EXIF turn .orientation {number}.*fits the pixels as stored",
        "No mask of an image",
    ):
        assert re.search(words, str(raised.value))
    assert str(raised.value).count("--data-option annotation_orientation=stored") == 1


@pytest.mark.parametrize(("number", "size"), [(3, (20, 30)), (6, (24, 24))])
def test_masks_that_fit_before_and_after_the_turn_are_said(tmp_path, number, size):
    mask = _turned(tmp_path / "photos", number, size)
    _draw_mask(tmp_path / "masks" / "a.png", mask)
    (note,) = _notes(tmp_path / "photos", tmp_path / "masks")
    assert "a.png would fit its image before and after the EXIF turn" in note
    assert _notes(tmp_path / "photos", tmp_path / "masks", annotation_orientation="stored") == ()
    # Another mask of the folder can only be upright.
    other = _turned(tmp_path / "photos", 6, name="b.jpg")
    _draw_mask(tmp_path / "masks" / "b.png", other)
    assert _notes(tmp_path / "photos", tmp_path / "masks") == ()


def test_a_mask_with_its_own_orientation_is_turned_once(tmp_path):
    mask = _turned(tmp_path / "photos", 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "masks").mkdir()
    stored = Image.fromarray(stored_as(mask, 6))
    stored.save(tmp_path / "masks" / "a.png", exif=exif.tobytes())
    for orientation in ("upright", "stored"):
        options = {"masks": tmp_path / "masks", "annotation_orientation": orientation}
        dataset = load("folder", "train", tmp_path / "photos", **options)
        np.testing.assert_array_equal(dataset[0].foreground, mask)
        assert dataset.notes == ()


def test_images_of_unusual_depth_are_said(images):
    values = np.linspace(0, 4000, 600).reshape(20, 30).astype(np.uint16)
    Image.fromarray(values).save(images / "Bird 1.PNG")
    words = "has 12 bits, stored in more: white is 4095 (1 of 5 images)"
    assert _notes(images, None) == (f"{images / 'Bird 1.PNG'} {words}",)


def _no_mask(images, masks):
    (masks / "bird 2.png").unlink()


def _two_masks(images, masks):
    _draw_mask(masks / "bird 2.gif")


def _small_mask(images, masks):
    _draw_mask(masks / "bird 2.png", _mask((10, 30)))


def _not_a_mask(images, masks):
    (masks / "bird 2.png").write_text("none")


def _not_an_image(images, masks):
    (images / "bird 2.jpg").write_text("none")


def _noise():
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)


def _truncate(images, masks):
    Image.fromarray(_noise()).save(images / "bird 2.jpg")
    content = (images / "bird 2.jpg").read_bytes()
    (images / "bird 2.jpg").write_bytes(content[: len(content) * 3 // 4])


def _photograph(images, masks):
    _draw_mask(masks / "bird 2.png", _noise())


DAMAGES = {
    "no mask": (_no_mask, r"bird 2.jpg: no mask, expected .*bird 2.png"),
    "two masks": (
        _two_masks,
        r"bird 2.jpg: more than one mask in .*: bird 2.gif, bird 2.png: keep one",
    ),
    "small mask": (_small_mask, r"bird 2.png: the mask has 30 x 10 pixels, its image 30 x 20"),
    "not a mask": (_not_a_mask, r"bird 2.png: not an image"),
    "not an image": (_not_an_image, r"bird 2.jpg: not an image"),
    "truncated": (_truncate, r"bird 2.jpg: truncated or damaged"),
    "photograph": (_photograph, r"bird 2.png: .* photograph .* mask_threshold"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_when_loading_and_can_be_left_out(images, masks, damage):
    make, words = DAMAGES[damage]
    make(images, masks)
    verify = "pixels" if damage == "truncated" else "headers"
    with pytest.raises(
        DataError, match=f"1 of 5 images have a problem:\n  .*{words}.*\n.*skip-bad"
    ):
        load("folder", "train", images, masks=masks, verify=verify)
    with pytest.warns(UserWarning, match="left out: 1 of 5 images"):
        dataset = load("folder", "train", images, masks=masks, verify=verify, skip_bad=True)
    assert dataset.ids() == [name for name in NATURAL if name != "bird 2.jpg"]
    assert len(dataset.left_out) == 1
    check_dataset(dataset)


def test_damage_behind_the_header_is_found_when_a_sample_is_read(images, masks):
    make, words = DAMAGES["truncated"]
    make(images, masks)
    dataset = load("folder", "train", images, masks=masks)
    with pytest.raises(DataError, match=words):
        dataset[1]
    assert dataset[0].id == "Bird 1.PNG"


def test_a_mask_that_changed_its_size_after_loading(images, masks):
    dataset = load("folder", "train", images, masks=masks)
    _small_mask(images, masks)
    with pytest.raises(DataError, match=DAMAGES["small mask"][1]):
        dataset[1]


def test_all_problems_are_counted_and_ten_are_listed(tmp_path):
    for number in range(13):
        (tmp_path / f"{number}.png").write_text("none")
    _draw(tmp_path / "good.png")
    with pytest.raises(DataError, match="13 of 14 images") as raised:
        load("folder", "train", tmp_path)
    assert str(raised.value).count("not an image") == 10
    assert "9.png" in str(raised.value) and "and 3 more" in str(raised.value)
    (tmp_path / "good.png").unlink()
    with pytest.raises(DataError, match="no image can be used: 13 of 13"):
        load("folder", "train", tmp_path, skip_bad=True)


def test_missing_and_empty_folders(images, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such folder for the images"):
        load("folder", "train", tmp_path / "nowhere")
    with pytest.raises(DataError, match="nowhere: no such folder for the masks"):
        load("folder", "train", images, masks=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty has no images.*jpg"):
        load("folder", "train", tmp_path / "empty")


@pytest.mark.parametrize(("options", "words"), [
    ({"split": "val"}, "train, test, fit"),
    ({"split": "train", "verify": "all"}, "headers or pixels"),
    ({"split": "train", "annotation_orientation": 6}, "upright or stored, not 6"),
    ({"split": "train", "mask": "alpha"}, "'mask'"),
    ({"split": "train", "part_names": "head"}, "part_names is 'head', expected a list, each a"),
    ({"split": "train", "part_names": ["a", 1]}, "expected a list, each a text"),
    ({"split": "train", "masks": 5}, "masks is 5, expected a text or a path or null"),
    ({"split": "train", "void_label": True}, "void_label is True, expected a whole number"),
])  # fmt: skip
def test_unknown_options(images, options, words):
    with pytest.raises(ConfigError, match=words):
        load("folder", data_dir=images, **options)


def test_names_compare_as_a_person_sees_them(tmp_path):
    pairs = {"Ma\u0308rz": "M\u00e4rz", "IMG_1": "img_1", "b": "b", "B2": "B2"}
    for image, mask in pairs.items():
        _draw(tmp_path / "images" / f"{image}.png")
        _draw_mask(tmp_path / "masks" / f"{mask}.png")
    _draw_mask(tmp_path / "masks/b2.png", ~_mask())
    if len(list((tmp_path / "masks").iterdir())) < 5:
        pytest.skip("this file system does not tell capitals apart")
    dataset = load("folder", "all", tmp_path / "images", masks=tmp_path / "masks")
    assert len(dataset) == 4
    for sample in dataset:
        np.testing.assert_array_equal(sample.foreground, _mask())


def test_void_labels_are_background(images, masks, caplog):
    labels = _mask() * np.uint8(2)
    labels[0, :3] = 255
    for path in sorted(masks.rglob("*.png")):
        _draw_mask(path, labels)
    for names in ((), ("front", "back")):
        sample = load("folder", "train", images, part_labels=masks, part_names=names)[0]
        assert np.unique(sample.part_labels).tolist() == [0, 2]
        np.testing.assert_array_equal(sample.foreground, _mask())
    assert caplog.text.count("masks: the label 255 is void") == 1
    sample = load("folder", "train", images, part_labels=masks, void_label=None)[0]
    assert sample.part_labels.max() == 255
    sample = load("folder", "train", images, part_labels=masks, void_label=2)[0]
    assert np.unique(sample.part_labels).tolist() == [0, 255]
    names = [f"part {number}" for number in range(255)]
    sample = load("folder", "train", images, part_labels=masks, part_names=names)[0]
    assert sample.part_labels.max() == 255


def test_masks_may_have_the_whole_name_of_their_image(tmp_path):
    """As segment and annotation tools name them if two images differ in the suffix only."""
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    for number, name in enumerate(("a.jpg", "a.png", "b.png"), start=1):
        mask = np.zeros((8, 9), np.uint8)
        mask[:number] = 255
        Image.fromarray(mask + 70).convert("RGB").save(tmp_path / "photos" / name)
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name.removeprefix('b.')}.png")
    (tmp_path / "masks/png.png").rename(tmp_path / "masks/b.png")
    dataset = load("folder", "all", tmp_path / "photos", masks=tmp_path / "masks")
    assert [int(one.foreground[:, 0].sum()) for one in dataset] == [1, 2, 3]


def test_dark_images_are_said(tmp_path):
    Image.new("RGB", (9, 8), (40, 63, 9)).save(tmp_path / "a.png")
    dataset = load("folder", "all", tmp_path)
    list(dataset)
    assert any("a.png is dark: all values are below 64" in note for note in dataset.notes)
