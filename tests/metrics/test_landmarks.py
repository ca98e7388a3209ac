import numpy as np
import pytest

from keras_parts.errors import DataError
from keras_parts.metrics import LandmarkData, landmark_error, soft_centres


def problem(rng, train=40, test=25, parts=3, landmarks=5):
    samples = train + test
    centres = rng.random((samples, parts, 2))
    mixing = rng.normal(size=(parts * 2, landmarks * 2))
    positions = centres.reshape(samples, -1) @ mixing + rng.normal(0, 0.1, (samples, landmarks * 2))
    visible = rng.random((samples, landmarks)) < 0.7
    positions = positions.reshape(samples, landmarks, 2)
    return centres, positions, visible, train


def split(centres, landmarks, visible, train):
    arrays = (centres, landmarks, visible)
    return tuple(
        LandmarkData(*(array[rows] for array in arrays))
        for rows in (slice(train), slice(train, None))
    )


def with_scikit_learn(centres, landmarks, visible, train):
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import StandardScaler

    flat, distances = centres.reshape(len(centres), -1), []
    for landmark in range(landmarks.shape[1]):
        in_train = np.flatnonzero(visible[:train, landmark])
        in_test = train + np.flatnonzero(visible[train:, landmark])
        inputs, outputs = StandardScaler(), StandardScaler()
        model = LinearRegression(fit_intercept=False).fit(
            inputs.fit_transform(flat[in_train]),
            outputs.fit_transform(landmarks[in_train, landmark]),
        )
        predicted = outputs.inverse_transform(model.predict(inputs.transform(flat[in_test])))
        distances.append(np.linalg.norm(predicted - landmarks[in_test, landmark], axis=-1))
    return 100 * np.concatenate(distances).mean()


def test_reference_value(reference):
    arrays = [reference[f"landmark_{name}"] for name in ("centres", "targets", "visible")]
    found = landmark_error(*split(*arrays, int(reference["landmark_n_train"])))
    assert found == pytest.approx(float(reference["landmark_error"]), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_scikit_learn(seed):
    data = problem(np.random.default_rng(seed))
    assert landmark_error(*split(*data)) == pytest.approx(with_scikit_learn(*data), abs=1e-9)


def test_a_constant_part_does_not_change_the_error():
    """An empty part has the same centre in every sample, up to rounding."""
    centres, landmarks, visible, train = problem(np.random.default_rng(0))
    constant = np.full((len(centres), 1, 2), 0.1 + 0.2)
    constant[::2] = 0.3
    with_constant = np.concatenate([centres, constant], 1)
    assert landmark_error(*split(with_constant, landmarks, visible, train)) == pytest.approx(
        landmark_error(*split(centres, landmarks, visible, train)), abs=1e-9
    )


def test_a_landmark_that_training_never_shows_is_left_out():
    centres, landmarks, visible, train = problem(np.random.default_rng(0))
    visible[:train, 2] = False
    visible[train:, 2] = True
    landmarks[:, 2] = np.nan
    landmarks[train:, 2] = 1e6
    kept = [0, 1, 3, 4]
    assert landmark_error(*split(centres, landmarks, visible, train)) == landmark_error(
        *split(centres, landmarks[:, kept], visible[:, kept], train)
    )


def test_a_landmark_of_one_training_sample_is_predicted_at_its_position():
    centres, landmarks = np.random.default_rng(0).random((3, 2, 2)), np.zeros((3, 1, 2))
    landmarks[2] = (0.3, 0.4)
    visible = np.array([[True], [False], [True]])
    found = landmark_error(*split(centres, landmarks, visible, 2))
    assert found == pytest.approx(50)


def test_exact_linear_landmarks_have_no_error():
    centres = np.random.default_rng(0).random((30, 4, 2))
    landmarks = centres[:, [2, 0]] * 0.5 + 0.2
    visible = np.ones((30, 2), bool)
    assert landmark_error(*split(centres, landmarks, visible, 20)) < 1e-10


def test_errors_name_what_is_wrong():
    centres, landmarks, visible, train = problem(np.random.default_rng(0))
    with pytest.raises(DataError, match="no landmark is visible in both"):
        landmark_error(*split(centres, landmarks, np.zeros_like(visible), train))
    with pytest.raises(DataError, match="test: centres of 25 samples, but landmarks of 24"):
        fit_on, test_on = split(centres, landmarks, visible, train)
        landmark_error(
            fit_on,
            test_on._replace(landmarks=test_on.landmarks[1:], visible=test_on.visible[1:]),
        )
    with pytest.raises(DataError, match="train and test centres"):
        landmark_error(fit_on, test_on._replace(centres=test_on.centres[:, 1:]))
    with pytest.raises(DataError, match="train: .* must be"):
        landmark_error(fit_on._replace(visible=fit_on.visible[:, 1:]), test_on)
    broken = centres.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="train: a part centre is not finite"):
        landmark_error(*split(broken, landmarks, visible, train))


def test_soft_centres_of_hard_parts_are_their_means():
    labels = np.random.default_rng(0).integers(0, 3, (9, 13))
    logits = 200.0 * (labels[..., None] == np.arange(3))
    foreground = np.random.default_rng(1).random((9, 13)) < 0.5
    expected = [np.argwhere((labels == part) & foreground).mean(0)[::-1] for part in range(3)]
    np.testing.assert_allclose(soft_centres(logits, foreground), expected, atol=1e-12)


def test_soft_centres_are_weighted_by_probabilities():
    # Two pixels with p = (1/2, 1/2) and (3/4, 1/4), weights 1 and 1/2.
    logits = np.log([[[1, 1], [3, 1]]])
    centres = soft_centres(logits, [[1, 0.5]])
    np.testing.assert_allclose(centres[:, 0], [0.375 / 0.875, 0.125 / 0.625])
    np.testing.assert_array_equal(centres[:, 1], 0)


def test_soft_centres_are_never_nan():
    logits = np.random.default_rng(0).normal(0, 1e4, (6, 9, 4)).astype(np.float32)
    logits[..., 3] = -1e6  # a part without any mass
    centres = soft_centres(logits)
    np.testing.assert_array_equal(centres[3], (4, 2.5))
    assert np.isfinite(centres).all()
    np.testing.assert_array_equal(soft_centres(logits, np.zeros((6, 9))), np.tile((4, 2.5), (4, 1)))
    with pytest.raises(DataError, match="mask"):
        soft_centres(logits, np.zeros((9, 6)))
    with pytest.raises(DataError, match="height, width, parts"):
        soft_centres(logits[0])
