"""Image files of every kind become what a viewer shows; every damage has its own error."""

import io
import multiprocessing
import os
import signal

import numpy as np
import pytest
from PIL import Image, features

from keras_parts.errors import DataError
from keras_parts.files import atomic_path, atomic_write
from keras_parts.images.decoding import (
    ImageFacts,
    decode_image,
    has_alpha,
    read_alpha,
    read_facts,
    read_image,
    read_size,
    to_rgb,
)
from keras_parts.images.formats import IMAGE_FORMATS, IMAGE_SUFFIXES
from keras_parts.images.geometry import resize_geometry
from keras_parts.images.masks import read_mask
from tests.images.turned import stored_as


@pytest.fixture
def image():
    """(20, 30, 3) uint8 without any symmetry, flat enough that JPEG changes it little."""
    y, x = np.mgrid[:20, :30]
    return np.stack([8 * x, 12 * y, 255 - 4 * x - 6 * y], axis=-1).astype(np.uint8)


def _saved(image, path, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "tga", "webp", "gif", "jpg"])
def test_every_format_is_decoded(image, tmp_path, suffix):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98}}.get(suffix, {})
    found = read_image(_saved(image, tmp_path / f"a.{suffix}", **options))
    assert found.dtype == np.uint8 and found.shape == (20, 30, 3)
    tolerance = {"gif": 40, "jpg": 12}.get(suffix, 0)
    assert abs(found.astype(int) - image).max() <= tolerance


def test_open_files_are_read_like_paths(image, tmp_path):
    path = _saved(image, tmp_path / "a.png")
    with open(path, "rb") as file:
        np.testing.assert_array_equal(read_image(file), image)
    np.testing.assert_array_equal(read_image(str(path)), image)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied_to_image_mask_alpha_and_size(image, tmp_path, orientation, suffix):
    stored = stored_as(image, orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif = exif.tobytes()
    lossless = {"webp": {"lossless": True}, "jpg": {"quality": 98}}.get(suffix, {})
    path = _saved(stored, tmp_path / f"a.{suffix}", exif=exif, **lossless)
    found = read_image(path)
    assert found.shape == image.shape and read_size(path) == (20, 30)
    assert abs(found.astype(int) - image).max() <= (12 if suffix == "jpg" else 0)
    assert read_mask(path, threshold=127).shape == (20, 30)
    facts = read_facts(path)
    assert facts == ImageFacts((20, 30), orientation)
    assert facts.stored_size == stored.shape[:2]
    assert abs(to_rgb(Image.open(path)).astype(int) - found).max() == 0
    if suffix in ("png", "tif"):
        opacity = np.dstack([stored, stored[..., 0]])
        np.testing.assert_array_equal(read_alpha(_saved(opacity, path, exif=exif)), image[..., 0])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_an_image_with_damaged_exif_is_read(image, tmp_path):
    path = _saved(image, tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    np.testing.assert_array_equal(read_image(path), image)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    wanted = np.rint(values / 257).astype(np.uint8)[..., None].repeat(3, -1)
    for suffix in ("png", "tif", "pgm"):
        np.testing.assert_array_equal(read_image(_saved(values, tmp_path / f"a.{suffix}")), wanted)
    np.testing.assert_array_equal(to_rgb(Image.fromarray(values.astype(np.int32))), wanted)


@pytest.mark.parametrize("full", [1, 255, 65535])
def test_floating_point_files_have_the_smallest_usual_range(tmp_path, full):
    values = np.linspace(0, full, 600, dtype=np.float32).reshape(20, 30)
    found = read_image(_saved(values, tmp_path / "a.tif"))
    np.testing.assert_allclose(found[..., 1], values / full * 255, atol=0.51)


def _remarks(path):
    return decode_image(path.read_bytes(), path.name).remarks


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("bits", "white"), [(8, 255), (10, 1023), (12, 4095), (14, 16383)])
def test_fewer_bits_stored_in_sixteen_are_scaled_and_said(tmp_path, suffix, bits, white):
    values = np.linspace(0, white, 600).reshape(20, 30).astype(np.uint16)
    path = _saved(values, tmp_path / f"a.{suffix}")
    found = read_image(path)
    np.testing.assert_array_equal(found[..., 0], np.rint(values / white * 255))
    assert _remarks(path) == (f"has {bits} bits, stored in more: white is {white}",)
    assert read_facts(path).remarks == _remarks(path)


def test_a_range_that_the_file_states_is_kept(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 4095 " + np.array([0, 9, 900], ">u2").tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.pgm")[0, :, 0], [0, 1, 56])


