"""Objects are found in photographs without masks."""

import numpy as np
import pytest

from keras_parts.foreground import discover_masks
from keras_parts.foreground.classifier import fit_classifier
from keras_parts.foreground.grabcut import Certainty, grab_object
from keras_parts.foreground.kinds import several_kinds
from keras_parts.foreground.prominence import object_probabilities

pytestmark = pytest.mark.usefixtures("few_steps")
CERTAINTY = Certainty(0.95, 0.5, 0.05, 3)


@pytest.fixture(scope="module")
def network():
    """How much redder than green and blue each position is, and how bright, at strides 8 and 16."""
    import keras

    from keras_parts.backbones import Backbone, Preprocessing

    image = keras.Input((None, None, 3))
    weights = np.array([[1, 1, 0], [-1, 0, 0.1], [0, -1, 0.1]], "float32").reshape(1, 1, 3, 3)
    colours = keras.layers.Conv2D(3, 1, use_bias=False)
    fine = keras.layers.AveragePooling2D(8, padding="same")(keras.ops.relu(colours(image)))
    colours.set_weights([weights])
    coarse = keras.layers.AveragePooling2D(2, padding="same")(fine)
    maps = {"fine": fine, "coarse": coarse}
    return Backbone(image, maps, Preprocessing(), 16, {"fine": 8, "coarse": 16}, name="colours")


@pytest.fixture(scope="module")
def drawn():
    """Images `(96, 128, 3)` of a red disc on a background from green to blue, and their masks."""
    rows, columns = np.mgrid[:96, :128]
    images, masks = [], []
    for number in range(0, 6, 2):
        mask = np.hypot(rows - 30 - 6 * number, columns - 90 + 9 * number) < 14 + 2 * number
        image = np.stack([0 * rows + 10 * number, 200 - rows, columns], axis=-1)
        image[mask] = 200 + 5 * number, 40, 30
        noise = np.random.default_rng(number).integers(-8, 9, image.shape)
        images.append(np.clip(image + noise, 0, 255).astype(np.uint8))
        masks.append(mask)
    return images, masks


def find(images, network, **options):
    return list(
        discover_masks(images.__getitem__, len(images), progress=False, network=network, **options)
    )


def iou(found, truth):
    return (found & truth).sum() / (found | truth).sum()


def test_objects_are_found(network, drawn):
    images, masks = drawn
    found = find(images, network)
    assert (
        np.mean([iou(*pair) for pair in zip([each.mask for each in found], masks, strict=True)])
        > 0.8
    )
    assert all(0.3 < each.confidence <= 1 for each in found)
    again = find(images, network)
    assert all((a.mask == b.mask).all() for a, b in zip(found, again, strict=True))


def test_nothing_is_certain_in_photographs_without_an_object(network):
    grey = np.full((40, 400, 3), 128, np.uint8)
    for found in find([grey, grey[:, :1], grey[:2, :2]], network):
        assert found.confidence == 0
        assert found.mask.all() or not found.mask.any()


def test_masks_have_the_size_of_their_photographs(network, drawn):
    strip = np.random.default_rng(0).integers(0, 255, (12, 120, 3), np.uint8)
    large = np.repeat(np.repeat(drawn[0][0], 20, axis=0), 20, axis=1)
    images = [strip, large, drawn[0][1][:3, :1]]
    assert [each.mask.shape for each in find(images, network)] == [
        each.shape[:2] for each in images
    ]


def test_no_photographs_give_no_masks():
    assert list(discover_masks(None, 0)) == []


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_long_features_do_not_overflow(dtype):
    random = np.random.default_rng(0)
    features = random.normal(size=(3, 17, 17, 8)).astype(np.float32)
    features[:, 5:12, 5:12] += 6
    norms = 400 * np.linalg.norm(features, axis=-1, keepdims=True)
    found = object_probabilities(features.astype(dtype), norms.astype(dtype)) > 0.5
    assert found[:, 6:11, 6:11].all() and not found[:, :4].any()


def test_the_sign_of_the_component_is_that_of_the_objects():
    features = np.zeros((2, 17, 17, 2), np.float32)
    features[..., 0] = 5
    features[:, 4:13, 4:13] = (0, 8)
    for order in ([0, 1], [1, 0]):
        norms = np.linalg.norm(features, axis=-1, keepdims=True)
        found = object_probabilities(features[..., order], norms) > 0.5
        assert found[:, 4:13, 4:13].all() and found.mean() < 0.4


def test_lengths_that_are_large_at_the_borders_are_ignored():
    """As in a transformer, whose tokens of the background are longer."""
    features = np.random.default_rng(0).normal(size=(3, 17, 17, 6)).astype(np.float32)
    features[:, 5:12, 5:12, :3] += 6
    lengths = 20 - 3 * np.linalg.norm(features, axis=-1, keepdims=True)
    found = object_probabilities(features, lengths) > 0.5
    assert found[:, 6:11, 6:11].all() and not found[:, :4].any()


def test_objects_are_never_nearly_everything():
    random = np.random.default_rng(1)
    features = random.normal(size=(4, 17, 17, 4)).astype(np.float32)
    features[:, 7:10, 7:10] += 5
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    assert (object_probabilities(features, norms) > 0.5).mean() < 0.8


def test_the_classifier_ignores_scale_and_offset_of_features():
    random = np.random.default_rng(0)
    features = random.normal(size=(3, 9, 9, 5))
    targets = features[..., 1] > 0.5
    plain = fit_classifier(features, targets)(features)
    scaled = fit_classifier(100 * features + 7, targets)(100 * features + 7)
    np.testing.assert_allclose(plain, scaled, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_grabcut_keeps_a_probability_without_two_sides(value):
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    found = grab_object(image, np.full((4, 4), value, np.float32), CERTAINTY)
    assert (found == (value > 0.5)).all()


def test_grabcut_finds_nothing_in_one_colour():
    """OpenCV finds everything or nothing there, or does not return."""
    probability = np.full((33, 33), 0.3, np.float32)
    probability[24:] = 0.6
    assert not grab_object(np.full((65, 65, 3), 128, np.uint8), probability, CERTAINTY).any()


@pytest.mark.parametrize("share, kinds", [(0, 1), (0.25, 2), (0.5, 2)])
def testseveral_kinds_of_objects(share, kinds):
    rng = np.random.default_rng(0)
    means = 1 + rng.normal(scale=0.3, size=(40, 64))
    means[: int(40 * share), :8] += 6
    said = several_kinds(means)
    assert bool(said) == (kinds == 2)
    assert not said or f"in {int(40 * share)} and {int(40 * (1 - share))} images" in said
    assert not several_kinds(means[:29])
