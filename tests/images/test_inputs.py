import io

import numpy as np
import pytest
from PIL import Image

from keras_parts import data
from keras_parts.errors import DataError
from keras_parts.images.inputs import as_image, as_images, path_of

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


def png():
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG")
    return file.getvalue()


def forms(folder):
    """The same image in every form."""
    path = folder / "a.png"
    path.write_bytes(png())
    numbers = (np.uint8, np.int64, np.float16, np.float32, np.float64)
    return [
        path, str(path), path.as_uri(), path.read_bytes(), bytearray(png()), io.BytesIO(png()),
        Image.fromarray(PIXELS), *(PIXELS.astype(number) for number in numbers),
    ]  # fmt: skip


def test_an_image_in_any_form_has_the_same_pixels(tmp_path):
    for image in forms(tmp_path):
        found = as_image(image)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, PIXELS)
    with open(tmp_path / "a.png", "rb") as file:
        np.testing.assert_array_equal(as_image(file), PIXELS)


def test_a_sample_of_a_data_set_is_its_image():
    sample = data.load("toy", "test", count=1, size=33)[0]
    np.testing.assert_array_equal(as_image(sample), sample.image)


def test_a_batch_is_its_images():
    batch = np.stack([PIXELS, PIXELS[::-1]]).astype("float32")
    np.testing.assert_array_equal(np.stack(as_images(batch)), batch)
    assert not as_images(batch[:0]) and len(as_images(PIXELS)) == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            PIXELS / 255,
            "values from 0.* to .*, expected RGB in 0 to 255: multiply it by 255",
        ),
        (PIXELS - 300.0, "values from -2.. to"),
        (PIXELS * np.nan, "values that are not a number"),
        (np.zeros((3, 5, 4)), r"channels are last, transpose it with \(1, 2, 0\)"),
        (np.zeros((2, 3, 5, 4)), r"transpose it with \(0, 2, 3, 1\)"),
        (np.zeros((5, 4)), "repeat a grey channel"),
        (np.zeros((5, 4, 1)), "repeat a grey channel"),
        (np.zeros((5, 4, 4)), "PIL.Image of mode RGBA"),
        (np.zeros((0, 4, 3)), r"shape \(0, 4, 3\)"),
        (np.zeros((5, 4, 3), bool), "dtype bool"),
        (np.array(["a.png"]), "dtype <U5"),
        ((PIXELS, 1), "tuple is not an image: .*; take the images out of pairs"),
        ({"image": PIXELS}, "dict is not an image"),
        (7, "int is not an image: expected a path"),
        (b"GIF8", "image of 4 bytes: not an image"),
    ],
)
def test_what_is_no_image_is_refused_with_a_way_out(image, message):
    with pytest.raises(DataError, match=message):
        as_images(image)


def test_the_path_of_an_image(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    with open(path, "rb") as file, Image.open(path) as picture:
        assert [path_of(each) for each in (path, file, picture)] == [str(path)] * 3
    assert [path_of(each) for each in (PIXELS, png(), io.BytesIO(), Image.new("L", (1, 1)))] == (
        [None] * 4
    )


def test_remarks_about_files_are_logged(tmp_path, caplog):
    path = tmp_path / "deep.tif"
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(path)
    content = path.read_bytes()
    with open(path, "rb") as file:
        for image in (path, content, file):
            as_image(image)
    words = "has 12 bits, stored in more: white is 4095"
    names = [str(path), f"image of {len(content)} bytes", str(path)]
    assert caplog.messages == [f"{name} {words}" for name in names]


def test_the_path_of_an_image_has_no_password():
    assert path_of("https://me:secret@host/a.jpg?sig=secret") == "https://***@host/a.jpg?sig=***"
