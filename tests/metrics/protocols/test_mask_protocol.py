from dataclasses import replace

import numpy as np
import pytest

from keras_parts.errors import DataError
from keras_parts.metrics import PROTOCOLS, ImageModel, bootstrap_intervals, evaluate, mask_scores
from keras_parts.metrics.protocols import foreground_masks


def remove_mask(drawn, *indices):
    for index in indices:
        empty = np.zeros_like(drawn.samples[index].foreground)
        drawn.samples[index] = replace(drawn.samples[index], foreground=empty)


@pytest.fixture
def uneven(drawn):
    """The drawn animals, with masks that are moved further from image to image."""
    for index, sample in enumerate(drawn.samples):
        moved = np.roll(sample.foreground, 3 * index, axis=1)
        drawn.samples[index] = replace(sample, foreground=moved)
    return drawn


def test_values_are_means_over_images(uneven, perfect_maps):
    scores = [mask_scores(sample.part_labels > 0, sample.foreground) for sample in uneven]
    iou, boundary_f = np.transpose(scores)
    expected = {
        "IoU": 100 * iou.mean(),
        "median IoU": 100 * np.median(iou),
        "IoU below 0.5": 100 * (iou < 0.5).mean(),
        "boundary F": 100 * boundary_f.mean(),
    }
    result = foreground_masks(perfect_maps, uneven, 3)
    assert result.values == pytest.approx(expected) and 0 < expected["IoU below 0.5"] < 100
    assert (result.num_images, result.num_observations, result.notes) == (11, 11, ())
    assert tuple(result.values) == PROTOCOLS["masks"].metrics


def test_all_parts_together_are_the_foreground(drawn):
    def maps(images):  # the background is the largest channel, but not more probable than the rest
        return [np.broadcast_to([1.0, 0.5, 0.5, -9], (*one.shape[:2], 4)) for one in images]

    share = np.mean([sample.foreground.mean() for sample in drawn])
    assert foreground_masks(maps, drawn, 3).values["IoU"] == pytest.approx(100 * share)


def test_empty_masks_are_left_out_and_counted(uneven, perfect_maps):
    kept = foreground_masks(perfect_maps, uneven, 3)
    extra = [replace(sample, id=f"empty {i}") for i, sample in enumerate(uneven.samples[:4])]
    uneven.samples[5:5] = extra
    remove_mask(uneven, *range(5, 9))
    report = evaluate(perfect_maps, uneven, 3, ["masks"], progress=False)
    result = report.results["masks"]
    assert result.values == kept.values and result.num_observations == 11
    assert "11 masks of 15 images" in report.to_table()
    assert "their mask is empty: 4 images (empty 0, empty 1, empty 2, ...)" in report.to_table()
    remove_mask(uneven, *range(15))
    with pytest.raises(DataError, match="the mask of every image is empty"):
        foreground_masks(perfect_maps, uneven, 3)


def test_weights_count_images_several_times(uneven, perfect_maps):
    remove_mask(uneven, 2)
    result = foreground_masks(perfect_maps, uneven, 3)
    weights = np.array([0, 1, 5, 2, 0, 0, 3, 1, 0, 0, 1])
    drawn_again = [
        sample for sample, n in zip(uneven.samples, weights, strict=True) for _ in range(n)
    ]
    uneven.samples[:] = drawn_again
    assert result.reweighted(weights) == pytest.approx(
        foreground_masks(perfect_maps, uneven, 3).values
    )
    assert np.isnan(result.reweighted(5 * (np.arange(11) == 2))["IoU"])
    low, high = bootstrap_intervals([result], num_draws=30)["boundary F"]
    assert low < result.values["boundary F"] < high


def test_masks_and_a_background_are_needed(drawn, perfect_maps):
    without = ImageModel(perfect_maps, has_background=False)
    with pytest.raises(DataError, match="masks needs a model with a background of its own"):
        foreground_masks(without, drawn, 3)
    drawn.samples[:] = [replace(sample, foreground=None) for sample in drawn.samples]
    with pytest.raises(DataError, match="masks needs masks, which drawn .*; --mask-folder"):
        foreground_masks(perfect_maps, drawn, 3)
