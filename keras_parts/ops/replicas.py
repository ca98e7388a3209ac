"""Sums and gathers over the whole batch when each of several devices computes on a share of it.

Under a TensorFlow strategy each replica runs the step on an equal share of the batch's rows, in the
order of the replicas. A computation that depends on all rows must therefore exchange them. On one
device these functions return their argument. So they do on JAX, where a distributed step is one
program on the whole batch.
"""

from typing import Any

import keras
from keras import ops


def replica_count() -> int:
    """Number of replicas on which the step runs.

    Example:
        >>> from keras_parts.ops import replica_count
        >>> replica_count()
        1
    """
    context = _context()
    return context.num_replicas_in_sync if context else 1


def sum_over_replicas(tensor: Any) -> Any:
    """Sum of a tensor over the replicas.

    Args:
        tensor: this replica's tensor, of any shape that is the same on all replicas.

    Returns:
        The same shape and dtype. Gradients flow back to the tensors of all replicas.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import sum_over_replicas
        >>> sum_over_replicas(np.ones(2)).tolist()
        [1.0, 1.0]
    """
    context = _context()
    return context.all_reduce("SUM", tensor) if context else tensor


def gather_rows(tensor: Any) -> Any:
    """The rows of all replicas.

    Args:
        tensor: `(batch, ...)`, of this replica.

    Returns:
        `(replicas * batch, ...)`. The gradient of each row flows back to its replica.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import gather_rows
        >>> tuple(gather_rows(np.ones((2, 3))).shape)
        (2, 3)
    """
    context = _context()
    return context.all_gather(tensor, axis=0) if context else tensor


def own_rows(tensor: Any) -> Any:
    """The rows of this replica: the inverse of `gather_rows`.

    Args:
        tensor: `(replicas * batch, ...)`, the rows of all replicas.

    Returns:
        `(batch, ...)`.

    Example:
        >>> import numpy as np
        >>> from keras_parts.ops import own_rows
        >>> tuple(own_rows(np.ones((2, 3))).shape)
        (2, 3)
    """
    context = _context()
    if not context:
        return tensor
    rows = ops.shape(tensor)[0] // context.num_replicas_in_sync
    first = context.replica_id_in_sync_group * rows
    return tensor[first : first + rows]


def uniform_rows(
    shape: tuple[Any, ...], low: float, high: float, seed: keras.random.SeedGenerator
) -> Any:
    """Uniform random numbers for each image of a batch.

    Each replica draws the numbers of the whole batch and keeps those of its own rows, so that an
    image gets the same numbers on any number of devices.

    Args:
        shape: `(batch, ...)`.
        low, high: range of the numbers.
        seed: generator, in the same state on all replicas.

    Returns:
        float32 of that shape, in [low, high).

    Example:
        >>> import keras
        >>> from keras_parts.ops import uniform_rows
        >>> tuple(uniform_rows((2, 3), 0.0, 1.0, keras.random.SeedGenerator(0)).shape)
        (2, 3)
    """
    batch, *others = shape
    shape_of_all = (replica_count() * batch, *others)
    return own_rows(keras.random.uniform(shape_of_all, low, high, dtype="float32", seed=seed))


def _context():
    """TensorFlow's replica context, or None unless there are several replicas."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None
