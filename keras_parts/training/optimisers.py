"""Optimisers with a separate learning rate of the head and averaged weights; schedules."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from keras_parts.errors import ConfigError
from keras_parts.keras_private import (
    RateFactors,
    fused_class,
    inner_optimizer,
    moving_averages,
    sync_variables,
    tracked_variables,
)
from keras_parts.training.choices import OPTIMIZERS, SCHEDULES


@keras.saving.register_keras_serializable(package="keras_parts")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate over the steps of a run: a linear warm-up, then one of `SCHEDULES`.

    The first step of a warm-up already has a rate above 0. Unlike Keras' schedules this one has no
    branch: on PyTorch a branch would wait for the device in every step.

    Args:
        name: "constant"; "cosine"; or "polynomial" (the paper's), (1 - t)^power with t from 0 to 1.
        learning_rate: the maximum rate, above 0.
        steps: number of steps of the run, including the warm-up. After them the rate is constant.
        warmup_steps: number of warm-up steps, from 0 to `steps` - 1.
        power: power of "polynomial", above 0.
        final: rate at the end of the decay, as a fraction of `learning_rate`, 0 to 1.

    Raises:
        ConfigError: the name is unknown, or a value is out of range.

    Example:
        >>> from keras_parts.training.optimisers import Schedule
        >>> schedule = Schedule("cosine", 0.1, steps=100, warmup_steps=10)
        >>> [round(float(schedule(step)), 3) for step in (0, 9, 55, 100)]
        [0.01, 0.1, 0.05, 0.0]
    """

    def __init__(
        self,
        name: str,
        learning_rate: float,
        steps: int,
        warmup_steps: int = 0,
        *,
        power: float = 0.9,
        final: float = 0.0,
    ):
        if name not in SCHEDULES:
            raise ConfigError(f"schedule is {name!r}, expected one of {', '.join(SCHEDULES)}")
        if not learning_rate > 0:
            raise ConfigError(f"learning_rate is {learning_rate}, expected more than 0")
        if not 0 <= warmup_steps < steps:
            raise ConfigError(
                f"warmup_steps is {warmup_steps}, expected 0 or more, and fewer than the {steps} "
                "steps of the run"
            )
        if not power > 0:
            raise ConfigError(f"power is {power}, expected more than 0")
        if not 0 <= final <= 1:
            raise ConfigError(f"final is {final}, expected a fraction from 0 to 1")
        self.name = name
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.power = power
        self.final = final

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, counted from 0: a float32 scalar."""
        step = ops.cast(step, "float32")
        t = ops.clip((step - self.warmup_steps) / (self.steps - self.warmup_steps), 0.0, 1.0)
        decay = self.final + (1 - self.final) * SCHEDULES[self.name](ops, t, self.power)
        warmup = (step + 1) / max(self.warmup_steps, 1)
        return self.learning_rate * ops.where(step < self.warmup_steps, warmup, decay)

    def get_config(self) -> dict:
        names = ("name", "learning_rate", "steps", "warmup_steps", "power", "final")
        return {name: getattr(self, name) for name in names}


def create_optimizer(
    name: str,
    schedule: keras.optimizers.schedules.LearningRateSchedule | float,
    *,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    ema: float | None = None,
    head_multiplier: float = 1.0,
    is_head: Callable[[keras.Variable], bool] | Collection[str] | None = None,
    momentum: float = 0.9,
) -> keras.optimizers.Optimizer:
    """An optimiser for `model.compile`.

    Args:
        name: "adam", "adamw" or "sgd" (with momentum).
        schedule: a `Schedule`, or a constant learning rate.
        weight_decay: decoupled weight decay, as in Keras: each step subtracts this times the
            learning rate (without `head_multiplier`) times the weight. PyTorch's SGD adds the decay
            to the gradient instead, where the same number is 1 / (1 - momentum) times stronger.
        clip_norm: maximum norm of all gradients together; None for no clipping.
        ema: momentum, between 0 and 1, of an exponential moving average of the weights, which
            `averaged_weights` uses; None for no average. The trained weights are never overwritten
            with it, not even at the end of `fit`.
        head_multiplier: factor on the learning rate of the head's variables, above 0.
        is_head: selects the variables of the head: a function of a variable, or their paths.
        momentum: momentum of "sgd".

    Raises:
        ConfigError: the name is unknown, a value is out of range, or a multiplier has no head.

    Example:
        >>> from keras_parts.training.optimisers import create_optimizer
        >>> optimizer = create_optimizer("adam", 1e-3, clip_norm=5.0, ema=0.99)
        >>> optimizer.global_clipnorm, optimizer.use_ema
        (5.0, True)
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    if weight_decay < 0:
        raise ConfigError(f"weight_decay is {weight_decay}, expected 0 or more")
    if weight_decay and name == "adam":
        raise ConfigError(
            f"weight_decay is {weight_decay}, but adam has none: use adamw, or a weight_decay of 0"
        )
    if clip_norm is not None and not clip_norm > 0:
        raise ConfigError(f"clip_norm is {clip_norm}, expected more than 0, or None")
    if ema is not None and not 0 < ema < 1:
        raise ConfigError(f"ema is {ema}, expected a momentum between 0 and 1, or None")
    if not head_multiplier > 0:
        raise ConfigError(f"head_multiplier is {head_multiplier}, expected more than 0")
    if head_multiplier != 1 and is_head is None:
        raise ConfigError(
            f"head_multiplier is {head_multiplier}: pass is_head, which selects the variables of "
            "the head"
        )
    return _CLASSES[name](
        schedule,
        weight_decay=float(weight_decay) if weight_decay or name == "adamw" else None,
        global_clipnorm=clip_norm,
        use_ema=ema is not None,
        ema_momentum=0.99 if ema is None else ema,
        head_multiplier=head_multiplier,
        is_head=is_head,
        name=name,
        **({"momentum": float(momentum)} if name == "sgd" else {}),
    )


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """A context in which the model's trainable weights are replaced by their moving averages.

    Evaluate or save the model in it: at its end the trained weights are restored exactly. Does
    nothing if the optimiser keeps no averages or has made no step yet.

    Example:
        >>> import keras, numpy as np
        >>> from keras_parts.training.optimisers import averaged_weights, create_optimizer
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile(create_optimizer("sgd", 0.1, ema=0.9), "mse")
        >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0)
        >>> with averaged_weights(model):
        ...     prediction = model.predict(np.ones((1, 3)), verbose=0)
    """
    sync_variables(model)
    pairs = weight_averages(model)
    trained = [ops.copy(variable) for variable, _ in pairs]
    try:
        for variable, average in pairs:
            # A copy, because on JAX `predict` donates the model's arrays, which deletes them.
            variable.assign(ops.copy(average))
        yield
    finally:
        for (variable, _), value in zip(pairs, trained, strict=True):
            variable.assign(value)