@pytest.mark.parametrize(("low", "high", "white", "words"), [
    (0, 1.02, 1, "has values above 1: they are white"),
    (0, 7, 7, "has floating-point values: white is 7"),
    (-3, 252, 255, "has negative values: they are black"),
    (0, 256, 255, None),
    (0, 4000, 4095, "has floating-point values: white is 4095"),
])  # fmt: skip
def test_the_range_of_floating_point_values_is_said(tmp_path, low, high, white, words):
    values = np.linspace(low, high, 600, dtype=np.float32).reshape(20, 30)
    path = _saved(values, tmp_path / "a.tif")
    wanted = np.clip(values / white, 0, 1) * 255
    np.testing.assert_allclose(read_image(path)[..., 1], wanted, atol=0.51)
    assert _remarks(path) == (() if words is None else (words,))


def test_integers_beyond_sixteen_bits_are_refused_and_negative_ones_are_said(tmp_path):
    values = np.array([[-5000, 65535]], np.int32)
    assert _remarks(_saved(values, tmp_path / "a.tif")) == ("has negative values: they are black",)
    with pytest.raises(DataError, match="values reach 65536, expected at most 65535"):
        read_image(_saved(values + 1, tmp_path / "a.tif"))


def test_an_almost_black_image_is_said(image, tmp_path):
    assert _remarks(_saved(image // 17, tmp_path / "a.png")) == (
        "is dark: all values are below 64 of 255",
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e6])
def test_floating_point_values_without_a_range_are_refused(tmp_path, bad):
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(DataError, match=r"a\.tif.*values.*8 or 16 bits"):
        read_image(_saved(values, tmp_path / "a.tif"))


def test_transparent_pixels_are_composited_on_white(tmp_path):
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., :3] = (200, 100, 0)
    rgba[..., 3] = [[0, 255], [128, 51]]
    wanted = np.rint(255 + (rgba[..., :3] - 255.0) * (rgba[..., 3:] / 255))
    path = _saved(rgba, tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(path), wanted)
    np.testing.assert_array_equal(read_alpha(path), rgba[..., 3])
    assert has_alpha(path)
    grey = Image.fromarray(rgba).convert("LA")
    np.testing.assert_array_equal(
        read_image(_saved(grey, tmp_path / "b.png"))[0], [[255] * 3, [np.array(grey)[0, 1, 0]] * 3]
    )
    premultiplied = to_rgb(Image.fromarray(rgba).convert("RGBa"))
    assert abs(premultiplied - wanted).max() <= 2


