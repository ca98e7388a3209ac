"""Optimisers compared with Keras' own, and their options with plain arithmetic."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.errors import ConfigError
from keras_parts.keras_private import set_random_seed
from keras_parts.training.choices import OPTIMIZERS
from keras_parts.training.optimisers import Schedule, averaged_weights, create_optimizer

pytestmark = pytest.mark.backend

INITIAL = {"body": [1.0, -2.0, 3.0], "head": [0.5, 0.5]}
PLAIN = {
    "adam": lambda **kw: keras.optimizers.Adam(0.1, **kw),
    "adamw": lambda **kw: keras.optimizers.AdamW(0.1, **{"weight_decay": 0.0} | kw),
    "sgd": lambda **kw: keras.optimizers.SGD(0.1, momentum=0.9, **kw),
}


def variables():
    return [keras.Variable(ops.array(value), name=name) for name, value in INITIAL.items()]


def gradients(step):
    rng = np.random.default_rng(step)
    return [ops.array(rng.normal(size=len(v)).astype("float32")) for v in INITIAL.values()]


def run(optimizer, steps=4):
    chosen = variables()
    for step in range(steps):
        optimizer.apply(gradients(step), chosen)
    return {v.name: ops.convert_to_numpy(v.value) for v in chosen}


def in_head(variable):
    return variable.name == "head"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_without_options_it_is_the_optimizer_of_keras(name):
    ours, plain = run(create_optimizer(name, 0.1)), run(PLAIN[name]())
    for each in INITIAL:
        np.testing.assert_array_equal(ours[each], plain[each])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_head_moves_by_a_multiple_of_the_plain_step(name):
    ours = run(create_optimizer(name, 0.1, head_multiplier=10.0, is_head=in_head))
    plain = run(PLAIN[name]())
    np.testing.assert_array_equal(ours["body"], plain["body"])
    moved, expected = (each["head"] - INITIAL["head"] for each in (ours, plain))
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(moved, 10 * expected, rtol=1e-5)


def test_weight_decay_and_clipping_are_those_of_keras():
    ours = run(create_optimizer("sgd", 0.1, weight_decay=0.01, clip_norm=0.5))
    plain = run(PLAIN["sgd"](weight_decay=0.01, global_clipnorm=0.5))
    for each in INITIAL:
        np.testing.assert_array_equal(ours[each], plain[each])
    chosen = variables()
    create_optimizer("sgd", 1.0, clip_norm=0.5, momentum=0.0).apply(gradients(0), chosen)
    steps = [
        ops.convert_to_numpy(v.value) - initial
        for v, initial in zip(chosen, INITIAL.values(), strict=True)
    ]
    assert np.linalg.norm(np.concatenate(steps)) == pytest.approx(0.5, rel=1e-5)


def test_a_deserialised_optimizer_continues_like_the_original():
    first = create_optimizer(
        "adamw",
        Schedule("cosine", 0.1, 9, 2),
        weight_decay=0.01,
        clip_norm=1.0,
        ema=0.9,
        head_multiplier=3.0,
        is_head=in_head,
    )
    chosen = variables()
    for step in range(2):
        first.apply(gradients(step), chosen)
    second = keras.optimizers.deserialize(keras.optimizers.serialize(first))
    copies = [keras.Variable(ops.copy(v), name=v.name) for v in chosen]
    second.build(copies)
    for copy, original in zip(second.variables, first.variables, strict=True):
        copy.assign(original)
    for step in range(2, 4):
        first.apply(gradients(step), chosen)
        second.apply(gradients(step), copies)
    for a, b in zip(chosen, copies, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a.value), ops.convert_to_numpy(b.value))


def test_an_optimizer_with_a_head_is_serialised_only_once_built():
    with pytest.raises(ValueError, match="build the optimizer"):
        create_optimizer("adam", 0.1, head_multiplier=2.0, is_head=in_head).get_config()


def small_model(ema):
    set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="out")])
    model.compile(create_optimizer("sgd", 0.1, ema=ema), loss="mse")
    return model


def weights(model):
    return [ops.convert_to_numpy(v.value).copy() for v in model.trainable_variables]


def test_averages_can_be_read_during_training():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 3)).astype("float32"), rng.normal(size=(24, 2)).astype("float32")
    trained, averaged = [], []

    def record(step, logs):
        with averaged_weights(watched):
            averaged.append(weights(watched))
        trained.append(weights(watched))

    watched, plain = small_model(0.8), small_model(None)
    options = dict(batch_size=6, shuffle=False, verbose=0)
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=record)
    watched.fit(x, y, callbacks=[callback], **options)
    plain.fit(x, y, **options)
    for a, b in zip(weights(watched), weights(plain), strict=True):
        # Neither reading the averages nor the end of `fit` changes the trained weights.
        np.testing.assert_array_equal(a, b)
    expected = trained[0]
    for now, average in zip(trained, averaged, strict=True):
        expected = [0.8 * e + 0.2 * w for e, w in zip(expected, now, strict=True)]
        for a, b in zip(average, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.abs(averaged[-1][0] - trained[-1][0]).max() > 1e-4


def test_predicting_with_averages_leaves_them_intact():
    """Predicting on JAX donates the model's arrays; the averages must not be among them."""
    model, x = small_model(0.9), np.ones((2, 3), "float32")
    for _ in range(2):
        model.train_on_batch(x, np.zeros((2, 2), "float32"))
    before = [ops.convert_to_numpy(average.value).copy() for _, average in model.optimizer.averages]
    with averaged_weights(model):
        prediction = model.predict(x, verbose=0)
    after = [ops.convert_to_numpy(average.value) for _, average in model.optimizer.averages]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(prediction, x @ before[0] + before[1], rtol=1e-5)


