import json

import pytest
from click.testing import CliRunner

from keras_parts import zoo
from keras_parts.cli import main
from keras_parts.errors import IntegrityError
from keras_parts.zoo import registry
from keras_parts.zoo.cards import Card
from tests.zoo.entries import make_entry


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """A zoo of birds-4@1.0.0 and toy@1.0.0, and an empty cache."""
    monkeypatch.setenv("KERAS_PARTS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KERAS_PARTS_ZOO", raising=False)
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "entries")
    make_entry(tmp_path / "entries" / "birds-4", {"picture.png": b"picture"})
    make_entry(tmp_path / "entries" / "toy", name="toy", evaluation=None)
    return tmp_path / "entries"


def run(*arguments, code=0):
    result = CliRunner().invoke(main, ["zoo", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_list():
    heading, birds, toy = run("list").stdout.splitlines()
    columns = "name version what trained on parts MB commercial use measured data's terms"
    assert heading.split() == columns.split()
    words = birds.split()
    assert words[:6] == ["birds-4", "1.0.0", "Two", "parts", "of", "birds"]
    assert words[6:11] == ["cub", "(train)", "2", "0.0", "no"]
    assert birds.split("  ")[-2:] == ["cub-foreground: FG-NMI 55.0, FG-ARI 30.0", "research only"]
    assert "  not measured  " in toy and toy.endswith("  research only")


def test_list_some():
    assert len(run("list", "--parts", 3).stdout.splitlines()) == 1
    assert len(run("list", "--dataset", "cub", "-k", 2).stdout.splitlines()) == 3
    assert len(run("list", "--commercial").stdout.splitlines()) == 1
    models = json.loads(run("list", "--json").stdout)["models"]
    assert [Card.decode(json.dumps(model).encode(), "") for model in models] == zoo.list()


def test_a_damaged_card_is_said_and_the_others_are_listed(models):
    (models / "toy" / "card.json").write_text("{}")
    result = run("list")
    assert "Not listed: " in result.stderr and "does not follow the schema" in result.stderr
    assert len(result.stdout.splitlines()) == 2 and "birds-4" in result.stdout
    assert "does not follow the schema" in run("card", "toy", code=4).stderr


def test_card(models, tmp_path):
    text = run("card", "birds-4").stdout
    assert text.startswith("# birds-4 1.0.0\n") and (models / "birds-4").as_uri() in text
    run("card", "birds-4", "--output", tmp_path / "page")
    assert "](picture.png)" in (tmp_path / "page" / "README.md").read_text()
    assert (tmp_path / "page" / "picture.png").read_bytes() == b"picture"
    assert json.loads(run("card", "toy", "--json").stdout)["picture"] is None


def test_unknown_models_exit_with_4():
    for command in (["card", "bird-4"], ["path", "bird-4"], ["download", "bird-4", "--to", "x"]):
        assert "did you mean 'birds-4'" in run(*command, code=4).stderr
    assert "no downloaded model" in run("remove", "birds-4", code=4).stderr
    assert "--trust" in run("path", "https://zoo.example/birds", code=4).stderr
    assert "without a query" in run("path", "https://zoo.example/birds?x", code=2).stderr


def test_path(models):
    assert run("path", "birds-4").stdout == f"{models / 'birds-4'}\n"
    (models / "birds-4" / "golden.h5").write_bytes(b"hellO")
    assert "golden.h5: sha256 is" in run("path", "birds-4", code=4).stderr


def test_download_use_and_remove(models, tmp_path, monkeypatch):
    result = run("download", "birds-4", "toy@1.0.0", "--to", tmp_path / "stick")
    assert "birds-4@1.0.0, toy@1.0.0: in" in result.stdout
    monkeypatch.setenv("KERAS_PARTS_ZOO", str(tmp_path / "stick"))
    monkeypatch.setattr(registry, "PACKAGED", tmp_path / "none")
    folder = run("path", "toy").stdout.strip()
    assert str(tmp_path / "home") in folder
    assert run("list").stdout.count("1.0.0") == 2
    assert run("prune").stdout == "Removed 0.0 MB.\n"
    assert json.loads(run("remove", "toy", "--json").stdout)["bytes"] > 1000


def test_publish(models, tmp_path):
    lines = run("publish", models / "toy", tmp_path / "zoo").stdout.splitlines()
    assert lines[-2].strip() == "export KERAS_PARTS_ZOO=ADDRESS"
    assert lines[-1].strip() == "keras-parts segment photos/ --model toy"
    assert (tmp_path / "zoo" / "toy" / "1.0.0" / "card.json").is_file()
    make_entry(models / "toy", name="toy", about="other")
    assert "never changes" in run("publish", models / "toy", tmp_path / "zoo", code=4).stderr


def test_verify(monkeypatch):
    def verify(model, *, trust):
        if model == "toy@1.0.0":
            raise IntegrityError("logits differ")
        return {"difference": 1e-6, "tolerance": 1e-4}

    monkeypatch.setattr(zoo, "verify", verify)
    lines = run("verify", code=4).stdout.splitlines()
    assert lines[0].startswith("birds-4@1.0.0: sound; logits on ")
    assert lines[1] == "toy@1.0.0: NOT SOUND: logits differ"
    assert run("verify", "birds-4").stdout.endswith("differ by 1e-06\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--choose-by", "nmi"], "--choose-by: 'nmi' is not of the form PROTOCOL:METRIC"),
        (["--name", "My birds!"], "digits and hyphens, such as my-birds"),
        (["--name", "nul"], "digits and hyphens, such as my-birds"),
        (["--pairs", "1"], "--pairs: '1' is not a pair of parts"),
        (["--pairs", "2-3,a-b"], "--pairs: 'a-b' is not a pair of parts"),
    ],
)
def test_pack_usage(tmp_path, arguments, message):
    command = ["pack", tmp_path, "-o", tmp_path / "x", "--no-evaluation", *arguments]
    assert message in run(*command, code=2).stderr


def test_packing_a_run_that_does_not_name_its_data_needs_the_dataset_option(tmp_path):
    (tmp_path / "config.json").write_text('{"settings": {}, "seed": 0}')
    assert "give --dataset" in run("pack", tmp_path, "-o", tmp_path / "x", code=2).stderr


def test_pack(tmp_path):
    from tests.zoo.test_zoo import make_run

    folder, _ = make_run(tmp_path / "run", seed=1, parts=2)
    small = ["--data-option", "count=2", "--data-option", "size=65"]
    options = ["--protocol", "pixels-foreground", "--name", "mine", "--about", "Mine."]
    result = run("pack", folder, "-o", tmp_path / "entry", "--quiet", *small, *options, "--json")
    card = json.loads(result.stdout)
    assert card["name"] == "mine" and card["about"] == "Mine." and card["bytes"] < 1.3e6
    assert list(card["evaluation"]["values"]) == ["pixels-foreground"]
    assert len(card["part_names"]) == 2
    assert zoo.info(tmp_path / "entry").training.seed == 1
