"""Optimisers and learning-rate schedules by name. Recipes import this: it imports no Keras."""

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
"""Name -> function `(ops, t, power)` that is the factor of the learning rate, from 1 at t = 0 on.

`ops` is `keras.ops` or `numpy`; `t` is the share of the steps after the warm-up that have been
made, 0 to 1; `power` is the exponent of "polynomial"."""
