"""The page for the browser: its files, and the page itself in a browser without a window."""

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from keras_parts.errors import ConfigError
from keras_parts.results import Parts, write_page
from keras_parts.results.page import PagePicture, page_html, picture_script, picture_summary

NAMES = ("head", "</script><b>tail", "leg")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def two_parts(height=40, width=60, first=1, second=2, certain=9.0):
    """Part `first` is a square at the top left, `second` the square below; the rest is nothing."""
    logits = np.zeros((height, width, 4), np.float32)
    logits[..., 0] = certain / 2
    logits[5:15, 5:15, first] = logits[15:25, 5:15, second] = certain
    image = np.full((height, width, 3), 90, np.uint8)
    return Parts(logits, image, NAMES)


def nothing():
    logits = np.zeros((10, 10, 4), np.float32)
    logits[..., 0] = 9
    return Parts(logits, np.zeros((10, 10, 3), np.uint8), NAMES)


def content_of(script):
    return json.loads(re.fullmatch(r"picture\((.*)\)\n", script.decode())[1])


def pixels_of(path, size):
    """The pixels that a path fills: it has a rectangle of one row for each run."""
    mask = np.zeros(size, bool)
    for x, y, length, back in re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", path):
        assert length == back
        mask[int(y), int(x) : int(x) + int(length)] = True
    return mask


def test_a_picture_has_its_thumbnail_and_the_areas_of_its_parts():
    parts = two_parts()
    content = content_of(picture_script(parts))
    assert (content["width"], content["height"]) == (60, 40)
    assert content["image"].startswith("data:image/jpeg;base64,")
    assert set(content["parts"]) == {"1", "2"}
    for label in (1, 2):
        found = pixels_of(content["parts"][str(label)], (40, 60))
        np.testing.assert_array_equal(found, parts.labels == label)


def test_a_large_picture_is_reduced():
    content = content_of(picture_script(two_parts(600, 900)))
    assert (content["width"], content["height"]) == (320, 213)
    found = pixels_of(content["parts"]["1"], (213, 320))
    rows, columns = found.any(1).nonzero()[0], found.any(0).nonzero()[0]
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(box, np.array([5, 5, 15, 15]) * 320 / 900, atol=1)


def test_summaries():
    parts = two_parts()
    assert picture_summary(parts) == {
        "score": round(parts.score, 3), "objects": 1, "shares": {"1": 50.0, "2": 50.0},
    }  # fmt: skip
    assert picture_summary(nothing()) == {"score": None, "objects": 0, "shares": {}}


def test_an_image_is_needed():
    with pytest.raises(ConfigError, match="no image to show"):
        picture_script(Parts(np.zeros((4, 4, 3), np.float32)))


def test_names_are_no_markup():
    pictures = [PagePicture("</script>&.jpg", "page/%3C.js", picture_summary(two_parts()))]
    html = b"".join(page_html("<i>", NAMES, pictures, failures=[("<u>.jpg", "\u2028")])).decode()
    assert html.count("</script>") == 2 and "<i>" not in html and "<u>" not in html
    (content,) = re.findall(r'<script type="application/json" id="content">(.*)</script>', html)
    found = json.loads(content)
    assert found["pictures"][0][:2] == ["</script>&.jpg", "page/%3C.js"]
    assert [part["name"] for part in found["parts"]] == list(NAMES)


def shown(folder, state=""):
    """The page after its scripts have run, as HTML."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000"]
    page = f"{(folder / 'index.html').as_uri()}{state}"
    return subprocess.run([*command, page], capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="this system has no Chromium")
def test_the_page_in_a_browser(tmp_path):
    (tmp_path / "page").mkdir()
    kinds = {
        "certain": two_parts(), "empty": nothing(), "uncertain": two_parts(certain=3),
        "without 1": two_parts(first=3),
    }  # fmt: skip
    pictures = []
    for index in range(70):
        kind = "certain" if index > 2 else list(kinds)[index + 1]
        name = f"{index} {kind}.jpg"
        (tmp_path / f"page/{index} #.js").write_bytes(picture_script(kinds[kind]))
        summary = picture_summary(kinds[kind])
        pictures.append(PagePicture(name, f"page/{index}%20%23.js", summary))
    pieces = page_html("Animals", NAMES, pictures, failures=[("bad.jpg", "is <empty>")])
    (tmp_path / "index.html").write_bytes(b"".join(pieces))
    html = shown(tmp_path, "#which=all")
    captions = re.findall(r"<figcaption>(.*?)<div>(.*?)</div>", html)
    assert len(captions) == 60 and "1 to 60 of 70" in html
    assert captions[0] == ("0 empty.jpg", "nothing found") and captions[1][0] == "1 uncertain.jpg"
    figures = html.partition('id="pictures"')[2].partition("<noscript")[0]
    assert figures.count("<svg") == 60 and figures.count("data-part=") == 2 * 59
    assert "in 68 pictures, 50.0 % of the object" in html and "in 1 picture, 50.0 %" in html
    assert html.count('class="own"') == 10 + 10 + 1
    assert "1 image without results" in html and "is &lt;empty&gt;" in html
    assert "&lt;/script&gt;&lt;b&gt;tail" in html and "<b>tail" not in html
    html = shown(tmp_path, "#which=without-1&order=name")
    captions = re.findall(r"<figcaption>(.*?)<div>", html)
    assert captions == ["0 empty.jpg", "2 without 1.jpg"] and "1 to 2 of 2" in html


def test_a_page_of_parts(tmp_path):
    figures = [("the losses", "curves #1.png")]
    page = write_page(
        tmp_path / "new", {"a b": two_parts(), "c": nothing()}, title="Mine", figures=figures
    )
    html = page.read_text(encoding="utf-8")
    assert '["the losses", "curves%20%231.png"]' in html and '["a b", "page/1.js"' in html
    assert content_of((tmp_path / "new/page/2.js").read_bytes())["parts"] == {}
    with pytest.raises(ConfigError, match="no pictures"):
        write_page(tmp_path, {})
