"""How labels of a video are compared along the way of a known camera."""

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.models.predictor import Predictor
from tests.benchmarks.test_scripts import FOLDER, rows_of
from tests.benchmarks.test_scripts import load as load_script


@pytest.fixture
def video(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return load_script("video.py")


def test_labels_that_stay_on_their_points_do_not_flicker(video):
    labels = np.zeros(video.SOURCE, np.uint8)
    labels[200:500, 300:500], labels[200:500, 500:700] = 1, 2
    windows = [video.window(number / 40, moving=True) for number in range(3)]
    nearest = Image.Resampling.NEAREST
    seen = [np.asarray(video.seen(Image.fromarray(labels), one, nearest)) for one in windows]
    assert video.flicker(seen, windows) < 0.03
    assert video.flicker([seen[0], (seen[1] > 0) * 3 - seen[1]], windows) > 0.9
    assert video.flicker(seen[:2], [windows[0]] * 2) > 0.02  # without the camera's motion


def test_table(video, monkeypatch, capsys):
    pytest.importorskip("av")

    def forward(images):
        grey = images[..., :1].astype(np.float32) / 255
        return {"logits": np.concatenate([0.5 - grey, grey - 0.5], axis=-1)}

    predictor = Predictor(forward, ("bright",), 33, aligned_corners=False, looks=1, batch_size=1)
    toy = load("toy", "test", count=1, size=49)
    monkeypatch.setattr(video, "SOURCE", (75, 100))
    monkeypatch.setattr(video, "FRAME", (36, 48))
    monkeypatch.setattr(video, "load", lambda *_: toy)
    monkeypatch.setattr(video.zoo, "load", lambda _: None)
    monkeypatch.setattr(video, "create_predictor", lambda *_, **__: predictor)
    monkeypatch.setattr("sys.argv", ["video.py", "--count", "1", "--frames", "3"])
    video.main()
    rows = rows_of(capsys.readouterr().out)
    assert [row[1] for row in rows[-2:]] == ["pans and zooms", "stands still"]
    assert all(cell.endswith(" %") for row in rows[-2:] for cell in row[2:])
