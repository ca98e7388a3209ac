"""Ray's actors write the same files, even if one of them is killed."""

import functools
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_parts.errors import KerasPartsError
from keras_parts.inference import segment_files
from keras_parts.inference.distributed import ray_engine
from tests.inference.doubles import contents, halves, predictor

pytestmark = pytest.mark.integration

FORMATS = ["indexed", "overlay", "label-studio", "csv", "descriptors-npy"]


@pytest.fixture(autouse=True)
def _ray():
    pytest.importorskip("ray.data", reason="pip install -r tests/integrations.txt")


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for index in range(24):
        size = (*rng.integers(20, 60, 2), 3)
        Image.fromarray(rng.integers(0, 255, size, np.uint8)).save(folder / f"{index}.png")
    (folder / "bad.jpg").write_text("no image")
    return folder


def killed_once(images, marker):
    """The double's forward pass; the first process that calls it a second time is killed."""
    if not marker.exists():
        marker.touch()
    elif not marker.with_suffix(".killed").exists():
        marker.with_suffix(".killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return halves(images)


def make(marker):
    return predictor(functools.partial(killed_once, marker=marker), batch_size=2)


def refuse():
    raise OSError("no such model here")


def test_a_run_with_an_actor_killed_equals_one_on_this_machine(many, tmp_path):
    segment_files(predictor(batch_size=2), [many], tmp_path / "one", FORMATS)
    marker = Path(tmp_path, "marker")
    summary = segment_files(
        predictor(batch_size=2), [many], tmp_path / "ray", FORMATS,
        engine=ray_engine(functools.partial(make, marker), workers=2),
    )  # fmt: skip
    assert marker.with_suffix(".killed").exists()
    assert summary.complete and (summary.done, summary.failed) == (24, 1)
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
    again = segment_files(predictor(batch_size=2), [many], tmp_path / "ray", FORMATS)
    assert again.kept == 24


def test_an_actor_that_cannot_start_is_an_error(many, tmp_path):
    with pytest.raises(KerasPartsError, match="no such model here"):
        segment_files(
            predictor(), [many], tmp_path / "out", ["csv"], engine=ray_engine(refuse, workers=1)
        )


def test_a_cluster_that_is_not_there_is_an_error(many, tmp_path):
    with pytest.raises(KerasPartsError, match="Ray does not start"):
        segment_files(
            predictor(), [many], tmp_path / "out", ["csv"],
            engine=ray_engine(refuse, address="auto"),
        )  # fmt: skip
