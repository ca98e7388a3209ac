"""Names, addresses and the folders behind them."""

import json

import pytest

from keras_parts.errors import (
    ConfigError,
    DownloadError,
    IntegrityError,
    UnknownModelError,
    UntrustedAddressError,
)
from keras_parts.zoo import models, registry
from keras_parts.zoo.locations import Address, Folder, is_address, location, locations, read_index
from keras_parts.zoo.publishing import publish
from tests.zoo import server as bad
from tests.zoo.entries import make_entry


@pytest.fixture(autouse=True)
def packaged(tmp_path, monkeypatch):
    """The package has one model, birds-4@1.0.0."""
    folder = tmp_path / "packaged"
    make_entry(folder / "birds-4")
    monkeypatch.setattr(registry, "PACKAGED", folder)
    return folder


def publish_models(root, *ids, **fields):
    for index, model in enumerate(ids):
        name, _, version = model.partition("@")
        entry = root.with_name(f"{root.name}-{index}")
        make_entry(entry, name=name, version=version, **fields)
        publish(entry, root)


def ids(entries):
    return [entry.card.id for entry in entries]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://zoo.example/a/b/", "https://zoo.example/a/b"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://zoo.example/cub/1.0.0/card.json", "https://zoo.example/cub/1.0.0"),
        ("hf://me/birds", "hf://me/birds"),
        ("hf://me/birds@v1/cub/1.0.0/card.json", "hf://me/birds@v1/cub/1.0.0"),
    ],
)
def test_addresses(text, url):
    assert is_address(text)
    assert str(location(text)) == url


@pytest.mark.parametrize(
    "text",
    [
        "https://",
        "https:///path",
        "http://[::1",
        "https://zoo.example/a?token=1",
        "https://zoo.example/a#b",
        "https://zoo.example/zoo/../other",
        "https://zoo.example/zoo/%2e%2e/other",
        "https://zoo.example/zoo/%2E./other",
        "https://zoo.example/zoo/..%5cother",
        "hf://me",
        "hf://",
        "hf://../birds",
        "hf://me/birds/../../other",
        "hf://me/birds?x=1",
    ],
)
def test_addresses_that_are_refused(text):
    with pytest.raises(ConfigError, match="address|HF|hf"):
        location(text)


def test_locations_of_the_environment(monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_ZOO", "/mnt/zoo, https://zoo.example ,,models")
    assert [str(one) for one in locations()] == ["/mnt/zoo", "https://zoo.example", "models"]
    assert [type(one) for one in locations()] == [Folder, Address, Folder]


def test_an_address_contains_addresses_below_it():
    zoo = Address("https://zoo.example/birds")
    assert zoo.contains(Address("https://zoo.example/birds/cub/1.0.0")) and zoo.contains(zoo)
    for other in (
        "https://zoo.example/birds-evil",
        "https://zoo.example",
        "http://zoo.example/birds",
    ):
        assert not zoo.contains(Address(other))


def test_models_of_the_package_take_precedence(tmp_path, monkeypatch):
    publish_models(tmp_path / "zoo", "birds-4@1.0.0", "birds-4@2.0.0", "cars@1.0.0", about="other")
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(tmp_path / "zoo"))
    assert ids(registry.entries()) == ["birds-4@1.0.0", "birds-4@2.0.0", "cars@1.0.0"]
    for specifier in ("birds-4", "birds-4@1.0.0"):
        assert registry.find(specifier).card.about == "Two parts of birds."
    assert registry.find("birds-4@2.0.0").card.about == "other"


