from .preparation import prepare_training
from .recipes import RECIPES, Recipe, recipe, recipe_for
from .run import train
from .run_folder import RunFolder

__all__ = [
    "RECIPES",
    "Recipe",
    "RunFolder",
    "prepare_training",
    "recipe",
    "recipe_for",
    "train",
]
