"""keras-parts recipe"""

import click

from keras_parts.cli.completion import complete_recipe
from keras_parts.cli.group import Group
from keras_parts.cli.options import CommandResult, examples, output_options


@click.group(
    cls=Group, epilog=examples("recipe list", "recipe show default", "recipe show runs/mine")
)
def recipe() -> None:
    """List the recipes, and show one as a file to change.

    A recipe has all settings of a training. `train --recipe FILE` takes a changed one.
    """


@recipe.command("list", epilog=examples("recipe list"))
@output_options
def list_recipes(quiet: bool) -> CommandResult:
    """List the recipes, and what differs most between them."""
    from keras_parts.training.recipes import RECIPES

    shown = ("architecture", "image_size", "teacher", "batch_size", "steps")
    lines = [
        f"{name:<8}  {', '.join(f'{each} {getattr(one, each)}' for each in shown)}"
        for name, one in RECIPES.items()
    ]
    content = {"recipes": {name: one.to_json() for name, one in RECIPES.items()}}
    return CommandResult(content, "\n".join(lines))


@recipe.command(epilog=examples("recipe show default > mine.toml", "recipe show runs/mine"))
@click.argument("name", shell_complete=complete_recipe)
@output_options
def show(name: str, quiet: bool) -> CommandResult:
    """Show a recipe as TOML.

    NAME is a name of `recipe list`, a recipe file, or a run folder.
    """
    from keras_parts.training.recipe_files import to_toml
    from keras_parts.training.recipes import recipe as find

    chosen = find(name)
    return CommandResult(chosen.to_json(), to_toml(chosen).rstrip())
