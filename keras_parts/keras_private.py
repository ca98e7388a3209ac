"""Everything that depends on private or undocumented parts of Keras, in one place.

Each function or class says why it is needed. `tests/test_keras_private.py` checks each assumption
on the installed Keras: where one fails after an update, this is the module to mend. The upper bound
of `keras` in pyproject.toml is raised once those tests pass with the next version.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

# Bases of mixins: type checkers see the classes that the mixins are combined with.
if TYPE_CHECKING:
    from keras import Model, Optimizer
else:
    Model = Optimizer = object


def loss_tracker(model: keras.Model) -> keras.metrics.Metric:
    """The `keras.metrics.Mean` in which a compiled model averages its total loss over an epoch.

    `Model.compile` makes it as `_loss_tracker`; a custom training step that reports "loss" among
    `model.metrics` has no public access to it.
    """
    return model._loss_tracker


def sync_variables(model: keras.Model) -> None:
    """During `fit` on JAX, give the model's variables the current state of the training.

    Keras' JAX trainer hands the state from step to step and empties the variables meanwhile; its
    method `jax_state_sync`, which Keras' own callbacks call before they save, is not documented.
    Does nothing on other backends, and outside `fit`.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def flat_layers(model: keras.Model) -> list[keras.Layer]:
    """The model and its layers at any depth. `Model.layers` lists the top level only."""
    return list(model._flatten_layers())


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`, known by its name only."""
    return variable.name == "seed_generator_state"


def inner_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The optimizer that a `LossScaleOptimizer` wraps, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def take_summed_gradients(optimizer: keras.Optimizer) -> None:
    """Tell an optimizer on TensorFlow that gradients are already summed over the replicas.

    Keras sums them in `_all_reduce_sum_gradients`, after it has clipped those of each replica. A
    step that sums them first, as one device would, replaces that method, since `apply` has no
    option for it. `object.__setattr__`, so that Keras does not track the function.
    """
    object.__setattr__(inner_optimizer(optimizer), "_all_reduce_sum_gradients", list)


def fused_class(optimizer_class: type) -> type:
    """The class that Keras instantiates for one of its optimizers, to derive from.

    On PyTorch `keras.optimizers.Adam(...)` becomes an instance of a class that updates all
    variables at once, but a subclass does not: only an instance tells which class that is. On other
    backends the class itself is returned without an instance, whose variables would start the
    backend before the devices are chosen.
    """
    return type(optimizer_class()) if keras.config.backend() == "torch" else optimizer_class


def tracked_variables(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The variables that a built optimizer updates (`_trainable_variables`)."""
    return optimizer._trainable_variables


def moving_averages(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The moving average of each of `tracked_variables`, of an optimizer with `use_ema`.

    Keras only offers to overwrite the variables with them (`finalize_variable_values`).
    """
    return optimizer._model_variables_moving_average


class RateFactors(Optimizer):
    """Mixin for a Keras optimizer: a factor on the learning rate of each variable.

    Keras has one learning rate for all variables. `_backend_update_step` is where it updates them,
    after weight decay and clipping: here it is called once for each factor.
    """

    def rate_factors(self) -> Sequence[float]:
        """A factor for each of `tracked_variables`."""
        raise NotImplementedError

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        factors = self.rate_factors()
        groups: dict[float, list] = {}
        for pair in zip(grads, trainable_variables, strict=True):
            factor = factors[self._get_variable_index(pair[1])]
            groups.setdefault(factor, []).append(pair)
        for factor, pairs in groups.items():
            rate = learning_rate if factor == 1 else learning_rate * factor
            super()._backend_update_step(*map(list, zip(*pairs, strict=True)), rate)


class OptimizerBuild(Model):
    """Mixin for a `keras.Model` on TensorFlow: before tracing, `fit` builds the optimizer only.

    No variable may be created inside the `tf.cond` of the step, so the optimizer is built first.
    Keras' own `_maybe_symbolic_build` would also run the model on symbolic inputs, for which it
    averages a batch over the replicas: that fails for a dict where there are several hosts.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


class DeferredUpdates(keras.StatelessScope):
    """A scope that records assignments to variables, so that a step can still discard them.

    `add_update` is what `Variable.assign` calls in such a scope; Keras documents only the values
    afterwards, not which variables were assigned.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._assigned: dict[int, keras.Variable] = {}

    def add_update(self, update: tuple[keras.Variable, Any]) -> None:
        super().add_update(update)
        self._assigned[id(update[0])] = update[0]

    def updates(self) -> Iterator[tuple[keras.Variable, Any]]:
        """(variable, its new value) for every variable that was assigned in the scope."""
        for variable in self._assigned.values():
            yield variable, self.get_current_value(variable)

    def apply_if(self, finite: Any) -> None:
        """Assign the new values where `finite`, a scalar bool tensor; see `updated_if`."""
        for variable, new in self.updates():
            variable.assign(updated_if(finite, variable, new, variable.value))


def updated_if(finite: Any, variable: keras.Variable, new: Any, previous: Any) -> Any:
    """A variable's value after a step: `new` if `finite`, else `previous`.

    Seeds are always updated: if a random draw made the step fail, the same draw must not be
    repeated in the next one.
    """
    return new if is_seed(variable) else ops.where(finite, new, previous)
