"""The NMI and ARI protocols on drawn data, compared with scikit-learn on pairs of a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from keras_parts.data import Sample
from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics.protocols import (
    box_crop,
    cub_foreground,
    cub_full,
    keypoints_foreground,
    keypoints_full,
    pixels_foreground,
    pixels_full,
)


def per_cent(labels, clusters, prefix=""):
    return pytest.approx(
        {
            f"{prefix}NMI": 100 * normalized_mutual_info_score(labels, clusters),
            f"{prefix}ARI": 100 * adjusted_rand_score(labels, clusters),
        },
        abs=1e-9,
    )


def at_keypoints(samples, maps, cluster):
    """(keypoint ids, clusters), computed one keypoint at a time as the protocol defines it."""
    labels, clusters = [], []
    for sample in samples:
        (logits,) = maps([sample.image])
        for label, ((x, y), visible) in enumerate(
            zip(sample.keypoints, sample.visible, strict=True)
        ):
            if visible:
                row, column = round(float(y)), round(float(x))
                labels.append(label)
                clusters.append(cluster(sample, logits, row, column))
    return labels, clusters


def part(sample, logits, row, column):
    return logits[row, column, 1:].argmax()


def given(sample, logits, row, column):
    return 1 + part(sample, logits, row, column) if sample.foreground[row, column] else 0


def own(sample, logits, row, column):
    inside = np.exp(logits[row, column, 1:]).sum() > np.exp(logits[row, column, 0])
    return 1 + logits[row, column, 1:].argmax() if inside else 0


def test_keypoints_foreground(drawn, noisy_maps):
    expected = at_keypoints(drawn, noisy_maps, part)
    result = keypoints_foreground(noisy_maps, drawn, 3)
    assert result.values == per_cent(*expected, "FG-")
    assert result.num_images == 11 and result.num_observations == len(expected[0])
    assert result.labels == ("head", "wing", "tail", "beak")
    np.testing.assert_allclose(result.shares, np.bincount(expected[1]) / len(expected[1]))


@pytest.mark.parametrize("function", [keypoints_full, cub_full])
@pytest.mark.parametrize("masks, cluster", [("given", given), ("model", own)])
def test_full_at_keypoints(drawn, noisy_maps, function, masks, cluster):
    for index, sample in enumerate(drawn.samples):  # holes, so that the masks matter
        hole = np.random.default_rng(index).random(sample.size) < 0.3
        drawn.samples[index] = replace(sample, foreground=sample.foreground & ~hole)
    result = function(noisy_maps, drawn, 3, masks=masks)
    assert result.values == per_cent(*at_keypoints(drawn, noisy_maps, cluster))
    assert result.counts.shape == (4, 4)


def test_cub_foreground_segments_the_box_crop(drawn, perfect_maps):
    received = []

    def maps(images):
        received.extend(images)
        return perfect_maps(images)

    result = cub_foreground(maps, drawn, 3, batch_size=4)
    for sample, image in zip(drawn, received, strict=True):
        left, top, right, bottom = (int(side + 0.5) for side in sample.box)
        np.testing.assert_array_equal(image, sample.image[top:bottom, left:right])
    expected = at_keypoints(drawn, perfect_maps, part)
    assert result.values == per_cent(*expected, "FG-")


def test_cub_foreground_by_hand(drawn):
    """Keypoints outside the box and hidden ones do not count; the box is rounded to pixels."""
    image = np.zeros((10, 10, 3), np.uint8)
    image[:, 5:, 0] = 1  # the right half is part 1
    points = [(2, 4), (4.4, 5), (4.6, 5), (7, 7), (1.4, 5), (7.6, 5), (3, 3)]
    sample = Sample(
        id="one",
        image=image,
        keypoints=np.array(points, np.float32),
        visible=np.array([True] * 6 + [False]),
        box=np.array([1.3, 0.9, 7.8, 6.9], np.float32),  # to columns 2..7 and rows 1..6
    )

    def maps(images):
        assert [one.shape for one in images] == [(6, 6, 3)]
        return [np.eye(3, dtype=np.float32)[one[..., 0] + 1] for one in images]

    drawn.samples[:] = [sample]
    result = cub_foreground(maps, drawn, 2)
    # Keypoints 0 and 1 are on the left part, 2 is on the right part, 3 to 5 are outside the crop.
    np.testing.assert_array_equal(result.counts[:3], [[1, 0], [1, 0], [0, 1]])
    assert result.num_observations == 3
    assert result.labels[0] == "keypoint 1"  # the data set names four, not seven
    assert result.values == per_cent([0, 1, 2], [0, 0, 1], "FG-")


def test_box_crop_stays_inside_the_image():
    image = np.arange(10 * 12 * 3, dtype=np.uint8).reshape(10, 12, 3)
    sample = Sample("wide", image, box=np.array([-4, 2.5, 30, 7.5], np.float32))
    cropped = box_crop(sample)
    np.testing.assert_array_equal(cropped.image, image[3:8])
    with pytest.raises(DataError, match="wide: box .* outside the image, 12 x 10"):
        box_crop(replace(sample, box=np.array([14, 2, 30, 7], np.float32)))
    with pytest.raises(DataError, match="wide: .*the sample has none"):
        box_crop(replace(sample, box=None))


def test_pixels_foreground(drawn, noisy_maps):
    labels = np.concatenate([s.part_labels[s.part_labels > 0] for s in drawn])
    logits = [noisy_maps([s.image])[0][s.part_labels > 0] for s in drawn]
    clusters = np.concatenate(logits)[:, 1:].argmax(-1)
    result = pixels_foreground(noisy_maps, drawn, 3)
    assert result.values == per_cent(labels, clusters, "FG-")
    assert result.labels == ("background", "front", "middle", "back")
    assert result.counts[0].sum() == 0


@pytest.mark.parametrize("masks", ["given", "model"])
def test_pixels_full(drawn, noisy_maps, masks):
    labels, clusters = [], []
    for index, sample in enumerate(drawn.samples):
        drawn.samples[index] = sample = replace(sample, foreground=np.roll(sample.foreground, 3))
        (logits,) = noisy_maps([sample.image])
        own = np.exp(logits[..., 1:]).sum(-1) > np.exp(logits[..., 0])
        inside = sample.foreground if masks == "given" else own
        labels.append(sample.part_labels.ravel())
        clusters.append(np.where(inside, 1 + logits[..., 1:].argmax(-1), 0).ravel())
    result = pixels_full(noisy_maps, drawn, 3, masks=masks)
    assert result.values == per_cent(np.concatenate(labels), np.concatenate(clusters))
    assert result.num_observations == 11 * 40 * 56


def test_perfect_parts_score_like_the_true_labels(drawn, perfect_maps):
    for masks in ("given", "model"):
        full = pixels_full(perfect_maps, drawn, 3, masks=masks)
        assert full.values == {"NMI": 100, "ARI": 100}
    assert pixels_foreground(perfect_maps, drawn, 3).values == {"FG-NMI": 100, "FG-ARI": 100}
    labels, true_parts = at_keypoints(
        drawn, perfect_maps, lambda sample, _, row, column: sample.part_labels[row, column]
    )
    expected = per_cent(labels, true_parts, "FG-")
    assert keypoints_foreground(perfect_maps, drawn, 3).values == expected
    assert cub_foreground(perfect_maps, drawn, 3).values == expected


def test_labels_without_a_name_are_counted(drawn, perfect_maps):
    for index, sample in enumerate(drawn.samples):
        labels = np.where(sample.part_labels == 3, 200, sample.part_labels).astype(np.uint8)
        drawn.samples[index] = replace(sample, part_labels=labels)
    result = pixels_foreground(perfect_maps, drawn, 3)
    assert result.values == {"FG-NMI": 100, "FG-ARI": 100}
    assert result.labels[200] == "label 200" and result.counts[200].sum() > 0


@pytest.mark.parametrize(
    "field, name, run",
    [
        ("box", "boxes", cub_foreground),
        ("foreground", "masks", cub_full),
        ("part_labels", "part labels", pixels_foreground),
        ("keypoints", "keypoints", keypoints_foreground),
    ],
)
def test_missing_annotations_are_named(drawn, perfect_maps, field, name, run):
    removed = {field: None} | ({"visible": None} if field == "keypoints" else {})
    original = drawn.samples[5]
    drawn.samples[5] = replace(original, **removed)
    with pytest.raises(DataError, match="animal 0.5"):
        run(perfect_maps, drawn, 3)
    drawn.samples[0] = replace(drawn.samples[0], **removed)
    with pytest.raises(DataError, match=f"needs {name}, which drawn does not have"):
        run(perfect_maps, drawn, 3)


def test_invalid_logits_are_refused(drawn, perfect_maps):
    with pytest.raises(DataError, match=r"animal 0.0: .*\(40, 56, 4\), expected \(40, 56, 6\)"):
        keypoints_foreground(perfect_maps, drawn, 5)
    with pytest.raises(DataError, match="10 maps for 11 images"):
        keypoints_foreground(lambda images: perfect_maps(images[1:]), drawn, 3)
    with pytest.raises(DataError, match="contain NaN or infinity"):
        keypoints_foreground(lambda images: [m * np.nan for m in perfect_maps(images)], drawn, 3)


def test_data_without_visible_keypoints_is_refused(drawn, perfect_maps):
    drawn.samples[:] = [replace(sample, visible=np.zeros(4, bool)) for sample in drawn]
    with pytest.raises(DataError, match="nothing to compare"):
        keypoints_foreground(perfect_maps, drawn, 3)


def test_unknown_sources_of_masks_are_refused(drawn, perfect_maps):
    for run in (cub_full, keypoints_full, pixels_full):
        with pytest.raises(ConfigError, match="masks='mine': choose from given, model"):
            run(perfect_maps, drawn, 3, masks="mine")
