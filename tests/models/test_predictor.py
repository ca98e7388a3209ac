import keras
import numpy as np
import pytest

from keras_parts.errors import ConfigError
from keras_parts.models import create_predictor
from keras_parts.models.forward import digest
from tests.small import pictures, small_segmenter

pytestmark = pytest.mark.backend


@pytest.fixture(scope="module")
def segmenter():
    return small_segmenter()


@pytest.mark.parametrize("flip", [False, True])
def test_parts_are_those_of_the_segmenter(segmenter, flip):
    network = create_predictor(segmenter, batch_size=2, flip=flip)
    assert network.names == ("part 1", "part 2", "part 3")
    for image in pictures((40, 60), (100, 30)):
        (wanted,) = segmenter.maps([image], flip=flip)
        parts = network.segment(image)
        np.testing.assert_allclose(np.asarray(parts.logits), wanted, atol=2e-3)
        assert (parts.labels == network.segment(image).labels).all()


def test_an_answer_does_not_depend_on_the_rest_of_its_batch(segmenter):
    network = create_predictor(segmenter, batch_size=4)
    inputs = [network.prepare(image).inputs[0] for image in pictures((40, 60), (65, 65), (9, 9))]
    together = network.predict(inputs)
    for index in (0, 2):
        (alone,) = network.predict([inputs[index]])
        np.testing.assert_array_equal(alone["logits"], together[index]["logits"])


def test_descriptors_are_means_of_features_over_parts(segmenter):
    (image,) = pictures((65, 65))
    network = create_predictor(segmenter, batch_size=1, descriptors=True)
    (answer,) = network.predict(network.prepare(image).inputs)
    inputs = segmenter.preprocessing.apply(image[None].astype("float32") / 255)
    features = segmenter.backbone(inputs)
    channels = max(maps.shape[-1] for maps in features.values())
    assert answer["descriptors"].shape == (3, channels)
    parts = network.segment(image)
    np.testing.assert_allclose(parts.descriptors, answer["descriptors"], rtol=1e-5)
    low = min(keras.ops.convert_to_numpy(maps).min() for maps in features.values())
    high = max(keras.ops.convert_to_numpy(maps).max() for maps in features.values())
    assert low - 1e-4 <= parts.descriptors.min() <= parts.descriptors.max() <= high + 1e-4
    assert create_predictor(segmenter).segment(image).descriptors is None


def test_automatic_batch_size(segmenter):
    assert create_predictor(segmenter, batch_size="auto").batch_size in (4, 8, 16, 32, 64, 128, 256)
    with pytest.raises(ConfigError, match="batch_size is 0"):
        create_predictor(segmenter, batch_size=0)


def test_the_digest_tells_weights_apart(segmenter):
    before = digest(segmenter)
    assert before == digest(segmenter) and len(before) == 64
    weight = segmenter.head.weights[0]
    value = keras.ops.convert_to_numpy(weight)
    weight.assign(value + 1)
    assert digest(segmenter) != before
    weight.assign(value)
    assert digest(segmenter) == before
