"""What `PartDiscovery` is trained on, in every form, and what is said of wrong forms.

`tests/test_keras_habits.py` tries the forms on every backend.
"""

import keras
import numpy as np
import pytest

from keras_parts import data
from keras_parts.discovery import PartDiscovery, create_losses
from keras_parts.discovery.batch import as_batch, check_batch, check_values
from keras_parts.discovery.losses import complete_losses
from keras_parts.errors import ConfigError, DataError
from keras_parts.keras_private import set_random_seed

SIZE = 17
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
MASKS = np.zeros((4, SIZE, SIZE, 1), bool)
MASKS[:, 4:14, 3:12] = True
BATCH = {"image": IMAGES, "foreground": MASKS}


@pytest.fixture(scope="module")
def discovery():
    """Trains the smallest network with a loss that needs no features."""
    set_random_seed(0)
    image = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 3, strides=4, padding="same")(image)
    model = PartDiscovery(keras.Model(image, maps), {"balance": 1.0}, loss_size=9)
    model.compile("sgd", run_eagerly=True)
    return model


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return IMAGES[:2], MASKS[:2]


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(2)


def tf_data_of_dictionaries():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(BATCH).batch(2)


def own_batches():
    toy = data.load("toy", "train", count=3, size=33)
    return data.Batches(toy, data.CropSettings(), batch_size=2, image_size=SIZE)


FORMS = {
    "arrays": lambda: (IMAGES, MASKS),
    "masks of rank 3": lambda: (IMAGES, MASKS[..., 0]),
    "masks of 255": lambda: (IMAGES.astype("float32"), 255 * MASKS.astype("uint8")),
    "a dictionary": lambda: (BATCH,),
    "a generator of pairs": lambda: ((each for each in [(IMAGES, MASKS)] * 2),),
    "a generator of dictionaries": lambda: ((each for each in [BATCH] * 2),),
    "a generator of lists": lambda: ((each for each in [[IMAGES, MASKS]] * 2),),
    "a PyDataset": lambda: (Sequence(1),),
    "tf.data": lambda: (tf_data(),),
    "tf.data of dictionaries": lambda: (tf_data_of_dictionaries(),),
    "batches": lambda: (own_batches(),),
}


@pytest.mark.filterwarnings("ignore:.*shuffle=True", "ignore:Your input ran out of data")
@pytest.mark.parametrize("form", FORMS)
def test_fit_and_evaluate_take(discovery, form):
    history = discovery.fit(*FORMS[form](), verbose=0).history
    assert np.isfinite(history["balance"]).all() and history["skipped_steps"] == [0]
    assert np.isfinite(discovery.evaluate(*FORMS[form](), verbose=0, return_dict=True)["balance"])


def test_validation_on_batches_and_arrays(discovery):
    for given in (own_batches(), (IMAGES, MASKS)):
        history = discovery.fit(IMAGES, MASKS, validation_data=given, verbose=0).history
        assert np.isfinite(history["val_balance"]).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((IMAGES, MASKS, np.ones(4)), "does not use sample_weight: put the weights in the dict"),
        ((BATCH, MASKS), "a dictionary and y: put the masks in the dictionary, as 'foreground'"),
        (([IMAGES, MASKS],), "a batch is list, expected a dictionary with 'image' and"),
        (({"image": IMAGES},), "no 'foreground': .* give masks of ones"),
        (({"images": IMAGES, "foreground": MASKS},), "'images', 'foreground', and no 'image'"),
        ((IMAGES,), "the batch has 'image', and no 'foreground'"),
        ((IMAGES.transpose(0, 3, 1, 2), MASKS), r"\(4, 3, 17, 17\), .* with \(0, 2, 3, 1\)"),
        ((IMAGES[..., :1], MASKS), "repeat the grey channel"),
        ((IMAGES[0], MASKS[0]), "the batch axis is missing"),
        ((IMAGES, np.zeros((4, SIZE, SIZE, 3))), "one mask for the whole object"),
        ((IMAGES, np.zeros((4, SIZE))), r"'foreground' has shape \(4, 17\)"),
        ((IMAGES, MASKS[:3]), r"'foreground' has sides \(3, 17, 17\), expected .* \(4, 17, 17\)"),
        (({**BATCH, "features": np.zeros((4, 8))},), "'features' has shape"),
        (({**BATCH, "features": np.zeros((3, 2, 2, 8))},), r"'features' has sides \(3,\)"),
    ],
)
def test_wrong_batches_are_refused(discovery, data, message):
    with pytest.raises(ConfigError, match=message):
        check_batch(as_batch(data))


