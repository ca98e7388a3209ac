import json

import pytest

from keras_parts.errors import IntegrityError
from keras_parts.zoo.cards import Card, FileRecord, read_card, verify

RECORD = {"sha256": "0" * 64, "size": 5}
FIELDS = {
    "name": "birds-4",
    "version": "1.0.0",
    "dataset": "toy",
    "split": "train",
    "parts": 2,
    "part_names": ["head", "tail"],
    "architecture": "small",
    "recipe": "toy",
    "seed": 0,
    "metrics": {"pixels-fg": {"nmi": 61.5}},
    "files": {"segmenter.json": RECORD, "segmenter.weights.h5": RECORD},
    "licence": "Apache-2.0",
    "data_licence": "",
    "about": "",
    "format": 1,
}


def test_json_there_and_back():
    card = Card.from_json(FIELDS)
    assert card.part_names == ("head", "tail")
    assert card.files["segmenter.json"] == FileRecord("0" * 64, 5)
    assert json.loads(json.dumps(card.to_json())) == FIELDS


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../up"},
        {"name": "Toy"},
        {"name": ""},
        {"name": None},
        {"name": "toy\n"},
        {"version": "1.0"},
        {"format": 2},
        {"parts": 0},
        {"parts": 256},
        {"parts": 2.0},
        {"parts": True},
        {"part_names": ["head"]},
        {"part_names": ["head", 3]},
        {"part_names": None},
        {"seed": "0"},
        {"dataset": 3},
        {"about": None},
        {"metrics": {"p": {"nmi": "good"}}},
        {"metrics": [1]},
        {"metrics": {"p": 3}},
        {"files": {}},
        {"files": {"segmenter.json": RECORD}},
        {"files": FIELDS["files"] | {"../up": RECORD}},
        {"files": FIELDS["files"] | {"/etc/passwd": RECORD}},
        {"files": FIELDS["files"] | {".hidden": RECORD}},
        {"files": FIELDS["files"] | {"a\\b": RECORD}},
        {"files": FIELDS["files"] | {"segmenter.json": {"sha256": "0" * 63, "size": 5}}},
        {"files": FIELDS["files"] | {"segmenter.json": {"sha256": "G" * 64, "size": 5}}},
        {"files": FIELDS["files"] | {"segmenter.json": {"sha256": "0" * 64, "size": -1}}},
        {"files": FIELDS["files"] | {"segmenter.json": {"sha256": "0" * 64}}},
        {"files": FIELDS["files"] | {"segmenter.json": RECORD | {"url": "x"}}},
        {"files": FIELDS["files"] | {"segmenter.json": None}},
        {"surprise": 1},
    ],
    ids=str,
)
def test_wrong_fields_are_refused(change):
    with pytest.raises(IntegrityError, match="card: "):
        Card.from_json(FIELDS | change)


@pytest.mark.parametrize("missing", FIELDS)
def test_missing_fields_are_refused(missing):
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    with pytest.raises(IntegrityError, match=missing):
        Card.from_json(fields)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b"{" + b" " * 2**20 + b"}"]
)
def test_files_that_are_no_cards(tmp_path, content):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=r"card\.json"):
        read_card(tmp_path)


def test_missing_card(tmp_path):
    with pytest.raises(IntegrityError, match=r"card\.json"):
        read_card(tmp_path)


@pytest.fixture
def entry(tmp_path):
    """(folder, card) of two small files."""
    for name in FIELDS["files"]:
        (tmp_path / name).write_bytes(b"hello")
    record = vars(FileRecord.of(tmp_path / "segmenter.json"))
    return tmp_path, Card.from_json(FIELDS | {"files": dict.fromkeys(FIELDS["files"], record)})


def test_record_of_a_file(entry):
    folder, card = entry
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert card.files["segmenter.json"] == FileRecord(known, 5)
    verify(folder, card)


def test_verify_names_file_expected_and_found(entry):
    folder, card = entry
    (folder / "segmenter.weights.h5").write_bytes(b"hellO")
    with pytest.raises(IntegrityError) as caught:
        verify(folder, card)
    message = str(caught.value)
    assert "segmenter.weights.h5" in message
    assert card.files["segmenter.json"].sha256 in message
    assert FileRecord.of(folder / "segmenter.weights.h5").sha256 in message


@pytest.mark.parametrize("content", [b"", b"hell", b"hello "])
def test_verify_goes_by_size_first(entry, content):
    folder, card = entry
    (folder / "segmenter.json").write_bytes(content)
    with pytest.raises(IntegrityError, match=f"has {len(content)} bytes, expected 5"):
        verify(folder, card)


def test_verify_misses_files(entry):
    folder, card = entry
    (folder / "segmenter.json").unlink()
    with pytest.raises(IntegrityError, match=r"segmenter\.json: cannot be read"):
        verify(folder, card)
