"""What Keras' users are used to, on every backend; `docs/keras_habits.md` is printed from here.

Each habit is tried on the running backend. After a change, write the page with
`python tests/test_keras_habits.py`.
"""

import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts import PartDiscovery, PartSegmenter
from keras_parts.discovery.batch import as_batch
from keras_parts.errors import KerasPartsError
from keras_parts.keras_private import set_random_seed
from keras_parts.models import ImagePreprocessor, SegmenterConfig
from tests.small import register_tiny

PAGE = Path(__file__).resolve().parents[1] / "docs" / "keras_habits.md"
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}
BACKEND = keras.config.backend()
SIZE = 33
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
MASKS = np.zeros((4, SIZE, SIZE, 1), bool)
MASKS[:, 8:28, 6:24] = True


@dataclass(frozen=True)
class Habit:
    """Something that users of Keras do.

    Attributes:
        group, text: heading and row in the document.
        check: does it, and fails if it does not work; takes the desk.
        cannot: `{backend: reason}` where Keras itself cannot do it: `check` must fail there.
        refused: pattern of the message with which the package refuses it, if it does.
    """

    group: str
    text: str
    check: Callable
    cannot: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""


HABITS: list[Habit] = []


def habit(group, text, **options):
    def add(check):
        HABITS.append(Habit(group, text, check, **options))
        return check

    return add


PREDICT, SAVE, DATA, TRAIN, REFUSED = (
    "Predict", "Save and copy", "Data of `fit` and `evaluate`", "Train", "Refused in words",
)  # fmt: skip


def as_array(tensor):
    return ops.convert_to_numpy(tensor)


def assert_close(one, other, atol=1e-4):
    np.testing.assert_allclose(as_array(one), as_array(other), atol=atol)


# Predict


@habit(PREDICT, "`model(images)`: uint8 or float in 0 to 255")
def call(desk):
    assert_close(desk.segmenter(IMAGES), desk.segmenter(IMAGES.astype("float32")))


@habit(PREDICT, "`predict` gives what `model(images)` gives")
def predict(desk):
    assert_close(desk.segmenter.predict(IMAGES, verbose=0), desk.logits)


@habit(PREDICT, "`predict` on images of any size")
def predict_any_size(desk):
    assert desk.segmenter.predict(IMAGES[:1, :20], verbose=0).shape == desk.logits[:1].shape


@habit(PREDICT, "`segment` on files, arrays, batches and tensors, at the image's own size")
def segment(desk):
    (batch, one) = (desk.segmenter.segment(ops.convert_to_tensor(IMAGES[:2, :20])), IMAGES[0, :20])
    np.testing.assert_array_equal(batch[0].labels, desk.segmenter.segment(one).labels)


@habit(PREDICT, "`segment` gives what `predict` gives, upsampled")
def segment_equals_predict(desk):
    output = desk.segmenter.compiled_forward()(IMAGES)
    assert_close(output["logits"], desk.logits)


@habit(PREDICT, "as a layer of a functional model, twice, with the preprocessor in front")
def functional(desk):
    image = keras.Input((20, SIZE, 3))
    resized = ImagePreprocessor(SIZE)(image)
    other = PartSegmenter(desk.segmenter.config, name="other")
    model = keras.Model(image, [desk.segmenter(resized), other(resized)])
    found, _ = model(IMAGES[:, :20])
    assert_close(found, desk.segmenter.predict(IMAGES[:, :20], verbose=0))


@habit(PREDICT, "`mixed_bfloat16`, by argument or as the global policy")
def half_precision(desk):
    segmenter = PartSegmenter(desk.segmenter.config, dtype="mixed_bfloat16")
    logits = segmenter(IMAGES)
    assert segmenter.backbone.compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


# Save and copy


@habit(SAVE, "`save('x.keras')` and `load_model`, without custom objects and in safe mode")
def save(desk):
    desk.segmenter.save(desk.folder / "x.keras")
    loaded = keras.models.load_model(desk.folder / "x.keras")
    assert_close(loaded(IMAGES), desk.logits)


@habit(SAVE, "`save_weights` and `load_weights`")
def weights(desk):
    desk.segmenter.save_weights(desk.folder / "x.weights.h5")
    other = PartSegmenter(desk.segmenter.config)
    other.load_weights(desk.folder / "x.weights.h5")
    assert_close(other(IMAGES), desk.logits)


@habit(SAVE, "`clone_model`, `copy.deepcopy` and `pickle`")
def copies(desk):
    clone = keras.models.clone_model(desk.segmenter)
    clone.set_weights(desk.segmenter.get_weights())
    for model in (clone, copy.deepcopy(desk.segmenter), pickle.loads(pickle.dumps(desk.segmenter))):
        assert_close(model(IMAGES), desk.logits)


