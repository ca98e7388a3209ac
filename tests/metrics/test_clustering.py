import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from keras_parts.errors import DataError
from keras_parts.metrics import ContingencyTable, ari, nmi


def table(pairs, labels=6, clusters=5):
    rows, columns = np.array(pairs, int).reshape(-1, 2).T
    return ContingencyTable(labels, clusters).update(rows, columns).counts, rows, columns


pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=80)


@given(pairs)
@example([])
@example([(0, 0)])
@example([(0, 0)] * 5)
@example([(0, 0), (0, 1)])
@example([(0, 0), (1, 0)])
@example([(2, 1), (3, 4), (2, 1)])
@example([(0, 0), (0, 1), (1, 0), (1, 1)])
def test_equals_scikit_learn(pairs):
    counts, rows, columns = table(pairs)
    assert nmi(counts) == pytest.approx(normalized_mutual_info_score(rows, columns), abs=1e-9)
    assert ari(counts) == pytest.approx(adjusted_rand_score(rows, columns), abs=1e-12)


@given(pairs, st.randoms())
def test_order_of_labels_and_clusters_does_not_matter(pairs, random):
    counts, _, _ = table(pairs)
    rows, columns = list(range(6)), list(range(5))
    random.shuffle(rows)
    random.shuffle(columns)
    renamed = counts[rows][:, columns]
    assert nmi(renamed) == pytest.approx(nmi(counts), abs=1e-14)
    assert ari(renamed) == ari(counts)
    assert ari(counts.T) == ari(counts)
    assert 0 <= nmi(counts) <= 1
    assert -0.5 <= ari(counts) <= 1


@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=6))
def test_equal_partitions_score_one(sizes):
    counts = np.diag(sizes)
    assert nmi(counts) == 1
    assert ari(counts) == 1


def exact_ari(counts):
    """Hubert and Arabie's formula in exact fractions."""
    counts = [[int(count) for count in row] for row in counts]

    def choose(count):
        return Fraction(count * (count - 1), 2)

    index = sum(choose(count) for row in counts for count in row)
    rows = sum(choose(sum(row)) for row in counts)
    columns = sum(choose(sum(column)) for column in zip(*counts, strict=True))
    expected = rows * columns / choose(sum(map(sum, counts)))
    return (index - expected) / ((rows + columns) / 2 - expected)


def exact_nmi(counts):
    """2 I / (H + H) with 60 decimal digits."""
    getcontext().prec = 60
    counts = [[Decimal(int(count)) for count in row] for row in counts]
    total = sum(map(sum, counts))

    def entropy(classes):
        shares = [count / total for count in classes if count]
        return -sum(share * share.ln() for share in shares)

    rows = entropy([sum(row) for row in counts])
    columns = entropy([sum(column) for column in zip(*counts, strict=True)])
    both = entropy([count for row in counts for count in row])
    return 2 * (rows + columns - both) / (rows + columns)


LARGE = [
    np.array([[4_000_000_000, 123_456_789], [987_654_321, 5_000_000_001]]),
    np.array([[9_999_999_999, 1], [1, 0]]),  # nearly everything in one cell
    np.array([[10**10, 10**10], [10**10, 10**10 + 1]]),  # nearly independent
    np.random.default_rng(0).integers(0, 10**10, (15, 9)),
]


@pytest.mark.parametrize("counts", LARGE)
def test_exact_at_ten_billion_pixels(counts):
    assert ari(counts) == float(exact_ari(counts))
    assert nmi(counts) == pytest.approx(float(exact_nmi(counts)), abs=4e-15)


def test_nmi_does_not_depend_on_the_number_of_observations():
    counts = np.random.default_rng(1).integers(0, 50, (6, 4))
    assert nmi(counts * 10**9) == pytest.approx(nmi(counts), abs=1e-14)


def test_nmi_of_pairs_of_labels_in_one_cluster():
    # Four labels in two clusters: I = log 2, H(L) = log 4, H(C) = log 2.
    counts = np.array([[5, 0], [5, 0], [0, 5], [0, 5]])
    assert nmi(counts) == pytest.approx(2 * math.log(2) / (math.log(4) + math.log(2)))


@pytest.mark.parametrize("counts", [np.array([1, 2]), np.ones((2, 2)), np.array([[1, -1], [0, 2]])])
@pytest.mark.parametrize("metric", [nmi, ari])
def test_invalid_tables_are_refused(metric, counts):
    with pytest.raises(DataError, match="contingency table"):
        metric(counts)
