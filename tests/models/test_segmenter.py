import json

import keras
import numpy as np
import pytest
from keras import ops
from PIL import Image

from keras_parts import zoo
from keras_parts.errors import ConfigError, DataError, IntegrityError
from keras_parts.models.architectures import ARCHITECTURES
from keras_parts.models.forward import digest
from keras_parts.models.segmenter import PartSegmenter, SegmenterConfig
from keras_parts.results.parts import Parts
from tests.small import as_one_program, random_images, small_segmenter

pytestmark = pytest.mark.backend
LARGER = ("efficientnet_lite1", "efficientnet_lite2")
TOY_DIGEST = "f62a31e1fb234f9546244f33ca4197c1f4a28dfffb599f43b2c6631df44dab29"


@pytest.fixture(scope="module")
def segmenter():
    return small_segmenter()


@pytest.mark.parametrize(
    ("architecture", "output_stride"),
    [
        # Lite0 has the layers of Lite1 and Lite2, and is tested on every backend.
        pytest.param(
            name, stride, marks=[pytest.mark.backend("tensorflow")] if name in LARGER else []
        )
        for name, each in ARCHITECTURES.items()
        for stride in each.layers
    ],
)
def test_logits_at_the_output_stride(architecture, output_stride):
    config = SegmenterConfig(4, architecture, output_stride, image_size=65)
    logits = as_one_program(PartSegmenter(config), np.zeros((2, 65, 65, 3), "float32"))
    side = 64 // output_stride + 1
    assert tuple(logits.shape) == (2, side, side, 5)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def test_mirrored_images_have_mirrored_logits(segmenter):
    image = np.stack(random_images((65, 65))).astype("float32")
    # Random filters are not symmetric: make them so.
    for weight in segmenter.weights:
        value = ops.convert_to_numpy(weight)
        if value.ndim == 4:
            weight.assign(value + value[:, ::-1])
    plain = ops.convert_to_numpy(segmenter(image))
    mirrored = ops.convert_to_numpy(segmenter(image[:, :, ::-1].copy()))
    np.testing.assert_allclose(mirrored[:, :, ::-1], plain, rtol=1e-3, atol=1e-3)


def test_maps_have_the_sizes_of_the_images_and_do_not_depend_on_the_batch(segmenter):
    images = random_images((40, 60), (100, 30), (65, 65))
    maps = segmenter.maps(images)
    assert [m.shape for m in maps] == [(40, 60, 4), (100, 30, 4), (65, 65, 4)]
    for image, together in zip(images, maps, strict=True):
        np.testing.assert_allclose(segmenter.maps([image])[0], together, rtol=1e-3, atol=1e-4)


def test_flip_averaging_gives_mirrored_images_mirrored_maps(segmenter):
    (image,) = random_images((48, 64))
    maps = segmenter.maps([image, image[:, ::-1]], flip=True)
    np.testing.assert_allclose(maps[0], maps[1][:, ::-1], atol=1e-3)
    total = np.exp(maps[0]).sum(-1)
    assert total.min() > 0.9 and total.max() < 1.1


def test_segment_takes_paths_pillow_images_arrays_and_lists(segmenter, tmp_path):
    (image,) = random_images((50, 40))
    Image.fromarray(image).save(tmp_path / "a.png")
    results = segmenter.segment([tmp_path / "a.png", Image.fromarray(image), image])
    assert all(isinstance(result, Parts) for result in results)
    for result in (*results, segmenter.segment(str(tmp_path / "a.png"))):
        np.testing.assert_array_equal(result.labels, results[0].labels)
        assert result.labels.shape == (50, 40)
        assert result.path in (None, str(tmp_path / "a.png"))
    with pytest.raises(DataError, match="missing.jpg"):
        segmenter.segment(tmp_path / "missing.jpg")
    with pytest.raises(DataError, match="multiply it by 255"):
        segmenter.segment(image / 255)


def test_segment_takes_tensors_and_batches(segmenter):
    images = random_images((50, 40), (50, 40))
    wanted = [parts.labels for parts in segmenter.segment(images)]
    batch = ops.convert_to_tensor(np.stack(images), "float32")
    for parts, labels in zip(segmenter.segment(batch), wanted, strict=True):
        np.testing.assert_array_equal(parts.labels, labels)
    np.testing.assert_array_equal(segmenter.segment(batch[1]).labels, wanted[1])