def test_empty_masks_are_said():
    with pytest.warns(UserWarning, match="all masks of the first batch are empty"):
        check_values(as_batch((IMAGES, 0 * MASKS)))


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (IMAGES / 255, MASKS, "values from 0 to 1, .*: multiply them by 255"),
        (IMAGES - 128.0, MASKS, "images of the first batch have values from -128"),
        (IMAGES / 127.5 - 1, MASKS, "add 1 to them, then multiply by 127.5"),
        (IMAGES * np.nan, MASKS, "images of the first batch have values that are not a number"),
        (IMAGES, 5 * MASKS.astype(int), "values from 0 to 5, .* give labels > 0"),
        (IMAGES, -1.0 * MASKS, "masks of the first batch have values from -1 to"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_computed(discovery, images, masks, message):
    steps = float(discovery.steps_made)
    with pytest.raises(DataError, match=message):
        discovery.fit(images, masks, verbose=0)
    for one_batch in (discovery.train_on_batch, discovery.test_on_batch):
        with pytest.raises(DataError, match=message):
            one_batch(images, masks)
    assert float(discovery.steps_made) == steps
    check_values({"image": IMAGES, "foreground": MASKS})


def test_what_fit_and_compile_do_not_use_is_refused(discovery):
    with pytest.raises(ConfigError, match="does not use class_weight"):
        discovery.fit(IMAGES, MASKS, class_weight={0: 1.0})
    with pytest.raises(ConfigError, match="does not use sample_weight"):
        discovery.fit(IMAGES, MASKS, sample_weight=np.ones(4))
    for wrong in ((IMAGES / 255, MASKS), (IMAGES, MASKS, np.ones(4))):
        with pytest.raises((ConfigError, DataError), match="multiply them|sample_weight"):
            discovery.fit(IMAGES, MASKS, validation_data=wrong, verbose=0)
    with pytest.raises(ConfigError, match="ToyDataset .*, which has single samples: make batches"):
        discovery.fit(data.load("toy", "train", count=3, size=33))
    with pytest.raises(ConfigError, match="no weight above 0: {'balance': 0.0}"):
        PartDiscovery(discovery.segmenter, {"balance": 0}).compile("sgd")
    with pytest.raises(ConfigError, match=r"takes no loss: give PartDiscovery\(losses="):
        discovery.compile("sgd", "mse")
    with pytest.raises(ConfigError, match="takes no metrics"):
        discovery.compile("sgd", metrics=["accuracy"])


def test_losses_are_weights_functions_or_the_default():
    def mine(views):
        return views.step

    found = complete_losses({"balance": 2, "mine": (mine, 0.5)})
    assert found == {"balance": create_losses({"balance": 2})["balance"], "mine": (mine, 0.5)}
    default = complete_losses(None)
    assert default["equivariance"][1] == 6 and "clusters" not in default
    for wrong in ({"mine": mine}, {"mine": (mine, -1)}, {"mine": (1, mine)}, {"balance": True}):
        with pytest.raises(ConfigError, match="expected a weight of at least 0, or"):
            complete_losses(wrong)
    with pytest.raises(ConfigError, match="no loss 'mine'"):
        complete_losses({"mine": 1.0})
    with pytest.raises(ConfigError, match="losses is 'balance'"):
        complete_losses("balance")
