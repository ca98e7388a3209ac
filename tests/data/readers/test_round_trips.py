"""What the package writes, it reads back equal to the digit."""

import json

import numpy as np
import pytest
from PIL import Image

from keras_parts.data import load
from keras_parts.inference import FORMATS, ImageFile, find_images
from keras_parts.inference.output import LocalOutput
from keras_parts.inference.writers import RunInfo, create_writers
from keras_parts.results import ObjectMap, Parts

RUN = RunInfo(("head", "tail", "leg"), "birds")
NAMES = ("a.png", "sub/2.png", "sub/10.png")


def _parts(seed, size):
    """Blocks of parts, so that some centroids are whole numbers and others are not."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 3, (5, 4)).repeat(4, 0).repeat(3, 1)[: size[0], : size[1]]
    blocks[0, 0] = 1
    logits = 9.0 * np.eye(4, dtype=np.float32)[blocks]  # part 3 is absent
    return Parts(logits, rng.integers(0, 255, (*size, 3), np.uint8), RUN.names)


@pytest.fixture
def written(tmp_path, request):
    """(folder of images, folder of results, parts of each image) in all formats."""
    output = LocalOutput(tmp_path / "out", "test")
    output.prepare()
    parts = {name: _parts(seed, (20, 9 + seed)) for seed, name in enumerate(NAMES)}
    for name, one in parts.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(one.image).save(path)
    for kind in request.param:
        for package in FORMATS[kind][0].packages:
            pytest.importorskip(package)
        (writer,) = create_writers([kind])
        records = []
        for name, one in parts.items():
            file = ImageFile(str(tmp_path / "photos"), name, name.removesuffix(".png"))
            for target, content in writer.files(one, file).items():
                output.write(target, content)
            records.append((file, json.loads(json.dumps(writer.record(one, file)))))
        if writer.merged:
            writer.merge(records, RUN, output)
    output.close()
    return tmp_path / "photos", tmp_path / "out", parts


@pytest.mark.parametrize("written", [["coco"]], indirect=True)
def test_coco(written):
    photos, out, parts = written
    dataset = load("folder", "all", photos, masks=out / "coco.json", category="object")
    assert dataset.ids() == list(NAMES) and dataset.info.landmarks == RUN.names
    for sample, one in zip(dataset, parts.values(), strict=True):
        present = one.areas > 0
        np.testing.assert_array_equal(sample.image, one.image)
        np.testing.assert_array_equal(sample.foreground, one.foreground)
        np.testing.assert_array_equal(sample.visible, present)
        table = np.array([[row["x"], row["y"]] for row in one.table()], np.float32)
        np.testing.assert_array_equal(sample.keypoints[present], table)
    head = load("folder", "all", photos, masks=out / "coco.json", category="head")
    for sample, one in zip(head, parts.values(), strict=True):
        np.testing.assert_array_equal(sample.foreground, one.labels == 1)
        np.testing.assert_array_equal(sample.box, one.boxes[0])


def test_coco_of_several_objects(tmp_path):
    """Each object is a sample with the keypoints of its own parts."""
    pytest.importorskip("pycocotools")
    one = _parts(0, (20, 12))
    owners = np.repeat(np.uint8([1, 2]), 6)[None].repeat(20, 0)
    one = Parts(one.logits, one.image, RUN.names, object_map=ObjectMap(owners, 2))
    assert len(one.objects) == 2
    (tmp_path / "photos").mkdir()
    Image.fromarray(one.image).save(tmp_path / "photos/a.png")
    output = LocalOutput(tmp_path / "out", "test")
    output.prepare()
    (writer,) = create_writers(["coco"])
    file = ImageFile(str(tmp_path / "photos"), "a.png", "a")
    writer.merge([(file, writer.record(one, file))], RUN, output)
    output.close()
    path = tmp_path / "out/coco.json"
    dataset = load("folder", "all", tmp_path / "photos", masks=path, category="object")
    assert len(dataset) == 2
    for sample, single in zip(dataset, one.objects, strict=True):
        present = single.areas > 0
        np.testing.assert_array_equal(sample.foreground, single.foreground)
        np.testing.assert_array_equal(sample.visible, present)
        centroids = single.centroids[present]
        np.testing.assert_allclose(sample.keypoints[present], centroids, atol=1e-3)


@pytest.mark.parametrize("written", [["indexed"]], indirect=True)
def test_label_images(written):
    photos, out, parts = written
    labels = out / "indexed"
    dataset = load("folder", "all", photos, part_labels=labels, part_names=RUN.names)
    for sample, one in zip(dataset, parts.values(), strict=True):
        np.testing.assert_array_equal(sample.part_labels, one.labels)
        np.testing.assert_array_equal(sample.foreground, one.labels > 0)


@pytest.mark.parametrize("written", [["csv", "parquet"]], indirect=True)
def test_tables_are_manifests(written, monkeypatch):
    photos, out, _ = written
    for name in ("parts.csv", "parts.parquet"):
        (photos / name).write_bytes((out / name).read_bytes())
        assert [file.relative for file in find_images([photos / name])] == list(NAMES)


def test_masks_written_from_samples(tmp_path):
    for index, sample in enumerate(toy := load("toy", "train", count=2, size=33)):
        for name, pixels in (("photos", sample.image), ("masks", sample.foreground)):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    dataset = load("folder", "all", tmp_path / "photos", masks=tmp_path / "masks")
    for read, sample in zip(dataset, toy, strict=True):
        np.testing.assert_array_equal(read.image, sample.image)
        np.testing.assert_array_equal(read.foreground, sample.foreground)
