"""The page, through gradio's client and in a browser."""

import importlib
import shutil

import numpy as np
import pytest
import requests
from click.testing import CliRunner
from PIL import Image

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.errors import ConfigError
from keras_parts.inference import demo
from keras_parts.results.parts import Parts

BROWSER = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
"""Flags with which Chromium runs as root and contacts no other server."""
command = importlib.import_module("keras_parts.cli.demo")
NAMES = ("beak", "wing", "tail")


class Halves:
    """A segmenter without Keras: beak on the left, wing on the right, never a tail."""

    num_parts, part_names = 3, NAMES

    def segment(self, image):
        width, height = image.size
        logits = np.zeros((height, width, 4), np.float32)
        logits[:, : width // 2, 1] = logits[:, width // 2 :, 2] = 9
        return Parts(logits, np.asarray(image), self.part_names)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.linear_gradient("L").resize((60, 80)).convert("RGB").save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def address():
    """Address of the page, served by this process."""
    pytest.importorskip("gradio", reason="pip install -r tests/integrations.txt")
    page = demo.create_page(Halves(), "halves")
    yield demo.serve(page)
    page.close(verbose=False)


def test_contents_of_the_page():
    image = np.zeros((1000, 2600, 3), np.uint8)
    (shown, masks), rows = demo.show_parts(Halves(), image)
    assert shown.shape == (492, 1280, 3)
    assert [name for _, name in masks] == ["beak", "wing"]
    assert all(mask.shape == (492, 1280) for mask, _ in masks)
    assert masks[0][0][:, :640].all() and not masks[0][0][:, 640:].any()
    assert [row[:2] for row in rows] == [["beak", 50.0], ["wing", 50.0]]
    assert rows[0][2] == pytest.approx(1, abs=1e-3)


@pytest.mark.integration
def test_through_the_client(address, photo, tmp_path):
    client_of = pytest.importorskip("gradio_client")
    client = client_of.Client(address, verbose=False, analytics_enabled=False)
    annotated, table = client.predict(client_of.handle_file(photo), api_name="/segment")
    with Image.open(annotated["image"]) as shown:
        assert shown.size == (80, 60)  # turned upright
    assert [each["label"] for each in annotated["annotations"]] == ["beak", "wing"]
    with Image.open(annotated["annotations"][0]["image"]) as mask:
        opacity = np.asarray(mask)[..., 3]
    assert opacity[:, :40].all() and not opacity[:, 40:].any()
    assert [row[0] for row in table["data"]] == ["beak", "wing"]
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(Exception, match=r"^bad\.jpg: "):
        client.predict(client_of.handle_file(tmp_path / "bad.jpg"), api_name="/segment")


@pytest.mark.integration
def test_in_a_browser(address, photo):
    """A photo dropped on the page shows its parts, and no other server receives a request."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="pip install -r tests/integrations.txt"
    )
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=program, args=BROWSER)
        except playwright.Error as error:
            pytest.skip(f"no browser to test with: {str(error).splitlines()[0]}")
        page, requested = browser.new_page(), []
        page.set_default_timeout(300_000)
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address)
        page.locator("input[type=file]").first.set_input_files(photo)
        page.get_by_role("button", name="beak").wait_for()
        assert page.get_by_role("button", name="wing").is_visible()
        assert page.get_by_text("50").count() >= 2
        elsewhere = [url for url in requested if not url.startswith((address, "data:", "blob:"))]
        assert elsewhere == []
        browser.close()


def test_without_gradio(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gradio", None)
    with pytest.raises(ConfigError, match=r"gradio: pip install 'keras-parts\[demo\]'"):
        demo.create_page(Halves())


@pytest.mark.integration
def test_the_command(monkeypatch):
    pytest.importorskip("gradio", reason="pip install -r tests/integrations.txt")
    seen = []

    def interrupted():
        seen.append(requests.get("http://127.0.0.1:7999/config", timeout=60).json()["title"])
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_wait", interrupted)
    monkeypatch.setattr(command, "import_keras", lambda: None)
    monkeypatch.setattr(zoo, "load", lambda model, **options: Halves())
    result = CliRunner().invoke(main, ["demo", "--model", "toy", "--port", "7999"])
    assert result.exit_code == 130 and seen == ["keras-parts"]
    assert "toy is at http://127.0.0.1:7999" in result.stdout
