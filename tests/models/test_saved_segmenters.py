"""Segmenters that somebody else saved: each file is checked before anything reads it."""

import json
import os

import h5py
import numpy as np
import pytest

from keras_parts import zoo
from keras_parts.discovery import create_teacher
from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.models.segmenter import PartSegmenter
from keras_parts.training.build import build_segmenter
from keras_parts.training.recipes import recipe
from tests.small import small_segmenter


@pytest.fixture(scope="module")
def segmenter():
    return small_segmenter()


@pytest.fixture
def preset(segmenter, tmp_path):
    """The folder of a sound segmenter, to be changed."""
    segmenter.save_preset(tmp_path / "preset")
    return tmp_path / "preset"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b"\x80\x04cos\nsystem\n",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"format": ' + b"9" * 5000 + b"}",
        b"{" + b" " * 2**20 + b"}",
        *[
            json.dumps({"format": 2} | fields).encode()
            for fields in ({}, {"x" * 10_000: 1}, {"format": "2"}, {"format": [2]})
        ],
    ],
    ids=lambda content: repr(content[:20]),
)
def test_files_that_are_not_a_configuration(preset, content):
    (preset / "segmenter.json").write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=r"segmenter\.json: ") as caught:
        PartSegmenter.from_preset(preset)
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    "fields",
    [
        {"part_names": 5},
        {"part_names": None},
        {"part_names": {"a": 1}},
        {"part_names": [["a"], ["b"], ["c"]]},
        {"part_names": ["a", "\x1b[2J", "c"]},
        {"part_names": ["a", "b\n", "c"]},
        {"part_names": ["a", "\ud800", "c"]},
        {"part_names": ["a", "b" * 100_000, "c"]},
        {"num_parts": None},
        {"num_parts": 10**4000},
        {"architecture": None},
        {"architecture": {}},
        {"image_size": [65]},
        {"output_stride": {}},
        {"resize_mode": []},
        {"preprocessing": []},
        {"preprocessing": {"channel_order": "RGB", "multiplier": 1, "mean": "123", "std": "123"}},
        {
            "preprocessing": {
                "channel_order": "RGB", "multiplier": 1, "mean": [10**400] * 3, "std": [1, 1, 1]
            }
        },
        {"preprocessing": {"channel_order": [], "multiplier": [], "mean": None, "std": None}},
    ],
    ids=lambda fields: f"{fields!s:.60}",
)  # fmt: skip
def test_fields_of_other_kinds_are_refused(preset, fields):
    path = preset / "segmenter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    with pytest.raises(ConfigError, match=r"segmenter\.json: ") as caught:
        PartSegmenter.from_preset(preset)
    assert len(str(caught.value)) < 1500


def test_memory_is_estimated_before_the_network_is_built(preset, monkeypatch):
    path = preset / "segmenter.json"
    large = {"architecture": "resnet50", "image_size": 4096, "output_stride": 8}
    path.write_text(json.dumps(json.loads(path.read_text()) | large))
    monkeypatch.setattr(PartSegmenter, "__init__", None)
    with pytest.raises(ConfigError, match=r"of 4096 pixels .* about 11 GiB .*KERAS_PARTS_MODEL_G"):
        PartSegmenter.from_preset(preset)
    large = {"architecture": "small", "image_size": 1025, "output_stride": 16}
    path.write_text(json.dumps(json.loads(path.read_text()) | large))
    monkeypatch.setenv("KERAS_PARTS_MODEL_GIB", "0.1")
    with pytest.raises(ConfigError, match="more than the 0.1 GiB that are allowed"):
        PartSegmenter.from_preset(preset)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["segmenter.json", "segmenter.weights.h5"])
def test_pipes_are_not_opened(preset, name):
    (preset / name).unlink()
    os.mkfifo(preset / name)
    with pytest.raises((DataError, IntegrityError), match=f"{name}: is a pipe"):
        PartSegmenter.from_preset(preset)


def _no_number(file):
    file["head/logits/vars/1"][...] = np.nan


def _additional(file):
    file["layers/more/vars/0"] = np.zeros(3, "float32")


@pytest.mark.parametrize("edit", [_no_number, _additional])
@pytest.mark.parametrize("way", ["load", "init_from", "teacher"])
def test_every_way_in_checks_the_weights(preset, edit, way):
    with h5py.File(preset / "segmenter.weights.h5", "a") as file:
        edit(file)
    with pytest.raises(IntegrityError, match=r"segmenter\.weights\.h5: "):
        if way == "load":
            zoo.load(preset)
        elif way == "init_from":
            build_segmenter(recipe("toy", init_from=str(preset)))
        else:
            create_teacher("segmenter", weights=str(preset))
