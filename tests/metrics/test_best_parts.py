"""The largest NMI and ARI of K parts: against all partitions, and as known for birds."""

import itertools

import numpy as np
import pytest

from keras_parts import data
from keras_parts.errors import ConfigError
from keras_parts.metrics import ari, best_scores, colour_baseline, evaluate, nmi

VISIBLE = [798, 1088, 924, 1005, 1059, 1075, 533, 714, 598, 1056, 555, 712, 617, 965, 1080]
"""Visible keypoints of each kind in the test split of CUB-200-2011, classes 001 to 040."""


@pytest.mark.parametrize(
    ("num_parts", "best"),
    [(4, (68.2, 37.1)), (8, (87.2, 68.6)), (12, (96.1, 90.2)), (16, (100, 100))],
)
def test_birds(num_parts, best):
    found = best_scores(VISIBLE, num_parts)
    assert (round(found["NMI"], 1), round(found["ARI"], 1)) == best


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("num_parts", [2, 3])
def test_no_partition_is_better(num_parts, background):
    counts = np.array([37, 5, 11, 11, 29, 2, 17])
    labels = np.arange(len(counts))
    largest = {"NMI": 0.0, "ARI": 0.0}
    for parts in itertools.product(range(num_parts), repeat=len(counts) - background):
        clusters = np.array([num_parts] * background + list(parts))
        table = np.zeros((len(counts), num_parts + 1), int)
        table[labels, clusters] = counts
        largest["NMI"] = max(largest["NMI"], 100 * nmi(table))
        largest["ARI"] = max(largest["ARI"], 100 * ari(table))
    assert best_scores(counts, num_parts, background=background) == pytest.approx(largest)


def test_labels_without_observations_do_not_count():
    assert best_scores([3, 0, 4, 0], 2) == {"NMI": 100.0, "ARI": 100.0}
    with pytest.raises(ConfigError, match="num_parts"):
        best_scores([3, 4], 0)


def test_reports_show_the_best_and_the_share_of_it():
    animals = data.load("toy", "test", count=3, size=65)
    report = evaluate(colour_baseline(animals, 3), animals, 3, progress=False)
    result = report.results["pixels-foreground"]
    assert set(result.best) == {"FG-NMI", "FG-ARI"}
    assert all(result.values[name] <= result.best[name] + 1e-9 for name in result.best)
    full = report.results["pixels-full-given"]
    assert full.best == pytest.approx(best_scores(full.counts.sum(1), 3, background=True))
    table = report.to_table()
    share = 100 * result.values["FG-NMI"] / result.best["FG-NMI"]
    assert "best that 3 parts can have" in table and f"{share:.0f} %" in table
