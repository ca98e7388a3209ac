"""The page of a search: its pictures, and what it says."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import ConfigError
from keras_parts.results import Parts
from keras_parts.results.search_page import Example, crop_around, lit, write_search_page

PALETTE = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)


def parts(height=300, width=400):
    """Part 1 is a square of 40 pixels, grey as all the image; part 2 the rows below."""
    logits = np.zeros((height, width, 3), np.float32)
    logits[..., 0] = 2
    logits[100:140, 200:240, 1] = logits[250:, :, 2] = 9
    image = np.full((height, width, 3), 90, np.uint8)
    return Parts(logits, image, ("<head>", "tail"), PALETTE)


def test_only_the_parts_are_lit():
    pixels = np.asarray(lit(parts(), [1])).astype(int)
    assert pixels.shape == (240, 320, 3)
    reddish = pixels[..., 0] > pixels[..., 2] + 30
    assert reddish[82:110, 162:190].mean() > 0.9 and reddish.sum() < 40**2
    pixels = np.asarray(lit(parts(), [1, 2])).astype(int)
    assert (pixels[220:, :, 2] > pixels[220:, :, 0] + 30).mean() > 0.9


def test_a_crop_is_a_square_around_the_part():
    pixels = np.asarray(crop_around(parts(), [1])).astype(int)
    assert pixels.shape == (320, 320, 3)
    margin = 320 * 0.2 / 1.4
    line = (pixels > 200).all(-1)
    assert np.flatnonzero(line.any(1))[[0, -1]] == pytest.approx([margin, 319 - margin], abs=5)
    assert (pixels[160, 160] == 90).all()
    assert crop_around(parts(), [2]).size == (320, 240)  # as far as the image reaches


def test_a_page_in_one_file(tmp_path):
    folder = tmp_path / "found"
    found = [Example(parts(), "a & b.jpg", "1: 0.9", "../a%20b.jpg"), Example(None, "gone.jpg")]
    like = [Example(parts(), "HERE.jpg")]
    options = {"title": "<head> like HERE.jpg", "settings": {"model": "<b>"}}
    path = write_search_page(folder, [1], like, iter(found), **options)
    write_search_page(folder, [1], like, found, **options)  # it replaces its own page
    with open(path, encoding="utf-8") as file:
        html = file.read()
    assert html.count("&lt;head&gt; like HERE.jpg") == 2 and "<td>&lt;b&gt;" in html
    assert '<a href="../a%20b.jpg">a &amp; b.jpg</a><div>1: 0.9</div>' in html
    assert "cannot be shown.</p><figcaption>gone.jpg" in html
    pictures = re.findall(r'src="data:image/jpeg;base64,(.*?)"', html)
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in pictures]
    assert sizes == 2 * [(320, 320), (320, 240)]
    assert "http" not in html and "<script" not in html


def test_another_page_is_kept(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(ConfigError, match="is there already, and is the page of no search"):
        write_search_page(tmp_path, [1], [], [], title="")
    assert (tmp_path / "index.html").read_text() == "mine"