def test_latest_version_by_number(tmp_path, monkeypatch):
    publish_models(tmp_path / "zoo", "cars@1.9.0", "cars@1.10.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(tmp_path / "zoo"))
    assert registry.find("cars").card.version == "1.10.0"
    assert registry.find("cars@1.9.0").card.version == "1.9.0"
    assert ids(registry.entries()) == ["birds-4@1.0.0", "cars@1.9.0", "cars@1.10.0"]


def test_packaged_files_need_no_download(packaged):
    entry = registry.find("birds-4")
    assert entry.packaged == packaged / "birds-4"
    (packaged / "birds-4" / "segmenter.weights.h5").unlink()
    assert registry.find("birds-4").packaged is None


@pytest.mark.parametrize(
    ("specifier", "message"),
    [
        ("bird-4", "did you mean 'birds-4'"),
        ("Birds-4", "did you mean 'birds-4'"),
        ("birds-4@9.9.9", "there are the versions 1.0.0"),
        ("birds-4@latest", "there are the versions 1.0.0"),
        ("zebra", "there are: birds-4"),
        ("../birds-4", "no model is called"),
        ("birds-4/../birds-4", "no model is called"),
        ("birds-4@../1.0.0", "no model is called"),
        ("birds-4\n", "no model is called"),
        ("", "no model is called ''"),
    ],
)
def test_unknown_names(specifier, message):
    with pytest.raises(UnknownModelError, match=message):
        registry.find(specifier)


def test_a_location_that_cannot_be_read_is_named(server, monkeypatch):
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    with pytest.raises(UnknownModelError, match="could not be read: .*index.json: HTTP 404"):
        registry.find("cars")
    assert registry.find("birds-4").card.name == "birds-4"
    assert ids(registry.entries(refresh=True)) == ["birds-4@1.0.0"]


def test_listing_makes_no_request_and_reads_the_cached_index(server, monkeypatch):
    publish_models(server.root / "zoo", "cars@1.0.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    assert ids(registry.entries()) == ["birds-4@1.0.0"]
    assert server.requests == []
    assert ids(registry.entries(refresh=True)) == ["birds-4@1.0.0", "cars@1.0.0"]
    server.requests.clear()
    assert ids(registry.entries()) == ["birds-4@1.0.0", "cars@1.0.0"]
    assert server.requests == []


def test_an_index_that_was_never_requested_is_reported_with_the_way_out(
    server, monkeypatch, caplog
):
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    registry.entries()
    assert "index.json: not requested" in caplog.text and "zoo list --refresh" in caplog.text


@pytest.fixture
def cars(server):
    """The address of the zoo of cars 1.2.0 and 1.10.0."""
    publish_models(server.root / "zoo", "cars@1.10.0", "cars@1.2.0")
    return f"{server.url}/zoo"


@pytest.mark.parametrize("path", ["/cars", "/cars/", "", "/", "/cars/1.10.0", "/cars/card.json"])
def test_an_address_without_a_version_is_that_of_the_latest(cars, path):
    with pytest.raises(UntrustedAddressError, match="--trust.*KERAS_PARTS_ZOO"):
        models.info(f"{cars}{path}")
    folder = models.path(f"{cars}{path}", trust=True)
    assert models.info(f"{cars}{path}", trust=True).id == "cars@1.10.0"
    assert (folder / "golden.h5").read_bytes() == b"hello"


def test_the_latest_of_an_address_works_without_a_network(cars, monkeypatch):
    folder = models.path(f"{cars}/cars", trust=True)
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    assert models.path(f"{cars}/cars", trust=True) == folder


def test_the_card_that_an_index_names_is_compared_with_it(cars, server):
    server.behave["card.json"] = [bad.honest, bad.other(b"{}")]
    with pytest.raises(IntegrityError, match=r"cars/1\.10\.0/card\.json: has 2 bytes"):
        models.path(f"{cars}/cars", trust=True)


def test_addresses_that_name_no_model(cars, server):
    with pytest.raises(DownloadError, match=r"2\.0\.0/card\.json: HTTP 404"):
        models.info(f"{cars}/cars/2.0.0", trust=True)
    with pytest.raises(UnknownModelError, match="/vans is not the address.* are .*/zoo/cars"):
        models.info(f"{cars}/vans", trust=True)
    publish_models(server.root / "zoo", "vans@1.0.0")
    with pytest.raises(UnknownModelError, match="one model: .*/zoo/cars, .*/zoo/vans"):
        models.info(cars, trust=True)


def test_an_index_is_not_requested_from_a_server_that_fails(cars, server):
    server.behave["card.json"] = [bad.status(500)] * 9
    with pytest.raises(DownloadError, match="HTTP 500"):
        models.info(f"{cars}/cars", trust=True)
    assert not server.requested_ranges("index.json")


def test_cached_copies_are_used_when_the_server_fails(server, monkeypatch, caplog):
    publish_models(server.root / "zoo", "cars@1.0.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    registry.find("cars")
    server.behave["index.json"] = [bad.status(500)] * 9
    server.behave["card.json"] = [bad.status(500)] * 9
    assert registry.find("cars").card.name == "cars"
    first = caplog.messages[0]
    assert "index.json: HTTP 500" in first and first.endswith("using the cached copy")
    monkeypatch.setenv("KERAS_PARTS_OFFLINE", "1")
    server.requests.clear()
    caplog.clear()
    assert registry.find("cars").card.name == "cars"
    assert server.requests == [] and not caplog.messages


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"<html>",
        b'{"format": 3, "entries": []}',
        b'{"format": 2, "entries": [{}]}',
        b" " * (2**24 + 1),
    ],
    ids=lambda content: repr(content[:30]),
)
def test_files_that_are_not_an_index(tmp_path, content):
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"index\.json"):
        read_index(Folder(tmp_path))


@pytest.mark.parametrize("name", ["..", "../x", "a/b", "/etc", "a\\b", "C:", "nul", ".", "a\x00"])
def test_names_that_would_leave_the_folder(tmp_path, name):
    publish_models(tmp_path / "zoo", "cars@1.0.0")
    index = json.loads((tmp_path / "zoo/index.json").read_text())
    index["entries"][0]["name"] = name
    (tmp_path / "zoo/index.json").write_text(json.dumps(index))
    with pytest.raises(IntegrityError, match=r"index\.json: does not follow the schema"):
        read_index(Folder(tmp_path / "zoo"))


