from dataclasses import replace

import numpy as np
import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import Runs, bootstrap_intervals, evaluate
from keras_parts.metrics.protocols import cub_landmarks, pixels_foreground


def test_weights_of_one_give_the_measured_values(drawn, draw_animals, noisy_maps):
    results = list(evaluate(noisy_maps, drawn, 3, progress=False).results.values())
    results.append(cub_landmarks(noisy_maps, draw_animals(12, 1), drawn, 3))
    for result in results:
        reweighted = result.reweighted(np.ones(result.num_images, np.int64))
        for metric, value in reweighted.items():
            assert value == pytest.approx(result.values[metric], abs=1e-9)


def test_a_weight_is_how_often_an_image_counts(drawn, noisy_maps):
    result = pixels_foreground(noisy_maps, drawn, 3)
    weights = np.zeros(11, np.int64)
    weights[[2, 7]] = 1, 3
    drawn.samples[:] = [drawn.samples[i] for i in (2, 7, 7, 7)]
    expected = pixels_foreground(noisy_maps, drawn, 3).values
    assert result.reweighted(weights) == pytest.approx(expected)


def test_intervals_hold_the_value_and_shrink_with_images(draw_animals, noisy_maps):
    widths = []
    for count in (8, 60):
        result = pixels_foreground(noisy_maps, draw_animals(count), 3)
        found = bootstrap_intervals([result], num_draws=200)
        low, high = found["FG-NMI"]
        assert low <= result.values["FG-NMI"] <= high
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]


def test_repeated_images_do_not_shift_an_interval(draw_animals, noisy_maps):
    """Each image has its own label, so that NMI is higher with fewer distinct images."""
    data = draw_animals(30)
    data.samples[:] = [
        replace(sample, part_labels=(sample.part_labels > 0) * np.uint8(1 + number))
        for number, sample in enumerate(data.samples)
    ]
    result = pixels_foreground(noisy_maps, data, 3)
    draws = [
        result.reweighted(
            np.bincount(np.random.default_rng(seed).integers(30, size=30), minlength=30)
        )
        for seed in range(50)
    ]
    shift = np.mean([draw["FG-NMI"] for draw in draws]) - result.values["FG-NMI"]
    low, high = bootstrap_intervals([result], num_draws=200)["FG-NMI"]
    assert shift > 0 and low < result.values["FG-NMI"] < high


def test_intervals_are_reproducible_and_nested(drawn, noisy_maps):
    results = [pixels_foreground(noisy_maps, drawn, 3)]
    wide, narrow = (
        bootstrap_intervals(results, level=0.95, num_draws=100),
        bootstrap_intervals(results, level=0.5, num_draws=100),
    )
    assert (
        wide
        == bootstrap_intervals(results, level=0.95, num_draws=100)
        != bootstrap_intervals(results, level=0.95, num_draws=100, seed=1)
    )
    assert wide["FG-ARI"][0] <= narrow["FG-ARI"][0] < narrow["FG-ARI"][1] <= wide["FG-ARI"][1]


def test_landmark_subsets_that_are_not_drawn_do_not_count(draw_animals, noisy_maps):
    names = ("Black footed Albatross", "other")
    train, test = (draw_animals(12, seed, categories=names) for seed in (1, 2))
    test.samples[:] = [test.samples[0], *test.samples[1::2]]  # one of the first class
    found = bootstrap_intervals([cub_landmarks(noisy_maps, train, test, 3)], num_draws=50)
    assert all(np.isfinite(bounds).all() for bounds in found.values()) and "001" in found


def test_errors(drawn, draw_animals, noisy_maps):
    result = pixels_foreground(noisy_maps, drawn, 3)
    with pytest.raises(ConfigError, match="level=1"):
        bootstrap_intervals([result], level=1)
    with pytest.raises(DataError, match=r"different numbers of images \(5, 11\)"):
        bootstrap_intervals([result, pixels_foreground(noisy_maps, draw_animals(5), 3)])


@pytest.fixture
def runs(drawn, noisy_maps):
    """Three runs of a method, one of them worse."""

    def maps(shift):
        return lambda images: [np.roll(one, shift, axis=1) for one in noisy_maps(images)]

    reports = [
        evaluate(maps(shift), drawn, 3, progress=False, method="ours") for shift in (0, 1, 4)
    ]
    return Runs(tuple(reports)).with_intervals(num_draws=50)


def test_runs_are_summarised(runs):
    values = [report.values["pixels-foreground"]["FG-NMI"] for report in runs.reports]
    summary = runs.summary()["pixels-foreground"]["FG-NMI"]
    assert summary["values"] == values
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["std"] == pytest.approx(np.std(values, ddof=1))
    low, high = summary["interval"]
    assert low <= summary["mean"] <= high
    table = runs.to_table(runs.reports[0])
    assert f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}" in table
    assert "ours (3 runs)" in table
    assert f"{low:.1f} to {high:.1f}" in table
    assert "95 % interval over images" in table


def test_runs_of_different_methods_are_refused(runs):
    with pytest.raises(ConfigError, match="no runs to combine"):
        Runs(())
    with pytest.raises(ConfigError, match="not runs of one method"):
        Runs((runs.reports[0], replace(runs.reports[1], num_parts=5)))
