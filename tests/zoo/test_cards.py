import json

import pytest

from keras_parts.errors import IntegrityError
from keras_parts.zoo.cards import Card, FileRecord, check_files, read_card
from keras_parts.zoo.descriptions import _default_texts
from tests.zoo.entries import CARD, RECORD


def decoded(fields):
    return Card.decode(json.dumps(fields).encode(), "card.json")


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def changed(path, value):
    """CARD with the value at "a.b.c" replaced."""
    fields = json.loads(json.dumps(CARD))
    *way, last = path.split(".")
    parent = fields
    for name in way:
        parent = parent[name]
    parent[last] = value
    return fields


def test_json_round_trip():
    card = decoded(CARD)
    assert card.id == "birds-4@1.0.0"
    assert card.part_names == ("head", "tail")
    assert card.files["segmenter.json"] == FileRecord(**RECORD)
    assert json.loads(card.encode()) == CARD
    assert Card.decode(card.encode(), "again") == card


def test_digest_depends_on_the_values_not_on_their_layout():
    card = decoded(CARD)
    assert Card.decode(json.dumps(CARD, indent=7).encode(), "x").digest == card.digest
    assert decoded(changed("about", "other")).digest != card.digest
    other = changed("files", CARD["files"] | {"golden.h5": RECORD | {"size": 6}})
    assert decoded(other).digest != card.digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        *[("name", name) for name in ("../up", "Toy", "", None, "toy\n", "a/b", "con", "x" * 65)],
        *[("version", version) for version in ("1.0", "1.0.0\n", "1.0.x", "01.0.0", 1, "../1.0")],
        ("format", 1),
        ("format", "2"),
        ("parts", 0),
        ("parts", 65),
        ("parts", 2.5),
        ("parts", True),
        ("parts", "2"),
        ("parts", 3),
        ("part_names", ["head"]),
        ("part_names", ["head", 3]),
        ("part_names", ["head", "\x1b[2J"]),
        ("part_names", None),
        ("palette", [[0, 0, 256], [1, 1, 1]]),
        ("palette", [[0, 0], [1, 1]]),
        ("pairs", [[1, 1]]),
        ("pairs", [[1, 3]]),
        ("pairs", [[0, 1]]),
        ("about", None),
        ("about", "\x1b]0;title\x07"),
        ("about", "x" * 20_001),
        ("parameters", -1),
        ("segmenter", None),
        ("segmenter", {"parts": 2, "part_names": ["head", "tail"]}),
        ("segmenter", {"parts": 3, "part_names": ["head", "tail"], "architecture": "small"}),
        ("training.seed", "0"),
        ("training.seed", -1),
        ("training.dataset", 3),
        ("training.recipe", []),
        ("training.surprise", 1),
        ("evaluation.values", {"p": {"nmi": "good"}}),
        ("evaluation.values", [1]),
        ("evaluation.values", {"p": 3}),
        ("licences", {"code": "x"}),
        ("golden_tolerance", 0),
        ("golden_tolerance", 2),
        ("files", {}),
        ("files", {"segmenter.json": RECORD}),
        ("files", CARD["files"] | {"../up": RECORD}),
        ("files", CARD["files"] | {"/etc/passwd": RECORD}),
        ("files", CARD["files"] | {"model.keras": RECORD}),
        ("files", CARD["files"] | {"weights.npz": RECORD}),
        ("files", CARD["files"] | {"a\\b": RECORD}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"sha256": "0" * 63}}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"sha256": "G" * 64}}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"size": -1}}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"size": 2**40}}),
        ("files", CARD["files"] | {"segmenter.json": {"sha256": "0" * 64}}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"url": "file:///etc/passwd"}}),
        ("files", CARD["files"] | {"segmenter.json": RECORD | {"code": "x"}}),
        ("files", CARD["files"] | {"segmenter.json": None}),
        ("surprise", 1),
        ("evaluation.values", {}),
        ("evaluation.values", {"p": {"nmi": 1e308}}),
        ("evaluation.shares", [1e308, 0]),
        ("evaluation.seeds", [{"seed": 1, "values": {"p": {"nmi": 1e308}}}]),
        ("part_names", [[], []]),
        ("part_names", []),
        ("part_names", ["head", "bird\u202egpj"]),
        ("about", "two\u2028lines"),
        ("limits", "\u2066"),
        ("training.recipe", nested(900)),
        ("training.recipe", {"a": [0] * 10_001}),
        ("training.recipe", {"a": 10**400}),
        ("segmenter", CARD["segmenter"] | {"preprocessing": nested(50)}),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_wrong_fields_are_refused(path, value):
    with pytest.raises(IntegrityError, match=r"^card\.json: "):
        decoded(changed(path, value))


