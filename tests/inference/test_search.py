"""Search by part in the descriptors of a results folder."""

import csv
import json
import re

import numpy as np
import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.inference import PartIndex, descriptors, search, segment_files
from keras_parts.results import ObjectMap, Parts
from tests.inference.doubles import predictor

NAMES = ("head and beak", "tail", "left wing", "right wing")
CHANNELS = 6


def picture(vectors, shown=(1, 2, 3, 4), path=None):
    """Parts with the given descriptors, of which some are shown."""
    logits = np.zeros((4, 8, 5), np.float32)
    for label in shown:
        logits[1:3, label, label] = 9
    logits[..., 0] = 1
    return Parts(logits, names=NAMES, descriptors=np.float32(vectors), path=path)


def write_folder(folder, vectors, keys, root="/photos", **record):
    """A results folder with descriptors; keys are (image, part, object)."""
    folder.mkdir()
    configuration = {"formats": ["descriptors-npy"], "names": NAMES, "model": "birds"}
    arguments = {"paths": ["my photos"], "model": "runs/birds", "looks": 2, "flip": True}
    content = {"format": 1, "batch_size": 8, "status": "complete", "root": str(root)}
    content |= {"configuration": configuration, "arguments": arguments} | record
    (folder / "run.json").write_text(json.dumps(content))
    np.save(folder / "descriptors.npy", np.float32(vectors))
    with open(folder / "descriptors.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "part", "name", "object"))
        table.writerows((image, part, NAMES[part - 1], number) for image, part, number in keys)
    return folder


def some(count=50, seed=0):
    """Descriptors of all parts of `count` objects, two in each image, but for some parts."""
    rng = np.random.default_rng(seed)
    keys = [(f"{n // 2}.jpg", part, 1 + n % 2) for n in range(count) for part in (1, 2, 3, 4)]
    keys = [key for key in keys if rng.random() < 0.9]
    vectors = rng.normal(size=(len(keys), CHANNELS)) * [1, 5, 1, 2, 1, 0] + [0, 9, -3, 0, 0, 7]
    return np.float32(vectors), keys


def expected(vectors, keys, queries, labels):
    """The mean cosine of each object, by the definition."""
    found = {}
    for label in labels:
        chosen = [row for row, key in enumerate(keys) if key[1] == label]
        own, scale = vectors[chosen].astype(float), lambda values: values
        if len(chosen) >= 20:
            mean, deviation = own.mean(0), np.where(own.std(0) > 1e-5, own.std(0), np.inf)
            scale = lambda values, m=mean, d=deviation: (values - m) / d  # noqa: E731
        for row, vector in zip(chosen, scale(own), strict=True):
            for query in queries:
                like = scale(query[label - 1].astype(float))
                cosine = vector @ like / np.linalg.norm(vector) / np.linalg.norm(like)
                found.setdefault((keys[row][0], keys[row][2]), []).append(cosine)
    every = len(labels) * len(queries)
    means = {key: np.mean(values) for key, values in found.items() if len(values) == every}
    return sorted(means.items(), key=lambda item: -item[1])


@pytest.mark.parametrize("count", [6, 50])
@pytest.mark.parametrize(("labels", "pictures"), [((2,), 1), ((1, 4), 1), ((3, 1), 2)])
def test_the_nearest_objects(tmp_path, monkeypatch, count, labels, pictures):
    monkeypatch.setattr(descriptors, "_ROWS", 7)
    vectors, keys = some(count)
    queries = np.random.default_rng(1).normal(size=(pictures, 4, CHANNELS)).astype(np.float32)
    index = PartIndex(write_folder(tmp_path / "out", vectors, keys))
    found = index.search([picture(query) for query in queries], labels, top=5)
    wanted = expected(vectors, keys, queries, labels)
    assert [(one.image, one.object) for one in found] == [key for key, _ in wanted[:5]]
    np.testing.assert_allclose([one.similarity for one in found], [s for _, s in wanted[:5]], 1e-4)
    assert [one.rank for one in found] == list(range(1, 1 + len(found)))
    assert index.count(2) == sum(part == 2 for _, part, _ in keys)


@pytest.mark.parametrize("kind", ["descriptors", "descriptors-npy"])
def test_the_results_of_a_run(photos, tmp_path, kind):
    if kind == "descriptors":
        pytest.importorskip("pyarrow")
    run = predictor()
    (photos / "=1.png").write_bytes((photos / "a.png").read_bytes())
    segment_files(run, [photos], tmp_path / "out", [kind])
    like = run.segment(np.full((9, 9, 3), 7, np.uint8))
    index = PartIndex(tmp_path / "out")
    found = index.search(like, "right")
    assert {one.image for one in found} == {"=1.png", "a.png", "b.png", "sub/a.png"}
    assert found[0].similarity == pytest.approx(1, abs=1e-2)
    path = str(photos / "sub/a.png")
    like = Parts(like.logits, names=like.names, descriptors=like.descriptors, path=path)
    assert "sub/a.png" not in {one.image for one in index.search(like, "right")}
    assert index.file(found[0].image).read()


def test_objects_of_a_picture(tmp_path, caplog):
    vectors, keys = some()
    index = PartIndex(write_folder(tmp_path / "out", vectors, keys))
    assert index.objects([picture(vectors[:4])], [2])[0].present == [1, 2, 3, 4]
    logits = np.zeros((4, 8, 5), np.float32)
    logits[:, :4, 1] = logits[:, 4:6, 2] = 9
    owners = np.ones((4, 8), np.uint8)
    owners[:, 4:] = 2
    both = np.stack([vectors[:4], vectors[4:8]])
    parts = Parts(
        logits, names=NAMES, descriptors=vectors[:4], object_map=ObjectMap(owners, 2, both)
    )
    (one,) = index.objects([parts], [2])
    np.testing.assert_array_equal(one[2].descriptor, vectors[5])
    index.search([picture(vectors[:4]), picture(vectors[:4], [1], "b.jpg")], [2])
    assert "left out, without tail: 1 of 2 pictures, such as b.jpg" in caplog.text
    with pytest.raises(DataError, match="no object with tail is seen in b.jpg .it shows head and"):
        index.search(picture(vectors[:4], [1], "b.jpg"), "tail")


def test_names_of_parts(tmp_path):
    index = PartIndex(write_folder(tmp_path / "out", *some()))
    given = ("beak", "HEAD", "tail", "right", 4, "4", "left wing")
    assert [index.label(part) for part in given] == [1, 1, 2, 4, 4, 4, 3]
    for wrong, problem in (
        ("wing", "several parts have"),
        (5, "there is no"),
        ("0", "there is no"),
    ):
        with pytest.raises(ConfigError, match=rf"{problem}.* '{wrong}'.*1 head and beak, 2 ta"):
            index.label(wrong)
    assert search.part_names(tmp_path / "out/descriptors.npy") == NAMES


def test_folders_that_cannot_be_searched(tmp_path, caplog):
    vectors, keys = some()
    folder = write_folder(tmp_path / "out", vectors, keys, status="stopped")
    assert len(PartIndex(folder)) == len(keys) and "the run is not complete" in caplog.text
    (folder / "descriptors.csv").unlink()
    command = "keras-parts segment 'my photos' --model runs/birds --output .*out "
    with pytest.raises(ConfigError, match=f"{command}--format descriptors-npy --looks 2 --flip"):
        PartIndex(folder)
    record = json.loads((folder / "run.json").read_text())
    record["configuration"]["runtime"] = "onnx"
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="another folder, to search there: .*out-search --format"):
        PartIndex(folder)
    with pytest.raises(ConfigError, match="there is no folder .*/otu; did you mean 'out'"):
        PartIndex(tmp_path / "otu")
    with pytest.raises(ConfigError, match="there is no folder [^;]*$"):
        PartIndex(tmp_path / "no" / "out")
    (tmp_path / "photos").mkdir()
    with pytest.raises(ConfigError, match="no results of `segment`. Segment images first"):
        PartIndex(tmp_path / "photos")
    (tmp_path / "photos-parts").mkdir()
    with pytest.raises(ConfigError, match="photos-parts may have them"):
        PartIndex(f"{tmp_path}/photos/")
    with pytest.raises(ConfigError, match="copy the results to this machine"):
        PartIndex("s3://bucket/out")


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("descriptors.npy", lambda content: content[:-9], "damaged"),
        ("descriptors.npy", lambda content: content.replace(b"<f4", b"<i4"), "int32 of shape"),
        ("descriptors.npy", lambda content: b"", "damaged"),
        ("descriptors.csv", lambda content: content.replace(b"object", b"obj"), "the columns"),
        ("descriptors.csv", lambda content: content[: content.rfind(b"\r\n", 0, -2) + 2], "rows"),
        ("descriptors.csv", lambda content: content.replace(b".jpg,1,", b".jpg,x,"), "damaged"),
        ("descriptors.csv", lambda content: content + b"\xff", "damaged"),
    ],
)
def test_damaged_files(tmp_path, name, change, problem):
    folder = write_folder(tmp_path / "out", *some())
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    with pytest.raises(DataError, match=f"{re.escape(name)}.*{problem}"):
        PartIndex(folder)


