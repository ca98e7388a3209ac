from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.discovery.losses import complete_losses, create_losses
from keras_parts.discovery.model import PartDiscovery
from keras_parts.discovery.teachers import Teacher
from keras_parts.discovery.transforms import ViewTransforms
from keras_parts.errors import ConfigError
from keras_parts.keras_private import set_random_seed
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.ops import prominence, resize_aligned
from tests.discovery.together import TOGETHER
from tests.small import register_tiny, tiny

pytestmark = pytest.mark.backend
SIZE, CELLS = 33, 3
STILL = ViewTransforms(
    jitter_first=False, jitter_probability=0.0, grey_probability=0.0, rotation=0.0,
    scale=(1.0, 1.0), shift=0.0, bend=0.0,
)  # fmt: skip


def batch(count=4):
    rng = np.random.default_rng(0)
    foreground = np.zeros((count, SIZE, SIZE, 1), "float32")
    foreground[:, 8:28, 6:24] = 1
    return {
        "image": rng.uniform(0, 255, (count, SIZE, SIZE, 3)).astype("float32"),
        "foreground": foreground,
        "features": rng.normal(size=(count, CELLS, CELLS, 6)).astype("float16"),
    }


CENTRES = np.eye(3, 6)


def losses_of(weights, centres=CENTRES, decay_steps=1):
    settings = {"clusters": {"decay_steps": decay_steps}}
    losses = create_losses(weights, settings)
    if "clusters" in losses:
        loss, weight = losses["clusters"]
        losses["clusters"] = replace(loss, centres=centres), weight
    return losses


PLAIN = {
    "loss_size": None, "view_transforms": ViewTransforms(), "centre_features": False,
    "prominence_exponent": 0.0,
}  # fmt: skip


def discovery(weights=None, losses=None, **options):
    set_random_seed(0)
    segmenter = PartSegmenter(SegmenterConfig(3, register_tiny(), image_size=SIZE))
    losses = losses or losses_of(weights or dict.fromkeys(TOGETHER, 1.0))
    return PartDiscovery(segmenter, losses, **(PLAIN | options))


def losses_in(model, batch, training=True):
    """The losses of a model; on JAX from one program, as each operation would be compiled."""
    if keras.config.backend() != "jax":
        return model.compute_losses(batch, training=training)
    import jax

    @jax.jit
    def losses(batch):
        with keras.StatelessScope():
            return model.compute_losses(batch, training=training)

    return losses(batch)


def test_every_loss_is_a_finite_scalar():
    losses = losses_in(discovery(), batch())
    assert set(losses) == set(TOGETHER)
    for name, loss in losses.items():
        assert tuple(loss.shape) == () and np.isfinite(float(loss)), name


def test_distillation_compares_the_parts_with_those_of_the_teacher():
    model = discovery({"distillation": 1.0}, loss_size=5, view_transforms=STILL)
    first = batch()
    with pytest.raises(ConfigError, match="the teacher has 6 channels, the segmenter 3 parts"):
        model.compute_losses(first)
    views = model.make_views(first | {"features": first["features"][..., :3]})
    own = ops.convert_to_numpy(views.logits)
    losses = [
        float(model.compute_losses(first | {"features": features}, training=False)["distillation"])
        for features in (own, own + 1.0, own * np.float32([3, 1, -1]))
    ]
    np.testing.assert_allclose(losses[:2], 0, atol=1e-5)  # logits that differ by a constant
    assert losses[2] > 1e-3


def test_only_weighted_losses_are_computed():
    assert set(discovery({"balance": 1.0}).compute_losses(batch())) == {"balance"}
    with pytest.raises(ConfigError, match="there is no loss 'colour'"):
        create_losses({"colour": 1.0})
    with pytest.raises(ConfigError, match="no setting contrastive.heat: .*temperature, positives"):
        create_losses({"contrastive": 1.0}, {"contrastive": {"heat": 1}})
    with pytest.raises(ConfigError, match="balance.heat: the loss has no settings"):
        create_losses({"balance": 1.0}, {"balance": {"heat": 1}})
    with pytest.raises(ConfigError, match="contrastive.temperature is 0, expected 0.001 to 100"):
        create_losses({"contrastive": 1.0}, {"contrastive": {"temperature": 0}})


