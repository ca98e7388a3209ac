"""Options that name a data set, for the commands that read one."""

import functools

import click

from keras_parts.cli.options import given


def data_options(command):
    """--dataset and what belongs to it.

    The command takes `data`, a function `data(split) -> Dataset` with an attribute `name`.
    """

    @click.option("--dataset", required=True, metavar="NAME", help="toy, cub or folder.")
    @click.option("--data-dir", metavar="DIR", help="Where the data set lies.")
    @click.option(
        "--masks",
        metavar="DIR",
        help="folder: masks named as the images are, or 'alpha' for the images' own opacity.",
    )
    @click.option("--skip-bad", is_flag=True, help="folder: leave out images with a problem.")
    @click.option(
        "--data-option",
        "data_settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other option of the data set's reader; the value is JSON, or a word.",
    )
    @functools.wraps(command)
    def run(dataset, data_dir, masks, skip_bad, data_settings, **options):
        settings = given(data_dir=data_dir, masks=masks, skip_bad=skip_bad or None)

        def data(split):
            from keras_parts.data import load
            from keras_parts.training.recipes import parse_setting

            changes = dict(map(parse_setting, data_settings))
            if reserved := {"name", "split", "data_dir"} & set(changes):
                raise click.UsageError(
                    f"--data-option {reserved.pop()}: it has an option of its own"
                )
            return load(dataset, split, **settings | changes)

        data.name = dataset
        return command(data=data, **options)

    return run


def default_recipe(dataset):
    """Name of the recipe for a data set: its own, or "default"."""
    from keras_parts.training.recipes import RECIPES

    return dataset if dataset in RECIPES else "default"


def teacher_settings(teacher, weights):
    """Changes to a recipe that name another teacher: its layers are its own, not the recipe's."""
    changes = given(teacher=teacher, teacher_weights=weights)
    return changes | {"teacher_layers": ()} if teacher else changes
