"""Recipes as TOML files, and from the config.json of a run."""

import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.training.recipe_files import read_recipe, to_toml
from keras_parts.training.recipes import RECIPES, recipe
from keras_parts.training.run_folder import RunFolder


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine.toml"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return make


@pytest.mark.parametrize("name", RECIPES)
def test_a_shown_recipe_is_read_again(write, name, caplog):
    assert read_recipe(write(to_toml(RECIPES[name]))) == RECIPES[name]
    changes = {"train_from": None, "steps": 7, "warmup_steps": 3, "loss_weights.balance": 0.5}
    changed = RECIPES[name].with_settings(changes)
    assert recipe(write(to_toml(changed))) == changed and not caplog.records


def test_a_file_has_only_what_differs(write):
    path = write(
        'name = "paper"\nnum_parts = 8\ncontrastive.temperature = 0.2\n'
        "none = ['clip_norm']\n[crops]\npadding = 0.2\n"
    )
    chosen = recipe(path, num_parts=6)
    expected = recipe("paper", num_parts=6, clip_norm=None, **{"crops.padding": 0.2})
    assert chosen == expected.with_settings({"contrastive.temperature": 0.2})


def test_the_settings_of_a_run(tmp_path):
    chosen = recipe("toy", steps=9, init_from="~/there")
    RunFolder.create(tmp_path / "run").write_config(chosen.to_json(), 0)
    for path in (tmp_path / "run", tmp_path / "run/config.json"):
        assert read_recipe(path).steps == 9 and "~" not in read_recipe(path).init_from


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("steps = many", DataError, "mine.toml: is not TOML: Invalid value"),
        ("stepps = 3", ConfigError, "mine.toml: recipe: there is no setting 'stepps'.*'steps'"),
        ("steps = 0", ConfigError, "mine.toml: recipe: steps is 0, expected 1 to"),
        ("name = 'none'", ConfigError, "name is 'none', expected one of default"),
        ("none = 3", ConfigError, "none is 3, expected a list"),
        ("[crops]\nx = 3", ConfigError, "mine.toml: recipe: there is no setting 'crops.x'"),
    ],
)
def test_a_wrong_file_is_named(write, text, error, message):
    with pytest.raises(error, match=message):
        read_recipe(write(text))


def test_missing_files(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        recipe(str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="and files such as mine.toml"):
        recipe("nothing")
