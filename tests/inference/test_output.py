"""Results at an address are the same files as on a disk."""

import json

import pytest

from keras_parts.errors import KerasPartsError
from keras_parts.inference import output, recorded_batch_size, segment_files
from keras_parts.inference.output import RemoteLog
from tests.inference.doubles import contents, predictor

fsspec = pytest.importorskip("fsspec")
FORMATS = ["indexed", "cutouts", "label-studio", "csv"]


@pytest.fixture
def store():
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/bucket"):
        system.rm("/bucket", recursive=True)


def remote(store):
    files = {path.removeprefix("/bucket/out/"): path for path in store.find("/bucket/out")}
    return {
        name: store.cat_file(path)
        for name, path in files.items()
        if not name.startswith(("done/", "run"))
    }


def test_results_at_an_address_are_those_on_a_disk(photos, tmp_path, store):
    (photos / "bad.png").touch()
    segment_files(predictor(), [photos], tmp_path / "out", FORMATS)
    summary = segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)
    assert summary.complete and (summary.done, summary.failed) == (3, 1)
    assert remote(store) == contents(tmp_path / "out")
    assert segment_files(predictor(), [photos], "memory://bucket/out", FORMATS).kept == 3
    assert recorded_batch_size("memory://bucket/out") == 8


def test_inputs_at_an_address(photos, tmp_path, store):
    for path in photos.rglob("*.png"):
        store.pipe_file(f"/bucket/in/{path.relative_to(photos)}", path.read_bytes())
    store.pipe_file("/bucket/in/bad.jpg", b"")
    failures = []
    summary = segment_files(
        predictor(), ["memory://bucket/in"], tmp_path / "out", FORMATS, on_failure=failures.append
    )
    assert summary.done == 3 and failures[0].path == "memory://bucket/in/bad.jpg"
    segment_files(predictor(), [photos], tmp_path / "local", FORMATS)
    (tmp_path / "out/failures.jsonl").unlink()
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


def test_an_interrupted_run_at_an_address_resumes(photos, store, monkeypatch):
    monkeypatch.setattr(RemoteLog, "LINES_PER_FILE", 1)
    with pytest.raises(KerasPartsError, match="stopped"):
        (photos / "a.jpg").touch()
        segment_files(
            predictor(batch_size=1), [photos], "memory://bucket/out", FORMATS, max_failures=0
        )
    (photos / "a.jpg").unlink()
    summary = segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)
    assert summary.complete and summary.found == 3
    record = json.loads(store.cat_file("/bucket/out/run.json"))
    assert record["status"] == "complete"


def test_overwriting_at_an_address(photos, store):
    segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)
    segment_files(predictor(), [photos], "memory://bucket/out", ["csv"], overwrite=True)
    assert set(remote(store)) == {"labels.json", "parts.csv"}


def test_a_storage_that_refuses(photos, store, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError("no such key")

    monkeypatch.setattr(type(store), "pipe_file", refuse)
    with pytest.raises(KerasPartsError, match="bucket/out.*results cannot be written: no such key"):
        segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)


class ClientError(Exception):
    """As libraries of storages have them."""


@pytest.mark.parametrize("operation", ["ls", "cat_file", "rm_file", "_open"])
def test_errors_of_a_storage_name_the_file(photos, store, monkeypatch, operation):
    def refuse(*args, **options):
        raise ClientError("no credentials")

    segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)
    (photos / "a.png").unlink()
    monkeypatch.setattr(type(store), operation, refuse)
    with pytest.raises(KerasPartsError, match="bucket/out.* cannot be [a-z]*: no credentials"):
        segment_files(predictor(), [photos], "memory://bucket/out", FORMATS)


def test_buckets_are_not_created(photos, store, monkeypatch):
    """The name may be mistyped."""

    def refuse(*args, **options):
        raise AssertionError("a bucket is created")

    monkeypatch.setattr(output, "file_system", lambda path: (store, path.replace("s3:/", "")))
    monkeypatch.setattr(type(store), "makedirs", refuse)
    assert segment_files(predictor(), [photos], "s3://bucket/out", FORMATS).complete
    assert "parts.csv" in remote(store)
