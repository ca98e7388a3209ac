"""The table that every clustering metric is computed from."""

import numpy as np
from numpy.typing import ArrayLike

from keras_parts.errors import ConfigError, DataError

_CHUNK = 1 << 20  # observations counted at once: bounds the memory of an update to a few MB


class ContingencyTable:
    """Counts how often each label meets each cluster, batch by batch.

    The counts are int64, so they are exact for any number of pixels; the metrics of a whole test
    set are functions of the final `counts` (`keras_parts.metrics.nmi`, `ari`), never the mean of
    per-image values.

    Args:
        labels: number of true labels, the rows; label ids are `0 .. labels - 1`.
        clusters: number of predicted clusters, the columns; ids are `0 .. clusters - 1`.

    Raises:
        ConfigError: one of the sizes is below 1.

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
            raise ConfigError(
                f"a contingency table needs a label and a cluster, got {labels} x {clusters}"
            )
        self._counts = np.zeros((labels, clusters), np.int64)

    @property
    def counts(self) -> np.ndarray:
        """`(labels, clusters)` int64, a copy."""
        return self._counts.copy()

    def update(self, labels: ArrayLike, clusters: ArrayLike) -> "ContingencyTable":
        """Count observations.

        Args:
            labels: integer array of any shape.
            clusters: integer array of the same shape.

        Returns:
            The table itself.

        Raises:
            DataError: the arrays differ in shape, are not of integers, or hold an id outside the
                table. Then nothing is counted.
        """
        labels, clusters = np.asarray(labels), np.asarray(clusters)
        if labels.shape != clusters.shape:
            raise DataError(
                f"labels have shape {labels.shape} and clusters {clusters.shape}: "
                "they must be the same observations"
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
                "count both with the same labels and clusters"
            )
        self._counts += other._counts
        return self

    def __repr__(self) -> str:
        rows, columns = self._counts.shape
        return f"ContingencyTable({rows} x {columns}, {self._counts.sum():,} observations)"


def _check_ids(what, ids, size):
    if not (np.issubdtype(ids.dtype, np.integer) or ids.dtype == bool):
        raise DataError(f"{what} ids are {ids.dtype}: they must be integers")
    low, high = ids.min(), ids.max()
    if low < 0 or high >= size:
        raise DataError(
            f"{what} ids run from {low} to {high}, but the table has {size}: 0 .. {size - 1}"
        )
