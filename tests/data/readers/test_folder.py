"""A folder of the user's own images."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.data.check import check
from keras_parts.data.crops import image_box, mask_box
from keras_parts.errors import ConfigError, DataError
from tests.data.contract import check_dataset

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
    _draw_mask(masks / "Bird 1.png", np.zeros((20, 30), bool))
    sample = load("folder", "train", images, masks=masks)[0]
    assert not sample.foreground.any()
    np.testing.assert_array_equal(sample.box, image_box(20, 30))


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


def test_an_empty_mask_is_reported_with_its_file(images, masks):
    _draw_mask(masks / "Bird 1.png", np.zeros((20, 30), bool))
    for option in ("masks", "part_labels"):
        dataset = load("folder", "fit", images, **{option: masks})
        assert dataset.problems(1) == []
        (problem,) = dataset.problems(0)
        assert f"the mask of Bird 1.PNG in {masks / 'Bird 1.png'} is empty" in problem


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
    verify = "pixels" if damage in ("truncated", "photograph") else "headers"
    with pytest.raises(
        DataError, match=f"1 of 5 images have a problem:\n  .*{words}.*\n.*skip-bad"
    ):
        load("folder", "train", images, masks=masks, verify=verify)
    with pytest.warns(UserWarning, match="left out: 1 of 5 images"):
        dataset = load("folder", "train", images, masks=masks, verify=verify, skip_bad=True)
    assert dataset.ids() == [name for name in NATURAL if name != "bird 2.jpg"]
    assert len(dataset.left_out) == 1
    check_dataset(dataset)


@pytest.mark.parametrize("damage", ["truncated", "photograph"])
def test_damage_behind_the_header_is_found_when_a_sample_is_read(images, masks, damage):
    make, words = DAMAGES[damage]
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
    ({"split": "train", "mask": "alpha"}, "'mask'"),
])  # fmt: skip
def test_unknown_options(images, options, words):
    with pytest.raises(ConfigError, match=words):
        load("folder", data_dir=images, **options)
