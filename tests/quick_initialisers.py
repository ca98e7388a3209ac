"""Initial weights drawn by NumPy on JAX, where Keras compiles a program for each shape of weights.

Building the networks of the tests took most of their time on JAX. Importing this module replaces
the draws of Keras' initialisers; all other random numbers stay JAX's. Processes whose weights are
compared must both import it, as `tests/conftest.py` does for the tests.
"""

from types import SimpleNamespace

import keras
import numpy as np


def _generator(seed):
    """A NumPy generator for what Keras' initialisers take as a seed."""
    from keras.src.random.seed_generator import draw_seed

    return np.random.default_rng(np.asarray(draw_seed(seed)).astype(np.uint32))


def _tensor(values, dtype):
    return keras.ops.convert_to_tensor(values.astype(np.float32), dtype or keras.config.floatx())


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    return _tensor(_generator(seed).normal(mean, stddev, shape), dtype)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    return _tensor(_generator(seed).uniform(minval, maxval, shape), dtype)


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Within two standard deviations; values outside are drawn again."""
    generator = _generator(seed)
    values = generator.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(outside.sum())
    return _tensor(mean + stddev * values, dtype)


if keras.config.backend() == "jax":
    from keras.src.initializers import random_initializers

    draws = {"normal": normal, "uniform": uniform, "truncated_normal": truncated_normal}
    random_initializers.random = SimpleNamespace(**vars(random_initializers.random) | draws)
