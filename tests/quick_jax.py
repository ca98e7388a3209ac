"""JAX compiles a program for each operation and shape outside of functions: fewer, and quicker.

Importing this module has NumPy draw initial weights, for which Keras compiles a program for each
shape of weights; all other random numbers stay JAX's. Processes whose weights are compared must
both import it, as `tests/conftest.py` does for the tests. All programs share one context of MLIR:
making one took a fifth of the time of a small program.
"""

import functools
from types import SimpleNamespace

import keras
import numpy as np


def _numpy_draws(random):
    """The draws of Keras' initialisers with NumPy, outside of JAX's traces."""
    import jax
    from keras.src.random.seed_generator import draw_seed

    def drawn(draw, original):
        def replaced(shape, dtype=None, seed=None, **options):
            key = draw_seed(seed)
            if isinstance(key, jax.core.Tracer):
                return original(shape, dtype=dtype, seed=key, **options)
            generator = np.random.default_rng(np.asarray(key).astype(np.uint32))
            values = draw(generator, shape, **options).astype(np.float32)
            return keras.ops.convert_to_tensor(values, dtype or keras.config.floatx())

        return replaced

    def normal(generator, shape, mean=0.0, stddev=1.0):
        return generator.normal(mean, stddev, shape)

    def uniform(generator, shape, minval=0.0, maxval=1.0):
        return generator.uniform(minval, maxval, shape)

    def truncated_normal(generator, shape, mean=0.0, stddev=1.0):
        """Within two standard deviations; values outside are drawn again."""
        values = generator.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = generator.standard_normal(outside.sum())
        return mean + stddev * values

    draws = (normal, uniform, truncated_normal)
    return {draw.__name__: drawn(draw, getattr(random, draw.__name__)) for draw in draws}


if keras.config.backend() == "jax":
    from keras.src.initializers import random_initializers

    originals = random_initializers.random
    random_initializers.random = SimpleNamespace(**vars(originals) | _numpy_draws(originals))

    from jax._src.interpreters import mlir

    mlir.make_ir_context = functools.cache(mlir.make_ir_context)
