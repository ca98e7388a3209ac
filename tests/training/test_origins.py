import json

from keras_parts.training.origins import Origin, find_origins, run_origins
from tests.zoo.entries import make_entry

TERMS = {"code": "MIT", "weights": "CC0-1.0", "data": "research only"}
BIRDS = Origin("birds-4@1.0.0", "initialisation", "research only", "CC0-1.0")


def make_run(path, **config):
    (path / "segmenter").mkdir(parents=True)
    config = {"format": 2, "settings": {}, "seed": 0, "data": {"licence": "mine"}} | config
    (path / "config.json").write_text(json.dumps(config))
    return str(path / "segmenter")


def test_models_of_the_zoo_have_the_terms_of_their_cards(tmp_path):
    make_entry(tmp_path / "birds", licences=TERMS)
    settings = {
        "init_from": str(tmp_path / "birds"),
        "teacher": "segmenter",
        "teacher_weights": str(tmp_path / "birds"),
    }
    teacher = Origin("birds-4@1.0.0", "teacher", "research only", "CC0-1.0")
    assert find_origins(settings) == (BIRDS, teacher)
    assert find_origins(settings | {"init_from": None, "teacher": "dinov2_vits14"}) == ()


def test_runs_pass_on_what_they_began_from(tmp_path):
    make_entry(tmp_path / "birds", licences=TERMS)
    first = make_run(tmp_path / "first", settings={"init_from": str(tmp_path / "birds")})
    second = {"init_from": first}
    expected = (Origin("first", "initialisation", "mine"), BIRDS)
    assert find_origins(second) == expected
    (tmp_path / "birds" / "card.json").unlink()
    recorded = {"models": [origin.to_json() for origin in expected]}
    assert run_origins({"settings": second, "data": recorded}) == expected


def test_models_without_known_terms(tmp_path):
    (tmp_path / "bare").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "card.json").write_text("{}")
    for name in ("bare", "damaged", "absent"):
        found = find_origins({"init_from": str(tmp_path / name)})
        assert found == (Origin(name, "initialisation"),)


def test_runs_that_began_from_each_other_end(tmp_path):
    circle = make_run(
        tmp_path / "circle", settings={"init_from": str(tmp_path / "circle/segmenter")}
    )
    assert set(find_origins({"init_from": circle})) == {Origin("circle", "initialisation", "mine")}
