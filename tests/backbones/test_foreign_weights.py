"""Weights of backbones that somebody else made: checked before a library reads them."""

import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from keras_parts.backbones import pretrained
from keras_parts.backbones.pretrained import check_preset_folder, find_weights, read_arrays
from keras_parts.errors import DataError, IntegrityError

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")


@pipes
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_pipes_are_not_opened(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    os.mkfifo(path)
    for read in (read_arrays, lambda path: find_weights(path.name, path.parent)):
        with pytest.raises(DataError, match="is a pipe, a socket or a device"):
            read(path)


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
def test_archives_that_unpack_to_too_much(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"weights{suffix}"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(10_000))
    monkeypatch.setattr(pretrained, "MAX_BYTES", 9_999)
    with pytest.raises(DataError, match="holds 10,000 bytes, expected 9,999 at most"):
        read_arrays(path)


@pytest.fixture
def preset(tmp_path):
    """The folder of a KerasHub preset, as far as the checks read it."""
    (tmp_path / "config.json").write_text(
        '{"module": "keras_hub.src.models.vit.vit_backbone", "class_name": "ViTBackbone",'
        ' "config": {"dtype": {"module": "keras", "class_name": "DTypePolicy"}}}'
    )
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones((3, 4), "float32")
    check_preset_folder(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "content",
    [
        '{"config": [{"module": "os", "class_name": "system"}]}',
        '{"module": "keras_hub_evil.models"}',
        "[" * 100_000,
        "\x80",
    ],
    ids=["os", "prefix", "deep", "text"],
)
def test_configurations_of_presets_name_known_classes(preset, content):
    (preset / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"config\.json: (names the module|not JSON)"):
        check_preset_folder(preset)


def test_weights_of_presets_are_plain_arrays(preset):
    with h5py.File(preset / "model.weights.h5", "a") as file:
        file["layers/x"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(IntegrityError, match="ExternalLink"):
        check_preset_folder(preset)
    (preset / "model.weights.h5").write_bytes(pickle.dumps([1]))
    with pytest.raises(IntegrityError, match="not a sound HDF5 file"):
        check_preset_folder(preset)


@pipes
def test_presets_have_no_pipes(preset):
    os.mkfifo(preset / "tokenizer.json")
    with pytest.raises(DataError, match="is a pipe, a socket or a device"):
        check_preset_folder(preset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array(["text"]), "has type <U4, expected numbers"),
        (np.ones(2, "complex64"), "has type complex64, expected numbers"),
        (np.array([1, np.nan], "float32"), "has values that are not finite"),
        (np.array([1e300]), "has values that are not finite"),
    ],
)
def test_arrays_hold_finite_numbers(tmp_path, values, message):
    np.savez(tmp_path / "weights.npz", kernel=values)
    with pytest.raises(DataError, match=message) as caught:
        read_arrays(tmp_path / "weights.npz")
    assert "weights.npz: 'kernel'" in str(caught.value)


def test_members_that_are_no_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.npz", "w") as archive:
        archive.writestr("kernel", b"text")
    with pytest.raises(DataError, match="'kernel' has type bytes, expected numbers"):
        read_arrays(tmp_path / "weights.npz")


def test_arrays_that_show_a_number_many_times(tmp_path, monkeypatch):
    repeated = np.broadcast_to(np.float32(1), 2**40)
    monkeypatch.setattr(pretrained, "_read_npz", lambda path: {"kernel": repeated})
    np.savez(tmp_path / "weights.npz", kernel=1)
    with pytest.raises(DataError, match="has 4,398,046,511,104 bytes of arrays"):
        read_arrays(tmp_path / "weights.npz")