def test_descriptors_that_are_not_finite(tmp_path, caplog):
    vectors, keys = some()
    rows = [row for row, key in enumerate(keys) if key[1] == 2]
    vectors[rows[0]] = np.nan
    index = PartIndex(write_folder(tmp_path / "out", vectors, keys))
    found = index.search(picture(vectors[rows[1:5]]), 2, top=200)
    assert len(found) == len(rows) - 1 and np.isfinite([one.similarity for one in found]).all()
    assert "1 descriptors are not finite" in caplog.text


def test_names_of_others_lead_nowhere(tmp_path):
    index = PartIndex(write_folder(tmp_path / "out", *some()))
    with pytest.raises(DataError, match="leads out"):
        index.file("../secret.jpg")


def test_a_picture_is_segmented_as_the_folder_was(photos, tmp_path, monkeypatch):
    def create(segmenter, batch_size, *, descriptors, **options):
        assert descriptors
        return predictor(settings={"model_sha256": segmenter}, **options)

    monkeypatch.setattr(search, "create_predictor", create)
    run = create("a", 1, descriptors=True, tile=20)
    segment_files(run, [photos], tmp_path / "out", ["descriptors-npy"], model="birds")
    index = PartIndex(tmp_path / "out")
    assert index.predictor("a").tile == 20 and index.model == "birds"
    with pytest.raises(ConfigError, match="segmented with another model, birds: load that one"):
        index.predictor("b")
    monkeypatch.setattr(search, "_OPTIONS", ())
    with pytest.raises(ConfigError, match="segmented with tile 20, but that of this model is None"):
        index.predictor("a")
    with pytest.raises(ConfigError, match="segment it with the predictor of this PartIndex"):
        index.search(picture(np.zeros((4, 1))), 1)
