from .recipes import RECIPES, Recipe, recipe, recipe_for
from .run import train
from .run_folder import RunFolder

__all__ = [
    "RECIPES",
    "Recipe",
    "RunFolder",
    "recipe",
    "recipe_for",
    "train",
]
