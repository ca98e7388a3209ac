"""Optimisers with a faster head and a moving average of the weights, and their schedules."""

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import keras
from keras import ops

from keras_parts.errors import ConfigError

SCHEDULES = {
    "constant": lambda done, power: ops.ones_like(done),
    "polynomial": lambda done, power: ops.power(1 - done, power),
    "cosine": lambda done, power: 0.5 * (1 + ops.cos(math.pi * done)),
}


@keras.saving.register_keras_serializable(package="keras_parts")
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate over the steps of a run: a linear warm-up, then one of `SCHEDULES`.

    Unlike the schedules of Keras it has no branch, for which torch would wait for the device in
    every step, and the first step of a warm-up already moves.

    Args:
        name: "constant"; "polynomial", (1 - t)^power with t from 0 to 1, the paper's; "cosine".
        learning_rate: the highest rate.
        steps: of the run, the warm-up included. After them the rate stays what it was last.
        warmup_steps: 0 or more, less than `steps`.
        power: of the polynomial.
        final: rate at the end of a decay, as a fraction of `learning_rate`.

    Raises:
        ConfigError: an unknown name or a value out of range.
    """

    def __init__(self, name, learning_rate, steps, warmup_steps=0, power=0.9, final=0.0):
        if name not in SCHEDULES:
            raise ConfigError(f"schedule is {name!r}, expected one of {', '.join(SCHEDULES)}")
        if not learning_rate > 0:
            raise ConfigError(f"learning rate is {learning_rate}, expected more than 0")
        if not 0 <= warmup_steps < steps:
            raise ConfigError(
                f"{warmup_steps} warm-up steps do not fit into {steps} steps: set fewer"
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

    def __call__(self, step):
        step = ops.cast(step, "float32")
        done = ops.clip((step - self.warmup_steps) / (self.steps - self.warmup_steps), 0.0, 1.0)
        fall = self.final + (1 - self.final) * SCHEDULES[self.name](done, self.power)
        rise = (step + 1) / max(self.warmup_steps, 1)
        return self.learning_rate * ops.where(step < self.warmup_steps, rise, fall)

    def get_config(self):
        names = ("name", "learning_rate", "steps", "warmup_steps", "power", "final")
        return {name: getattr(self, name) for name in names}


def create_optimizer(
    name: str,
    schedule: keras.optimizers.schedules.LearningRateSchedule | float,
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
        schedule: a `Schedule`, or a constant rate.
        weight_decay: decoupled, as Keras has it: each step takes away this times the plain
            learning rate of every weight. The decay that PyTorch's SGD puts into the gradient is
            in the long run 1 / (1 - momentum) times stronger for the same number.
        clip_norm: limit of the norm of all gradients together.
        ema: momentum of a moving average of the weights, 0 to 1, read by `averaged_weights`.
            The weights that train are never overwritten with it, not even at the end of `fit`.
        head_multiplier: what the learning rate is multiplied by for the variables of the head.
        is_head: which variables those are, a predicate or their paths.
        momentum: of "sgd".

    Raises:
        ConfigError: an unknown name, a value out of range, a multiplier without a head.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer is {name!r}, expected one of {', '.join(OPTIMIZERS)}")
    if weight_decay < 0:
        raise ConfigError(f"weight decay is {weight_decay}, expected 0 or more")
    if weight_decay and name == "adam":
        raise ConfigError("adam has no weight decay: use adamw, or set the decay to 0")
    if clip_norm is not None and not clip_norm > 0:
        raise ConfigError(f"clip norm is {clip_norm}, expected more than 0, or none")
    if ema is not None and not 0 < ema < 1:
        raise ConfigError(f"ema is {ema}, expected a momentum between 0 and 1, or none")
    if not head_multiplier > 0:
        raise ConfigError(f"head multiplier is {head_multiplier}, expected more than 0")
    if head_multiplier != 1 and is_head is None:
        raise ConfigError(f"a head multiplier of {head_multiplier} needs to know the head: is_head")
    return OPTIMIZERS[name](
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
    """Inside the block the model has the moving averages as its trainable weights.

    For evaluating and saving in the midst of training, which goes on undisturbed afterwards. Does
    nothing if the optimiser keeps no averages, or has not made a step yet.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()  # during fit on JAX the variables are empty until then
    pairs = averaged(model)
    trained = [ops.copy(variable) for variable, _ in pairs]
    try:
        for variable, average in pairs:
            # A copy: on JAX, predicting hands the model's arrays over and makes new ones.
            variable.assign(ops.copy(average))
        yield
    finally:
        for (variable, _), value in zip(pairs, trained, strict=True):
            variable.assign(value)


def averaged(model: keras.Model) -> list:
    """(variable, its moving average) of a compiled model; none where no averages are kept."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return optimizer.averages if isinstance(optimizer, HeadAndAverage) else []


class HeadAndAverage:
    """Mixin for a Keras optimizer: a multiplier for the head, averages that stay apart."""

    def __init__(self, *args, head_multiplier=1.0, is_head=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.head_multiplier = head_multiplier
        self.is_head = is_head

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._in_head = [self._belongs_to_head(variable) for variable in variables]
        if self.head_multiplier != 1 and not any(self._in_head):
            raise ConfigError(
                f"none of the {len(variables)} trainable variables is in the head, whose learning "
                f"rate is to be multiplied by {self.head_multiplier}"
            )

    @property
    def averages(self) -> list:
        """(variable, its moving average) for every trainable variable; none before a step."""
        if not (self.use_ema and self.built and int(ops.convert_to_numpy(self.iterations))):
            return []
        pairs = zip(self._trainable_variables, self._model_variables_moving_average, strict=True)
        return list(pairs)

    def finalize_variable_values(self, var_list):
        """Keras would overwrite the weights at the end of every `fit`, an interrupted one too."""

    def get_config(self):
        if self.head_multiplier != 1 and not self.built:
            raise ValueError("which variables are the head is known once the optimizer is built")
        head = []
        if self.built:
            both = zip(self._trainable_variables, self._in_head, strict=True)
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

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        groups = {False: [], True: []}
        for pair in zip(grads, trainable_variables, strict=True):
            groups[self._in_head[self._get_variable_index(pair[1])]].append(pair)
        for in_head, pairs in groups.items():
            if pairs:
                rate = learning_rate * self.head_multiplier if in_head else learning_rate
                super()._backend_update_step(*map(list, zip(*pairs, strict=True)), rate)


_Adam, _AdamW, _SGD = keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.SGD
if keras.config.backend() == "torch":
    # Keras swaps these classes for ones that update all variables at once, but not for their
    # subclasses; an instance tells which they are. (Elsewhere an instance, which has variables,
    # would begin to compute before the devices are chosen.)
    _Adam, _AdamW, _SGD = (type(plain()) for plain in (_Adam, _AdamW, _SGD))


@keras.saving.register_keras_serializable(package="keras_parts")
class Adam(HeadAndAverage, _Adam):
    """Adam with a multiplier for the head."""


@keras.saving.register_keras_serializable(package="keras_parts")
class AdamW(HeadAndAverage, _AdamW):
    """AdamW with a multiplier for the head."""


@keras.saving.register_keras_serializable(package="keras_parts")
class SGD(HeadAndAverage, _SGD):
    """SGD with a multiplier for the head."""


OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
