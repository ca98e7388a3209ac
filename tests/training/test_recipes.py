import json

import pytest

from keras_parts.errors import ConfigError, DataError
from keras_parts.training.recipes import (
    PAPER,
    RECIPES,
    Recipe,
    parse_setting,
    recipe,
    recipe_for,
    translate_settings,
)


@pytest.mark.parametrize("name", RECIPES)
def test_json_round_trip(name):
    chosen = recipe(name)
    assert Recipe.from_json(json.loads(json.dumps(chosen.to_json()))) == chosen


def test_settings_inside_a_field_leave_the_others():
    chosen = recipe(
        "paper",
        num_parts=8,
        **{
            "loss_weights.balance": 1.5,
            "view_transforms.hue": 0.1,
            "contrastive.temperature": 0.2,
            "crops.padding": 0.1,
        },
    )
    assert chosen.num_parts == 8 and chosen.loss_weights["balance"] == 1.5
    assert chosen.view_transforms.hue == 0.1 and chosen.view_transforms.rotation == 60
    assert chosen.loss_settings["contrastive"] == {"temperature": 0.2, "positives": "all"}
    assert chosen.loss_weights["equivariance"] == 5700 and "balance" not in PAPER.loss_weights
    assert (chosen.crops.padding, chosen.crops.jitter) == (0.1, 0.05)
    loss, weight = chosen.create_losses()["contrastive"]
    assert (loss.temperature, weight) == (0.2, 2300)


def test_a_field_and_a_value_inside_it_are_set_together():
    chosen = recipe("default", loss_weights={"balance": 1.0}, **{"loss_weights.contrastive": 2.0})
    assert chosen.loss_weights == {"balance": 1.0, "contrastive": 2.0}
    settings = {"loss_settings": {"contrastive": {"positives": "one"}}, "clusters.decay_steps": 7}
    chosen = recipe("default", **settings)
    assert chosen.loss_settings["contrastive"] == {"temperature": 0.19, "positives": "one"}
    assert chosen.loss_settings["clusters"] == {"decay_steps": 7}


