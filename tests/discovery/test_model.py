import keras
import numpy as np
import pytest
from keras import ops

from keras_parts.backbones.small import small
from keras_parts.discovery.model import OBJECTIVES, PartDiscovery
from keras_parts.discovery.teachers import Teacher
from keras_parts.discovery.views import ViewSettings
from keras_parts.errors import ConfigError
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.ops import prominence, resize_aligned

pytestmark = pytest.mark.backend
SIZE, CELLS = 33, 3
STILL = ViewSettings(
    jitter_first=False, jitter_probability=0.0, grey_probability=0.0, rotation=0.0,
    scale=(1.0, 1.0), shift=0.0, bend=0.0,
)  # fmt: skip


def batch(count=4):
    rng = np.random.default_rng(0)
    foreground = np.zeros((count, SIZE, SIZE, 1), "float32")
    foreground[:, 8:28, 6:24] = 1
    return {
        "image": rng.uniform(size=(count, SIZE, SIZE, 3)).astype("float32"),
        "foreground": foreground,
        "features": rng.normal(size=(count, CELLS, CELLS, 6)).astype("float16"),
    }


def discovery(weights=None, **options):
    keras.utils.set_random_seed(0)
    segmenter = PartSegmenter(SegmenterConfig(3, "small", size=SIZE))
    weights = weights or dict.fromkeys(OBJECTIVES, 1.0)
    return PartDiscovery(segmenter, weights, **{"clusters": np.eye(3, 6)} | options)


def test_every_loss_is_a_finite_scalar_with_a_gradient_into_the_segmenter():
    model = discovery()
    losses = model.compute_losses(batch())
    assert set(losses) == set(OBJECTIVES)
    for name, loss in losses.items():
        assert tuple(loss.shape) == () and np.isfinite(float(loss)), name


def test_only_weighted_losses_are_computed():
    assert set(discovery({"balance": 1.0}).compute_losses(batch())) == {"balance"}
    with pytest.raises(ConfigError, match="no loss is named 'colour'"):
        discovery({"colour": 1.0})


def test_views_agree_without_transforms():
    model = discovery(views=STILL, loss_size=17)
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
    losses = model.compute_losses(batch())
    assert float(losses["equivariance"]) == pytest.approx(0, abs=1e-4)


def test_views_differ_with_transforms_and_from_step_to_step():
    model = discovery()
    first, second = (
        ops.convert_to_numpy(model.make_views(batch()).warped_foreground) for _ in range(2)
    )
    assert not np.allclose(first, second)


def test_centred_descriptors_forget_what_an_image_has_all_over():
    model = discovery(views=STILL, centre=True)
    plain = batch()
    shifted = plain | {"features": plain["features"] + np.arange(6, dtype="float16")}
    first, second = (
        ops.convert_to_numpy(model.make_views(b).descriptors) for b in (plain, shifted)
    )
    np.testing.assert_allclose(first, second, atol=0.002)
    assert np.abs(first).max() > 0.01


def test_prominent_places_count_for_more():
    alike = discovery(views=STILL).make_views(batch())
    assert alike.weighted_foreground is alike.foreground
    views = discovery(views=STILL, prominence=2.0).make_views(batch())
    weights, foreground = map(ops.convert_to_numpy, (views.weighted_foreground, views.foreground))
    assert np.all(weights[foreground == 0] == 0)
    (features,) = views.feature_maps
    expected = ops.convert_to_numpy(prominence(features, views.foreground)) ** 2
    np.testing.assert_allclose(weights, foreground * expected, rtol=1e-5)


def test_each_layer_of_the_teacher_is_enlarged_directly():
    """Of 3 x 3 and 10 x 10 cells, which by way of each other make another picture."""
    network = small(16, ("stage2", "stage4"))
    teacher = Teacher(network, fit=lambda images: resize_aligned(images, (40, 40)))
    weights = {"feature_consistency": 1.0, "contrastive": 1.0}
    model = discovery(weights, teacher=teacher, clusters=None, centre=True, views=STILL)
    alone = batch()
    del alone["features"]
    maps = teacher.maps(alone["image"])
    assert [tuple(each.shape[1:3]) for each in maps] == [(10, 10), (3, 3)]
    enlarged = ops.concatenate([resize_aligned(each, (SIZE, SIZE)) for each in maps], axis=-1)
    found = model.compute_losses(alone, training=False)
    expected = model.compute_losses(alone | {"features": enlarged}, training=False)
    for name in weights:
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-4), name


def test_the_teacher_gives_one_map_where_a_loss_needs_all_channels_of_a_place():
    teacher = Teacher(small(16, ("stage2", "stage4")))
    image = {name: each for name, each in batch().items() if name != "features"}
    clusters = np.eye(3, teacher.channels)
    for options in ({"prominence": 1.0, "clusters": None}, {"clusters": clusters}):
        model = discovery(teacher=teacher, views=STILL, **options)
        (features,) = model.make_views(image).feature_maps
        assert tuple(features.shape) == (4, 9, 9, teacher.channels)
        assert np.isfinite(float(model.compute_losses(image)["clusters"]))


def test_one_pass_of_both_views_is_two_where_the_statistics_are_frozen():
    model = discovery()
    first, second = np.random.default_rng(0).random((2, 3, SIZE, SIZE, 3), "float32")
    model.segmenter.updates_statistics = False
    together = model._segment(first, second, training=True)
    for view, logits in zip((first, second), together, strict=True):
        alone = model.segmenter(view, training=True)
        np.testing.assert_allclose(
            ops.convert_to_numpy(logits), ops.convert_to_numpy(alone), atol=1e-4
        )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_lowers_the_loss(jit_compile):
    if keras.backend.backend() == "torch" and jit_compile:
        pytest.skip("torch compiles for minutes on a CPU")
    model = discovery({"balance": 0.1, "foreground": 1.0, "feature_consistency": 0.1})
    model.compile(keras.optimizers.Adam(3e-3), jit_compile=jit_compile)
    data = batch()

    def batches():
        while True:
            yield (data,)

    history = model.fit(batches(), steps_per_epoch=4, epochs=5, verbose=0, shuffle=False).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert sum(history["skipped_steps"]) == 0


def test_a_shift_of_all_features_moves_no_place_to_another_cluster_where_they_are_centred():
    losses = {}
    for centre in (True, False):
        model = discovery({"clusters": 1.0}, views=STILL, centre=centre)
        for shift in (0, 9):
            moved = batch() | {"features": batch()["features"] + shift * np.eye(6)[0]}
            losses[centre, shift] = float(model.compute_losses(moved, training=False)["clusters"])
    assert losses[True, 0] == pytest.approx(losses[True, 9], rel=1e-5)
    assert losses[False, 0] != pytest.approx(losses[False, 9], rel=1e-2)


def test_the_start_from_clusters_fades_out_and_is_not_of_evaluation():
    model = discovery({"clusters": 1.0}, views=STILL, start_steps=4)
    whole = float(model.compute_losses(batch(), training=False)["clusters"])
    faded = [float(model.compute_losses(batch())["clusters"]) for _ in range(6)]
    assert whole > 0
    np.testing.assert_allclose(faded, whole * np.array([1, 0.75, 0.5, 0.25, 0, 0]), rtol=1e-4)
    again = float(model.compute_losses(batch(), training=False)["clusters"])
    assert again == 0 and float(model.steps_made) == 6
    without = discovery({"clusters": 1.0}, clusters=None)
    assert float(without.compute_losses(batch())["clusters"]) == 0