def test_without_averages_the_weights_do_not_change():
    for model in (small_model(None), small_model(0.9)):
        before = weights(model)
        with averaged_weights(model):
            inside = weights(model)
        for a, b, c in zip(before, inside, weights(model), strict=True):
            np.testing.assert_array_equal(a, b)
            np.testing.assert_array_equal(a, c)


def test_weights_are_restored_after_an_error():
    model = small_model(0.9)
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    model.train_on_batch(np.ones((2, 3)), np.zeros((2, 2)))
    before = weights(model)
    with pytest.raises(RuntimeError), averaged_weights(model):
        raise RuntimeError
    for a, b in zip(before, weights(model), strict=True):
        np.testing.assert_array_equal(a, b)


def rates(schedule, steps):
    return [float(schedule(ops.array(step, "int32"))) for step in steps]


def test_schedules():
    polynomial = Schedule("polynomial", 2.0, 100)
    assert rates(polynomial, [0, 25, 100, 500]) == pytest.approx([2, 2 * 0.75**0.9, 0, 0])
    cosine = Schedule("cosine", 1.0, 110, warmup_steps=10, final=0.1)
    expected = [0.1, 1.0, 1.0, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 4)), 0.55, 0.1, 0.1]
    assert rates(cosine, [0, 9, 10, 35, 60, 110, 111]) == pytest.approx(expected, rel=1e-5)
    assert rates(Schedule("constant", 3.0, 10, 2), [0, 1, 2, 9]) == [1.5, 3, 3, 3]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Schedule("linear", 1.0, 10), "linear"),
        (lambda: Schedule("cosine", 0.0, 10), "learning_rate"),
        (lambda: Schedule("cosine", 1.0, 10, 10), "warmup_steps is 10"),
        (lambda: Schedule("cosine", 1.0, 10, final=2.0), "final"),
        (lambda: Schedule("polynomial", 1.0, 10, power=0.0), "power"),
        (lambda: create_optimizer("lamb", 0.1), "lamb"),
        (lambda: create_optimizer("adam", 0.1, weight_decay=0.1), "adamw"),
        (lambda: create_optimizer("sgd", 0.1, weight_decay=-0.1), "weight_decay"),
        (lambda: create_optimizer("sgd", 0.1, clip_norm=0.0), "clip_norm"),
        (lambda: create_optimizer("sgd", 0.1, ema=1.0), "ema"),
        (lambda: create_optimizer("sgd", 0.1, head_multiplier=0.0, is_head=in_head), "multiplier"),
        (lambda: create_optimizer("sgd", 0.1, head_multiplier=2.0), "is_head"),
        (
            lambda: create_optimizer("sgd", 0.1, head_multiplier=2.0, is_head=["no"]).build(
                variables()
            ),
            "none of the 2",
        ),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
