"""The training step of each backend, for models with several named losses.

`TrainStep` is the mixin for the running backend: `class MyModel(TrainStep, keras.Model)`, with a
method `compute_losses(batch, training)`. It does what Keras' own step does (loss scaling, added
losses, metrics averaged over the epoch) and skips a step whose loss or gradients are not finite:
weights, optimiser state and running statistics keep their values exactly, and the step is counted.
"""

import keras

if keras.config.backend() == "tensorflow":
    from keras_parts.discovery.steps.tensorflow import TrainStep
elif keras.config.backend() == "jax":
    from keras_parts.discovery.steps.jax import TrainStep  # type: ignore[assignment]
elif keras.config.backend() == "torch":
    from keras_parts.discovery.steps.torch import TrainStep  # type: ignore[assignment]
else:
    raise ImportError(
        f"keras-parts trains on tensorflow, jax or torch, not on {keras.config.backend()!r}: "
        "set KERAS_BACKEND"
    )

__all__ = ["TrainStep"]
