"""Masks of every kind are read as they look; what is no mask is refused."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from keras_parts.errors import DataError
from keras_parts.images.masks import (
    ALPHA_REMARK,
    LABELS_REMARK,
    decode_mask,
    read_labels,
    read_mask,
)

MASK = np.zeros((48, 64), bool)
MASK[9:38, 12:50] = True
MASK[20:30, 30:50] = False
PHOTO = np.random.default_rng(0).integers(30, 230, (48, 64, 3)).astype(np.uint8)


def _ring(mask):
    """The pixels around the border of a mask, four pixels wide."""
    wide = np.pad(mask, 2)
    shifted = [wide[y : y + 48, x : x + 64] for y in range(5) for x in range(5)]
    return np.any(shifted, axis=0) & ~np.all(shifted, axis=0)


def _grey(inside, outside=0, dtype=np.uint8):
    return Image.fromarray(np.where(MASK, inside, outside).astype(dtype))


def _colours(inside, outside):
    return Image.fromarray(np.where(MASK[..., None], inside, outside).astype(np.uint8))


def _indexed(values, palette):
    image = Image.fromarray(np.asarray(values, np.uint8), "P")
    image.putpalette(np.asarray(palette, np.uint8).ravel().tolist())
    return image


def _with_alpha(colours, alpha):
    return Image.fromarray(np.dstack([colours, alpha]).astype(np.uint8))


WHITE, BLACK, RED, OLIVE = (255, 255, 255), (0, 0, 0), (255, 0, 0), (128, 128, 0)
OPACITY = MASK * np.uint8(255)
TWO_VALUED = {
    "one bit": Image.fromarray(MASK),
    "black and white": _grey(255),
    "ones": _grey(1),
    "a label": _grey(3),
    "greys": _grey(200, 100),
    "sixteen bits": _grey(65535, dtype=np.uint16),
    "sixteen bits, noise": _grey(60000, 3, dtype=np.uint16),
    "sixteen bits, 255": _grey(255, dtype=np.uint16),
    "sixteen bits, 1": _grey(1, dtype=np.uint16),
    "instance": _grey(1000, dtype=np.uint16),
    "colours": _colours(WHITE, BLACK),
    "red": _colours(RED, BLACK),
    "dark blue": _colours((0, 0, 90), BLACK),
    "palette": _indexed(MASK, [BLACK, WHITE]),
    "white first": _indexed(~MASK, [WHITE, BLACK]),
    "palette of ones": _indexed(MASK, [BLACK, (1, 1, 1)]),
    "a label's colour": _indexed(MASK * 3, [BLACK, BLACK, BLACK, OLIVE]),
    "white pixels": _with_alpha(
        np.where(MASK[..., None], WHITE, BLACK), np.full_like(OPACITY, 255)
    ),
    "white, opaque around": _with_alpha(
        np.where(MASK[..., None], WHITE, BLACK), np.pad(np.full((46, 62), 255), 1)
    ),
    "grey with alpha": _grey(255).convert("LA"),
    "palette with alpha": _indexed(MASK, [BLACK, WHITE]).convert("PA"),
}


@pytest.mark.parametrize("kind", TWO_VALUED)
def test_two_values(tmp_path, kind):
    path = tmp_path / ("a.tif" if TWO_VALUED[kind].mode == "PA" else "a.png")
    image = TWO_VALUED[kind].convert("RGBA") if path.suffix == ".tif" else TWO_VALUED[kind]
    image.save(path)
    found = decode_mask(path)
    assert found.mask.dtype == np.bool_ and found.remarks == ()
    np.testing.assert_array_equal(found.mask, MASK)


@pytest.mark.parametrize("suffix", ["gif", "bmp", "tif", "pgm", "tga", "webp"])
def test_other_formats(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    _grey(255).save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(read_mask(tmp_path / f"a.{suffix}"), MASK)


def test_floating_point_and_signed_values(tmp_path):
    for inside, dtype in [(1, np.float32), (255, np.float32), (0.9, np.float32), (7, np.int32)]:
        _grey(inside, dtype=dtype).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), MASK)
    for inside, dtype, words in [(np.nan, np.float32, "finite"), (-1, np.int32, "down to -1")]:
        _grey(inside, dtype=dtype).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=rf"a\.tif: .*{words}"):
            read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "values", [(0, 3, 255), (0, 1, 255), (0, 128, 255), (0, 7, 20), (0, 7, 900)]
)
def test_all_labels_but_the_background_are_the_object_and_this_is_said(tmp_path, values):
    background, inside, border = values
    labels = np.where(_ring(MASK), border, np.where(MASK, inside, background))
    Image.fromarray(labels.astype(np.uint16 if border > 255 else np.uint8)).save(tmp_path / "a.png")
    found = decode_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(found.mask, MASK | _ring(MASK))
    assert found.remarks == (LABELS_REMARK,)


@pytest.mark.parametrize("mode", ["P", "RGB"])
def test_labels_in_colour(tmp_path, mode):
    labels = np.where(_ring(MASK), 2, MASK)
    image = _indexed(labels, [BLACK, OLIVE, (224, 224, 192)]).convert(mode)
    image.save(tmp_path / "a.png")
    found = decode_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(found.mask, labels > 0)
    assert found.remarks == (LABELS_REMARK,)


def test_transparency_that_varies_is_the_mask(tmp_path):
    soft = np.array(Image.fromarray(OPACITY).filter(ImageFilter.GaussianBlur(1)))
    cut_out = _with_alpha(PHOTO, soft)
    palette = _indexed(np.where(MASK, 1, 0), [WHITE, RED])
    for name, image, options in [
        ("a.png", cut_out, {}),
        ("a.webp", cut_out, {"lossless": True}),
        ("b.png", cut_out.convert("LA"), {}),
        ("c.png", palette, {"transparency": 0}),
        ("c.gif", palette, {"transparency": 0}),
        ("d.png", _with_alpha(np.zeros_like(PHOTO), soft), {}),
        ("e.png", _with_alpha(np.full_like(PHOTO, 255), soft), {}),
    ]:
        image.save(tmp_path / name, **options)
        found = decode_mask(tmp_path / name)
        wanted = MASK if name.startswith("c") else soft > 127
        np.testing.assert_array_equal(found.mask, wanted, err_msg=name)
        assert found.remarks == (ALPHA_REMARK,)


def test_almost_opaque_pixels_are_no_mask(tmp_path):
    _with_alpha(np.where(MASK[..., None], WHITE, BLACK), 255 - MASK).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), MASK)


@pytest.mark.parametrize("quality", [30, 75, 95, 100])
@pytest.mark.parametrize("colour", [WHITE, RED, (0, 0, 255)])
def test_soft_masks_and_those_of_jpeg(tmp_path, quality, colour):
    image = _colours(colour, BLACK).resize((256, 192)).filter(ImageFilter.GaussianBlur(0.7))
    wanted = np.array(image).max(axis=-1) > 127
    image.save(tmp_path / "a.png")
    found = decode_mask(tmp_path / "a.png")
    np.testing.assert_array_equal(found.mask, wanted)
    assert found.remarks == ()
    image.save(tmp_path / "a.jpg", quality=quality)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "b.png")
    for name in ("a.jpg", "b.png"):
        found = decode_mask(tmp_path / name)
        assert np.mean(found.mask != wanted) < 0.02 and found.remarks == ()


@pytest.mark.parametrize(("suffix", "quality"), [("webp", 20), ("webp", 80), ("jpg", 100)])
def test_rounded_values_are_no_labels(tmp_path, suffix, quality):
    _grey(255).resize((256, 192)).save(tmp_path / f"a.{suffix}", quality=quality)
    Image.open(tmp_path / f"a.{suffix}").save(tmp_path / "b.png")
    wanted = np.array(_grey(255).resize((256, 192))) > 127
    for name in (f"a.{suffix}", "b.png"):
        found = decode_mask(tmp_path / name)
        assert np.mean(found.mask != wanted) < 0.01 and found.remarks == ()
    Image.new("L", (40, 30), 1).save(tmp_path / "c.jpg")
    assert not read_mask(tmp_path / "c.jpg").any()


def test_masks_of_one_value(tmp_path):
    for value, wanted in [(0, False), (1, True), (255, True)]:
        Image.new("L", (4, 3), value).save(tmp_path / "a.png")
        assert (read_mask(tmp_path / "a.png") == np.full((3, 4), wanted)).all()


def _photo_on(colour):
    return Image.fromarray(np.where(MASK[..., None], PHOTO, colour).astype(np.uint8))


REFUSED = {
    "photograph": (Image.fromarray(PHOTO), "photograph"),
    "grey photograph": (Image.fromarray(PHOTO).convert("L"), "photograph"),
    "photograph of 256 colours": (Image.fromarray(PHOTO).quantize(256), "photograph"),
    "photograph on black": (_photo_on(BLACK), "photograph"),
    "photograph on white": (_photo_on(WHITE), "photograph"),
    "red on white": (_colours(RED, WHITE), "black"),
    "viridis": (_colours((253, 231, 36), (68, 1, 84)), "black"),
    "no 0": (Image.fromarray(np.where(_ring(MASK), 3, 2 - MASK).astype(np.uint8)), "1, 2, 3"),
    "two dark greys": (_grey(2, 1), "brightest value of this mask is 2"),
    "one grey": (Image.new("L", (4, 3), 100), "all values .* are 100"),
    "palette of one colour": (_indexed(MASK, [BLACK, BLACK]), "same colour in the palette"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_is_refused_with_a_way_out(tmp_path, kind):
    image, words = REFUSED[kind]
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: .*{words}.* mask_threshold"):
        read_mask(tmp_path / "a.png")


def test_a_threshold_is_honoured(tmp_path):
    labels = np.where(_ring(MASK), 255, MASK * 3).astype(np.uint8)
    for image in (Image.fromarray(labels), _indexed(labels, [[k] * 3 for k in range(256)])):
        image.save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 0), labels > 0)
        np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 127), labels > 127)
    TWO_VALUED["white first"].save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 127), MASK)
    _with_alpha(PHOTO, OPACITY).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png", 0), MASK)


def test_an_orientation_of_the_mask_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    _grey(255).save(tmp_path / "a.png", exif=exif.tobytes())
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), np.rot90(MASK, -1))


def test_labels_outside_eight_bits_are_refused(tmp_path):
    for value in (-1, 256):
        _grey(value, dtype=np.int32).save(tmp_path / "a.tif")
        with pytest.raises(DataError, match=f"label {value} is outside the range 0 to 255"):
            read_labels(tmp_path / "a.tif")


def test_layers_that_are_nowhere_opaque():
    """As annotation tools lay them over a photograph."""
    layer = _with_alpha(_colours(RED, RED), MASK * np.uint8(127))
    np.testing.assert_array_equal(_decoded(layer).mask, MASK)
    faint = _with_alpha(_colours(RED, RED), np.arange(64, dtype=np.uint8)[None] + 0 * OPACITY)
    with pytest.raises(DataError, match="most opaque pixels of this mask have 63 of 255"):
        _decoded(faint)


def test_scores_of_a_network_are_no_mask():
    with pytest.raises(DataError, match="negative values, down to -7"):
        _decoded(Image.fromarray(np.where(MASK, np.float32(9.5), np.float32(-7))), "TIFF")


def test_palettes_with_opacities_cause_no_warning(recwarn):
    image, file = _indexed(MASK, [BLACK, WHITE]), io.BytesIO()
    image.save(file, "PNG", transparency=bytes([100, 255]))
    np.testing.assert_array_equal(decode_mask(file).mask, MASK)
    assert not recwarn.list


def _decoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return decode_mask(file)


def test_labels_of_few_bits_keep_their_values():
    labels = np.tile(np.arange(4, dtype=np.uint8), (3, 2))
    file = io.BytesIO(b"P5 8 3 3 " + labels.tobytes())
    np.testing.assert_array_equal(read_labels(file), labels)
    file = io.BytesIO()
    Image.fromarray(labels * 17).save(file, "PNG", bits=8)
    content, nibbles = file.getvalue(), labels[:, ::2] << 4 | labels[:, 1::2]
    rows = b"".join(b"\0" + row.tobytes() for row in nibbles)
    head = content[16:24] + bytes([4, 0, 0, 0, 0])
    file = io.BytesIO()
    file.write(content[:8])
    for kind, data in {b"IHDR": head, b"IDAT": zlib.compress(rows), b"IEND": b""}.items():
        checksum = zlib.crc32(kind + data)
        file.write(len(data).to_bytes(4, "big") + kind + data + checksum.to_bytes(4, "big"))
    np.testing.assert_array_equal(read_labels(file), labels)


def test_labels_that_programs_have_changed_are_refused():
    labels, file = MASK.astype(np.uint8), io.BytesIO()
    Image.fromarray(labels * 60).save(file, "JPEG")
    with pytest.raises(DataError, match="JPEG has rounded"):
        read_labels(file)
    file = io.BytesIO()
    _indexed(1 - labels, [RED, BLACK]).save(file, "PNG")
    with pytest.raises(DataError, match="black, the background, is the label 1"):
        read_labels(file)
