import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_parts.errors import ConfigError, DataError
from keras_parts.metrics import ContingencyTable
from keras_parts.metrics import contingency as module


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=60),
    st.integers(0, 60),
)
def test_counts_do_not_depend_on_how_updates_are_split(pairs, cut):
    expected = np.zeros((5, 3), np.int64)
    for label, cluster in pairs:
        expected[label, cluster] += 1
    labels, clusters = np.array(pairs, int).reshape(-1, 2).T
    streamed = ContingencyTable(5, 3)
    streamed.update(labels[:cut], clusters[:cut]).update(labels[cut:], clusters[cut:])
    merged = ContingencyTable(5, 3).update(labels[:cut], clusters[:cut])
    merged.merge(ContingencyTable(5, 3).update(labels[cut:], clusters[cut:]))
    np.testing.assert_array_equal(streamed.counts, expected)
    np.testing.assert_array_equal(merged.counts, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64, bool])
def test_any_integer_type_shape_and_memory_order(dtype, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 7)  # many chunks, the last one short
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (5, 6, 4)).astype(dtype)
    clusters = np.asfortranarray(rng.integers(0, 3, (5, 6, 4)))
    expected = np.zeros((2, 3), np.int64)
    np.add.at(expected, (labels.astype(int), clusters), 1)
    table = ContingencyTable(2, 3).update(labels, clusters)
    np.testing.assert_array_equal(table.counts, expected)
    sliced = ContingencyTable(2, 3).update(labels[::2, :, ::-1], clusters[::2, :, ::-1])
    assert sliced.counts.sum() == 3 * 6 * 4


def test_counts_beyond_int32_stay_exact():
    table = ContingencyTable(1, 2).update(np.zeros(3, int), np.array([0, 1, 1]))
    for _ in range(40):  # doubles each time
        table.merge(table)
    assert table.counts.tolist() == [[2**40, 2**41]]


def test_counts_are_a_copy():
    table = ContingencyTable(2, 2)
    table.counts[0, 0] = 5
    assert table.counts.sum() == 0


@pytest.mark.parametrize(
    "labels, clusters, message",
    [
        ([0, 3], [0, 0], "label ids range from 0 to 3, expected 0 to 2"),
        ([0, -1], [0, 0], "label ids range from -1"),
        ([0, 1], [0, 2], "cluster ids range from 0 to 2"),
        ([0, 1], [0], r"shape \(2,\)"),
        ([0.0, 1.0], [0, 1], "float64.*integers"),
    ],
)
def test_invalid_ids_are_refused_and_not_counted(labels, clusters, message):
    table = ContingencyTable(3, 2)
    with pytest.raises(DataError, match=message):
        table.update(np.array(labels), np.array(clusters))
    assert table.counts.sum() == 0


def test_empty_tables_and_merges_of_other_sizes_are_refused():
    with pytest.raises(ConfigError, match="labels=0, clusters=2"):
        ContingencyTable(0, 2)
    with pytest.raises(ConfigError, match="cannot be merged"):
        ContingencyTable(2, 2).merge(ContingencyTable(2, 3))
