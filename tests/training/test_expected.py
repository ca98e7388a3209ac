"""What a training is expected to take."""

import math

import pytest

from keras_parts import data, zoo
from keras_parts.backbones import efficientnet_lite
from keras_parts.discovery.teachers import TEACHERS
from keras_parts.models import ARCHITECTURES
from keras_parts.training import RECIPES, expected, recipe
from keras_parts.training.build import build_teacher
from keras_parts.training.expected import expected_needs, expected_seconds
from keras_parts.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def animals():
    return data.load("toy", "train", count=2, size=33)


def test_the_tables_are_those_of_the_networks():
    networks = {name: set(network.step) for name, network in expected._NETWORKS.items()}
    assert networks == {name: set(ARCHITECTURES[name].layers) for name in networks}
    for variant in efficientnet_lite.VARIANTS.values():
        known = expected._TEACHERS[variant.name]
        assert known.default == TEACHERS[variant.name].layers
        for name, (stride, channels) in known.layers.items():
            blocks = variant.blocks[: 1 + int(name.removeprefix("block_"))]
            full = 2 * math.prod(block[1] for block in blocks)
            assert (stride, channels) == (min(16, full), blocks[-1][3])


@pytest.mark.parametrize(("layers", "mirror"), [((), 0.5), (("stage2", "stage4"), 0.0)])
def test_the_size_of_the_teacher_features(animals, layers, mirror):
    chosen = recipe("toy", teacher_layers=layers, **{"crops.mirror": mirror})
    teacher = build_teacher(chosen)
    height, width = teacher.map_size(161, 161)
    crops = 2 * (2 if mirror else 1)
    size = expected_needs(chosen, animals).feature_bytes
    assert size == 2 * crops * height * width * teacher.channels


def test_a_transformer_as_teacher(animals):
    small = expected_needs(recipe("dinov2"), animals)
    assert small.feature_bytes == 2 * 2 * 32**2 * 384
    base = expected_needs(recipe("dinov2", teacher_weights="dinov2_with_registers_base"), animals)
    assert base.feature_bytes == 2 * small.feature_bytes
    tokens, weights = 32**2 + 5, 4 * (86_600_000 - 22_100_000)
    assert base.memory_bytes - small.memory_bytes == pytest.approx(
        weights + 16 * 4 * tokens * (3 * 6 * tokens + 8 * 384), rel=1e-3
    )
    own = expected_needs(recipe("dinov2", teacher_weights="my/preset"), animals)
    assert own.feature_bytes is None and own.memory_bytes < small.memory_bytes


def test_features_that_are_not_kept_or_not_known(animals):
    def size(*arguments, **settings):
        return expected_needs(recipe(*arguments, **settings), animals).feature_bytes

    assert size("paper") == 0  # the teacher runs in every step
    assert size("toy", loss_weights={"foreground": 1.0}) == 0
    assert size("default", teacher="keras_hub", teacher_layers=()) is None
    folder = str(zoo.path("toy"))
    assert size("outline", init_from=folder) == 2 * 2 * 21**2 * 5  # its own size
    of_backbone = {"teacher": "segmenter", "teacher_layers": (), "teacher_weights": folder}
    assert size("toy", **of_backbone) == size("toy")


def test_memory_grows_with_batch_and_size(animals):
    def memory(**settings):
        return expected_needs(recipe("default", **settings), animals).memory_bytes

    whole = {"teacher_size": 33, "scenes.share": 0.0}
    small_step, step = (memory(batch_size=size, **whole) for size in (4, 24))
    image = 0.34 * 257**2 * expected._NETWORKS["efficientnet_lite0"].step[4]
    assert step - small_step == pytest.approx(
        20 * (image + 65**2 * expected._LOSS_PIXEL + 3**2 * 304 * expected._FEATURE), rel=1e-6
    )
    trained_whole = memory(batch_size=24, train_from=None, **whole)
    assert trained_whole > 2 * step > 2 * memory(batch_size=24, output_stride=16, **whole)
    assert memory(batch_size=24, image_size=129, **whole) < step
    assert memory(teacher_size=641, **{"scenes.share": 0.0}) > step
    assert expected_needs(recipe("toy", architecture="mine"), animals).memory_bytes is None


def test_images_in_memory(animals, monkeypatch):
    chosen = recipe("default")
    one = 33 * 33 * 4 + 257 * 257 * 4
    assert expected._decoded_bytes(chosen, animals) == 2 * one
    assert expected._decoded_bytes(recipe("paper"), animals) == 2 * 33 * 33 * 4
    monkeypatch.setattr(expected, "_DECODED_BYTES", 1000)
    assert expected._decoded_bytes(chosen, animals) == 1000


def test_the_size_of_the_run_folder(animals):
    def size(**settings):
        return expected_needs(recipe("default", **settings), animals).folder_bytes

    weights = 4 * 2_500_000
    assert size() - size(optimizer="sgd") == 2 * weights
    assert size(ema_momentum=0.9) - size() == 2 * weights


def test_the_time_is_expected_from_a_run_like_it(tmp_path):
    run = RunFolder.create(tmp_path / "one")
    run.write_config(RECIPES["toy"].to_json(), 0)
    for step, speed in ((1, 2.0), (2, 24.0)):
        run.log({"step": step, "images_per_second": speed})
    run.segmenter.mkdir()
    (run.segmenter / "segmenter.json").write_text("{}")
    chosen = recipe("toy", steps=100)
    assert expected_seconds(chosen, tmp_path) == (100 * 12 / 24, str(run.path))
    (run.segmenter / "segmenter.json").unlink()
    assert expected_seconds(chosen, tmp_path) == (100 * 12 / 24, str(run.path))  # not finished


def test_without_a_run_the_time_is_guessed_for_two_cores(tmp_path):
    def minutes(*arguments, **settings):
        seconds, run = expected_seconds(recipe(*arguments, **settings), tmp_path)
        assert run == ""
        return seconds and seconds / 60

    assert minutes("default") == pytest.approx(6, abs=0.5)
    assert minutes("default", train_from=None) > 1.3 * minutes("default")
    assert minutes("default", image_size=513) == pytest.approx(4 * minutes("default"), rel=0.02)
    assert minutes("default", architecture="efficientnet_lite2") > minutes("default")
    assert minutes("paper") is None and minutes("toy") is None