@habit(SAVE, "save a `PartDiscovery` as a `.keras` file, load it, and continue its training")
def discovery(desk):
    desk.discovery.save(desk.folder / "d.keras")
    loaded = keras.models.load_model(desk.folder / "d.keras")
    pairs = zip(loaded.get_weights(), desk.discovery.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)
    assert_close(loaded.optimizer.iterations, desk.discovery.optimizer.iterations)
    assert loaded.loss_weights == {"balance": 1.0}


@habit(SAVE, "`from_preset` and `save_preset`, as KerasHub has them")
def preset(desk):
    desk.segmenter.save_preset(desk.folder / "preset")
    assert_close(PartSegmenter.from_preset(desk.folder / "preset")(IMAGES), desk.logits)


# Data


def fits(desk, *data):
    history = desk.discovery.fit(*data, verbose=0).history
    assert np.isfinite(history["loss"]).all() and history["skipped_steps"] == [0]


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return IMAGES, MASKS


@habit(DATA, "NumPy arrays, with a validation split")
def arrays(desk):
    history = desk.discovery.fit(IMAGES, MASKS, validation_split=0.5, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()


@habit(DATA, "dictionaries of arrays")
def dictionary(desk):
    fits(desk, {"image": IMAGES, "foreground": MASKS[..., 0]})


@habit(DATA, "generators")
def generator(desk):
    fits(desk, (pair for pair in [(IMAGES, MASKS)]))


@habit(DATA, "`keras.utils.PyDataset`")
def py_dataset(desk):
    fits(desk, Sequence(1))


@habit(DATA, "`tf.data.Dataset`")
def tf_data(desk):
    import tensorflow as tf

    fits(desk, tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(4))


@habit(DATA, "`torch.utils.data.DataLoader`")
def data_loader(desk):
    import torch

    pairs = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(MASKS))
    fits(desk, torch.utils.data.DataLoader(pairs, batch_size=4))


@habit(DATA, "`evaluate`")
def evaluate(desk):
    found = desk.discovery.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)
    assert np.isfinite(found["balance"])


# Train


def conv(channels=4):
    image = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(channels, 3, strides=8, padding="same")(image)
    return keras.Model(image, maps)


def new_discovery(losses=None, optimizer="sgd", **options):
    """A model that trains the smallest network."""
    model = PartDiscovery(conv(), losses or {"balance": 1.0}, loss_size=9)
    model.compile(optimizer, **options)
    return model


@habit(TRAIN, "any Keras model as the segmenter, and any as the teacher")
def own_networks(desk):
    model = PartDiscovery(conv(), {"feature_consistency": 1.0}, teacher=conv(6), loss_size=9)
    losses = model.compute_losses(as_batch((IMAGES, MASKS)), training=False)
    assert np.isfinite(as_array(losses["feature_consistency"]))


@habit(TRAIN, "images of several sizes, one `fit` after the other")
def sizes(desk):
    for size in (SIZE, 25):
        desk.discovery.fit(IMAGES[:, :size, :size], MASKS[:, :size, :size], verbose=0)


@habit(TRAIN, "losses of one's own; schedules, clipping, EMA and gradient accumulation")
def optimisers(desk):
    rate = keras.optimizers.schedules.CosineDecay(1e-2, 10)
    optimizer = keras.optimizers.Adam(
        rate, clipnorm=1.0, use_ema=True, gradient_accumulation_steps=2
    )
    losses = {"mine": (lambda views: ops.mean(views.logits**2), 1.0), "balance": 0.1}
    model = new_discovery(losses, optimizer)
    before = model.get_weights()
    model.fit(IMAGES, MASKS, batch_size=2, verbose=0)
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))


@habit(TRAIN, "`EarlyStopping`, `TerminateOnNaN`, `BackupAndRestore`, `ModelCheckpoint`")
def callbacks(desk):
    chosen = [
        keras.callbacks.EarlyStopping("val_loss"),
        keras.callbacks.TerminateOnNaN(),
        keras.callbacks.BackupAndRestore(desk.folder / "backup"),
        keras.callbacks.ModelCheckpoint(desk.folder / "best.keras", save_best_only=True),
    ]
    data = (IMAGES, MASKS)
    desk.discovery.fit(*data, validation_data=data, epochs=2, callbacks=chosen, verbose=0)
    assert (desk.folder / "best.keras").is_file()


