"""The training step equals Keras' own; it adds named losses and skips steps that are not finite."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_parts.discovery.steps import TrainStep
from keras_parts.keras_private import set_random_seed
from keras_parts.training.devices import mirrored_strategy

pytestmark = pytest.mark.backend

BACKEND = keras.config.backend()
# On a machine without a GPU TensorFlow resolves "auto" to no XLA; torch compiles for a minute.
XLA = BACKEND != "torch"
CASES = pytest.mark.parametrize(
    "optimizer, jit_compile", [("adam", XLA), ("momentum", BACKEND == "jax")]
)
STEPS = 4


class Regression(TrainStep, keras.Model):
    """A network trained on its squared error, with a second loss that `batch` switches on."""

    def __init__(self, network, weights=None):
        super().__init__(dtype=network.dtype_policy)
        self.network = network
        self.track_losses(weights or {"error": 1.0})
        self.built = True

    def call(self, x, training=False):
        return self.network(x, training=training)

    def compute_losses(self, batch, training):
        prediction = ops.cast(self(batch["x"], training=training), "float32")
        losses = {
            "error": ops.mean(ops.square(ops.subtract(prediction, batch["y"]))),
            "odd": ops.mean(batch["odd"]),
            "steep": ops.sqrt(ops.mean(ops.square(prediction)) * ops.mean(batch["steep"])),
        }
        return {name: losses[name] for name in self.loss_weights}


def network(dropout=0.0, dtype="float32"):
    set_random_seed(3)
    return keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(8, kernel_regularizer="l2", name="hidden", dtype=dtype),
            layers.BatchNormalization(momentum=0.5, name="norm", dtype=dtype),
            layers.Activation("relu", activity_regularizer=keras.regularizers.L1(1e-3)),
            layers.Dropout(dropout, seed=5, name="dropout", dtype=dtype),
            layers.Dense(2, name="out", dtype=dtype),
        ]
    )


def batches(steps=STEPS, batch_size=5):
    rng = np.random.default_rng(0)
    for _ in range(steps):
        yield {
            "x": rng.normal(size=(batch_size, 6)).astype("float32"),
            "y": rng.normal(size=(batch_size, 2)).astype("float32"),
            "odd": np.zeros(batch_size, "float32"),
            "steep": np.ones(batch_size, "float32"),
        }


def fit(model, data, steps=None, **options):
    data = list(data)
    return model.fit(
        ((batch,) for batch in data), steps_per_epoch=steps or len(data), verbose=0, **options
    ).history


def array(variable):
    return ops.convert_to_numpy(
        ops.convert_to_tensor(variable)
    )  # also for variables of several replicas


def state(model):
    variables = [*model.trainable_variables, *model.non_trainable_weights]
    return [array(v) for v in (*variables, *model.optimizer.variables)]


OPTIMIZERS = {
    # With the default epsilon, a gradient that is only rounding makes a step as large as others.
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.0),
}


@CASES
@pytest.mark.slow
def test_equals_the_default_step(optimizer, jit_compile):
    default, ours = network(dropout=0.3), Regression(network(dropout=0.3))
    default.compile(OPTIMIZERS[optimizer](), loss="mse", jit_compile=jit_compile)
    ours.compile(OPTIMIZERS[optimizer](), jit_compile=jit_compile)
    sizes = [5, 5, 2, 5]  # the mean over an epoch weights batches by their samples
    data = [next(batches(1, size)) for size in sizes]
    pairs = ((batch["x"], batch["y"]) for batch in data)
    expected = default.fit(pairs, steps_per_epoch=STEPS, verbose=0).history
    history = fit(ours, data)
    for a, b in zip(state(default), state(ours), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-6)
    assert history["error"][0] < history["loss"][0]  # the regularisers are in the total alone


def test_every_metric_is_the_mean_over_the_epoch():
    model = Regression(network(), {"error": 2.0, "odd": 0.5})
    model.compile(keras.optimizers.SGD(0.0), jit_compile=XLA)
    data = list(batches())
    for i, batch in enumerate(data):
        batch["odd"][:] = i
    history = fit(model, data)
    assert history["odd"] == [pytest.approx(1.5)]
    extra = history["loss"][0] - 2 * history["error"][0] - 0.5 * 1.5
    assert 0 < extra < 0.2
    assert history["skipped_steps"] == [0]


def test_a_loss_of_weight_zero_is_only_reported():
    plain, reporting = Regression(network()), Regression(network(), {"error": 1.0, "odd": 0.0})
    for model in (plain, reporting):
        model.compile(keras.optimizers.Adam(0.01))
    data = list(batches())
    data[1]["odd"][:] = 8.0
    fit(plain, data)
    history = fit(reporting, data)
    assert history["odd"] == [pytest.approx(2.0)]
    for a, b in zip(state(plain), state(reporting), strict=True):
        np.testing.assert_array_equal(a, b)


def spoil(batch, how):
    if how == "input":
        batch["x"][0, 0] = np.inf
    elif how == "loss":  # infinite, but with finite gradients: this term has none
        batch["odd"][:] = np.inf
    elif how == "gradient":  # the loss is finite, the slope of a root at zero is not
        batch["steep"][:] = 0.0
    return batch


@CASES
def test_a_step_that_is_not_finite_changes_nothing(optimizer, jit_compile):
    weights = {"error": 1.0, "odd": 1.0, "steep": 0.1}
    clean, spoilt = Regression(network(), weights), Regression(network(), weights)
    for model in (clean, spoilt):
        model.compile(OPTIMIZERS[optimizer](), jit_compile=jit_compile)
    data = list(batches())
    good = fit(clean, data)
    a, b, c = (spoil(next(batches(1)), how) for how in ("input", "loss", "gradient"))
    history = fit(spoilt, [data[0], a, data[1], b, c, *data[2:]])
    for a, b in zip(state(clean), state(spoilt), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(spoilt.optimizer.iterations) == STEPS
    assert history.pop("skipped_steps") == [3]
    good.pop("skipped_steps")
    assert history == {name: pytest.approx(values, rel=1e-6) for name, values in good.items()}


def test_seeds_advance_even_when_a_step_is_skipped():
    model = Regression(network(dropout=0.5))
    model.compile(keras.optimizers.Adam(0.01))
    data = list(batches())
    fit(model, [*data, spoil(data[0], "input")])
    seed = next(v for v in model.non_trainable_variables if v.name == "seed_generator_state")
    assert array(seed)[1] == STEPS + 1


@pytest.mark.parametrize("how", ["input", "loss"])
def test_an_overflow_halves_the_loss_scale(how):
    model = Regression(network(dtype="mixed_float16"), {"error": 1.0, "odd": 1.0})
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), initial_scale=1024.0, dynamic_growth_steps=3
    )
    model.compile(optimizer, jit_compile=XLA)
    data = list(batches())
    fit(model, data[:1])
    before, scale = state(model), float(optimizer.dynamic_scale)
    history = fit(model, [spoil(data[1], how)])
    assert np.isnan(history["loss"]).all()
    assert (scale, float(optimizer.dynamic_scale)) == (1024.0, 512.0)
    assert history["skipped_steps"] == [1]
    after = state(model)
    changed = sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert changed == 2  # the scale and its counter
    fit(model, [*data[2:], next(batches(1))])
    assert float(optimizer.dynamic_scale) == 1024.0  # three good steps double it again
    assert int(optimizer.inner_optimizer.iterations) == 4


def test_a_too_large_loss_scale_is_lowered_until_training_works():
    model = Regression(network(dtype="mixed_float16"))
    model.compile(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=2.0**30)
    )
    data = list(batches(1)) * 30
    skipped = fit(model, data[:1])
    assert skipped["skipped_steps"] == [1] and np.isfinite(skipped["loss"]).all()
    history = fit(model, data)
    assert 0 < history["skipped_steps"][0] < 20
    assert all(np.isfinite(value).all() for value in state(model))


def test_the_mean_of_no_finite_loss_is_nan(tmp_path):
    """As `TerminateOnNaN` and `ModelCheckpoint` expect it; Keras' own mean of nothing is 0."""
    model = Regression(network())
    model.compile(keras.optimizers.SGD(0.0), jit_compile=XLA)
    good, bad = next(batches(1)), spoil(next(batches(1)), "input")
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.weights.h5", "loss", save_best_only=True, save_weights_only=True
    )
    # Three epochs of two steps: one has a finite loss, two have none.
    history = fit(
        model, [good, bad, bad, bad, bad, bad],
        steps=2, epochs=3, callbacks=[best, keras.callbacks.TerminateOnNaN()],
    )  # fmt: skip
    assert np.isnan(history["loss"]).tolist() == [False, True]
    assert np.isnan(history["error"]).tolist() == [False, True]
    assert best.best == history["loss"][0] > 0
    evaluated = model.evaluate(((bad,) for _ in range(1)), steps=1, verbose=0, return_dict=True)
    assert np.isnan([evaluated["loss"], evaluated["error"]]).all()


