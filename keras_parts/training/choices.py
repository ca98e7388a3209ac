"""The optimisers and learning-rate schedules by name. Imports no Keras, so that recipes can."""

import math
from collections.abc import Callable
from typing import Any

OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
"""Name in a recipe -> name of the class in `keras.optimizers`."""

SCHEDULES: dict[str, Callable[[Any, Any, float], Any]] = {
    "cosine": lambda ops, t, power: 0.5 * (1 + ops.cos(math.pi * t)),
    "polynomial": lambda ops, t, power: ops.power(1 - t, power),
    "constant": lambda ops, t, power: ops.ones_like(t),
}
"""Name -> decay from 1 to 0, a function of `keras.ops` (or numpy), of the share of steps after the
warm-up that have been made, 0 to 1, and of the polynomial's power."""
