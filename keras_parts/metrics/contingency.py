"""The table that every clustering metric is computed from."""

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.errors import ConfigError, DataError

_CHUNK = 1 << 20  # observations counted at once: bounds the memory of an update to a few MB


class ContingencyTable:
    """Counts of observations by label and cluster, accumulated batch by batch.

    The counts are int64, so they are exact for any number of pixels. The metrics of a test set
    (`keras_parts.metrics.nmi`, `ari`) are computed from its total `counts`, never as a mean of
    per-image values.

    Args:
        labels: number of true labels (rows); label ids are `0 .. labels - 1`.
        clusters: number of predicted clusters (columns); cluster ids are `0 .. clusters - 1`.

    Raises:
        ConfigError: `labels` or `clusters` is below 1.

    Example:
        >>> from keras_parts.metrics import ContingencyTable
        >>> table = ContingencyTable(2, 3)
        >>> table.update([0, 0, 1], [2, 2, 0]).counts.tolist()
        [[0, 0, 2], [1, 0, 0]]
        >>> table
        ContingencyTable(2 x 3, 3 observations)
    """

    def __init__(self, labels: int, clusters: int):
        if labels < 1 or clusters < 1:
            raise ConfigError(f"labels={labels}, clusters={clusters}: both must be at least 1")
        self._counts = np.zeros((labels, clusters), np.int64)

    @property
    def counts(self) -> np.ndarray:
        """`(labels, clusters)` int64, a copy."""
        return self._counts.copy()

    def update(self, labels: ArrayLike, clusters: ArrayLike) -> "ContingencyTable":
        """Add observations to the counts.

        Args:
            labels: integer array of any shape.
            clusters: integer array of the same shape.

        Returns:
            The table itself.

        Raises:
            DataError: the arrays differ in shape, are not of integers, or hold an id outside the
                table. The counts then stay unchanged.
        """
        labels, clusters = np.asarray(labels), np.asarray(clusters)
        if labels.shape != clusters.shape:
            raise DataError(
                f"labels have shape {labels.shape} and clusters {clusters.shape}: "
                "expected one label and one cluster for each observation"
            )
        if labels.size == 0:
            return self
        rows, columns = self._counts.shape
        _check_ids("label", labels, rows)
        _check_ids("cluster", clusters, columns)
        pairs = np.nditer(
            (labels, clusters),
            flags=("external_loop", "buffered"),
            op_dtypes=(np.int64, np.int64),
            casting="unsafe",  # uint64 too: the range is checked
            buffersize=_CHUNK,
        )
        for label, cluster in pairs:
            cells = np.bincount(label * columns + cluster, minlength=rows * columns)
            self._counts += cells.reshape(rows, columns)
        return self

    def merge(self, other: "ContingencyTable") -> "ContingencyTable":
        """Add the counts of another table of the same size; returns the table itself.

        Raises:
            ConfigError: the tables differ in size.
        """
        if self._counts.shape != other._counts.shape:
            raise ConfigError(
                f"tables of {self._counts.shape} and {other._counts.shape} cannot be merged: "
                "create both with the same numbers of labels and clusters"
            )
        self._counts += other._counts
        return self

    def __repr__(self) -> str:
        rows, columns = self._counts.shape
        return f"ContingencyTable({rows} x {columns}, {self._counts.sum():,} observations)"


def _check_ids(what, ids, size):
    if not (np.issubdtype(ids.dtype, np.integer) or ids.dtype == bool):
        raise DataError(f"{what} ids are {ids.dtype}, expected integers")
    low, high = ids.min(), ids.max()
    if low < 0 or high >= size:
        raise DataError(
            f"{what} ids range from {low} to {high}, expected 0 to {size - 1}: correct the ids or "
            f"create the table with more {what}s"
        )
