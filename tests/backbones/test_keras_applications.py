"""`atrous` copies every family of `keras.applications`: one small network of each.

Only shapes are computed, so that large networks take seconds; test_atrous.py compares values.
"""

import keras
import numpy as np
import pytest

from keras_parts.backbones.atrous import atrous

pytestmark = pytest.mark.slow
applications = keras.applications
FAMILIES = [
    ("ConvNeXtTiny", applications.convnext),
    ("DenseNet121", applications.densenet),
    ("EfficientNetB0", applications.efficientnet),
    ("EfficientNetV2B0", applications.efficientnet_v2),
    ("InceptionResNetV2", applications.inception_resnet_v2),
    ("InceptionV3", applications.inception_v3),
    ("MobileNet", applications.mobilenet),
    ("MobileNetV2", applications.mobilenet_v2),
    ("MobileNetV3Small", applications.mobilenet_v3),
    # Keras has no NASNetMobile on PyTorch.
    pytest.param("NASNetMobile", applications.nasnet, marks=pytest.mark.backend("tensorflow")),
    ("ResNet50", applications.resnet),
    ("ResNet50V2", applications.resnet_v2),
    ("VGG16", applications.vgg16),
    ("Xception", applications.xception),
]


@pytest.fixture
def zeros(monkeypatch):
    """Weights of zeros: drawing those of a large network takes seconds."""
    layer_weights = keras.Layer.add_weight

    def add_weight(self, *arguments, **options):
        return layer_weights(self, *arguments, **options | {"initializer": "zeros"})

    monkeypatch.setattr(keras.Layer, "add_weight", add_weight)


@pytest.mark.parametrize(("name", "module"), FAMILIES)
def test_every_family(name, module, zeros):
    model = getattr(applications, name)(input_shape=(97, 97, 3), include_top=False, weights=None)
    dilated = atrous(model, 8)
    assert dilated.strides == {"features": 8}
    for height, width in ((65, 65), (129, 128)):
        image = keras.KerasTensor((1, height, width, 3))
        _, rows, columns, channels = dilated.compute_output_spec(image)["features"].shape
        assert abs(rows - height / 8) <= 1 and abs(columns - width / 8) <= 1
        assert rows == columns or height != width
        assert channels == model.output.shape[3]

    pixels = np.random.default_rng(0).random((1, 2, 2, 3)).astype("float32")
    found = keras.ops.convert_to_numpy(dilated.preprocessing.apply(255 * pixels))
    np.testing.assert_allclose(found, module.preprocess_input(255 * pixels), atol=1e-4)
