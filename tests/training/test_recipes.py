import json

import pytest

from keras_parts.errors import ConfigError
from keras_parts.training.recipes import RECIPES, Recipe, parse_setting, recipe


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip(name):
    chosen = recipe(name)
    assert Recipe.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_settings_reach_inside_and_leave_the_rest():
    chosen = recipe("paper", parts=8, **{"weights.balance": 1.5, "views.hue": 0.1})
    assert chosen.parts == 8 and chosen.weights["balance"] == 1.5 and chosen.views.hue == 0.1
    assert chosen.weights["equivariance"] == 5700 and chosen.views.rotation == 60
    assert "balance" not in recipe("paper").weights


def test_the_papers_optimisation():
    paper = recipe("paper")
    assert (paper.optimizer, paper.learning_rate, paper.head_multiplier) == ("sgd", 1e-5, 10)
    assert (paper.schedule, paper.clip_norm, paper.warmup, paper.ema) == ("polynomial", 5, 0, None)
    assert (paper.batch_size, paper.size, paper.precision) == (6, 256, "float32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parts": 1}, "parts is 1, expected 2 to 64"),
        ({"part": 4}, "no setting 'part'"),
        ({"steps": 2.5}, "steps is 2.5, expected a whole number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', expected a number"),
        ({"optimizer": "lion"}, "optimizer is 'lion', expected one of adam"),
        ({"weights.contrastive": -1}, "weights.contrastive is -1"),
        ({"views.scale": (2, 1)}, "views.scale"),
        ({"steps": 10, "warmup": 10}, "warmup is 10, expected fewer than the 10 steps"),
        ({"steps_per_execution": 0}, "steps_per_execution is 0, expected 1 to"),
        ({"views.zoom": 1}, "no setting 'views.zoom'"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        recipe(**settings)


def test_unknown_recipes_are_named():
    with pytest.raises(ConfigError, match="no recipe 'papr'; there are default, paper, toy"):
        recipe("papr")


def test_settings_of_the_command_line():
    assert parse_setting("weights.balance=1.5") == ("weights.balance", 1.5)
    assert parse_setting("loss_size=null") == ("loss_size", None)
    assert parse_setting("teacher=vgg19") == ("teacher", "vgg19")
    with pytest.raises(ConfigError, match="name=value"):
        parse_setting("balance")
