import keras
import numpy as np
import pytest

from keras_parts.backbones.vgg19 import WEIGHTS_FILE, load_keras_hub, load_vgg19, vgg19
from keras_parts.environment import WEIGHTS_VARIABLE
from keras_parts.errors import ConfigError, DataError, IntegrityError
from tests.backbones.contract import evaluate, tolerance

pytestmark = pytest.mark.backend

# indices of the convolutions in torchvision's vgg19().features
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
IMAGE = np.random.default_rng(0).normal(size=(1, 48, 32, 3)).astype("float32")


def test_maps_of_the_paper():
    model = vgg19()
    assert dict(model.channels) == {"relu3_2": 256, "relu5_4": 512}
    assert dict(model.strides) == {"relu3_2": 4, "relu5_4": 16}
    maps = evaluate(model, IMAGE)
    assert maps["relu3_2"].shape == (1, 12, 8, 256) and maps["relu5_4"].shape == (1, 3, 2, 512)
    assert min(features.min() for features in maps.values()) == 0


def test_structure_and_weights_of_keras_hub():
    # keras.applications has the same structure with the same names, and is quicker to import.
    original = keras.applications.VGG19(weights=None, include_top=False)
    model = vgg19(("relu3_2", "relu4_1"))
    load_keras_hub(model, original)
    names = {"relu3_2": "block3_conv2", "relu4_1": "block4_conv1"}
    cut = keras.Model(original.input, {k: original.get_layer(v).output for k, v in names.items()})
    for name, expected in evaluate(cut, IMAGE).items():
        np.testing.assert_allclose(
            evaluate(model, IMAGE)[name], expected, **tolerance(expected, 1e-5)
        )


def test_another_structure_is_refused():
    with pytest.raises(DataError, match="block3_conv4 have shapes None"):
        load_keras_hub(vgg19(), keras.applications.VGG16(weights=None, include_top=False))


def torch_state(model):
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    state = {}
    for index, layer in zip(TORCHVISION, convolutions, strict=False):
        kernel, bias = layer.get_weights()
        state[f"features.{index}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        state[f"features.{index}.bias"] = bias
    return state


def write_npz(state, folder):
    np.savez(folder / WEIGHTS_FILE, **state)
    return folder


def write_safetensors(state, folder):
    numpy_io = pytest.importorskip("safetensors.numpy")
    numpy_io.save_file(state, folder / "vgg19.safetensors")
    return folder / "vgg19.safetensors"


def write_torch(state, folder):
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(values) for name, values in state.items()}
    torch.save(tensors, folder / "vgg19-dcbb9e9d.pth")
    return folder / "vgg19-dcbb9e9d.pth"


@pytest.mark.parametrize("write", [write_npz, write_safetensors, write_torch])
def test_files_with_torchvisions_names(tmp_path, write):
    saved, loaded = vgg19(("relu4_1",)), vgg19(("relu4_1",))
    load_vgg19(loaded, write(torch_state(saved), tmp_path))
    for one, other in zip(saved.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_own_weights_file(tmp_path):
    saved, loaded = vgg19(("relu2_2",)), vgg19(("relu2_2",))
    saved.save_weights(tmp_path / "vgg19.weights.h5")
    load_vgg19(loaded, tmp_path / "vgg19.weights.h5")
    np.testing.assert_array_equal(saved.get_weights()[2], loaded.get_weights()[2])
    with pytest.raises(IntegrityError, match="2 arrays are missing"):
        load_vgg19(vgg19(("relu3_1",)), tmp_path / "vgg19.weights.h5")


def test_missing_and_wrong_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(DataError, match=WEIGHTS_FILE):
        load_vgg19(vgg19(("relu1_1",)))
    (tmp_path / "vgg19.h5").write_bytes(b"")
    with pytest.raises(DataError, match="files of weights are of type"):
        load_vgg19(vgg19(("relu1_1",)), tmp_path / "vgg19.h5")
    (tmp_path / "vgg19.pth").write_bytes(b"not a checkpoint")
    pytest.importorskip("torch")
    with pytest.raises(DataError, match="not a readable .pth"):
        load_vgg19(vgg19(("relu1_1",)), tmp_path / "vgg19.pth")


def test_unknown_output():
    with pytest.raises(ConfigError, match="no output named 'relu3_5'"):
        vgg19(("relu3_5",))
