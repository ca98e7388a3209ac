import keras
import numpy as np
import pytest

from keras_parts.backbones.preprocessing import CAFFE, IMAGENET, Preprocessing
from keras_parts.errors import ConfigError

pytestmark = pytest.mark.backend

IMAGES = np.random.default_rng(0).random((2, 3, 4, 3)).astype("float32")


def applied(preprocessing, images=IMAGES):
    return keras.ops.convert_to_numpy(preprocessing.apply(255 * images))


def test_imagenet_equals_torchvisions_normalisation():
    expected = (IMAGES - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(applied(IMAGENET), expected, atol=1e-5)


def test_caffe_equals_that_of_keras_applications():
    expected = keras.applications.imagenet_utils.preprocess_input(255 * IMAGES, mode="caffe")
    np.testing.assert_allclose(applied(CAFFE), expected, atol=1e-4)


def test_uint8_images_equal_floats():
    images = (255 * IMAGES).astype("uint8")
    np.testing.assert_array_equal(
        *(keras.ops.convert_to_numpy(IMAGENET.apply(each)) for each in (images, 1.0 * images))
    )


def test_half_precision_images_give_float32():
    result = IMAGENET.apply(keras.ops.cast(IMAGES, "float16"))
    assert keras.backend.standardize_dtype(result.dtype) == "float32"


def test_config_round_trip():
    assert Preprocessing.from_config(CAFFE.to_config()) == CAFFE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel_order": "GBR"}, "channel_order is 'GBR'"),
        ({"multiplier": 128}, "multiplier is 128"),
        ({"mean": (0.5, 0.5)}, "mean is"),
        ({"mean": (0.5, 0.5, float("nan"))}, "mean is"),
        ({"std": (1.0, 0.0, 1.0)}, "std is"),
        ({"std": "abc"}, "std is"),
        ({"std": (1.0, 1e-40, 1.0)}, "std is"),
        ({"std": (1.0, 1e300, 1.0)}, "std is"),
        ({"mean": (0.0, -1e40, 0.0)}, "mean is"),
    ],
)
def test_wrong_fields_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        Preprocessing.from_config({**CAFFE.to_config(), **change})


def test_unknown_and_missing_fields_are_refused():
    with pytest.raises(ConfigError, match="fields are"):
        Preprocessing.from_config({**CAFFE.to_config(), "gamma": 1})
    with pytest.raises(ConfigError, match="fields are"):
        Preprocessing.from_config({"mean": [0, 0, 0]})
