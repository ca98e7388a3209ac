"""The whole batch, where each of several devices computes on its share of it.

Under TensorFlow's strategies every replica runs the step on its own rows of the batch, in the
order of the replicas and as many on each; what depends on all rows has to say so. On JAX a
distributed step is one program on the whole batch, and on one device there is nothing to share:
there all of these give back what they get.
"""

import keras
from keras import ops


def replica_count():
    """How many replicas the step runs on, an int."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def sum_over_replicas(tensor):
    """Sum of a tensor over the replicas; the gradient of each flows back to all."""
    context = _context()
    return context.all_reduce("SUM", tensor) if context else tensor


def gather_rows(tensor):
    """The rows of all replicas, `(replicas * batch, ...)`; gradients flow back to each row's."""
    context = _context()
    return context.all_gather(tensor, axis=0) if context else tensor


def own_rows(tensor):
    """This replica's rows of what `gather_rows` gives, `(batch, ...)`."""
    context = _context()
    if not context:
        return tensor
    rows = ops.shape(tensor)[0] // context.num_replicas_in_sync
    first = context.replica_id_in_sync_group * rows
    return tensor[first : first + rows]


def uniform_rows(shape, low, high, seed):
    """Uniform random numbers for every image of a batch.

    Each replica draws those of the whole batch and takes its own, so that an image gets the same
    numbers on however many devices.

    Args:
        shape: `(batch, ...)`.
        low, high: bounds.
        seed: a `keras.random.SeedGenerator`, in the same state on all replicas.

    Returns:
        float32 of that shape.
    """
    batch, *others = shape
    whole = (replica_count() * batch, *others)
    return own_rows(keras.random.uniform(whole, low, high, dtype="float32", seed=seed))


def _context():
    """TensorFlow's replica context, or None where there is one replica or none."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None