def test_losses_of_keras_are_refused():
    with pytest.raises(ConfigError, match=r"loss 'mse' takes \(y_true, y_pred.* the views"):
        complete_losses({"mse": (keras.losses.MeanSquaredError(), 1.0)})
    assert complete_losses({"own": (lambda views, scale=2.0: 0.0, 1.0)})["own"][1] == 1.0


def test_a_batch_without_features_needs_a_teacher():
    without = {name: each for name, each in batch().items() if name != "features"}
    with pytest.raises(ConfigError, match="no 'features': .* give PartDiscovery a teacher"):
        discovery().compute_losses(without)


def test_a_function_of_the_views_is_a_loss():
    model = discovery(losses={"brightness": (lambda views: ops.mean(views.lab[..., 0]), 2.0)})
    losses = model.compute_losses(batch())
    assert set(losses) == {"brightness"} and model.loss_weights == {"brightness": 2.0}
    assert 0 < float(losses["brightness"]) < 100


@pytest.mark.parametrize(("dtype", "inside"), [("bool", 1), ("uint8", 1), ("uint8", 255)])
def test_masks_of_any_range_give_the_same_views(dtype, inside):
    given = batch(2)
    model = discovery({"balance": 1.0}, view_transforms=STILL)
    expected = ops.convert_to_numpy(model.make_views(given).foreground)
    masks = (inside * given["foreground"]).astype(dtype)
    found = ops.convert_to_numpy(model.make_views(given | {"foreground": masks}).foreground)
    np.testing.assert_array_equal(found, expected)


def conv(channels, stride=4, sides=(None, None)):
    """The smallest network from images to maps."""
    image = keras.Input((*sides, 3))
    return keras.Model(
        image, keras.layers.Conv2D(channels, 3, strides=stride, padding="same")(image)
    )


def test_any_model_is_a_segmenter_and_a_teacher():
    without = {name: each for name, each in batch().items() if name != "features"}
    weights = {"feature_consistency": 1.0, "contrastive": 1.0, "foreground": 1.0}
    frozen = conv(6, 8)
    model = PartDiscovery(conv(4), weights, teacher=frozen, loss_size=9)
    assert all(np.isfinite(float(loss)) for loss in losses_in(model, without).values())
    assert tuple(model.make_views(without).logits.shape) == (4, 9, 9, 3)
    assert not frozen.trainable_variables and len(model.trainable_variables) == 2
    parts_only = PartDiscovery(conv(4), {"foreground": 1.0}, has_background=False, loss_size=9)
    views = parts_only.make_views(without)
    assert tuple(views.logits.shape) == (4, 9, 9, 4)
    total = ops.logsumexp(views.logits, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(views.foreground_logits), ops.convert_to_numpy(total), atol=1e-5
    )


def test_a_loss_gets_the_batch():
    model = discovery(losses={"mine": (lambda views: ops.mean(views.batch["label"]), 1.0)})
    assert float(model.compute_losses(batch() | {"label": np.full(4, 3.0)})["mine"]) == 3


@pytest.mark.backend("tensorflow")  # others compute with sizes that are known
def test_open_sides_are_refused():
    import tensorflow as tf

    model = discovery({"balance": 1.0})

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False)
    def losses(image):
        return model.compute_losses({"image": image, "foreground": image[..., :1]})

    with pytest.raises(ConfigError, match=r"sides \(None, None\), expected a fixed height"):
        losses(np.zeros((1, 33, 33, 3), "float32"))


def test_networks_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigError, match="the segmenter mine has no weights yet: call it"):
        PartDiscovery(keras.Sequential([keras.layers.Conv2D(4, 3)], name="mine"))
    with pytest.raises(ConfigError, match="the segmenter is function"):
        PartDiscovery(conv)
    with pytest.raises(ConfigError, match="the teacher is str"):
        PartDiscovery(conv(4), teacher="vgg19")
    with pytest.raises(ConfigError, match=r"returns \(4, 9, 9, 2\), expected .* at least 3 chan"):
        PartDiscovery(conv(2), {"balance": 1.0}).compute_losses(batch())
    image = np.zeros((4, 40, 40, 3))
    with pytest.raises(ConfigError, match=r"sides \(40, 40\), .* 16 plus 1 for tiny: .* to 33"):
        discovery().compute_losses({"image": image, "foreground": image[..., :1]})