@habit(TRAIN, "a loss that is not finite is reported as NaN, and the weights stay as they were")
def divergence(desk):
    model = new_discovery({"broken": (lambda views: ops.mean(views.logits) * float("nan"), 1.0)})
    before = model.segmenter.get_weights()
    history = model.fit(IMAGES, MASKS, verbose=0).history
    assert np.isnan(history["loss"][0]) and history["skipped_steps"] == [1]
    for old, new in zip(before, model.segmenter.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@habit(TRAIN, "`fit` with labels and `compile(loss=...)` on a segmenter")
def supervised(desk):
    segmenter = PartSegmenter(desk.segmenter.config)
    labels = np.zeros(desk.logits.shape[:3], "int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    segmenter.compile("sgd", loss=loss, metrics=["accuracy"])
    assert np.isfinite(segmenter.fit(IMAGES, labels, verbose=0).history["accuracy"]).all()


@habit(
    TRAIN,
    "`steps_per_execution`",
    cannot={"torch": "[later versions of Keras](https://github.com/keras-team/keras/pull/23234)"},
)
def steps_per_execution(desk):
    new_discovery(steps_per_execution=2).fit(IMAGES, MASKS, batch_size=2, verbose=0)


@habit(
    TRAIN,
    "several devices: `DataParallel` on JAX, `MirroredStrategy` on TensorFlow",
    cannot={"torch": "[an open issue](https://github.com/keras-team/keras/issues/23418)"},
)
def devices(desk):
    if BACKEND == "tensorflow":
        import tensorflow as tf

        scope = tf.distribute.MirroredStrategy(["CPU:0"]).scope()
    else:
        scope = keras.distribution.DataParallel(auto_shard_dataset=False).scope()
    with scope:
        new_discovery().fit(IMAGES, MASKS, verbose=0)


# Refused


@habit(REFUSED, "`channels_first`", refused="channels_(first|last)")
def channels_first(desk):
    keras.config.set_image_data_format("channels_first")
    try:
        PartSegmenter(desk.segmenter.config)
    finally:
        keras.config.set_image_data_format("channels_last")


@habit(REFUSED, "`quantize`: export with `quantize=True` instead", refused="export")
def quantize(desk):
    desk.segmenter.quantize("int8")


@habit(
    REFUSED,
    "images in 0 to 1, or channels first, in `segment`, `predict`, `fit` and `evaluate`",
    refused="multiply|transpose",
)
def wrong_images(desk):
    small = IMAGES / 255
    for call in (
        lambda: desk.segmenter.predict(small, verbose=0),
        lambda: desk.discovery.fit(small, MASKS, verbose=0),
        lambda: desk.discovery.evaluate(small, MASKS, verbose=0),
    ):
        with pytest.raises(KerasPartsError, match="multiply"):
            call()
    desk.segmenter.segment(small[0])


@habit(REFUSED, "`compile(loss=...)` or metrics on `PartDiscovery`", refused="takes no loss")
def compiled_loss(desk):
    desk.discovery.compile("sgd", loss="mse")


@habit(REFUSED, "`sample_weight` and `class_weight` in its `fit`", refused="not use sample_weight")
def sample_weight(desk):
    desk.discovery.fit(IMAGES, MASKS, sample_weight=np.ones(4), verbose=0)


@pytest.fixture(scope="module")
def desk():
    set_random_seed(0)
    config = SegmenterConfig(3, register_tiny(), image_size=SIZE)
    segmenter = PartSegmenter(config)
    return SimpleNamespace(
        segmenter=segmenter, logits=as_array(segmenter(IMAGES)), discovery=new_discovery()
    )


@pytest.mark.backend
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*shuffle=True", "ignore:Your input ran out of data")
@pytest.mark.parametrize("each", HABITS, ids=lambda each: each.check.__name__)
def test_habit(each, desk, tmp_path):
    desk.folder = tmp_path
    if each.refused:
        with pytest.raises(KerasPartsError, match=each.refused):
            each.check(desk)
    elif BACKEND in each.cannot:
        with pytest.raises(Exception):  # noqa: B017  Keras raises errors of several kinds
            each.check(desk)
    else:
        each.check(desk)


def document():
    """The text of the page."""
    lines = [
        "# What works where",
        "",
        "What users of Keras are used to, and on which backends it works with `PartSegmenter` and",
        "`PartDiscovery`. A test tries every cell of these tables, on every backend.",
    ]
    for group in dict.fromkeys(each.group for each in HABITS):
        lines += [
            "",
            f"## {group}",
            "",
            f"| | {' | '.join(BACKENDS.values())} |",
            "|---|---|---|---|",
        ]
        for each in HABITS:
            if each.group == group:
                cells = [cell(each, backend) for backend in BACKENDS]
                lines.append(f"| {each.text} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def cell(each, backend):
    if each.refused:
        return "refused"
    reason = each.cannot.get(backend)
    return f"not in this version of Keras: {reason}" if reason else "yes"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == document(), f"run python {__file__}"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
