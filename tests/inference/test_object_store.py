"""Inputs and results at `s3://` addresses, on a server of this process."""

import pytest

from keras_parts.errors import KerasPartsError
from keras_parts.inference import segment_files
from tests.inference.doubles import contents, predictor

pytestmark = pytest.mark.integration
FORMATS = ["indexed", "csv"]


@pytest.fixture(scope="module")
def store():
    """A file system of the server with an empty bucket; the environment leads to the server."""
    moto = pytest.importorskip("moto.server", reason="pip install -r tests/integrations.txt")
    s3fs = pytest.importorskip("s3fs", reason="pip install -r tests/integrations.txt")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        system = s3fs.S3FileSystem()
        system.mkdir("bucket")
        yield system
    server.stop()


def test_results_in_a_bucket_equal_those_on_a_disk(photos, tmp_path, store):
    for path in photos.rglob("*.png"):
        store.pipe_file(f"bucket/in/{path.relative_to(photos)}", path.read_bytes())
    segment_files(predictor(), [photos], tmp_path / "out", FORMATS)
    summary = segment_files(predictor(), ["s3://bucket/in"], "s3://bucket/out", FORMATS)
    assert summary.complete and summary.done == 3
    store.invalidate_cache()
    for name, content in contents(tmp_path / "out").items():
        assert store.cat_file(f"bucket/out/{name}") == content, name
    assert segment_files(predictor(), ["s3://bucket/in"], "s3://bucket/out", FORMATS).kept == 3


def test_a_later_run_leaves_what_a_fresh_one_leaves(photos, tmp_path, store):
    segment_files(predictor(), [photos], "s3://bucket/later", FORMATS)
    (photos / "a.png").rename(photos / "a.jpg")
    (photos / "a.png").write_text("damaged")
    segment_files(predictor(), [photos], "s3://bucket/later", FORMATS)
    segment_files(predictor(), [photos], tmp_path / "fresh", FORMATS)
    store.invalidate_cache()
    names = {path.removeprefix("bucket/later/") for path in store.find("bucket/later")}
    results = {name for name in names if not name.startswith(("done/", "run"))}
    assert results == set(contents(tmp_path / "fresh"))


def test_a_missing_bucket_is_an_error_and_is_not_created(photos, store):
    with pytest.raises(KerasPartsError, match="nosuch/out"):
        segment_files(predictor(), [photos], "s3://nosuch/out", FORMATS)
    store.invalidate_cache()
    assert not store.exists("nosuch")