def test_the_defaults_are_those_of_the_default_recipe():
    from keras_parts.training import recipe

    model, chosen = PartDiscovery(conv(4)), recipe()
    for name in ("loss_size", "view_transforms", "centre_features", "prominence_exponent"):
        assert getattr(model, name) == getattr(chosen, name), name
    assert {**model.loss_weights, "clusters": 5.0} == chosen.loss_weights


def test_views_agree_without_transforms():
    model = discovery(view_transforms=STILL, loss_size=17)
    views = model.make_views(batch())
    assert tuple(views.logits.shape) == (4, 17, 17, 3)
    for first, second in (
        (views.logits, views.warped_logits),
        (views.logits, views.target_logits),
        (views.foreground, views.warped_foreground),
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(first), ops.convert_to_numpy(second), atol=1e-3
        )
    losses = losses_in(model, batch())
    assert float(losses["equivariance"]) == pytest.approx(0, abs=1e-4)


def test_views_differ_with_transforms_and_from_step_to_step():
    model = discovery()
    first, second = (
        ops.convert_to_numpy(model.make_views(batch()).warped_foreground) for _ in range(2)
    )
    assert not np.allclose(first, second)


def test_a_scene_is_the_second_view_and_is_compared_where_the_crop_is():
    """The segmenter's logits are linear in the colours, which tell positions in the photograph."""
    image = keras.Input((SIZE, SIZE, 3))
    segmenter = keras.Model(image, keras.layers.Conv2D(3, 1)(image))
    model = PartDiscovery(segmenter, {"equivariance": 1.0}, **(PLAIN | {"view_transforms": STILL}))
    rows, columns = np.mgrid[:SIZE, :SIZE].astype("float32")
    # The crop shows columns 20 to 40 and rows 10 to 30 of a photograph, the scene 0 to 60 twice.
    crop = np.stack([20 + 20 * columns / 32, 10 + 20 * rows / 32, 0 * rows], axis=-1)[None]
    scene = np.stack([60 * columns / 32, 60 * rows / 32, 0 * rows], axis=-1)[None]
    distance = np.abs(scene[..., :2] - [30, 20]).max(axis=-1)[..., None]  # from the crop's middle
    inside = distance < 9.9
    views = model.make_views(
        {
            "image": crop,
            "foreground": np.ones((1, SIZE, SIZE, 1), "float32"),
            "scene": scene,
            "scene_foreground": np.ones((1, SIZE, SIZE, 1), "float32"),
            "scene_to_crop": np.array([[3.0, 0.0, 1.0]], "float32"),
        }
    )
    compared = ops.convert_to_numpy(views.warped_foreground)
    assert not compared[distance > 12].any() and (compared[inside] == 1).all()
    target, found = map(ops.convert_to_numpy, (views.target_logits, views.warped_logits))
    np.testing.assert_allclose(target[inside[..., 0]], found[inside[..., 0]], rtol=1e-3, atol=1e-3)
    assert ops.convert_to_numpy(views.second_foreground).min() > 0.999


def test_centred_descriptors_do_not_depend_on_the_mean_of_an_image():
    model = discovery(view_transforms=STILL, centre_features=True)
    plain = batch()
    shifted = plain | {"features": plain["features"] + np.arange(6, dtype="float16")}
    first, second = (
        ops.convert_to_numpy(model.make_views(b).descriptors) for b in (plain, shifted)
    )
    np.testing.assert_allclose(first, second, atol=0.002)
    assert np.abs(first).max() > 0.004


def test_prominent_positions_have_larger_weights():
    unweighted = discovery(view_transforms=STILL).make_views(batch())
    assert unweighted.weighted_foreground is unweighted.foreground
    views = discovery(view_transforms=STILL, prominence_exponent=2.0).make_views(batch())
    weights, foreground = map(ops.convert_to_numpy, (views.weighted_foreground, views.foreground))
    assert np.all(weights[foreground == 0] == 0)
    (features,) = views.feature_maps
    expected = ops.convert_to_numpy(prominence(features, views.foreground)) ** 2
    np.testing.assert_allclose(weights, foreground * expected, rtol=1e-5)


