from .recipes import RECIPES, Recipe, recipe
from .run import train
from .run_folder import RunFolder

__all__ = [
    "RECIPES",
    "Recipe",
    "RunFolder",
    "recipe",
    "train",
]
