"""A picture on standard input, and one on the clipboard."""

import io
import json
import os

import numpy as np
import pytest
from PIL import Image, ImageGrab

from keras_parts.images.formats import IMAGE_FORMATS, begins_like_image, readable_formats
from tests.cli.test_segment import segment as segment_into_out  # noqa: F401


def encoded(kind="PNG", colour=(10, 200, 30), size=(8, 6)):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


@pytest.fixture
def segment(segment_into_out, monkeypatch):  # noqa: F811
    """Run `keras-parts segment` on bytes, by default without an output folder."""
    monkeypatch.setattr(os, "isatty", lambda number: False)

    def run(*arguments, **options):
        return segment_into_out(*arguments, output=None, **options)

    return run


def test_the_overlay_of_a_picture(segment):
    result = segment("-", input=encoded())
    assert result.exit_code == 0, result.stderr
    picture = Image.open(io.BytesIO(result.stdout_bytes))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (8, 6))
    assert "Loading fake ..." in result.stderr
    assert os.listdir() == []


def test_formats_of_a_picture(segment):
    def picture(name):
        return Image.open(io.BytesIO(segment("-", "--format", name, input=encoded()).stdout_bytes))

    cutout = np.asarray(picture("cutout"))
    np.testing.assert_array_equal(cutout[0, :, 3], [0] * 4 + [255] * 4)
    np.testing.assert_array_equal(cutout[..., :3], np.full((6, 8, 3), (10, 200, 30)))
    for name in ("labels", "indexed"):
        np.testing.assert_array_equal(np.asarray(picture(name))[0], [0] * 4 + [1] * 4)
    assert picture("overlay-webp").format == "WEBP"
    printed = segment("-", "--format", "json", input=encoded()).stdout
    assert json.loads(printed)["parts"][0]["area"] == 24
    assert segment("-", "--json", input=encoded()).stdout == printed


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["-", "--format", "overlay", "--format", "json"], "only one goes to standard output"),
        (["-", "--format", "coco"], "one of overlay, cutout, labels, json"),
        (["-", "--json", "--format", "cutout"], "--json and --format cutout contradict"),
        (["-", "in.png"], "give only -"),
        (["-", "--output", "out"], "--output is for files"),
        (["-", "--shard", "1/2"], "--shard is for files"),
        (["-", "--overwrite"], "--resume is for files"),
    ],
)
def test_wrong_usage(segment, arguments, problem):
    result = segment(*arguments, input=encoded())
    assert result.exit_code == 2 and problem in result.stderr and not result.stdout


def test_a_picture_is_not_printed_on_a_terminal(segment, monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda number: number == 1)
    result = segment("-", input=encoded())
    assert result.exit_code == 2 and "add > parts.png" in result.stderr
    assert segment("-", "--format", "json", input=encoded()).exit_code == 0


def test_a_broken_picture(segment):
    result = segment("-", input=encoded("JPEG", size=(64, 64))[:300])
    assert result.exit_code == 1 and not result.stdout
    assert "Error: standard input: truncated or damaged" in result.stderr


def test_a_picture_and_a_list_differ():
    written = [name for name in readable_formats() if name not in ("TGA", "HEIF")]
    assert {"PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"} <= set(written) <= set(IMAGE_FORMATS)
    for name in written:
        for colour in ((10, 200, 30), (65, 65, 65)):
            assert begins_like_image(encoded(name, colour, (80, 65))), name
    lists = ["BM/1.jpg\n", "P6/1.jpg\n" + "ü" * 511, "GIF89a\0b.png\0", "RIFF x.webp", "", "größe"]
    for text in lists:
        assert not begins_like_image(text.encode()), text
    assert not begins_like_image("photos/größe.jpg\n".encode("utf-16"))
    assert not begins_like_image("grün.jpg\n".encode("latin-1"))


@pytest.fixture
def clipboard(monkeypatch):
    """Set what is on the clipboard, or the error of reading it."""

    def put(content):
        def grab():
            if isinstance(content, Exception):
                raise content
            return content

        monkeypatch.setattr(ImageGrab, "grabclipboard", grab)

    return put


def test_a_picture_on_the_clipboard(segment, clipboard):
    clipboard(Image.new("CMYK", (8, 6)))
    result = segment("clipboard:")
    assert result.exit_code == 0, result.stderr
    assert "Results: clipboard-parts/" in result.stderr
    assert {"clipboard.png", "index.html", "indexed"} <= set(os.listdir("clipboard-parts"))
    clipboard(Image.new("LA", (12, 6)))
    assert "Segmented 1 of 1" in segment("clipboard:").stdout
    with Image.open("clipboard-parts/indexed/clipboard.png") as labels:
        assert labels.size == (12, 6)


def test_files_on_the_clipboard(segment, clipboard):
    Image.new("RGB", (8, 6)).save("copied.png")
    clipboard([os.path.abspath("copied.png")])
    assert segment("clipboard:").exit_code == 0
    assert os.path.exists("clipboard-parts/indexed/copied.png")


@pytest.mark.parametrize(
    ("content", "arguments", "code", "problem"),
    [
        (None, [], 1, "there is no picture on the clipboard"),
        (NotImplementedError("wl-paste"), [], 2, "wl-paste (package wl-clipboard) under Wayland"),
        (ChildProcessError("xclip: no display"), [], 1, "cannot be read: xclip: no display"),
        (None, ["in.png"], 2, "give only this one"),
        (None, ["--output", "s3://bucket/out"], 2, "--output is at an address"),
    ],
)
def test_a_clipboard_without_a_picture(segment, clipboard, content, arguments, code, problem):
    clipboard(content)
    result = segment("clipboard:", *arguments)
    assert result.exit_code == code and problem in result.stderr, result.stderr
    assert os.listdir() == []


def test_a_file_may_be_called_clipboard(segment, clipboard):
    clipboard(ValueError("is not read"))
    Image.new("RGB", (8, 6)).save("clipboard:", "PNG")
    assert segment("clipboard:", "--output", "found").exit_code == 0
    assert os.listdir("found/indexed") == ["clipboard:.png"]
