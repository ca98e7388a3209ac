"""TensorFlow without graphs."""

import os
from contextlib import contextmanager


@contextmanager
def eagerly():
    """TensorFlow without graphs: tracing a training step takes longer than making it."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        yield
        return
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)
