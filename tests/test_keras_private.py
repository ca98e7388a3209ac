"""What `keras_parts.keras_private` assumes of Keras, checked on the installed version.

A test that fails here after an update of Keras names the assumption that no longer holds.
"""

import importlib
import inspect
import pkgutil
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers, ops
from packaging.requirements import Requirement

from keras_parts import keras_private as private

pytestmark = pytest.mark.backend
BACKEND = keras.config.backend()


def small_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential([layers.Input((3,)), layers.Dropout(0.5), layers.Dense(2)])


def data():
    return np.ones((8, 3), "float32"), np.zeros((8, 2), "float32")


def test_keras_is_within_the_bounds_of_pyproject():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    requirements = map(
        Requirement, tomllib.loads(text)["project"]["optional-dependencies"]["keras"]
    )
    (bounds,) = [each.specifier for each in requirements if each.name == "keras"]
    assert keras.__version__ in bounds


def test_setting_the_seed_imports_no_other_backend(monkeypatch):
    private.set_random_seed(3)
    first = keras.random.normal((2,)), np.random.rand()
    if BACKEND != "tensorflow":
        monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    known = private.module_utils.tensorflow._available
    private.set_random_seed(3)
    assert ("tensorflow" in sys.modules) == (BACKEND == "tensorflow")
    assert private.module_utils.tensorflow._available == known
    np.testing.assert_array_equal(keras.random.normal((2,)), first[0])
    assert np.random.rand() == first[1]


def test_the_total_loss_is_averaged_in_a_tracker():
    model = small_model()
    model.compile("sgd", "mse")
    tracker = private.loss_tracker(model)
    assert isinstance(tracker, keras.metrics.Mean) and tracker in model.metrics
    history = model.fit(*data(), verbose=0).history
    assert history["loss"][-1] == pytest.approx(float(tracker.result()))


def test_variables_are_current_during_fit_once_synchronised():
    seen = []

    def on_batch_end(batch, logs):
        private.sync_variables(model)
        seen.append(ops.convert_to_numpy(model.layers[-1].kernel).copy())

    model = small_model()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=on_batch_end)
    model.fit(*data(), batch_size=4, callbacks=[callback], verbose=0)
    assert len(seen) == 2 and not np.array_equal(*seen)
    np.testing.assert_array_equal(seen[-1], ops.convert_to_numpy(model.layers[-1].kernel))


def test_on_jax_alone_variables_need_synchronising():
    assert hasattr(small_model(), "jax_state_sync") == (BACKEND == "jax")


def test_layers_of_nested_models_are_found():
    inner = keras.Sequential([layers.Input((3,)), layers.BatchNormalization(name="norm")])
    outer = keras.Sequential([inner, layers.Dense(2)])
    names = [layer.name for layer in private.flat_layers(outer)]
    assert names[0] == outer.name and "norm" in names
    assert "norm" not in [layer.name for layer in outer.layers]


def test_seeds_are_known_by_their_names():
    model = small_model()
    generator = keras.random.SeedGenerator(0, name="views")
    assert private.is_seed(generator.state)
    assert sum(map(private.is_seed, model.variables)) == 1  # of the dropout
    assert not any(map(private.is_seed, model.weights))  # which Keras does not save


def test_a_loss_scaling_optimizer_has_an_inner_one():
    plain = keras.optimizers.Adam()
    assert private.inner_optimizer(plain) is plain
    assert private.inner_optimizer(keras.optimizers.LossScaleOptimizer(plain)) is plain


@pytest.mark.backend("tensorflow")  # tf.distribute
def test_optimizers_on_tensorflow_sum_gradients_in_a_method(monkeypatch):
    optimizer, seen = keras.optimizers.SGD(1.0), []
    method = type(optimizer)._all_reduce_sum_gradients
    monkeypatch.setattr(
        type(optimizer),
        "_all_reduce_sum_gradients",
        lambda self, pairs: seen.append(pairs) or method(self, pairs),
    )
    variable = keras.Variable(np.ones(2, "float32"))
    optimizer.apply([ops.ones(2)], [variable])
    assert len(seen) == 1
    private.take_summed_gradients(optimizer)
    optimizer.apply([ops.ones(2)], [variable])
    assert len(seen) == 1
    np.testing.assert_array_equal(ops.convert_to_numpy(variable), [-1, -1])


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_a_subclass_needs_the_class_of_the_instance(name):
    public = getattr(keras.optimizers, name)
    derived = private.fused_class(public)
    assert issubclass(derived, public)
    assert derived is type(public())
    assert (derived is not public) == (BACKEND == "torch")


