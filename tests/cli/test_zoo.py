import json

from click.testing import CliRunner

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.errors import IntegrityError
from keras_parts.zoo import Card, FileRecord

RECORD = FileRecord("0" * 64, 1)
CARD = Card(
    name="birds-4",
    version="1.2.0",
    dataset="cub",
    split="train",
    parts=4,
    part_names=("head", "body", "wing", "tail"),
    architecture="small",
    recipe="default",
    seed=0,
    metrics={"cub-foreground": {"FG-NMI": 55.04, "FG-ARI": 30.0}},
    files={"segmenter.json": RECORD, "segmenter.weights.h5": RECORD},
    licence="Apache-2.0",
)


def test_list(monkeypatch):
    monkeypatch.setattr(zoo, "list", lambda: [CARD])
    result = CliRunner().invoke(main, ["zoo", "list"])
    assert result.exit_code == 0
    heading, row = result.stdout.splitlines()
    assert heading.split() == ["name", "version", "trained", "on", "parts", "measured"]
    assert row.split()[:5] == ["birds-4", "1.2.0", "cub", "(train)", "4"]
    assert row.endswith("cub-foreground: FG-NMI 55.0, FG-ARI 30.0")


def test_list_as_json(monkeypatch):
    monkeypatch.setattr(zoo, "list", lambda: [CARD])
    result = CliRunner().invoke(main, ["zoo", "list", "--json"])
    (model,) = json.loads(result.stdout)["models"]
    assert Card.from_json(model) == CARD


def test_damaged_card(monkeypatch):
    def damaged():
        raise IntegrityError("card.json: not a card")

    monkeypatch.setattr(zoo, "list", damaged)
    result = CliRunner().invoke(main, ["zoo", "list"])
    assert result.exit_code == 4
    assert "card.json: not a card" in result.stderr