def test_transparent_palette_colours_are_white(tmp_path):
    indices = np.array([[0, 1], [2, 1]], np.uint8)
    indexed = Image.fromarray(indices, "P")
    indexed.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    wanted = [[[255] * 3, [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    for suffix in ("png", "gif"):
        path = _saved(indexed, tmp_path / f"a.{suffix}", transparency=0)
        np.testing.assert_array_equal(read_image(path), wanted)
        np.testing.assert_array_equal(read_alpha(path), [[0, 255], [255, 255]])
        assert has_alpha(path)
    graded = _saved(indexed, tmp_path / "b.png", transparency=bytes([255, 0, 255]))
    np.testing.assert_array_equal(read_image(graded)[:, 1], [[255] * 3] * 2)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_transparent_colour_is_white(tmp_path, mode):
    grey = np.full((3, 3), 60, np.uint16 if mode == "I;16" else np.uint8)
    grey[1, 1] = 20
    image = Image.fromarray(grey) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    colour = (20, 20, 20) if mode == "RGB" else 20
    path = _saved(image, tmp_path / "a.png", transparency=colour)
    assert (read_image(path)[1, 1] == 255).all() and (read_image(path)[0, 0] < 255).all()
    np.testing.assert_array_equal(read_alpha(path) == 0, grey == 20)


def test_without_transparency_there_is_no_alpha(image, tmp_path):
    for name in ("a.png", "a.jpg"):
        path = _saved(image, tmp_path / name)
        assert read_alpha(path) is None and not has_alpha(path)


def test_cmyk_one_bit_and_other_colour_spaces(image, tmp_path):
    path = _saved(Image.fromarray(image).convert("CMYK"), tmp_path / "a.tif")
    assert abs(read_image(path).astype(int) - image).max() <= 1
    jpeg = _saved(Image.fromarray(image).convert("CMYK"), tmp_path / "a.jpg", quality=98)
    assert abs(read_image(jpeg).astype(int) - image).max() <= 12
    bits = image[..., 0] > 100
    np.testing.assert_array_equal(
        read_image(_saved(bits, tmp_path / "b.png")), bits[..., None].repeat(3, -1) * 255
    )
    hue = Image.fromarray(image).convert("HSV")
    assert abs(to_rgb(hue).astype(int) - image).max() <= 12


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tif"])
def test_first_frame_of_an_animation(image, tmp_path, suffix):
    others = [Image.fromarray(255 - image), Image.fromarray(image // 2)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path, save_all=True, append_images=others, **options)
    found = read_image(path)
    assert abs(found.astype(int) - image).max() <= (40 if suffix == "gif" else 0)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif(image, tmp_path):
    found = read_image(_saved(image, tmp_path / "a.avif", quality=95))
    assert abs(found.astype(int) - image).mean() < 4


def _noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def _truncated(image, path):
    content = _saved(image, path).read_bytes()
    path.write_bytes(content[: int(len(content) * 0.6)])


def _flipped_bits(image, path):
    content = bytearray(_saved(image, path).read_bytes())
    content[50:60] = bytes(255 - byte for byte in content[50:60])
    path.write_bytes(content)


DAMAGES = {
    "missing": (lambda image, path: None, "no such file"),
    "folder": (lambda image, path: path.mkdir(), "folder"),
    "empty": (lambda image, path: path.write_bytes(b""), "not an image"),
    "text": (lambda image, path: path.write_text("a bird\n" * 100), "not an image"),
    "truncated": (_truncated, "truncated or damaged"),
    "flipped bits": (_flipped_bits, "truncated or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", [read_image, read_mask, read_alpha])
def test_each_damage_has_an_error_that_names_the_file(image, tmp_path, damage, read):
    path = tmp_path / "bird.png"
    make, words = DAMAGES[damage]
    make(_noise(50, 50), path)
    with pytest.raises(DataError, match=words) as raised:
        read(path)
    assert str(raised.value).startswith(str(path)) and str(raised.value).count("bird.png") <= 2


@pytest.mark.parametrize("other", ["EPS", "PDF", "ICO", "PCX"])
def test_only_the_formats_of_the_table_are_opened(image, tmp_path, other):
    path = tmp_path / "a.jpg"
    Image.fromarray(image).save(path, other)
    for read in (read_image, read_mask, read_size):
        expected = r"a\.jpg: not an image that can be read: it begins with '.+', the formats .*PNG"
        with pytest.raises(DataError, match=expected):
            read(path)
    always = {name: suffixes for name, suffixes in IMAGE_FORMATS.items() if name != "HEIF"}
    assert {suffix for suffixes in always.values() for suffix in suffixes} <= IMAGE_SUFFIXES


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp"])
def test_truncation_is_noticed_in_every_format(tmp_path, suffix):
    noise = _noise(60, 60)
    path = tmp_path / f"a.{suffix}"
    _truncated(noise, path)
    with pytest.raises(DataError, match=rf"a\.{suffix}"):
        read_image(path)


@pytest.mark.skipif(os.name == "nt", reason="this system has no files that refuse reading")
def test_no_permission(image, unprivileged):
    path = _saved(image, unprivileged / "a.png")
    read_image(path)
    path.chmod(0)
    with pytest.raises(DataError, match="no permission"):
        read_image(path)


def test_pixel_limits(image, tmp_path, monkeypatch):
    path = _saved(image, tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: 30 x 20 pixels .* limit of 599"):
        read_image(path, max_pixels=599)
    assert read_image(path, max_pixels=600).shape == (20, 30, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"a\.png: too many pixels"):
        read_image(path)


def test_errors_about_files_without_a_name():
    with pytest.raises(DataError, match="unnamed file: not an image"):
        read_image(io.BytesIO(b"nothing"))


def test_a_damaged_pillow_image_is_a_data_error(tmp_path):
    _truncated(_noise(40, 50), tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be converted to RGB"):
        to_rgb(Image.open(tmp_path / "a.png"))


def test_size_is_read_without_decoding(tmp_path):
    path = tmp_path / "a.png"
    _truncated(_noise(40, 50), path)
    assert read_size(path) == (40, 50)


def test_atomic_write_of_bytes_and_text(tmp_path):
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"\0\1")
        assert not (tmp_path / "a.bin").exists()
    with atomic_write(tmp_path / "a.txt", "w") as file:
        file.write("ä\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\0\1"
    assert (tmp_path / "a.txt").read_bytes() == "ä\n".encode()
    with atomic_path(tmp_path / "b.weights.h5") as unfinished:
        assert unfinished.parent == tmp_path and unfinished.name.endswith(".weights.h5")
        unfinished.write_bytes(b"w")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.bin", "a.txt", "b.weights.h5"]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_previous_file(tmp_path, problem):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(problem), atomic_write(path, "w") as file:
        file.write("half of the new")
        raise problem
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def _write_until_killed(path, content):
    while True:
        with atomic_write(path, "w") as file:
            for piece in content:
                file.write(piece)
                file.flush()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    content = ["piece\n"] * 200
    writer = multiprocessing.get_context("fork").Process(
        target=_write_until_killed, args=(path, content)
    )
    writer.start()
    while not path.exists():
        writer.join(0.01)
    writer.kill()
    writer.join()
    assert path.read_text() == "".join(content)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_large_jpeg_files_are_reduced_and_keep_their_geometry(tmp_path, monkeypatch, orientation):
    y, x = np.mgrid[:203, :301]
    upright = np.stack([x * 255 / 300, y * 255 / 202, 255 - x * 255 / 300], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.jpg"
    Image.fromarray(stored_as(upright, orientation)).save(path, quality=95, exif=exif.tobytes())
    whole = decode_image(path.read_bytes(), "a.jpg", enough=50)
    assert whole.box is None and whole.size == (203, 301) == whole.image.shape[:2]
    monkeypatch.setattr("keras_parts.images.decoding.REDUCED_PIXELS", 60_000)
    for enough, reduction in [(50, 4), (20, 8), (102, 1), (None, 1)]:
        reduced = decode_image(path.read_bytes(), "a.jpg", enough=enough)
        assert reduced.size == (203, 301)
        assert reduced.image.shape[0] == -(-203 // reduction)
        if reduction == 1:
            continue
        assert reduced.remarks == (f"is large: the network sees it at 1/{reduction} of its size",)
        geometry = resize_geometry(203, 301, 16)
        found = geometry.apply(reduced.image, box=reduced.box).astype(int)
        assert abs(found - geometry.apply(whole.image)).max() <= 3


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16"])
def test_strips_equal_the_whole(image, tmp_path, monkeypatch, mode):
    if mode == "I;16":
        picture = Image.fromarray(image[..., 0].astype(np.uint16) * 257)
    elif mode == "P":
        picture = Image.fromarray(image).quantize(200)
    else:
        picture = Image.fromarray(np.dstack([image, image[..., 0]])).convert(mode)
    whole = to_rgb(picture)
    monkeypatch.setattr("keras_parts.images.decoding._STRIP_PIXELS", 100)
    np.testing.assert_array_equal(to_rgb(picture), whole)
