"""The protocols of PDiscoFormer, MPAE and DisParQ: what is seen, and what is counted."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from keras_parts.data import Dataset, DatasetInfo, Sample
from keras_parts.errors import DataError
from keras_parts.metrics import PROTOCOLS, Evaluation, ImageModel
from keras_parts.metrics.protocols.later import centre_square, squashed


def _sample(height=20, width=40):
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 4 : width // 2], labels[:, width // 2 : -2] = 1, 2
    return Sample(
        "one",
        np.repeat(labels[..., None], 3, axis=-1) * np.uint8(100),
        foreground=labels > 0,
        part_labels=labels,
        keypoints=np.array([[2, 5], [12, 5], [25, 5], [36, 15]], np.float32),
        visible=np.array([True, True, True, False]),
    )


class _One(Dataset):
    info = DatasetInfo("one", landmarks=("a", "b", "c", "d"), part_names=("left", "right"))

    def __len__(self):
        return 1

    def read(self, index):
        return _sample()


def test_the_square_in_the_centre_and_the_squashed_image():
    square = centre_square(_sample(), 40)
    assert square.size == (40, 40)
    np.testing.assert_allclose(square.keypoints[1], [4.5, 10.5])
    np.testing.assert_array_equal(square.visible, [False, True, True, False])
    tall = centre_square(_sample(41, 20), 10)
    assert tall.size == (10, 10)
    whole = squashed(_sample(), 40)
    np.testing.assert_allclose(whole.keypoints[1], [12, 10.5])
    np.testing.assert_array_equal(whole.visible, [True, True, True, False])


def _model(images):
    """Grey 0, 100 and 200 are background, part 1 and part 2; part 3 is nowhere."""
    grey = [image[..., 0].astype(np.float32) for image in images]
    return [
        -np.stack([abs(one), abs(one - 100), abs(one - 200), one + 500], axis=-1) for one in grey
    ]


def test_the_largest_of_all_channels_is_counted():
    # The parts together are more probable than the background, which is the largest channel.
    close = ImageModel(lambda images: [0.01 * logits for logits in _model(images)])
    for name in ("mpae-keypoints", "pdiscoformer-keypoints"):
        result = PROTOCOLS[name](close, _One(), 3)
        # "a" lies on the background, outside the square in the centre.
        assert result.counts.tolist() == [
            [0 if "disco" in name else 1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0],
        ]  # fmt: skip
    for name in ("mpae-pixels", "pdiscoformer-pixels"):
        result = PROTOCOLS[name](ImageModel(_model), _One(), 3)
        assert result.num_observations == 224**2 and result.values["NMI"] > 80


def test_many_to_one_merges_parts_of_the_same_label():
    def halves(images):  # the upper half of an image has other parts than its lower half
        result = []
        for logits in _model(images):
            half = np.arange(len(logits))[:, None] < 12
            parts = np.where(half[..., None], logits[..., [0, 1, 2, 3]], logits[..., [0, 3, 3, 2]])
            result.append(parts)
        return result

    class Two(_One):
        def __len__(self):
            return 2

        def read(self, index):
            sample = _sample()
            sample.keypoints[:, 1] = 5 + 10 * index
            return sample

    result = PROTOCOLS["disparq-keypoints"](halves, Two(), 3)
    assert sorted(result.values) == ["ARI_m", "NMI_m"] == sorted(result.best)
    labels, merged = [], []
    for label, row in enumerate(result.counts):
        for cluster, count in enumerate(row):
            labels += [label] * count
            merged += [int(result.counts[:, cluster].argmax())] * count
    expected = {
        "NMI_m": 100 * normalized_mutual_info_score(labels, merged),
        "ARI_m": 100 * adjusted_rand_score(labels, merged),
    }
    assert result.values == pytest.approx(expected)
    plain = normalized_mutual_info_score(*zip(*_pairs(result.counts), strict=True))
    assert result.values["NMI_m"] != pytest.approx(100 * plain)


def _pairs(counts):
    return [
        (label, cluster) for (label, cluster), count in np.ndenumerate(counts) for _ in range(count)
    ]


def test_they_run_only_if_they_are_named():
    evaluation = Evaluation(_One(), progress=False)
    assert "mpae-keypoints" not in evaluation.model(_model, 3).results
    with pytest.raises(DataError, match="needs a model with a background of its own"):
        PROTOCOLS["mpae-keypoints"](ImageModel(_model, has_background=False), _One(), 3)