def test_settings_are_expected():
    with pytest.raises(ConfigError, match=r"is given 4, expected its settings: PartSegmenter\(Seg"):
        PartSegmenter(4)


def test_segment_takes_folders_and_patterns(segmenter, tmp_path, caplog):
    for number in (10, 2):
        Image.fromarray(random_images((30, 40))[0]).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").touch()
    names = [str(tmp_path / "2.png"), str(tmp_path / "10.png")]
    for images in (tmp_path, f"{tmp_path}/*.png"):
        assert [parts.path for parts in segmenter.segment(images)] == names
    assert caplog.text.count("left out: 1 file that is not an image") == 1
    with pytest.raises(DataError, match=r"\*.gif: there are no images"):
        segmenter.segment(f"{tmp_path}/*.gif")


def test_segment_reads_a_stream_as_its_results_are_taken(segmenter):
    read = []

    def stream():
        for image in random_images(*[(30, 40)] * 5):
            read.append(image)
            yield image

    results = segmenter.segment(stream(), batch_size=2)
    assert not read
    assert next(results).size == (40, 30) and len(read) == 2
    assert len(list(results)) == 4 and len(read) == 5


def test_preset_round_trip(segmenter, tmp_path):
    segmenter.save_preset(tmp_path / "preset")
    again = PartSegmenter.from_preset(tmp_path / "preset")
    assert again.config == segmenter.config
    image = np.stack(random_images((65, 65))).astype("float32")
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again(image)), ops.convert_to_numpy(segmenter(image))
    )


def test_configurations_of_format_1_are_read(segmenter, tmp_path):
    before = digest(segmenter)
    segmenter.save_preset(tmp_path)
    path = tmp_path / "segmenter.json"
    values = json.loads(path.read_text())
    assert values["format"] == 2 and values["num_parts"] == 3 and values["resize_mode"] == "pad"
    for name, old in (("num_parts", "parts"), ("image_size", "size"), ("resize_mode", "fit")):
        values[old] = values.pop(name)
    path.write_text(json.dumps(values | {"format": 1}))
    again = PartSegmenter.from_preset(tmp_path)
    assert again.config == segmenter.config and digest(again) == before
    path.write_text(json.dumps(values | {"format": 3}))
    with pytest.raises(ConfigError, match="format is 3, expected .* 1 or 2: update the package"):
        PartSegmenter.from_preset(tmp_path)


def test_the_digest_is_that_of_format_1():
    assert digest(zoo.load("toy")) == TOY_DIGEST


def test_repr_names_architecture_and_parts(segmenter):
    assert repr(segmenter) == "<PartSegmenter small, 3 parts, input of 65 pixels>"
    assert "head, back, tail" in repr(zoo.load("toy"))


def test_errors_about_presets_name_the_file(segmenter, tmp_path):
    with pytest.raises(DataError, match="segmenter.json: there is no such file"):
        PartSegmenter.from_preset(tmp_path)
    segmenter.save_preset(tmp_path)
    path = tmp_path / "segmenter.json"
    values = json.loads(path.read_text())
    (tmp_path / "segmenter.weights.h5").write_bytes(b"not HDF5")
    with pytest.raises(IntegrityError, match="weights.h5: not a sound HDF5 file"):
        PartSegmenter.from_preset(tmp_path)
    path.write_text(json.dumps(values | {"extra": 1}))
    with pytest.raises(ConfigError, match="extra"):
        PartSegmenter.from_preset(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        PartSegmenter.from_preset(tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_parts": 1}, "num_parts is 1"),
        ({"architecture": "vgg"}, "architecture is 'vgg'"),
        ({"image_size": 256}, "try 257"),
        ({"image_size": 8}, "image_size is 8"),
        ({"output_stride": 2}, "output_stride is 2, expected one of 4, 8, 16"),
        ({"resize_mode": "crop"}, "resize_mode is 'crop'"),
        ({"part_names": ("head",)}, r"part_names has 1 names, expected 4"),
    ],
)
def test_errors_about_settings_name_field_and_value(fields, message):
    with pytest.raises(ConfigError, match=message):
        SegmenterConfig(**{"num_parts": 4} | fields)


@pytest.mark.parametrize("stride", [4, 16])
def test_float32_logits_under_mixed_precision(stride):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        segmenter = PartSegmenter(SegmenterConfig(3, "small", stride, image_size=65))
        logits = as_one_program(segmenter, np.zeros((1, 65, 65, 3)))
        assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    finally:
        keras.config.set_dtype_policy(policy)
