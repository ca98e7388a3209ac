from .part_counts import PartCount, PartCounts, compare_part_counts
from .preparation import prepare_training
from .recipes import RECIPES, Recipe, recipe, recipe_for
from .run import train
from .run_folder import RunFolder

__all__ = [
    "PartCount",
    "PartCounts",
    "RECIPES",
    "Recipe",
    "RunFolder",
    "compare_part_counts",
    "prepare_training",
    "recipe",
    "recipe_for",
    "train",
]
