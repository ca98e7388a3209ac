"""The training step of each backend, for models with several named losses.

`TrainStep` is a mixin for the running backend: `class MyModel(TrainStep, keras.Model)`, with a
method `compute_losses(batch, training)`. It does what Keras' own step does (loss scaling, added
losses, metrics averaged over the epoch). It also skips each step whose loss or gradients are not
finite: weights, optimiser state and running statistics keep their values exactly, and the skipped
steps are counted.

Example:
    >>> import keras, numpy as np
    >>> from keras_parts.discovery.steps import TrainStep
    >>> class Regression(TrainStep, keras.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = keras.layers.Dense(1)
    ...         self.dense.build((None, 3))
    ...         self.track_losses({"error": 1.0})
    ...         self.built = True
    ...
    ...     def compute_losses(self, batch, training):
    ...         return {"error": keras.ops.mean((self.dense(batch["x"]) - batch["y"]) ** 2)}
    >>> model = Regression()
    >>> model.compile("sgd")
    >>> batch = {"x": np.ones((4, 3), "float32"), "y": np.ones((4, 1), "float32")}
    >>> history = model.fit(((each,) for each in [batch]), verbose=0).history
    >>> sorted(history)
    ['error', 'loss', 'skipped_steps']
"""

import keras

if keras.config.backend() == "tensorflow":
    from keras_parts.discovery.steps.tensorflow import TrainStep
elif keras.config.backend() == "jax":
    from keras_parts.discovery.steps.jax import TrainStep
elif keras.config.backend() == "torch":
    from keras_parts.discovery.steps.torch import TrainStep
else:
    raise ImportError(
        f"keras-parts trains on tensorflow, jax or torch, not on {keras.config.backend()!r}: "
        "set KERAS_BACKEND"
    )

__all__ = ["TrainStep"]
