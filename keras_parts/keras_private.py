"""All uses of private or undocumented parts of Keras.

Each docstring gives the reason. `tests/test_keras_private.py` checks each assumption on the
installed Keras: if a test fails after an update, change this module. Raise the upper bound of
`keras` in pyproject.toml once those tests pass with the next version.
"""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import keras
from keras import ops
from keras.src.utils import module_utils

# Bases of mixins: type checkers see the classes that the mixins are combined with.
if TYPE_CHECKING:
    from keras import Model, Optimizer
else:
    Model = Optimizer = object


def set_random_seed(seed: int) -> None:
    """`keras.utils.set_random_seed`, without importing TensorFlow where another backend is in use.

    Keras seeds TensorFlow on every backend if it is installed, since it may prepare the data. The
    import takes seconds and half a gigabyte, and this package prepares its data without it. Keras
    reads whether TensorFlow is installed from `tensorflow.available` of its lazy module.
    """
    tensorflow = module_utils.tensorflow
    known = tensorflow._available
    if "tensorflow" not in sys.modules and keras.config.backend() != "tensorflow":
        tensorflow._available = False
    try:
        keras.utils.set_random_seed(seed)
    finally:
        tensorflow._available = known


def loss_tracker(model: keras.Model) -> keras.metrics.Metric:
    """The `keras.metrics.Mean` in which a compiled model averages its total loss over an epoch.

    `Model.compile` creates it as `_loss_tracker`. A custom training step must update it to report
    "loss" as Keras does, and there is no public access to it.
    """
    return model._loss_tracker


def sync_variables(model: keras.Model) -> None:
    """During `fit` on JAX, assign the current state of the training to the model's variables.

    Keras' JAX trainer passes the state from step to step, and the variables are empty meanwhile.
    Its method `jax_state_sync` fills them; Keras' own callbacks call it before they save, but it is
    not documented. Does nothing on other backends, and outside `fit`.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()


def flat_layers(model: keras.Model) -> list[keras.Layer]:
    """The model and its layers at any depth. `Model.layers` lists the top level only."""
    return list(model._flatten_layers())


def is_seed(variable: keras.Variable) -> bool:
    """Whether a variable is the state of a `keras.random.SeedGenerator`: only its name shows it."""
    return variable.name == "seed_generator_state"


def inner_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer:
    """The optimizer that a `LossScaleOptimizer` wraps, or the optimizer itself."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def take_summed_gradients(optimizer: keras.Optimizer) -> None:
    """Make an optimizer on TensorFlow take gradients that are already summed over the replicas.

    Keras sums them in `_all_reduce_sum_gradients`, after it has clipped those of each replica. Our
    step sums them before clipping, as one device would. `apply` has no option for that, so the
    method is replaced; with `object.__setattr__`, as Keras would otherwise track the function.
    """
    object.__setattr__(inner_optimizer(optimizer), "_all_reduce_sum_gradients", list)


def fused_class(optimizer_class: type) -> type:
    """The class that Keras really instantiates for one of its optimizers, to derive from.

    On PyTorch `keras.optimizers.Adam(...)` returns an instance of another class, which updates all
    variables at once. A subclass of `Adam` would not, and only an instance gives that other class.
    On other backends the class itself is returned. No instance is made there, since its variables
    would initialise the backend before the devices are chosen.
    """
    return type(optimizer_class()) if keras.config.backend() == "torch" else optimizer_class


def tracked_variables(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The variables that a built optimizer updates, in `_trainable_variables`."""
    return optimizer._trainable_variables


def moving_averages(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The moving average of each of `tracked_variables`, if the optimizer has `use_ema`.

    Keras has no public access to them but `finalize_variable_values`, which overwrites the
    variables with their averages.
    """
    return optimizer._model_variables_moving_average


class RateFactors(Optimizer):
    """Mixin for a Keras optimizer: a factor on the learning rate of each variable.

    Keras has one learning rate for all variables. It updates them in `_backend_update_step`, after
    weight decay and clipping; here that method is called once for each factor.
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
    """Mixin for a `keras.Model` on TensorFlow: before tracing, `fit` builds only the optimizer.

    The optimizer must be built first, as no variable may be created inside the `tf.cond` of the
    step. Keras' own `_maybe_symbolic_build` would also run the model on symbolic inputs. For these
    it averages a batch over the replicas, which fails for a dict on several hosts.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        if self.optimizer is not None and not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


class DeferredUpdates(keras.StatelessScope):
    """A scope that records assignments to variables, so that a step can still discard them.

    In such a scope `Variable.assign` calls `add_update`. Keras' documented methods give the values
    afterwards, but not which variables were assigned.
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

    Seeds are always updated: if a random draw made the step fail, the next step must not repeat it.
    """
    return new if is_seed(variable) else ops.where(finite, new, previous)