def test_each_layer_of_the_teacher_is_upsampled_directly():
    """The layers have 3 x 3 and 10 x 10 positions: upsampling twice would give other values."""
    network = tiny(16, ("quarter", "sixteenth"))
    teacher = Teacher(network, resize=lambda images: resize_aligned(images, (40, 40)))
    weights = {"feature_consistency": 1.0, "contrastive": 1.0}
    model = discovery(weights, teacher=teacher, centre_features=True, view_transforms=STILL)
    without = {name: each for name, each in batch().items() if name != "features"}
    maps = teacher.maps(without["image"])
    assert [tuple(each.shape[1:3]) for each in maps] == [(10, 10), (3, 3)]
    upsampled = ops.concatenate([resize_aligned(each, (SIZE, SIZE)) for each in maps], axis=-1)
    found = losses_in(model, without, training=False)
    expected = losses_in(model, without | {"features": upsampled}, training=False)
    for name in weights:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-4), name


def test_prominence_and_clusters_take_all_channels_of_a_position():
    teacher = Teacher(tiny(16, ("quarter", "sixteenth")))
    without = {name: each for name, each in batch().items() if name != "features"}
    losses = losses_of({"clusters": 1.0}, np.eye(3, teacher.channels))
    for exponent, count in ((1.0, 1), (0.0, 2)):
        model = discovery(
            losses=losses,
            teacher=teacher,
            view_transforms=STILL,
            prominence_exponent=exponent,
        )
        views = model.make_views(without)
        assert len(views.feature_maps) == count
        assert tuple(views.compared_features.shape) == (4, 9, 9, teacher.channels)
        assert np.isfinite(float(losses_in(model, without)["clusters"]))


def test_both_views_in_one_pass_have_the_logits_of_two_passes():
    model = discovery()
    first, second = 255 * np.random.default_rng(0).random((2, 3, SIZE, SIZE, 3), "float32")
    model.segmenter.updates_statistics = False
    together = model.segment_views(first, second, training=True)
    for view, logits in zip((first, second), together, strict=True):
        alone = model.segmenter(view, training=True)
        np.testing.assert_allclose(
            ops.convert_to_numpy(logits), ops.convert_to_numpy(alone), atol=1e-4
        )


@pytest.mark.parametrize(
    "jit_compile",
    [
        # JAX compiles each operation by itself, which takes longer than the step.
        pytest.param(False, marks=pytest.mark.backend("tensorflow", "torch")),
        # PyTorch compiles for minutes on a CPU.
        pytest.param(True, marks=pytest.mark.backend("tensorflow", "jax")),
    ],
)
@pytest.mark.slow
def test_training_lowers_the_loss(jit_compile):
    model = discovery({"balance": 0.1, "foreground": 1.0, "feature_consistency": 0.1})
    model.compile(keras.optimizers.Adam(3e-2), jit_compile=jit_compile)
    data = batch()
    data["image"] = 0.2 * data["image"] + 200 * data["foreground"]  # the object is bright

    def batches():
        while True:
            yield (data,)

    history = model.fit(batches(), steps_per_epoch=4, epochs=5, verbose=0, shuffle=False).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert sum(history["skipped_steps"]) == 0


def test_the_cluster_loss_of_centred_features_does_not_depend_on_their_mean():
    losses = {}
    for centre in (True, False):
        model = discovery({"clusters": 1.0}, view_transforms=STILL, centre_features=centre)
        for shift in (0, 9):
            moved = batch() | {"features": batch()["features"] + shift * np.eye(6)[0]}
            losses[centre, shift] = float(losses_in(model, moved, training=False)["clusters"])
    assert losses[True, 0] == pytest.approx(losses[True, 9], rel=1e-5)
    assert losses[False, 0] != pytest.approx(losses[False, 9], rel=1e-2)


def test_the_cluster_loss_decays_with_training_steps_only():
    model = discovery(losses=losses_of({"clusters": 1.0}, decay_steps=4), view_transforms=STILL)
    first = float(model.compute_losses(batch(), training=False)["clusters"])
    trained = [float(model.compute_losses(batch())["clusters"]) for _ in range(6)]
    assert first > 0
    np.testing.assert_allclose(trained, first * np.array([1, 0.75, 0.5, 0.25, 0, 0]), rtol=1e-4)
    last = float(model.compute_losses(batch(), training=False)["clusters"])
    assert last == 0 and float(model.steps_made) == 6
    no_centres = discovery(losses=losses_of({"clusters": 1.0}, centres=None))
    assert float(no_centres.compute_losses(batch())["clusters"]) == 0
