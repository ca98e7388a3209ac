import hashlib
import json
from base64 import b64decode

import pytest

from keras_parts import zoo
from keras_parts.errors import (
    ConfigError,
    DownloadError,
    IntegrityError,
    UntrustedAddressError,
    ZooError,
)
from keras_parts.zoo.cards import FileRecord
from keras_parts.zoo.locations import Folder, read_index
from keras_parts.zoo.publishing import publish
from tests.zoo.entries import make_entry


def test_publishing_to_a_folder_for_a_web_server(tmp_path):
    root = tmp_path / "zoo"
    for version in ("1.10.0", "1.9.0"):
        make_entry(tmp_path / version, version=version)
        publish(tmp_path / version, root)
    make_entry(tmp_path / "other", name="apes")
    publish(tmp_path / "other", root)
    index = read_index(Folder(root))
    assert [(one.name, one.version) for one in index.entries] == [
        ("apes", "1.0.0"), ("birds-4", "1.9.0"), ("birds-4", "1.10.0"),
    ]  # fmt: skip
    for one in index.entries:
        home = root / one.name / one.version
        assert FileRecord.of(home / "card.json") == one.card
        assert (home / "segmenter.weights.h5").read_bytes() == b"hello"


def test_a_published_version_never_changes(tmp_path):
    root = tmp_path / "zoo"
    make_entry(tmp_path / "first")
    for _ in range(2):  # publishing again changes nothing
        publish(tmp_path / "first", root)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    make_entry(tmp_path / "second", about="other")
    with pytest.raises(ZooError, match="has another birds-4@1.0.0 already.*--version"):
        publish(tmp_path / "second", root)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_damaged_entries_are_not_published(tmp_path):
    make_entry(tmp_path / "entry")
    (tmp_path / "entry" / "golden.h5").write_bytes(b"hellO")
    with pytest.raises(IntegrityError, match=r"golden\.h5"):
        publish(tmp_path / "entry", tmp_path / "zoo")
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="run is no entry, .*: `keras-parts zoo pack "):
        publish(tmp_path / "run", tmp_path / "zoo")
    assert not (tmp_path / "zoo").exists()


class Hub:
    """The requests that Hugging Face's library makes to put small files into a private repository,
    and before it downloads them.
    """

    def __init__(self, root):
        self.root = root
        self.commits, self.tokens = [], []

    def head(self, handler):
        """What the library must know of a file; without the token, nothing."""
        self.tokens.append(handler.headers.get("Authorization"))
        path = self.root / handler.path.lstrip("/")
        if self.tokens[-1] != "Bearer hf_test":
            return handler.respond(401)
        if not path.is_file():
            return handler.respond(404)
        etag = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": "0" * 40, "Content-Length": size}
        handler.respond(200, **headers)

    def __call__(self, handler):
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        path = handler.path.partition("?")[0]
        if path == "/api/repos/create":
            self.created = json.loads(body)
            response = {"url": "https://huggingface.co/me/birds"}
        elif path == "/api/validate-yaml":
            response = {"errors": [], "warnings": []}
        elif path == "/api/models/me/birds/preupload/main":
            names = [file["path"] for file in json.loads(body)["files"]]
            response = {
                "files": [
                    {"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names
                ]
            }
        elif path == "/api/models/me/birds/commit/main":
            lines = [json.loads(line) for line in body.splitlines()]
            self.commits.append(lines[0]["value"]["summary"])
            for line in lines[1:]:
                path = self.root / "me/birds/resolve/main" / line["value"]["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b64decode(line["value"]["content"]))
            response = {
                "commitUrl": "https://huggingface.co/me/birds/commit/0",
                "commitOid": "0" * 40,
            }
        else:
            return handler.respond(404)
        handler.respond(200, json.dumps(response).encode(), Content_Type="application/json")


def test_hugging_face_and_back(server, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    server.post = Hub(server.root)
    server.head = server.post.head
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    card = make_entry(tmp_path / "entry")
    assert publish(tmp_path / "entry", "hf://me/birds", private=True) == card
    assert server.post.created["name"] == "birds" and server.post.created["organization"] == "me"
    assert server.post.commits == ["birds-4 1.0.0"]
    page = (server.root / "me/birds/resolve/main/README.md").read_text()
    assert page.startswith("---\n") and "library_name: keras-parts\n" in page
    assert "# birds-4 1.0.0" in page
    with pytest.raises(UntrustedAddressError):
        zoo.path("hf://me/birds")
    folder = zoo.path("hf://me/birds", trust=True)
    assert zoo.info(folder) == card
    requests = len(server.requests)
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    assert zoo.info("hf://me/birds", trust=True) == card
    with pytest.raises(DownloadError, match="KERAS_PARTS_OFFLINE is set"):
        zoo.info("hf://me/birds@v2", trust=True)
    assert len(server.requests) == requests
    monkeypatch.delenv("KERAS_PARTS_OFFLINE")
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    with pytest.raises(DownloadError, match=r"hf://me/birds@v2/card.json: .*401.*hf auth login"):
        zoo.info("hf://me/birds@v2", trust=True)


def test_hugging_face_refuses(server, tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    server.post = lambda handler: handler.respond(403)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    make_entry(tmp_path / "entry")
    with pytest.raises(ZooError, match="hf://me/birds: Hugging Face refuses: .*403"):
        publish(tmp_path / "entry", "hf://me/birds")
    with pytest.raises(ConfigError, match="expected hf://USER/REPOSITORY"):
        publish(tmp_path / "entry", "hf://birds")


@pytest.mark.parametrize("destination", ["", "https://example.org/zoo", "s3://bucket/zoo"])
def test_destinations_that_are_no_folder(tmp_path, monkeypatch, destination):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="expected a folder or hf://USER/REPOSITORY"):
        zoo.publish(zoo.path("toy"), destination)
    assert not any(tmp_path.iterdir())


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for destination in (tmp_path / "file", f"{tmp_path}/\0"):
        with pytest.raises(ZooError, match="cannot be written"):
            zoo.publish(zoo.path("toy"), destination)


@pytest.mark.parametrize("link", ["toy", "toy/1.0.0"])
def test_nothing_is_published_through_links(tmp_path, link):
    outside, root = tmp_path / "outside", tmp_path / "zoo"
    outside.mkdir()
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)
    with pytest.raises(ConfigError, match="is a link"):
        zoo.publish(zoo.path("toy"), root)
    assert not any(outside.iterdir())