def test_evaluate_averages_and_changes_nothing():
    model = Regression(network())
    model.compile(keras.optimizers.Adam(0.01))
    data = list(batches())
    before = [array(v) for v in model.weights]
    results = model.evaluate(((batch,) for batch in data), steps=STEPS, verbose=0, return_dict=True)
    for a, b in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    errors = [float(model.compute_losses(batch, training=False)["error"]) for batch in data]
    assert results["error"] == pytest.approx(np.mean(errors), rel=1e-5)


@pytest.mark.parametrize(
    "losses, message",
    [
        ({"eror": 0.0}, "eror"),
        ({"error": np.ones(5, "float32")}, "scalar"),
        ({"error": None}, "loss 'error' is None"),
    ],
)
def test_losses_must_be_the_declared_scalars(losses, message):
    model = Regression(network())
    model.compile(keras.optimizers.Adam(0.01))
    model.compute_losses = lambda batch, training: losses
    with pytest.raises(ValueError, match=message):
        fit(model, batches(1))


@pytest.mark.backend("tensorflow")  # tf.distribute
def test_two_replicas_take_the_step_of_one():
    import tensorflow as tf

    data = list(batches(batch_size=6))
    data.insert(1, spoil(next(batches(1, 6)), "input"))  # in one replica's half alone
    signature = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in data[0].items()}
    dataset = tf.data.Dataset.from_generator(
        lambda: ((batch,) for batch in data), output_signature=(signature,)
    )

    def trained():
        plain = network()
        plain.layers[1].trainable = False  # batches of 3 and of 6 have different statistics
        model = Regression(plain)
        model.compile(keras.optimizers.Adam(0.01))
        history = model.fit(dataset, verbose=0).history
        return state(model), history

    names = tuple(device.name for device in tf.config.list_logical_devices("CPU"))
    with mirrored_strategy(names).scope():
        two, history = trained()
    one, expected = trained()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert history["skipped_steps"] == expected["skipped_steps"] == [1]
    assert history["error"] == pytest.approx(expected["error"], rel=1e-5)