def weight_averages(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """(variable, its moving average) of a compiled model; empty if there are no averages."""
    optimizer = inner_optimizer(model.optimizer)
    return optimizer.averages if isinstance(optimizer, HeadAndAverage) else []


class HeadAndAverage(RateFactors):
    """Mixin for a Keras optimizer: another learning rate of the head, and averaged weights."""

    def __init__(
        self,
        *args: Any,
        head_multiplier: float = 1.0,
        is_head: Callable[[keras.Variable], bool] | Collection[str] | None = None,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.head_multiplier = head_multiplier
        self.is_head = is_head

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._in_head = [self._belongs_to_head(variable) for variable in variables]
        if self.head_multiplier != 1 and not any(self._in_head):
            raise ConfigError(
                f"head_multiplier is {self.head_multiplier}, but is_head selects none of the "
                f"{len(variables)} trainable variables"
            )

    @property
    def averages(self) -> list[tuple[keras.Variable, keras.Variable]]:
        """(variable, its moving average) for every trainable variable; empty before a step."""
        if not (self.use_ema and self.built and int(ops.convert_to_numpy(self.iterations))):
            return []
        return list(zip(tracked_variables(self), moving_averages(self), strict=True))

    def finalize_variable_values(self, var_list: Any) -> None:
        """Keep the trained weights.

        Keras calls this at the end of every `fit`, even an interrupted one, to overwrite the
        weights with their averages.
        """

    def rate_factors(self) -> list[float]:
        return [self.head_multiplier if in_head else 1.0 for in_head in self._in_head]

    def get_config(self) -> dict:
        if self.head_multiplier != 1 and not self.built:
            raise ValueError(
                f"head_multiplier is {self.head_multiplier}: build the optimizer before it is "
                "serialised, as its head is known only then"
            )
        head = []
        if self.built:
            both = zip(tracked_variables(self), self._in_head, strict=True)
            head = [variable.path for variable, in_head in both if in_head]
        return {
            **super().get_config(),
            "head_multiplier": self.head_multiplier,
            "is_head": head,
        }

    def _belongs_to_head(self, variable):
        if callable(self.is_head):
            return bool(self.is_head(variable))
        return variable.path in (self.is_head or ())


def _with_head_and_average(class_name):
    """A class of `keras.optimizers` with `HeadAndAverage`, registered for saving."""
    base = fused_class(getattr(keras.optimizers, class_name))
    created = type(class_name, (HeadAndAverage, base), {"__module__": __name__})
    return keras.saving.register_keras_serializable(package="keras_parts")(created)


_CLASSES = {name: _with_head_and_average(kind) for name, kind in OPTIMIZERS.items()}
