"""The page for the browser: its files, and the page itself in a browser without a window."""

import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest

from keras_parts.errors import ConfigError
from keras_parts.results import Parts, write_page
from keras_parts.results.page import (
    PagePicture,
    page_html,
    page_images,
    picture_script,
    picture_summary,
    read_page,
    rename_page,
)

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
    failures = [("bad.jpg", "is <empty>")]
    pieces = page_html("Animals", NAMES, pictures, failures=failures, total=1400)
    (tmp_path / "index.html").write_bytes(b"".join(pieces))
    html = shown(tmp_path, "#which=all")
    captions = re.findall(r"<figcaption>(.*?)<div>(.*?)</div>", html)
    assert len(captions) == 60 and "1 to 60 of 70" in html and "70 of 1,400 pictures" in html
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
        tmp_path / "new", {"a b": two_parts(), "c": nothing()},
        title="Mine", figures=figures, total=40,
    )  # fmt: skip
    html = page.read_text(encoding="utf-8")
    assert '"total": 40' in html and "Certain to 80 %" in html
    assert '["the losses", "curves%20%231.png"]' in html and '["a b", "page/1.js"' in html
    assert content_of((tmp_path / "new/page/2.js").read_bytes())["parts"] == {}
    with pytest.raises(ConfigError, match="no pictures"):
        write_page(tmp_path, {})


def test_other_names_on_a_page(tmp_path):
    write_page(tmp_path, {"</script>": two_parts(), "empty": nothing()}, settings={"a": 1})
    before = read_page(tmp_path)
    assert before["model"] == "" and before["pictures"][0][:2] == ["</script>", "page/1.js"]
    assert not rename_page(tmp_path, ["too", "few"])
    assert rename_page(tmp_path, ["x", "y", "<b>"], model="runs/mine")
    content = read_page(tmp_path)
    assert [part["name"] for part in content["parts"]] == ["x", "y", "<b>"]
    assert content["model"] == "runs/mine"
    same = {key: value for key, value in content.items() if key not in ("parts", "model")}
    assert same == {key: before[key] for key in same}


def test_pages_of_others_and_none(tmp_path):
    assert read_page(tmp_path) is None and not rename_page(tmp_path, ["a", "b"])
    tag = '<script type="application/json" id="content">'
    for content in ("", "[", "[]", '{"pictures": 1}', "[" * 10_000):
        (tmp_path / "index.html").write_text(f"<p>{tag}{content}</script>")
        assert read_page(tmp_path) is None and page_images(tmp_path) == {}
    (tmp_path / "index.html").write_text("<p>mine</p>")
    assert read_page(tmp_path) is None


def test_thumbnails_are_read_from_the_folder_of_the_page_alone(tmp_path):
    pictures = {name: two_parts() for name in ("whole", "gone", "damaged", "elsewhere")}
    page = write_page(tmp_path / "out", pictures)
    (tmp_path / "secret.js").write_bytes((tmp_path / "out/page/4.js").read_bytes())
    page.write_text(page.read_text().replace("page/4.js", "../secret.js"))
    (tmp_path / "out/page/2.js").unlink()
    (tmp_path / "out/page/3.js").write_text('picture({"image": "data:,eA=="})')
    images = page_images(tmp_path / "out")
    assert list(images) == ["whole"] and images["whole"].shape == (40, 60, 3)


BROWSER = ["--no-sandbox", "--disable-gpu"]


@pytest.fixture
def browser():
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pip install -r tests/integrations.txt"
    )
    with playwright.sync_playwright() as driver:
        try:
            yield driver.chromium.launch(executable_path=CHROMIUM, args=BROWSER)
        except playwright.Error as error:
            pytest.skip(f"no browser to test with: {str(error).splitlines()[0]}")


@pytest.mark.integration
@pytest.mark.parametrize("width", [1300, 390])
def test_names_are_typed_and_the_command_is_copied(browser, tmp_path, width):
    folder = tmp_path / "it's new"
    parts = Parts(two_parts().logits, two_parts().image, ("head", "part 2", "leg"))
    page_file = write_page(folder, {"a": parts}, model=str(folder))
    context = browser.new_context(viewport={"width": width, "height": 800})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(page_file.as_uri())
    command, message = page.locator("#command"), page.locator("#naming p")
    fields = [page.get_by_label(f"Name of part {number}") for number in (1, 2, 3)]
    assert [field.input_value() for field in fields] == ["head", "", "leg"]
    assert not command.is_visible()  # nothing was typed
    fields[0].fill("the head")
    assert message.inner_text() == "Part 2 has no name." and not command.is_visible()
    fields[1].fill("wing, left")
    assert "name of part 2 has a comma" in message.inner_text()
    fields[1].fill("it's $HOME")
    page.get_by_role("button", name="copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    expected = ["keras-parts", "name", str(folder), "--names", "the head,it's $HOME,leg"]
    assert shlex.split(copied) == shlex.split(command.inner_text()) == expected
    assert page.locator("#legend").inner_text().split("\n") == ["the head", "it's $HOME", "leg"]
    fields[2].fill(" the head ")
    assert "Parts 1 and 3 get the same name." in message.inner_text()
    words = shlex.split(command.inner_text())[3:]
    assert words == ["--join", "1,3", "--names", "the head,it's $HOME"]
    fields[1].fill("the head")
    assert "two parts at least" in message.inner_text() and not command.is_visible()
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not errors