def test_a_card_must_be_the_one_of_the_index(tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    publish_models(zoo, "cars@1.0.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(zoo))
    card = zoo / "cars/1.0.0/card.json"
    card.write_bytes(card.read_bytes().replace(b"birds only", b"Birds only"))
    with pytest.raises(IntegrityError, match=r"cars.1\.0\.0.card\.json: sha256 is"):
        registry.find("cars")


def test_a_card_of_another_name(tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    publish_models(zoo, "cars@1.0.0")
    index = (zoo / "index.json").read_text().replace('"cars"', '"vans"')
    (zoo / "index.json").write_text(index)
    (zoo / "cars").rename(zoo / "vans")
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(zoo))
    with pytest.raises(IntegrityError, match=r"is cars@1\.0\.0, expected vans@1\.0\.0"):
        registry.find("vans")


def test_reading_a_missing_file(tmp_path):
    with pytest.raises(DownloadError, match="no such file"):
        Folder(tmp_path).read("index.json", bytes, max_bytes=10)


LOGIN = b"<html>Log in to the wireless network</html>"


def cached(home):
    return sorted((home / "zoo" / "documents").glob("*"))


def test_a_login_page_is_not_cached(server, monkeypatch, home, caplog):
    publish_models(server.root / "zoo", "cars@1.0.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    server.behave["index.json"] = [bad.other(LOGIN)]
    assert ids(registry.entries(refresh=True)) == ["birds-4@1.0.0"]
    assert "Not listed: " in caplog.text and "index.json: not JSON" in caplog.text
    assert cached(home) == []
    assert ids(registry.entries(refresh=True)) == ["birds-4@1.0.0", "cars@1.0.0"]
    server.behave["index.json"] = [bad.other(LOGIN)]
    server.behave["card.json"] = [bad.other(LOGIN)]
    caplog.clear()
    assert ids(registry.entries(refresh=True)) == ["birds-4@1.0.0", "cars@1.0.0"]
    assert caplog.text.count("using the cached copy") == 2


def test_a_login_page_that_was_cached_is_removed(server, monkeypatch, home, caplog):
    """Earlier versions cached whatever the server sent."""
    publish_models(server.root / "zoo", "cars@1.0.0")
    monkeypatch.setenv("KERAS_PARTS_ZOO", f"{server.url}/zoo")
    registry.entries(refresh=True)
    for path in cached(home):
        path.write_bytes(LOGIN)
    for _ in range(2):
        assert ids(registry.entries()) == ["birds-4@1.0.0"]
    assert "index.json: not JSON" in caplog.messages[0]
    assert "no cached copy" in caplog.messages[1]
    assert registry.find("cars").card.name == "cars"


def test_damaged_cards_and_places_hide_no_others(tmp_path, monkeypatch, packaged, caplog):
    publish_models(tmp_path / "zoo", "cars@1.0.0", "vans@1.0.0")
    (tmp_path / "zoo/vans/1.0.0/card.json").write_text("{}")
    make_entry(packaged / "broken", name="broken")
    (packaged / "broken" / "card.json").write_bytes(b"[" * 10_000)
    (tmp_path / "login").mkdir()
    (tmp_path / "login" / "index.json").write_bytes(LOGIN)
    places = ("http://[::1", tmp_path / "login", tmp_path / "none", tmp_path / "zoo")
    monkeypatch.setenv("KERAS_PARTS_ZOO", ",".join(map(str, places)))
    assert ids(registry.entries()) == ["birds-4@1.0.0", "cars@1.0.0"]
    for message in ("http://[::1: not an address", "login/index.json: not JSON", "none/index.json",
                    "vans/1.0.0/card.json: has 2 bytes", "broken/card.json: "):  # fmt: skip
        assert message in caplog.text
    caplog.clear()
    assert registry.find("cars").card.id == "cars@1.0.0"
    assert "login/index.json: not JSON" in caplog.text and "[::1" not in caplog.text
    with pytest.raises(IntegrityError, match="has 2 bytes"):
        registry.find("vans")
    with pytest.raises(IntegrityError, match=r"broken.card\.json: "):
        registry.find("broken")


@pytest.mark.parametrize("text", ["127.0.0.1:8765", "localhost/zoo", "example.org/zoo"])
def test_an_address_without_http_is_no_folder(text, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_PARTS_ZOO", text)
    assert locations() == []
    assert f"write http://{text}; left out of KERAS_PARTS_ZOO" in caplog.text
    (tmp_path / "example.org" / "zoo").mkdir(parents=True)
    assert location("example.org/zoo").root.name == "zoo"
    assert location("models/mine").root.name == "mine"