def test_an_optimizer_lists_its_variables_and_their_averages():
    optimizer = keras.optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5)
    variables = [keras.Variable(np.full(2, i, "float32"), name=f"v{i}") for i in range(2)]
    optimizer.build(variables)
    tracked = private.tracked_variables(optimizer)
    assert all(each is v for each, v in zip(tracked, variables, strict=True))
    for _ in range(2):
        optimizer.apply([ops.ones(2)] * 2)
    # averages begin with the first step's result: -1, 0; then 0.5 (-1 - 2), 0.5 (0 - 1)
    averages = [ops.convert_to_numpy(a)[0] for a in private.moving_averages(optimizer)]
    assert averages == [-1.5, -0.5]


def test_each_variable_has_a_rate_of_its_own():
    class Plain(private.RateFactors, private.fused_class(keras.optimizers.SGD)):
        def rate_factors(self):
            return [1.0, 10.0]

    variables = [keras.Variable(np.zeros(2, "float32")) for _ in range(2)]
    Plain(0.5).apply([ops.ones(2)] * 2, variables)
    assert [float(ops.convert_to_numpy(v)[0]) for v in variables] == [-0.5, -5.0]


def test_the_base_class_has_what_is_overridden():
    optimizer = private.fused_class(keras.optimizers.SGD)
    expected = inspect.signature(private.RateFactors._backend_update_step)
    assert inspect.signature(optimizer._backend_update_step).parameters.keys() == (
        expected.parameters.keys()
    )
    if BACKEND == "tensorflow":
        expected = inspect.signature(private.OptimizerBuild._maybe_symbolic_build)
        assert inspect.signature(keras.Model._maybe_symbolic_build) == expected


@pytest.mark.backend("tensorflow")
def test_fit_calls_the_build_before_tracing():
    calls = []

    class Watched(private.OptimizerBuild, keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)
            self.dense.build((None, 3))
            self.built = True

        def call(self, x):
            calls.append(self.optimizer.built)
            return self.dense(x)

    model = Watched()
    model.compile("sgd", "mse")
    model.fit(*data(), verbose=0)
    assert calls and all(calls)


def test_assignments_are_deferred_and_then_made_or_not():
    variable, seed = keras.Variable(np.zeros(2, "float32")), keras.random.SeedGenerator(1)
    for finite, expected in ((False, 0.0), (True, 1.0)):
        state = ops.convert_to_numpy(seed.state).copy()
        with private.DeferredUpdates() as scope:
            variable.assign(variable + 1)
            keras.random.uniform((2,), seed=seed)
        assert len(list(scope.updates())) == 2
        assert not np.any(ops.convert_to_numpy(variable))
        scope.apply_if(ops.convert_to_tensor(finite))
        np.testing.assert_array_equal(ops.convert_to_numpy(variable), expected)
        assert not np.array_equal(ops.convert_to_numpy(seed.state), state)


def test_callbacks_may_declare_themselves_safe():
    from keras.src.callbacks import callback_list

    assert 'getattr(cbk, "async_safe", False)' in inspect.getsource(callback_list)


def test_no_other_class_overrides_a_private_part_of_keras():
    """Whether on purpose or by a name that Keras uses too."""
    rooms = ("backbones", "discovery", "models", "training")
    modules = [
        module.name
        for room in rooms
        for module in pkgutil.walk_packages(
            importlib.import_module(f"keras_parts.{room}").__path__, f"keras_parts.{room}."
        )
    ]
    found = []
    for name in modules:
        if "steps." in name and not name.endswith(("base", BACKEND)):
            continue
        for kind in filter(inspect.isclass, vars(importlib.import_module(name)).values()):
            if kind.__module__ == name:
                found += [f"{kind.__qualname__}.{each}" for each in overridden(kind)]
    assert found == []


def overridden(kind):
    """Private names of a class that one of its Keras bases has too."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("keras.")]
    names = {name for base in bases for name in vars(base)} - {"_abc_impl"}
    return [n for n in vars(kind) if n in names and n.startswith("_") and not n.startswith("__")]
