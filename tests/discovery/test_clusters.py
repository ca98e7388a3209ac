import numpy as np
import pytest

from keras_parts.discovery.clusters import find_clusters
from keras_parts.errors import DataError

pytestmark = pytest.mark.backend
SIZE, CELLS, CHANNELS = 33, 9, 6


def crops(images=12, noise=0.05):
    """Three horizontal bands; each differs from the mean of its image along its own axis."""
    rng = np.random.default_rng(0)
    foreground = np.zeros((images, SIZE, SIZE, 1), "float32")
    foreground[:, :, 4:29] = 1
    features = rng.normal(scale=noise, size=(images, CELLS, CELLS, CHANNELS))
    features += rng.normal(scale=5, size=(images, 1, 1, CHANNELS))  # of the image, not of a part
    for axis in range(3):
        features[:, 3 * axis : 3 * axis + 3, :, axis] += 1
    half = images // 2
    for some in (slice(half), slice(half, None)):
        yield features[some].astype("float32"), foreground[some]


def test_planted_directions_are_found_relative_to_the_mean_of_an_image():
    found = find_clusters(crops(), 3, num_images=12)
    assert found.shape == (3, CHANNELS) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    # Relative to the mean of the image, a band is its own axis minus a third of all three.
    bands = np.eye(3, CHANNELS) - (np.arange(CHANNELS) < 3) / 3
    bands /= np.linalg.norm(bands, axis=1, keepdims=True)
    nearest = (found @ bands.T).argmax(1)
    assert sorted(nearest) == [0, 1, 2]
    assert (found * bands[nearest]).sum(1).min() > 0.98


def test_clusters_of_features_that_are_not_centred_are_the_images():
    """The means of the images differ far more than the bands of an image."""
    (features, foreground), *_ = crops(images=8)
    means = features.mean((1, 2))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = find_clusters([(features, foreground)], 4, num_images=4, centre_features=False)
    assert sorted((means @ found.T).argmax(1)) == [0, 1, 2, 3]
    assert (means @ found.T).max(1).min() > 0.98


def test_the_same_seed_finds_the_same_clusters():
    first, second = (
        find_clusters(crops(noise=1.0), 4, num_images=12, prominence_exponent=2.0, seed=3)
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, second)


def test_too_few_positions():
    with pytest.raises(DataError, match=r"only \d+ positions of objects for 200 parts"):
        find_clusters(crops(images=2), 200, num_images=2)


def test_an_object_smaller_than_a_position_is_clustered():
    features, foreground = next(iter(crops(images=8)))
    small = np.zeros_like(foreground)
    small[:, 16:18, 16:18] = 1
    assert np.isfinite(find_clusters([(features, small)], 3, num_images=4)).all()
    with pytest.raises(DataError, match="are the masks empty"):
        find_clusters([(features, 0 * small)], 3, num_images=4)