@pytest.mark.parametrize(
    ("found", "way_out"),
    [(4, "pip install --upgrade keras-parts"), (99, "pip install"), (1, "pack and publish")],
)
def test_cards_of_another_format_say_what_to_do(found, way_out):
    """A later format may have other fields: the format is checked before them."""
    fields = changed("format", found) | {"field of a later format": 1}
    with pytest.raises(IntegrityError, match=rf"^card\.json: has format {found}, .*{way_out}"):
        decoded(fields)


@pytest.mark.parametrize("missing", sorted(set(CARD) - {"pairs", "evaluation"}))
def test_missing_fields_are_refused(missing):
    with pytest.raises(IntegrityError, match=missing):
        decoded({name: value for name, value in CARD.items() if name != missing})


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * 2**20 + b"}", b'{"a":NaN}'],
    ids=lambda content: repr(content[:9]),
)
def test_files_that_are_not_cards(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"card\.json"):
        read_card(tmp_path)


def test_missing_card(tmp_path):
    with pytest.raises(IntegrityError, match=r"card\.json"):
        read_card(tmp_path)


def test_spread_over_seeds():
    seeds = [
        {"seed": i, "values": {"p": {"nmi": v}}, "validation": {}} for i, v in ((0, 40), (1, 50))
    ]
    card = decoded(changed("evaluation.seeds", seeds))
    mean, deviation = card.evaluation.spread("p", "nmi")
    assert (mean, round(deviation, 2)) == (45, 7.07)
    assert card.evaluation.spread("p", "ari") is None


@pytest.fixture
def entry(tmp_path):
    """(folder, card) of small files."""
    for name in CARD["files"]:
        (tmp_path / name).write_bytes(b"hello")
    return tmp_path, decoded(CARD)


def test_record_of_a_file(entry):
    folder, card = entry
    assert FileRecord.of(folder / "segmenter.json") == FileRecord(**RECORD)
    check_files(folder, card)


def test_check_names_file_expected_and_found(entry):
    folder, card = entry
    (folder / "segmenter.weights.h5").write_bytes(b"hellO")
    with pytest.raises(IntegrityError) as caught:
        check_files(folder, card)
    message = str(caught.value)
    assert "segmenter.weights.h5" in message
    assert RECORD["sha256"] in message
    assert FileRecord.of(folder / "segmenter.weights.h5").sha256 in message


@pytest.mark.parametrize("content", [b"", b"hell", b"hello "])
def test_check_compares_the_size_first(entry, content, monkeypatch):
    folder, card = entry
    (folder / "segmenter.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=f"has {len(content)} bytes, expected 5"):
        check_files(folder, card)


def test_check_reports_missing_files(entry):
    folder, card = entry
    (folder / "segmenter.json").unlink()
    with pytest.raises(IntegrityError, match=r"segmenter\.json: there is no such file"):
        check_files(folder, card)


def test_cards_of_format_2_keep_their_digest_and_format_3_has_the_best():
    assert b'"best"' not in decoded(CARD).encode()
    newer = changed("format", 3)
    best = {"cub-foreground": {"FG-NMI": 68.2}}
    newer["evaluation"] = CARD["evaluation"] | {"best": best}
    card = decoded(newer)
    assert card.evaluation.best == best and json.loads(card.encode()) == newer


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        ("folder", "the owner's images"),
        ("cub", "images of CUB-200-2011"),
        ("mine", "images of mine"),
    ],
)
def test_the_description_says_which_images_a_model_learned_from(dataset, words):
    about = _default_texts(dataset, 3, "mine")["about"]
    assert about == f"3 parts, discovered in {words} without part labels."
