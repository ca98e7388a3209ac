import keras
import numpy as np
import pytest

from keras_parts.backbones.dinov2 import dinov2, patch_input, token_maps
from keras_parts.errors import ConfigError, DataError
from keras_parts.training import recipe
from keras_parts.training.build import build_teacher

pytestmark = pytest.mark.backend


def as_array(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(("side", "patches"), [(65, 5), (57, 5), (33, 7)])
def test_patch_centres_span_the_image_corner_to_corner(side, patches):
    columns = np.broadcast_to(np.arange(side, dtype="float32")[:, None], (1, side, side, 1))
    resampled = as_array(patch_input(columns, patches))
    assert resampled.shape == (1, 14 * patches, 14 * patches, 1)
    means = resampled.reshape(14 * patches, patches, 14).mean((0, 2))
    expected = np.arange(patches) * (side - 1) / (patches - 1)
    # The outer patches repeat the border, so their mean is not the value at their centre.
    np.testing.assert_allclose(means[1:-1], expected[1:-1], atol=1e-3)
    centres = resampled[0, 0, 6::14, 0] / 2 + resampled[0, 0, 7::14, 0] / 2
    np.testing.assert_allclose(centres[1:-1], expected[1:-1], atol=1e-3)


def test_patch_input_of_a_mirror_image_is_mirrored():
    images = np.random.default_rng(0).random((2, 33, 33, 3)).astype("float32")
    mirrored = as_array(patch_input(images[:, :, ::-1], 4))
    np.testing.assert_allclose(mirrored[:, :, ::-1], as_array(patch_input(images, 4)), atol=1e-5)


def test_images_must_be_square():
    with pytest.raises(ConfigError, match="33 x 49"):
        patch_input(np.zeros((1, 33, 49, 3)), 4)


def test_the_number_of_patches_is_checked():
    with pytest.raises(ConfigError, match="patches is 1"):
        dinov2(patches=1)


def random_transformer(registers=0):
    keras_hub = pytest.importorskip("keras_hub")
    return keras_hub.models.DINOV2Backbone(
        patch_size=14,
        num_layers=3,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        num_register_tokens=registers,
        image_shape=(42, 42, 3),
        position_embedding_shape=(42, 42, 3),
    )


@pytest.mark.parametrize("registers", [0, 4])
def test_tokens_of_patches_become_a_map(registers):
    model = random_transformer(registers)
    network = token_maps(model, ("block_3", "block_1"))
    images = np.random.default_rng(0).random((2, 42, 42, 3)).astype("float32")
    found = network(images)
    tokens = keras.Model(model.inputs[0], model.pyramid_outputs)(images)
    for name, stage in (("block_3", "stage3"), ("block_1", "stage1")):
        expected = as_array(tokens[stage])[:, 1 + registers :].reshape(2, 3, 3, 8)
        np.testing.assert_allclose(as_array(found[name]), expected, atol=1e-6)
    with pytest.raises(ConfigError, match="no output named 'block_4'"):
        token_maps(model, "block_4")


def test_an_error_names_a_folder_that_is_no_preset(tmp_path):
    pytest.importorskip("keras_hub")
    with pytest.raises(DataError, match="KerasHub cannot load"):
        dinov2(tmp_path)


def test_the_recipe_builds_with_random_weights(monkeypatch):
    # The recipe names a preset, a layer and the patches; here all are tiny.
    def random_weights(preset, image_shape):
        assert (preset, image_shape) == ("dinov2_with_registers_small", (42, 42, 3))
        return random_transformer(registers=4)

    monkeypatch.setattr("keras_parts.backbones.dinov2.keras_hub_backbone", random_weights)
    chosen = recipe("dinov2", teacher_layers=("block_2",), teacher_patches=3, teacher_size=33)
    teacher = build_teacher(chosen)
    assert teacher.channels == 8 and tuple(teacher.map_size(33, 33)) == (3, 3)
    images = np.random.default_rng(0).integers(0, 256, (1, 33, 33, 3)).astype("uint8")
    found, mirrored = (as_array(teacher.predict_on_batch(x)) for x in (images, images[:, :, ::-1]))
    assert found.shape == (1, 3, 3, 8)
    np.testing.assert_allclose(found, mirrored[:, :, ::-1], atol=1e-4)  # averaged over both