def test_the_optimisation_of_the_paper():
    paper = recipe("paper")
    assert (paper.optimizer, paper.learning_rate, paper.head_multiplier) == ("sgd", 1e-5, 10)
    assert (paper.schedule, paper.clip_norm, paper.warmup_steps) == ("polynomial", 5, 0)
    assert (paper.batch_size, paper.image_size, paper.precision) == (6, 256, "float32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_parts": 1}, "num_parts is 1, expected 2 to 64"),
        ({"part": 4}, "no setting 'part'"),
        ({"steps": 2.5}, "steps is 2.5, expected a whole number"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', expected a number"),
        ({"optimizer": "lion"}, "optimizer is 'lion', expected one of adam"),
        ({"loss_weights.contrastive": -1}, "loss_weights.contrastive is -1"),
        ({"loss_weights.balence": 1}, "loss_weights.balence: there is no such loss; .* balance"),
        ({"contrastive.temperature": 0}, "contrastive.temperature is 0, expected 0.001 to 100"),
        ({"contrastive.positives": "two"}, "positives is 'two', expected one of all, one"),
        ({"contrastive.heat": 1}, "no setting contrastive.heat: the loss has only temperature"),
        ({"balance.heat": 1}, "no setting balance.heat: the loss has no settings"),
        ({"crops.jitter": 0.5}, "crops.jitter is 0.5, expected 0 or more, less than 0.5"),
        ({"standardise": "yes"}, "standardise is 'yes', expected true or false"),
        (
            {"teacher_layers": "block_14"},
            "teacher_layers is 'block_14', expected a list of strings",
        ),
        ({"teacher_turns": (1, 0)}, "teacher_turns is .*expected four weights"),
        ({"jit_compile": 1}, "jit_compile is 1, expected one of None, True, False"),
        ({"learning_rate": 0}, "learning_rate is 0, expected more than 0"),
        ({"weight_decay": 0.1}, "adam has none: set optimizer to adamw"),
        ({"view_transforms.scale": (2, 1)}, "view_transforms.scale"),
        ({"steps": 10, "warmup_steps": 10}, "warmup_steps is 10, expected fewer than the 10 steps"),
        ({"steps_per_execution": 0}, "steps_per_execution is 0, expected 1 to"),
        ({"prefix": "x"}, "no setting 'prefix'; `keras-parts recipe show default` lists all"),
        ({"crops.pading": 1}, "no setting 'crops.pading'; did you mean 'crops.padding'"),
        ({"loss_weights": 1}, "loss_weights is 1, expected a table"),
        ({"loss_settings": "x"}, "loss_settings is 'x', expected a table"),
        ({"loss_settings": {"contrastive": 3}}, "loss_settings.contrastive is 3, expected a table"),
        ({"view_transforms.zoom": 1}, "no setting 'view_transforms.zoom'"),
        ({"parts": 4}, "the setting 'parts' is now called 'num_parts'"),
        ({"weights.balance": 1}, "'weights.balance' is now called 'loss_weights.balance'"),
        ({"loss_settings.contrastive.heat": 1}, "a setting of a loss is called LOSS.SETTING"),
        ({"start_steps": 1}, "'start_steps' is now called 'clusters.decay_steps'"),
        ({"views.hue": 0}, "'views.hue' is now called 'view_transforms.hue'"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        recipe(**settings)


def test_a_setting_of_a_loss_without_weight_is_warned_of(caplog):
    recipe("toy", **{"contrastive.temperature": 0.3})
    recipe("toy", **{"clusters.decay_steps": 9, "loss_weights.clusters": 1})
    assert not caplog.messages
    recipe("toy", **{"contrastive.temperature": 0.3, "loss_weights.contrastive": 0})
    recipe("toy", **{"clusters.decay_steps": 9})
    assert caplog.messages == [
        "contrastive.temperature has no effect: the loss has no weight (loss_weights.contrastive)",
        "clusters.decay_steps has no effect: the loss has no weight (loss_weights.clusters)",
    ]


def test_unknown_recipes():
    with pytest.raises(
        ConfigError, match="no recipe 'papr'; there are default, dinov2, outline, paper, toy"
    ):
        recipe("papr")


def test_settings_of_the_command_line():
    assert parse_setting("loss_weights.balance=1.5") == ("loss_weights.balance", 1.5)
    assert parse_setting("loss_size=null") == ("loss_size", None)
    assert parse_setting("teacher=vgg19") == ("teacher", "vgg19")
    with pytest.raises(ConfigError, match="name=value"):
        parse_setting("balance")


VERSION_0_1 = {
    "name": "default", "parts": 8, "architecture": "small", "output_stride": 8, "size": 161,
    "backbone_weights": "random", "init_from": None, "batch_norm": "trained", "train_from": None,
    "teacher": "small", "teacher_layers": ["stage4"], "teacher_weights": None,
    "teacher_size": None, "teacher_turns": [1.0, 0.5, 0.0, 0.0], "teacher_mirror": False,
    "standardise": False, "noise_floor": None, "centre": False, "prominence": 1.0,
    "start_steps": 40, "weights": {"balance": 0.5, "clusters": 2.0}, "loss_size": 41,
    "temperature": 0.2, "positives": "one", "views": {"rotation": 30.0, "scale": [0.5, 2.0]},
    "padding": 0.1, "box_jitter": 0.01, "mirror": 0.25, "batch_size": 4, "steps": 120,
    "optimizer": "adamw", "learning_rate": 0.001, "schedule": "constant", "warmup": 5,
    "weight_decay": 0.1, "clip_norm": None, "head_multiplier": 2.0, "ema": 0.9,
    "precision": "mixed_float16", "jit_compile": False, "steps_per_execution": 3, "seed": 7,
}  # fmt: skip
"""All settings of version 0.1.0 as it wrote them, with other values than the defaults."""

RENAMED = {
    "parts": "num_parts", "size": "image_size", "centre": "centre_features",
    "prominence": "prominence_exponent", "weights": "loss_weights", "warmup": "warmup_steps",
    "ema": "ema_momentum",
}  # fmt: skip


def test_every_setting_of_version_0_1_is_read():
    found = Recipe.from_json(VERSION_0_1).to_json()
    moved = {
        "start_steps": found["loss_settings"]["clusters"]["decay_steps"],
        "temperature": found["loss_settings"]["contrastive"]["temperature"],
        "positives": found["loss_settings"]["contrastive"]["positives"],
        "padding": found["crops"]["padding"],
        "box_jitter": found["crops"]["jitter"],
        "mirror": found["crops"]["mirror"],
        "views": {name: found["view_transforms"][name] for name in VERSION_0_1["views"]},
    }
    for name, value in VERSION_0_1.items():
        assert (moved[name] if name in moved else found[RENAMED.get(name, name)]) == value, name
    assert translate_settings(found) == found
    with pytest.raises(ConfigError, match="no setting 'colour'"):
        Recipe.from_json(VERSION_0_1 | {"colour": 1})


@pytest.mark.parametrize("name", sorted(VERSION_0_1))
def test_the_error_for_a_renamed_setting_has_its_current_name(name):
    if name in Recipe.setting_names():
        return
    with pytest.raises(ConfigError, match=f"setting '{name}' is now called '"):
        recipe(**{name: VERSION_0_1[name]})


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_short_runs_have_a_short_warmup_and_decay(name, steps):
    short = recipe(name, steps=steps)
    assert short.warmup_steps <= steps / 4
    if short.loss_weights.get("clusters"):
        assert short.loss_settings["clusters"]["decay_steps"] <= max(1, steps / 3)


def test_long_runs_and_given_values_keep_warmup_and_decay():
    assert recipe("default", steps=240) == RECIPES["default"]
    assert recipe("toy", steps=1000).warmup_steps == RECIPES["toy"].warmup_steps
    given = recipe("default", steps=8, warmup_steps=7, **{"clusters.decay_steps": 6})
    assert (given.warmup_steps, given.loss_settings["clusters"]["decay_steps"]) == (7, 6)


def test_recipe_for_a_data_set():
    assert recipe_for("toy") == RECIPES["toy"]
    assert recipe_for("cub", settings={"num_parts": 8}) == recipe("default", num_parts=8)
    assert recipe_for("toy", "paper").name == "paper"
    with pytest.raises(ConfigError, match="no recipe 'papr'"):
        recipe_for("toy", "papr")


@pytest.fixture
def segmenter_folder(tmp_path):
    config = {"parts": 6, "architecture": "small", "output_stride": 16, "size": 97, "fit": "pad"}
    (tmp_path / "segmenter.json").write_text(json.dumps(config))
    return tmp_path


def test_a_recipe_with_initial_weights_of_a_segmenter(segmenter_folder):
    chosen = recipe_for("toy", init_from=segmenter_folder)
    assert chosen.init_from == str(segmenter_folder)
    assert (chosen.num_parts, chosen.output_stride, chosen.image_size) == (6, 16, 97)
    other = recipe_for("cub", init_from=segmenter_folder, settings={"num_parts": 3})
    assert (other.architecture, other.train_from, other.num_parts) == ("small", None, 3)
    with pytest.raises(DataError, match="segmenter.json: cannot be read"):
        recipe_for("toy", init_from=segmenter_folder / "none")


def test_a_recipe_with_another_teacher(segmenter_folder):
    chosen = recipe_for("toy", teacher="dinov2", teacher_weights="there")
    assert (chosen.teacher, chosen.teacher_layers, chosen.teacher_weights) == (
        "dinov2", (), "there",
    )  # fmt: skip
    found = recipe_for("toy", teacher="zoo:mine", find_model={"mine": segmenter_folder}.get)
    assert (found.teacher, found.teacher_weights) == ("segmenter", str(segmenter_folder))
    with pytest.raises(ConfigError, match="has weights already"):
        recipe_for("toy", teacher="zoo:mine", teacher_weights="there")


def test_a_short_run_without_the_cluster_loss_keeps_its_settings():
    """Version 0.1.0 did not shorten the decay: its run folders can be resumed."""
    assert recipe("toy", steps=40).loss_settings["clusters"]["decay_steps"] == 80
    assert recipe("default", steps=40).loss_settings["clusters"]["decay_steps"] == 13


def test_another_teacher_does_not_get_the_weights_of_the_recipes():
    def weights(**options):
        return recipe_for("cub", "dinov2", **options).teacher_weights

    assert weights(teacher="small") is None
    assert weights(teacher="small", teacher_weights="mine") == "mine"
    assert weights(teacher="dinov2") == weights() == "dinov2_with_registers_small"
    chosen = recipe_for("cub", "dinov2", teacher="small")
    assert (chosen.teacher_layers, chosen.teacher_patches) == ((), None)
